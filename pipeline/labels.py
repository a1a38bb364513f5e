"""Labelled boxes from transcriptions: where the parts of ink of a number line match its digits.

Registers come with line polygons and text, not with a box for each digit.  In a line that is all
number the ink is cut into parts; where as many parts as digits are found, each part is a labelled box.
Where trained networks are at hand, all lines are aligned with what those see, so that digits inside running
text get their boxes too.  Lines without a digit are known to hold none; where digits found no box
nothing is known.
"""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.alignment import Candidates, align_line
from pipeline.line_parts import cut_line, without_rules
from pipeline.page import Box
from pipeline.transcriptions import BESIDE, Line, held_boxes

# the digits of a register page this wide are about 21 pixels high, 13 to 38
LABEL_WIDTH_PX = 1800
LABEL_DIGIT_PX = 21.0
_SAME = 0.5  # intersection over union from which two boxes are of one digit

Ink = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LabelledDigit:
    """A digit that is known: its box in pixels of the label page's ink map.

    `goes_on` says whether the transcription has it in one number with the digit before it, None where it
    does not say.  `printed`: nobody wrote it by hand.
    """

    box: Box
    digit: int
    goes_on: bool | None = None
    printed: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class LabelledLine:
    """A line of a page and its labels, for people to judge them.

    `kind` is "number" (all number), "text" or "pasted"; `polygon` int32 (P, 2) is in pixels of the ink map.
    `digits` has an entry for each digit of the text, None where it found no box.
    """

    text: str
    kind: str
    polygon: npt.NDArray[np.int32]
    digits: tuple[LabelledDigit | None, ...]

    @property
    def labelled(self) -> tuple[LabelledDigit, ...]:
        """The digits that found a box."""
        return tuple(digit for digit in self.digits if digit is not None)


@dataclass(frozen=True, eq=False)
class LabelledPage:
    """What a transcription teaches about a page, in pixels of its ink map.

    `ink` is uint8 (h, w).  `known` is uint8 (h, w): 0 where nothing is known (lines whose digits
    found no box), 1 outside all lines (most likely no digit), 2 where it is known whether there is a
    digit.  `n_written` counts the digits of the transcription, `n_in_text` those of them that stand on lines
    that are not all number, and `n_labelled_in_text` how many of these have a box; `n_pasted` of the
    digits are of other hands.  `collection` is the folder the page came from.  `words` are the boxes of
    all letters and words of a page that was drawn; None on others, whose lines say where letters are.  A
    label set keeps no `lines`.
    """

    name: str
    ink: Ink
    known: npt.NDArray[np.uint8]
    digits: tuple[LabelledDigit, ...]
    n_written: int
    n_in_text: int = 0
    n_labelled_in_text: int = 0
    n_pasted: int = 0
    collection: str = ""
    lines: tuple[LabelledLine, ...] = ()
    words: tuple[Box, ...] | None = None

    @cached_property
    def boxes(self) -> npt.NDArray[np.float64]:
        """The boxes of the digits, float64 (N, 4), xyxy."""
        rows = [digit.box.corners for digit in self.digits]
        return np.array(rows, np.float64).reshape(-1, 4)

    @cached_property
    def digit_px(self) -> float:
        """The median height of the digits in ink map pixels; what is usual where they are fewer than 8."""
        heights = self.boxes[:, 3] - self.boxes[:, 1]
        return float(np.median(heights)) if len(heights) >= 8 else LABEL_DIGIT_PX

    def with_only(self, kept: Collection[int]) -> "LabelledPage":
        """Return the page with some of its digits, by position; where the others stand nothing is known."""
        known = self.known.copy()
        for k, digit in enumerate(self.digits):
            if k not in kept:
                x0, y0, x1, y1 = (max(0, int(v)) for v in digit.box.corners)
                known[y0 : y1 + 1, x0 : x1 + 1] = 0
        digits = tuple(digit for k, digit in enumerate(self.digits) if k in kept)
        return replace(self, known=known, digits=digits, lines=())

    def scaled(self, factor: float) -> "LabelledPage":
        """Return the page with its ink map and boxes so many times as large, without its lines."""
        width, height = (max(1, round(side * factor)) for side in (self.ink.shape[1], self.ink.shape[0]))
        x, y = width / self.ink.shape[1], height / self.ink.shape[0]

        def stretched(box: Box) -> Box:
            return Box(box.x0 * x, box.y0 * y, box.x1 * x, box.y1 * y)

        return replace(
            self,
            ink=np.asarray(cv2.resize(self.ink, (width, height), interpolation=cv2.INTER_AREA), np.uint8),
            known=np.asarray(
                cv2.resize(self.known, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8
            ),
            digits=tuple(replace(digit, box=stretched(digit.box)) for digit in self.digits),
            words=None if self.words is None else tuple(map(stretched, self.words)),
            lines=(),
        )


def label_scale(width: int, height: int) -> float:
    """Return the scale that brings a page (or a double page) of this size to the labels' size."""
    n_pages_wide = 2 if width > 1.1 * height else 1
    return LABEL_WIDTH_PX * n_pages_wide / width


def lines_with_digits(size: tuple[int, int], lines: Sequence[Line], scale: float) -> npt.NDArray[np.uint8]:
    """Return where digits are written: uint8 of the ink map's size (h, w), 1 on lines that have a digit."""
    mask = np.zeros(size, np.uint8)
    for line in lines:
        if line.digits:
            cv2.fillPoly(mask, [_scaled(line, scale)], (1,))
    return mask


def label_page(
    name: str,
    ink: Ink,
    lines: Sequence[Line],
    scale: float,
    found: Candidates | None = None,
    collection: str = "",
) -> LabelledPage:
    """Return the labelled boxes of a page from its transcription.

    `ink` is the page's ink map at `scale`, uint8 (h, w); the lines are in page pixels.  `found` is what
    trained networks see on the ink map: with it digits inside running text are labelled too.
    """
    known = np.ones(ink.shape, np.uint8)
    written = without_rules(ink)
    labelled: list[LabelledLine] = []
    doubtful: list[npt.NDArray[np.int32]] = []
    polygons = [_scaled(line, scale) for line in lines]
    on_lines: list[Candidates | None] = [None] * len(lines)
    if found:
        on_lines = [found.among(held) for held in held_boxes(polygons, found.boxes, BESIDE)]
    for line, polygon, on_line in zip(lines, polygons, on_lines, strict=True):
        boxes = _boxes(line, polygon, written, on_line)
        digits = [
            None if box is None else LabelledDigit(box, int(digit), goes_on, line.printed)
            for box, digit, goes_on in zip(boxes, line.digits, _going_on(line, boxes), strict=True)
        ]
        kind = "number" if line.is_number else "text"
        labelled.append(LabelledLine(line.text.strip(), kind, polygon, tuple(digits)))
        if line.is_unread:
            doubtful.append(polygon)
        else:
            cv2.fillPoly(known, [polygon], (2,))
            doubtful += _gaps(polygon, boxes)
    for polygon in doubtful:
        # what an unlabelled line or stretch claims stays unknown, whoever else claims it
        cv2.fillPoly(known, [polygon], (0,))
    every = tuple(digit for line in labelled for digit in line.labelled)
    for digit in every:
        x0, y0, x1, y1 = (int(v) for v in (digit.box.x0, digit.box.y0, digit.box.x1, digit.box.y1))
        known[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = 2
    in_text = [line for line in labelled if line.kind == "text"]
    return LabelledPage(
        name,
        ink,
        known,
        every,
        n_written=sum(len(line.digits) for line in labelled),
        n_in_text=sum(len(line.digits) for line in in_text),
        n_labelled_in_text=sum(len(line.labelled) for line in in_text),
        collection=collection,
        lines=tuple(labelled),
    )


def _boxes(
    line: Line, polygon: npt.NDArray[np.int32], written: Ink, found: Candidates | None
) -> Sequence[Box | None]:
    """Return the box of each digit of a line, None where it found none."""
    n_digits = len(line.digits)
    by_ink = cut_line(written, polygon, n_digits) if line.is_number else []
    if found is None:
        return by_ink or [None] * n_digits
    boxes = align_line(line, polygon.astype(np.float64), found)
    if by_ink and all(
        box is None or overlap(box, part) > _SAME for box, part in zip(boxes, by_ink, strict=True)
    ):
        return by_ink  # the same digits, cut more closely
    return by_ink if by_ink and None in boxes else boxes


def _going_on(line: Line, boxes: Sequence[Box | None]) -> list[bool | None]:
    """Return for each digit of a line whether it goes on with the number of the one before it.

    It is not said where a mark stands between them that may be inside a number, or where the one before it
    has no box.
    """
    said: list[bool | None] = [False] * len(boxes)
    for k, (before, here) in enumerate(itertools.pairwise(line.spots), start=1):
        if line.goes_on(before, here):
            said[k] = True if here == before + 1 and boxes[k - 1] is not None else None
    return said


def _gaps(polygon: npt.NDArray[np.int32], boxes: Sequence[Box | None]) -> list[npt.NDArray[np.int32]]:
    """Return where digits of a line were missed: all of it, or rectangles between those that were found."""
    if boxes and not any(boxes):
        return [polygon]
    x, y, width, height = cv2.boundingRect(polygon)
    gaps, left, open_gap = [], float(x), False
    for box in [*boxes, Box(x + width, y, x + width, y + height)]:
        if box is None:
            open_gap = True
            continue
        if open_gap:
            corners = [(left, y), (box.x0, y), (box.x0, y + height), (left, y + height)]
            gaps.append(np.round(corners).astype(np.int32))
        left, open_gap = box.x1, False
    return gaps


def overlap(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / max(a.width * a.height + b.width * b.height - shared, 1e-9)


def _scaled(line: Line, scale: float) -> npt.NDArray[np.int32]:
    return np.round(line.polygon * scale).astype(np.int32)
