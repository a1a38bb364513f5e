"""Marks: points, commas and dashes between the digits of a number, found in the ink between their boxes.

The networks box digits alone.  A mark is a small spot of ink of its own between two of them: how large it is,
how high it stands and how clear of the digits say whether it is one, and which (logistic regression).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import log

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.page import Detection, PageDetections
from pipeline.turning import turn_box, turn_page

MARKS = (".", ",", "-")
REACH = 1.5  # of the digits' mean height: between boxes further apart no mark is looked for
BAR = 0.5  # log odds that a spot must be a mark with
_OVERLAP = 0.45  # of the smaller one's height, for two boxes to share a line
_MAX_RATIO = 3.5  # between their heights
_DIGIT_PX = 28  # what stands between two digits is looked at with digits this high
_LEVELS = (0.35, 0.65)  # shares of the digits' own darkness from which a pixel is ink
_PAPER, _INK = 75, 94  # percentiles of darkness
_LEAST_CONTRAST = 20
_WIDEST, _HIGHEST, _LEAST_PX = (
    0.7,
    0.9,
    3,
)  # a spot: of the digits' height, and how many pixels it has at least
_INSIDE = 0.6  # a spot with so much of it in a digit's box is part of the digit
FEATURES = ("width", "height", "aspect", "below", "left", "right", "ink", "contrast", "gap")

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Corners = tuple[float, ...]  # of a box: x0, y0, x1, y1

# log odds of each: a constant, the features, their squares; by `benchmarks/marks.py registers/train --fit`
_POINT = [-24.4, -0.277, -3.53, 1.58, -4.48, 2.74, 3.01, 20.1, 15.7, 9.27]
_POINT += [-0.0999, -0.634, -0.913, -5.57, -8.52, -3.46, -6.33, -10.9, -4.67]
_COMMA = [-11.2, 0.573, -5.75, -0.738, 5.81, -0.798, 2.89, 7.45, 5.53, 4.77]
_COMMA += [0.0111, -2.27, -0.31, -11.4, -7.59, -5.78, -2.17, -2.42, -0.671]
_DASH = [-34.3, -1.18, -2.76, 3.73, -4.88, 3.07, 1.16, 41.3, 21.5, 5.78]
_DASH += [-0.774, -0.494, -0.625, -5.32, -9.25, -10.2, -20.5, -34.0, 2.06]
FITTED = np.array([_POINT, _COMMA, _DASH])


def with_marks(grey: Grey, found: PageDetections) -> PageDetections:
    """Return what was found on a page, uint8 (H, W), each detection with the mark that follows it."""
    height, width = grey.shape
    upright = turn_page(grey, found.turned)
    turned = [turn_box(one.box, found.turned, width, height).corners for one in found.detections]
    boxes = np.array(turned, np.float64).reshape(-1, 4)
    detections = list(found.detections)
    for i, j in _neighbours(boxes):
        mark = likeliest(spots_between(upright, boxes[i], boxes[j]))
        detections[i] = replace(detections[i], mark=mark)
    return replace(found, detections=tuple(detections))


def as_written(text: str, members: Sequence[int], detections: Sequence[Detection]) -> str:
    """Return digits with the marks between them: each but the last is followed by that of its detection.

    `members` are the positions of the detections; where they are not as many as digits no mark is known.
    """
    if len(text) != len(members):
        return text
    marks = [detections[i].mark or "" for i in members[:-1]]
    return "".join(map("".join, zip(text, [*marks, ""], strict=True)))


def likeliest(spots: Floats) -> str | None:
    """Return the mark that one of some spots (S, 9) is; None where none of them is likely enough."""
    if not len(spots):
        return None
    odds = np.column_stack([np.ones(len(spots)), spots, spots**2]) @ FITTED.T  # (S, 3)
    best = int(odds.argmax())
    return MARKS[best % len(MARKS)] if odds.flat[best] > BAR else None


def spots_between(grey: Grey, left: Floats, right: Floats) -> Floats:
    """Return the spots of ink between two digits, as FEATURES, float64 (S, 9).

    `grey` is the page, uint8 (H, W), and the boxes (4,) of the digits are in its pixels.  Lengths are in
    units of the digits' mean height, width and height of a spot as logarithms.  `below` is how far it reaches
    below the digits, `left` and `right` how far it is from them, `gap` how far these are apart; `ink` is how
    dark it is beside the digits, and `contrast` how dark these are, 0 to 1.
    """
    mean = float(left[3] - left[1] + right[3] - right[1]) / 2
    x0, y0 = max(int(left[0] - 0.1 * mean), 0), max(int(min(left[1], right[1]) - 0.2 * mean), 0)
    x1, y1 = int(right[2] + 0.1 * mean) + 1, int(max(left[3], right[3]) + 0.5 * mean) + 1
    zoom = _DIGIT_PX / mean
    part = grey[y0:y1, x0:x1]
    size = max(round(part.shape[1] * zoom), 1), max(round(part.shape[0] * zoom), 1)
    dark = 255 - cv2.resize(part, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    darker = np.bincount(dark.ravel(), minlength=256).cumsum() * (100 / dark.size)
    paper, ink = (int(darker.searchsorted(share)) for share in (_PAPER, _INK))
    contrast = max(ink - paper, _LEAST_CONTRAST)
    a, b = (tuple(((box - (x0, y0, x0, y0)) * zoom).tolist()) for box in (left, right))
    return np.concatenate([_spots(np.asarray(dark), paper, contrast, level, a, b) for level in _LEVELS])


def _spots(dark: Grey, paper: int, contrast: int, level: float, a: Corners, b: Corners) -> Floats:
    """Return the spots of one level in what stands round two digits, as `spots_between` does."""
    mask = np.asarray(dark > paper + level * contrast).view(np.uint8)
    _, labels, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    x, _, w, h, n_px = stats.T
    fit = (w <= _WIDEST * _DIGIT_PX) & (h <= _HIGHEST * _DIGIT_PX) & (n_px >= _LEAST_PX)
    fit &= (x > 0) & (x + w < dark.shape[1])  # else there may be more of it
    fit &= (centres[:, 0] > (a[0] + a[2]) / 2) & (centres[:, 0] < (b[0] + b[2]) / 2)
    fit &= centres[:, 1] > (a[1] + a[3] + b[1] + b[3]) / 4 - 0.1 * _DIGIT_PX
    rows = []
    for k in fit.nonzero()[0].tolist():
        left, top, width, height, _ = stats[k].tolist()
        right, bottom = left + width, top + height
        if not any(_is_part((left, top, right, bottom), digit) for digit in (a, b)):
            of_spot = labels[top:bottom, left:right] == k
            ink = (float(dark[top:bottom, left:right][of_spot].mean()) - paper) / contrast
            shape = log(width / _DIGIT_PX), log(height / _DIGIT_PX), min(width / height, 4.0)
            lengths = bottom - (a[3] + b[3]) / 2, left - a[2], b[0] - right, b[0] - a[2]
            below, from_left, from_right, gap = (length / _DIGIT_PX for length in lengths)
            rows.append((*shape, below, from_left, from_right, ink, contrast / 255, gap))
    return np.array(rows, np.float64).reshape(-1, len(FEATURES))


def _is_part(spot: Corners, digit: Corners) -> bool:
    """Whether a spot lies in the box of a digit, and does not reach below it."""
    shared_x, shared_y = (max(min(spot[k + 2], digit[k + 2]) - max(spot[k], digit[k]), 0.0) for k in (0, 1))
    area = (spot[2] - spot[0]) * (spot[3] - spot[1])
    return shared_x * shared_y > _INSIDE * area and spot[3] < digit[3]


def _neighbours(boxes: Floats) -> Iterator[tuple[int, int]]:
    """Yield the boxes (N, 4) that have another one beside them on their line, each with the nearest."""
    order = np.argsort(boxes[:, 0], kind="stable")
    x0, y0, x1, y1 = boxes[order].T
    heights = y1 - y0
    ends = np.searchsorted(x0, x1 + REACH * heights.max(initial=0.0))
    for i, end in enumerate(ends.tolist()):
        near = slice(i + 1, end)
        mean, low = (heights[i] + heights[near]) / 2, np.minimum(heights[i], heights[near])
        shared = np.minimum(y1[i], y1[near]) - np.maximum(y0[i], y0[near])
        fit = (x0[near] + x1[near] > x0[i] + x1[i]) & (x0[near] - x1[i] < REACH * mean)
        fit &= (shared > _OVERLAP * low) & (2 * mean - low < _MAX_RATIO * low)
        if fit.any():
            yield int(order[i]), int(order[i + 1 + int(fit.argmax())])
