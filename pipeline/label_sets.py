"""Label sets: labelled pages in a folder, as pictures and one JSON line a page, so that a person can look."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import OutputError, SourceError
from pipeline.labels import LabelledDigit, LabelledPage
from pipeline.page import Box

INDEX = "labels.jsonl"


def write_label_set(folder: Path, pages: Iterable[LabelledPage]) -> Iterator[LabelledPage]:
    """Write pages as they come and hand each on: `<name>.png`, `<name>.known.png`, a line in the index.

    A name that was there before gets a number.  Raises OutputError.
    """
    n_seen: Counter[str] = Counter()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / INDEX).open("w", encoding="utf-8") as index:
        for page in pages:
            n_seen[page.name] += 1
            name = page.name if n_seen[page.name] == 1 else f"{page.name}~{n_seen[page.name]}"
            for part, picture in (("", page.ink), (".known", page.known)):
                if not cv2.imwrite(str(folder / f"{name}{part}.png"), picture):
                    raise OutputError(f"{folder / name}{part}.png: can't be written")
            digits = [[d.digit, d.box.x0, d.box.y0, d.box.x1, d.box.y1] for d in page.digits]
            row = {"name": name, "n_number_digits": page.n_number_digits, "digits": digits}
            index.write(json.dumps(row) + "\n")
            yield page


def read_label_set(folder: Path) -> list[LabelledPage]:
    """Return the pages of a label set; SourceError says what is missing."""
    file = folder / INDEX
    if not file.exists():
        raise SourceError(f"{folder}: is no label set ({INDEX} is missing); make one with `archive labels`")
    pages = []
    for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        name = row["name"]
        ink, known = (
            cv2.imread(str(folder / f"{name}{part}.png"), cv2.IMREAD_GRAYSCALE) for part in ("", ".known")
        )
        if ink is None or known is None:
            raise SourceError(f"{folder / name}.png: is missing or damaged; make the label set again")
        digits = tuple(LabelledDigit(Box(*box), digit) for digit, *box in row["digits"])
        pages.append(
            LabelledPage(
                name, np.asarray(ink, np.uint8), np.asarray(known, np.uint8), digits, row["n_number_digits"]
            )
        )
    return pages
