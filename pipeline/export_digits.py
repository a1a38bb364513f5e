"""Digits as JSON lines: an object a page, with the box of every digit."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.exported_pages import ExportedPage


def digits_line(page: ExportedPage) -> str:
    """Return a page as one line of JSON, its end included."""
    value = {
        "image": page.image,
        "page": page.page_index,
        "width": page.width,
        "height": page.height,
        "turned": page.turned,
        "digits": [
            {
                "box": [round(edge, 2) for edge in digit.box.corners],
                "digit": digit.digit,
                "confidence": round(digit.confidence, 6),
                "score": round(digit.score, 6),
                "number": digit.number,
            }
            for digit in page.digits
        ],
    }
    return json.dumps(value, ensure_ascii=False) + "\n"


def read_digits(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield each page of such a file as it stands there."""
    for line in lines:
        yield json.loads(line)
