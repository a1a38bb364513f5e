"""Digits as one COCO file: pages are its images, digits its annotations, 0 to 9 its categories.

The format is that of Lin and others 2014, "Microsoft COCO": boxes are x, y, width, height.  Beside what it
asks for there is what is known of a page and a digit here; `pipeline/coco.py` reads such files.
"""

import json
import shutil
from collections.abc import Iterable
from tempfile import TemporaryFile
from typing import Any

from pipeline.export_jsonl import TextOut
from pipeline.exported_pages import ArchivedPage, ExportedDigit


def write_coco(out: TextOut, pages: Iterable[ArchivedPage]) -> tuple[int, int]:
    """Write pages and their digits, and return how many; images wait in a file of their own meanwhile."""
    categories = [{"id": digit, "name": str(digit), "supercategory": "digit"} for digit in range(10)]
    out.write(f'{{"categories": {json.dumps(categories)},\n"annotations": [')
    n_pages = n_digits = 0
    with TemporaryFile("w+", encoding="utf-8") as images:
        for page in pages:
            images.write((",\n" if n_pages else "\n") + json.dumps(_image(page), ensure_ascii=False))
            n_pages += 1
            for digit in page.digits:
                out.write(",\n" if n_digits else "\n")
                n_digits += 1  # ids begin with 1: COCOeval takes 0 for no match
                out.write(json.dumps({"id": n_digits, "image_id": page.page_id, **_annotation(digit)}))
        out.write('\n],\n"images": [')
        images.seek(0)
        shutil.copyfileobj(images, out)
    out.write("\n]}\n")
    return n_pages, n_digits


def _image(page: ArchivedPage) -> dict[str, Any]:
    return {
        "id": page.page_id,
        "file_name": page.path,
        "width": page.width,
        "height": page.height,
        "member": page.member,
        "page": page.page,
        "turned": page.turned,
        "kind": page.kind,
        "document_id": page.document_id,
        "run_id": page.run_id,
    }


def _annotation(digit: ExportedDigit) -> dict[str, Any]:
    x0, y0, x1, y1 = digit.box.corners
    width, height = round(x1 - x0, 2), round(y1 - y0, 2)
    return {
        "category_id": digit.digit,
        "bbox": [round(x0, 2), round(y0, 2), width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "score": round(digit.score, 6),
        "confidence": round(digit.confidence, 6),
        "number": digit.number,
    }
