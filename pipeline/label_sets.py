"""Label sets: labelled pages in a folder, as pictures and one JSON line a page, so that a person can look."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import OutputError, SourceError
from pipeline.labels import LabelledDigit, LabelledPage
from pipeline.page import Box

INDEX = "labels.jsonl"
_KEPT = ("n_written", "n_in_text", "n_labelled_in_text", "n_pasted", "collection")


def write_label_set(folder: Path, pages: Iterable[LabelledPage]) -> Iterator[LabelledPage]:
    """Write pages as they come and hand each on: `<name>.png`, `<name>.known.png`, a line in the index.

    A name that was there before gets a number.  Raises OutputError.
    """
    n_seen: Counter[str] = Counter()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    halfway = folder / f"{INDEX}.part"
    with halfway.open("w", encoding="utf-8") as index:
        for page in pages:
            n_seen[page.name] += 1
            name = page.name if n_seen[page.name] == 1 else f"{page.name}~{n_seen[page.name]}"
            for part, picture in (("", page.ink), (".known", page.known)):
                if not cv2.imwrite(str(folder / f"{name}{part}.png"), picture):
                    raise OutputError(f"{folder / name}{part}.png: can't be written")
            digits = [[d.digit, *d.box.corners] for d in page.digits]
            goes_on = [d.goes_on for d in page.digits]
            kept = {key: getattr(page, key) for key in _KEPT}
            row = {"name": name, **kept, "digits": digits, "goes_on": goes_on}
            row["printed"] = [d.printed for d in page.digits]
            row["words"] = None if page.words is None else [word.corners for word in page.words]
            index.write(json.dumps(row) + "\n")
            yield page
    halfway.replace(folder / INDEX)  # there is an index only where it is whole


def read_label_set(folder: Path) -> list[LabelledPage]:
    """Return the pages of a label set; SourceError says what is missing."""
    return list(each_page(folder))


def each_page(folder: Path) -> Iterator[LabelledPage]:
    """Yield the pages of a label set one by one, since each takes megabytes; SourceError as they come."""
    file = folder / INDEX
    if not file.exists():
        raise SourceError(f"{folder}: is no label set ({INDEX} is missing); make one with `archive labels`")
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            name = row["name"]
            n = len(row["digits"])
            # sets of an older version say less
            goes_on, printed = row.get("goes_on", [None] * n), row.get("printed", [False] * n)
            digits = tuple(
                LabelledDigit(Box(*box), digit, on, by_press)
                for (digit, *box), on, by_press in zip(row["digits"], goes_on, printed, strict=True)
            )
            words = row.get("words")
            words = None if words is None else tuple(Box(*box) for box in words)
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{file}: is damaged; make the label set again: {error}") from error
        ink, known = (
            cv2.imread(str(folder / f"{name}{part}.png"), cv2.IMREAD_GRAYSCALE) for part in ("", ".known")
        )
        if ink is None or known is None:
            raise SourceError(f"{folder / name}.png: is missing or damaged; make the label set again")
        yield LabelledPage(
            name,
            np.asarray(ink, np.uint8),
            np.asarray(known, np.uint8),
            digits,
            words=words,
            **{key: row[key] for key in _KEPT if key in row},
        )


def held_back(
    pages: Sequence[LabelledPage], held: float, rng: np.random.Generator
) -> tuple[list[LabelledPage], list[LabelledPage]]:
    """Return pages to learn from, and about a share of them to measure by; pages stay whole.

    Of two pages or fewer some digits of each are held back instead.
    """
    n_held = min(round(held * len(pages)) or 1, len(pages) - 1)
    if held == 0:
        return list(pages), []
    if len(pages) > 2:
        away = set(rng.permutation(len(pages))[:n_held].tolist())
        of_pages = [(page, k in away) for k, page in enumerate(pages)]
        return [page for page, is_away in of_pages if not is_away], [
            page for page, is_away in of_pages if is_away
        ]
    parts: tuple[list[LabelledPage], list[LabelledPage]] = [], []
    for page in pages:
        order = rng.permutation(len(page.digits)).tolist()
        n = round(held * len(order))
        parts[0].append(page.with_only(set(order[n:])))
        parts[1].append(page.with_only(set(order[:n])))
    return parts
