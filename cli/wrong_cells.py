"""Cells, fields and numbers that were read wrong, as a person judges them: with boxes, reading and truth."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from models.evaluation import DigitsRead, EvaluatedPage
from pipeline.coco import Field, FieldScore
from pipeline.confidence import REJECT
from pipeline.contact_sheets import Strip
from pipeline.page import Box
from pipeline.scoring import true_classes

_ROUND_CELL = 0.4  # of a cell's height, seen round it
_ROUND_NUMBER = 1.0  # of a number's height: a person reads it by what stands beside it
_SHOWN_PX = 64  # a cell with what is round it is shown this high: many fit on a sheet

Grey = npt.NDArray[np.uint8]


def wrong_cells(grey: Grey, page: EvaluatedPage, name: str) -> list[tuple[int, Strip]]:
    """Return the cells of a page, uint8 (H, W), that were read wrong: how many digits are, how it looks."""
    wrong = []
    for scored in page.score.lines:
        if not scored.line.is_number or scored.exact:
            continue
        found = sum(j is not None and bool(page.right[scored.found[j]]) for _, j in scored.pairs)
        read = "".join(str(page.read.digits[position]) for position in scored.found)
        (x0, y0), (x1, y1) = scored.line.polygon.min(axis=0), scored.line.polygon.max(axis=0)
        margin = _ROUND_CELL * float(y1 - y0)
        around = Box(float(x0) - margin, float(y0) - margin, float(x1) + margin, float(y1) + margin)
        caption = f"is {scored.line.text.strip()}, read {read or 'nothing'}, {name}"
        wrong.append((len(scored.pairs) - found, _strip(grey, around, scored.found, page, caption)))
    return wrong


def wrong_field(grey: Grey, field: Field, read: DigitsRead, score: FieldScore) -> tuple[int, Strip]:
    """Return the same of a field, uint8 (H, W); boxes that are no digit of it, or another, are doubtful."""
    right = {j for i, j in score.pairs if field.digits[i] == read.digits[j]}
    boxes = tuple(
        (box, str(digit), j not in right)
        for j, (box, digit) in enumerate(zip(read.boxes, read.digits, strict=True))
    )
    caption = f"is {score.truth}, read {score.found or 'nothing'}, {field.image.stem}"
    return max(len(field.digits), len(read.digits)) - len(right), Strip(grey, boxes, caption)


def wrong_numbers(grey: Grey, page: EvaluatedPage, name: str) -> list[tuple[float, Strip]]:
    """Return the numbers of a page, uint8 (H, W), that count as wrong: how sure they are, how they look.

    A digit that nobody transcribed is written as a question mark.
    """
    wrong = []
    classes = true_classes(page.judged, len(page.read.digits))
    for number, right in zip(page.read.numbers, page.numbers_right, strict=True):
        if right:
            continue
        margin = _ROUND_NUMBER * (number.box.y1 - number.box.y0)
        x0, y0, x1, y1 = number.box.x0, number.box.y0, number.box.x1, number.box.y1
        around = Box(x0 - margin, y0 - margin, x1 + margin, y1 + margin)
        is_there = "".join("?" if classes[i] == REJECT else str(classes[i]) for i in number.members)
        truth = f"is {is_there}" if is_there != number.text else "not the whole"
        caption = f"{number.confidence:.4f}: read {number.text}, {truth}, {name}"
        wrong.append((number.confidence, _strip(grey, around, number.members, page, caption)))
    return wrong


def _strip(grey: Grey, around: Box, found: Sequence[int], page: EvaluatedPage, caption: str) -> Strip:
    height, width = grey.shape
    left, top = max(0, min(int(around.x0), width - 1)), max(0, min(int(around.y0), height - 1))
    part = grey[top : max(int(around.y1), top + 1), left : max(int(around.x1), left + 1)]
    zoom = min(1.0, _SHOWN_PX / part.shape[0])
    size = max(1, round(part.shape[1] * zoom)), max(1, round(part.shape[0] * zoom))
    # a new array in any case: a view would keep the whole page in memory
    picture = np.array(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    boxes = []
    for position in found:
        box = page.read.boxes[position]
        moved = Box(*(v * zoom for v in (box.x0 - left, box.y0 - top, box.x1 - left, box.y1 - top)))
        boxes.append((moved, str(page.read.digits[position]), not page.right[position]))
    return Strip(picture, tuple(boxes), caption)
