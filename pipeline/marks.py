"""Marks: points, commas and dashes between the digits of a number, found in the ink between their boxes.

The networks box digits alone.  A mark is a small spot of ink of its own between two of them: how large it is,
how high it stands and how clear of the digits say whether it is one, and which (logistic regression).
"""

from collections.abc import Iterator
from dataclasses import replace
from math import log

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.page import MARKS, PageDetections
from pipeline.turning import turn_box, turn_page

REACH = 1.5  # of the digits' mean height: between boxes further apart no mark is looked for
BAR = 0.75  # log odds that there is a mark from which there is one
_OVERLAP = 0.45  # of the smaller one's height, for two boxes to share a line
_MAX_RATIO = 3.5  # between their heights
_DIGIT_PX = 28  # what stands between two digits is looked at with digits this high
_LEVELS = (0.35, 0.65)  # shares of the digits' own darkness from which a pixel is ink
_PAPER, _INK = 75, 94  # percentiles of darkness
_LEAST_CONTRAST = 20
_WIDEST, _HIGHEST = 0.7, 0.9  # of a spot, in shares of the digits' height
_LEAST_PX = 3  # of its area
_INSIDE = 0.6  # a spot with so much of it in a digit's box is part of the digit
FEATURES = ("width", "height", "aspect", "below", "left", "right", "ink", "contrast", "gap")

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Corners = tuple[float, ...]  # of a box: x0, y0, x1, y1

# log odds of each: a constant, the features, their squares; by `benchmarks/marks.py registers/train --fit`
_POINT = [-13.1, -0.38, -3.43, 2.86, -2.97, 2.26, 3.41, 7.67, 2.01, 11.2]
_POINT += [-0.0731, -0.68, -1.3, -4.43, -8.78, -3.2, -2.43, -0.051, -6.95]
_COMMA = [-6.03, -1.32, -6.17, -2.03, 6.23, 0.925, 3.23, 7.82, -6.19, 11.4]
_COMMA += [-0.859, -2.39, 0.383, -16.2, -8.04, -7.37, -5.05, 4.58, -7.65]
_DASH = [-30.0, 0.263, -2.2, 3.59, -2.81, 1.84, 0.711, 37.4, 20.6, 6.51]
_DASH += [-0.301, -0.345, -0.608, -6.21, -8.61, -10.2, -19.0, -34.3, 1.48]
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


def likeliest(spots: Floats) -> str | None:
    """Return the mark that one of some spots (S, 9) is; None where none of them is likely enough."""
    if not len(spots):
        return None
    odds = (np.column_stack([np.ones(len(spots)), spots, spots**2]) @ FITTED.T).max(axis=0)
    return MARKS[int(odds.argmax())] if np.logaddexp.reduce(odds) > BAR else None


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
