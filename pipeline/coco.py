"""Fields with a box for each digit, as COCO files describe them, and how found boxes agree with those.

The format is that of Lin and others 2014, "Microsoft COCO": boxes are x, y, width, height.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import SourceError, UsageError
from pipeline.labels import overlap
from pipeline.page import Box

_SAME = 0.5  # intersection over union from which a found box is that of the digit


@dataclass(frozen=True, slots=True)
class Field:
    """An image of a field, the boxes of its digits and which digits they are."""

    image: Path
    boxes: tuple[Box, ...]
    digits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FieldScore:
    """How a field was read: its digits and those found, both from left to right, and what matched.

    `pairs` are (digit of the field, found digit), positions, of boxes that are of the same digit; those
    found count in the order they were given.
    """

    truth: str
    found: str
    pairs: tuple[tuple[int, int], ...]

    @property
    def exact(self) -> bool:
        """Whether every digit was read, and nothing added."""
        return self.truth == self.found


def coco_parts(folder: Path) -> list[str]:
    """Return the parts of a COCO folder, such as train and val; none where it is no such folder."""
    names = [file.stem for file in sorted((folder / "annotations").glob("instances_*.json"))]
    return [name.removeprefix("instances_").rstrip("0123456789") for name in names]


def read_coco(folder: Path, part: str) -> list[Field]:
    """Return the fields of a part: `annotations/instances_<part>….json` and the images it names.

    Raises UsageError where there is no such part, SourceError where the file can't be understood.
    """
    files = [
        file
        for file in sorted((folder / "annotations").glob(f"instances_{part}*.json"))
        if file.stem.removeprefix("instances_").rstrip("0123456789") == part
    ]
    if not files:
        raise UsageError(f"{folder}: has no part {part!r}; it has {', '.join(coco_parts(folder))}")
    return read_coco_file(files[0], folder / "images" / files[0].stem.removeprefix("instances_"))


def read_coco_file(file: Path, images: Path) -> list[Field]:
    """Return the fields of a COCO file, images below a folder; SourceError if it can't be understood."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        digit_of = {category["id"]: int(category["name"]) for category in found["categories"]}
        rows: dict[int, list[tuple[Box, int]]] = {image["id"]: [] for image in found["images"]}
        for annotation in found["annotations"]:
            x, y, width, height = annotation["bbox"]
            box = Box(float(x), float(y), float(x + width), float(y + height))
            rows[annotation["image_id"]].append((box, digit_of[annotation["category_id"]]))
        return [
            Field(
                images / image["file_name"],
                tuple(box for box, _ in rows[image["id"]]),
                tuple(digit for _, digit in rows[image["id"]]),
            )
            for image in found["images"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{file}: is no COCO file of digits: {type(error).__name__}: {error}") from error


def score_field(
    field: Field, boxes: Sequence[Box], digits: Sequence[int], scores: Sequence[float]
) -> FieldScore:
    """Return how the digits found on a field agree with its own; boxes in the same pixels.

    Found boxes take turns, best score first: each takes the free box that it shares most with.
    """
    free = set(range(len(field.boxes)))
    pairs = []
    for j in sorted(range(len(boxes)), key=lambda j: -scores[j]):
        best = max(free, key=lambda i: overlap(field.boxes[i], boxes[j]), default=None)
        if best is not None and overlap(field.boxes[best], boxes[j]) >= _SAME:
            free.remove(best)
            pairs.append((best, j))
    return FieldScore(_in_order(field.boxes, field.digits), _in_order(boxes, digits), tuple(pairs))


def field_confusions(field: Field, score: FieldScore, digits: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return counts int64 (11, 11) of true and found digits of a field; 10 is missed or added."""
    counts = np.zeros((11, 11), np.int64)
    for i, j in score.pairs:
        counts[field.digits[i], digits[j]] += 1
    for i in set(range(len(field.digits))) - {i for i, _ in score.pairs}:
        counts[field.digits[i], 10] += 1
    for j in set(range(len(digits))) - {j for _, j in score.pairs}:
        counts[10, digits[j]] += 1
    return counts


def _in_order(boxes: Sequence[Box], digits: Sequence[int]) -> str:
    ordered = sorted(zip(boxes, digits, strict=True), key=lambda item: (item[0].centre[0], item[1]))
    return "".join(str(digit) for _, digit in ordered)
