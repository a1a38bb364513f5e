"""The numbers of a page as lines of text, as ALTO and PAGE want them: polygons and baselines.

A line's polygon is made of columns, one a digit, so that it holds the centres of its own digits and of no
others: whoever assigns digits to lines by their polygons gets the numbers back.  All coordinates are whole
pixels of the page as it is shown, which is what PAGE asks for.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from pipeline.exported_pages import ArchivedPage, ExportedDigit
from pipeline.page import Box, Number
from pipeline.turning import turn_box

Point = tuple[int, int]
Floats = npt.NDArray[np.float64]
MAX_SLOPE = 0.3  # a page that lies so askew was no scan
LEAST_EXTENT = 4.0  # heights of a digit: what is shorter says little about slope
_ROUNDING = 1e-9
_LEAST_STEP_PX = 2.0  # from a digit's centre to the next one's: a whole pixel fits between


@dataclass(frozen=True, slots=True)
class TextLine:
    """A number, or a digit outside any, with where it stands; `digits` are in reading order."""

    name: str  # no other line of the page has it
    text: str
    confidence: float
    digits: tuple[ExportedDigit, ...]
    is_number: bool
    polygon: tuple[Point, ...]
    baseline: tuple[Point, Point]


@dataclass(slots=True)
class _Column:
    """The part of a polygon that holds one digit, on the upright page; edges are whole pixels."""

    left: int
    top: int
    right: int
    bottom: int


def text_lines(page: ArchivedPage) -> list[TextLine]:
    """Return the lines of a page: its numbers in reading order, then digits outside any number."""
    upright = _Upright(page)
    lines = [
        upright.line(f"number-{k}", number.text, number.confidence, number.members, is_number=True)
        for k, number in enumerate(page.numbers)
        if number.members
    ]
    for at, digit in enumerate(page.digits):
        if digit.number is None:
            name = f"alone-{digit.position}"
            lines.append(upright.line(name, str(digit.digit), digit.confidence, (at,), is_number=False))
    return lines


class _Upright:
    """A page turned so that a person can read it: `corners` are float64 (N, 4), xyxy, of its digits."""

    def __init__(self, page: ArchivedPage) -> None:
        self.page = page
        is_on_side = page.turned in (90, 270)
        self.size = (page.height, page.width) if is_on_side else (page.width, page.height)
        boxes = [turn_box(digit.box, page.turned, page.width, page.height) for digit in page.digits]
        # rounded as they are told elsewhere: by those, too, a centre must lie in its polygon
        self.corners = np.array([box.corners for box in boxes], np.float64).reshape(-1, 4).round(2)
        self.centres = (self.corners[:, :2] + self.corners[:, 2:]) / 2
        self.slope = _slope(page.numbers, self.corners)

    def line(
        self, name: str, text: str, confidence: float, members: Sequence[int], *, is_number: bool
    ) -> TextLine:
        """Return the line of the digits at these places, which are in reading order."""
        columns = self._columns(members)
        return TextLine(
            name=name,
            text=text,
            confidence=confidence,
            digits=tuple(self.page.digits[at] for at in members),
            is_number=is_number,
            polygon=tuple(self._turned_back(x, y) for x, y in _outline(columns)),
            baseline=self._baseline(members, columns[0].left, columns[-1].right),
        )

    def _columns(self, members: Sequence[int]) -> list[_Column]:
        boxes, centres = self.corners[list(members)], self.centres[list(members)]
        if (np.diff(centres[:, 0]) < _LEAST_STEP_PX).any():  # not one beside the other
            boxes = np.array([[*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]])
            return [_column(boxes[0], (boxes[0, :2] + boxes[0, 2:]) / 2, self.size)]
        columns = [_column(box, centre, self.size) for box, centre in zip(boxes, centres, strict=True)]
        for before, column, box, next_box in zip(columns, columns[1:], boxes, boxes[1:], strict=False):
            own, following = (box[0] + box[2]) / 2, (next_box[0] + next_box[2]) / 2
            middle = min(max((box[2] + next_box[0]) / 2, own + 1), following - 1)
            before.right = column.left = round(middle)
        self._keep_out_others(columns, centres, members)
        return columns

    def _keep_out_others(self, columns: list[_Column], centres: Floats, members: Sequence[int]) -> None:
        """Cut back columns that hold the centre of a digit of another line."""
        others = np.delete(self.centres, list(members), axis=0)
        lows = columns[0].left, min(column.top for column in columns)
        highs = columns[-1].right, max(column.bottom for column in columns)
        near = others[((others >= lows) & (others <= highs)).all(axis=1)]
        for x, y in near.tolist():
            for k, (column, (own_x, own_y)) in enumerate(zip(columns, centres.tolist(), strict=True)):
                if not (column.left <= x <= column.right and column.top <= y <= column.bottom):
                    continue
                at_end = (k == 0 and x < own_x) or (k == len(columns) - 1 and x > own_x)
                sideways = at_end and abs(x - own_x) > abs(y - own_y)
                own, other = (own_x, x) if sideways else (own_y, y)
                middle = round((own + other) / 2)
                if not min(own, other) < middle < max(own, other):
                    continue  # they are so close that no pixel's edge is between them
                if sideways and other < own:
                    column.left = middle
                elif sideways:
                    column.right = middle
                elif other < own:
                    column.top = middle
                else:
                    column.bottom = middle

    def _baseline(self, members: Sequence[int], left: int, right: int) -> tuple[Point, Point]:
        """Return the line that digits stand on: all of a page have one slope, or none where that misleads."""
        boxes, centres = self.corners[list(members)], self.centres[list(members)]
        along_x = (boxes[:, 0] + boxes[:, 2]) / 2
        for slope in (self.slope, 0.0):
            height = float(np.median(boxes[:, 3] - slope * along_x))
            ends = [(x, min(max(round(height + slope * x), 0), self.size[1])) for x in (left, right)]
            direction = np.subtract(ends[1], ends[0])
            if (np.diff(centres @ direction) > 0).all():  # readers sort digits along the baseline
                break
        start, end = (self._turned_back(x, y) for x, y in ends)
        return start, end

    def _turned_back(self, x: int, y: int) -> Point:
        box = turn_box(Box(x, y, x, y), (360 - self.page.turned) % 360, *self.size)
        return int(box.x0), int(box.y0)


def _column(box: Floats, centre: Floats, size: tuple[int, int]) -> _Column:
    # at least the pixel that has the centre, and never beyond the page
    (x0, y0, x1, y1), (x, y), (width, height) = box, centre, size
    return _Column(
        left=max(min(floor(x0), ceil(x) - 1), 0),
        top=max(min(floor(y0), ceil(y) - 1), 0),
        right=min(max(ceil(x1), floor(x) + 1), width),
        bottom=min(max(ceil(y1), floor(y) + 1), height),
    )


def _outline(columns: Sequence[_Column]) -> list[Point]:
    """Return the outline of columns that stand side by side: along their tops, and back below."""
    tops = [(x, column.top) for column in columns for x in (column.left, column.right)]
    bottoms = [(x, column.bottom) for column in columns for x in (column.left, column.right)]
    points = tops + bottoms[::-1]
    return [point for point, before in zip(points, [points[-1], *points], strict=False) if point != before]


def _slope(numbers: Sequence[Number], corners: Floats) -> float:
    """Return how much lines fall a pixel to the right: the median of a page's lines, by their length."""
    of_line: defaultdict[int, list[int]] = defaultdict(list)
    for number in numbers:
        of_line[number.line] += number.members
    slopes, extents = [], []
    for members in of_line.values():
        boxes = corners[members]
        x = (boxes[:, 0] + boxes[:, 2]) / 2
        extent = float(np.ptp(x)) if len(members) else 0.0
        if len(members) > 2 and extent > LEAST_EXTENT * float(np.median(boxes[:, 3] - boxes[:, 1])):
            away = x - x.mean()
            slopes.append(float(away @ boxes[:, 3] / (away @ away)))
            extents.append(extent)
    if not slopes:
        return 0.0
    order = np.argsort(slopes)
    share = np.cumsum(np.array(extents)[order]) / sum(extents)
    middle = np.array(slopes)[order][share >= 0.5 - _ROUNDING][0]
    return float(np.clip(middle, -MAX_SLOPE, MAX_SLOPE))
