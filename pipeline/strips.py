"""Strips: what a number looks like with what stands round it, put together from the crops of its page.

The page itself is gone when numbers are known.  The far views of crops show what stands beside a digit,
and the near ones, laid over them, the digits.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.confidence import sigmoid
from pipeline.crops import CROP_SIZE_PX, VIEWS, Crops
from pipeline.page import Number, PageDetections
from pipeline.turning import upright_corners

STRIP_PX = 36, 144  # height and width
STRIP_DIGIT_PX = 16  # of a strip: how high the digits of its number are
_BESIDE_PX, _ABOVE_PX = 20, 4  # kept free for what stands beside a number, and above and below

Strips = npt.NDArray[np.uint8]  # (M, 3, 36, 144)
Floats = npt.NDArray[np.float64]


def number_strips(numbers: Sequence[Number], found: PageDetections, odds: Floats, crops: Crops) -> Strips:
    """Return the strips of M numbers, uint8 (M, 3, 36, 144), each with its number in the middle.

    The first channel is ink, by the `crops` uint8 (N, 2, 40, 40) of the page's detections; the second
    shows the boxes of the number's digits and the third those of all other detections, each as
    bright as the rescorer's `odds` (N,) say that it holds a digit.
    """
    boxes, bright = upright_corners(found.detections, found.turned), (sigmoid(odds) * 255).astype(np.uint8)
    strips = np.zeros((len(numbers), 3, *STRIP_PX), np.uint8)
    for strip, number in zip(strips, numbers, strict=True):
        _draw(strip, set(number.members), boxes, bright, crops)
    return strips


def _draw(
    strip: npt.NDArray[np.uint8],
    members: set[int],
    boxes: Floats,
    bright: npt.NDArray[np.uint8],
    crops: Crops,
) -> None:
    size = np.array(STRIP_PX[::-1])
    own = boxes[list(members)]
    low, high = own[:, :2].min(axis=0), own[:, 2:].max(axis=0)
    zoom = STRIP_DIGIT_PX / np.median(own[:, 3] - own[:, 1])
    zooms = np.minimum(zoom, (size - 2 * np.array([_BESIDE_PX, _ABOVE_PX])) / (high - low))  # x, y
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 - (low + high) / 2) * zooms + size / 2
    beyond = np.array([2 * STRIP_DIGIT_PX / 3, 0])
    seen = np.flatnonzero(((centres > -beyond) & (centres < size + beyond)).all(axis=1)).tolist()
    # the number's own crops lie on top; else in an order that is not the one they came in
    seen.sort(key=lambda i: (i in members, *boxes[i].tolist()))
    sides = (boxes[seen, 2:] - boxes[seen, :2]).max(axis=1)
    matrices = np.zeros((len(seen), 2, 3))
    for view in reversed(range(len(VIEWS))):  # and the near views on top of the far ones
        stretch = np.outer(sides * VIEWS[view] / CROP_SIZE_PX, zooms)
        matrices[:, [0, 1], [0, 1]] = stretch
        # sampled at pixel centres: the middle of the view falls on the centre of its box
        matrices[:, :, 2] = centres[seen] - 0.5 - stretch * (CROP_SIZE_PX - 1) / 2
        for i, matrix in zip(seen, matrices, strict=True):
            cv2.warpAffine(
                crops[i, view],
                matrix,
                STRIP_PX[::-1],
                dst=strip[0],
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_TRANSPARENT,
            )
    places = (boxes[seen].reshape(-1, 2, 2) - (low + high) / 2) * zooms + size / 2
    corners = np.clip(np.rint(places), 0, size).astype(int).tolist()
    for i, ((x0, y0), (x1, y1)) in zip(seen, corners, strict=True):
        part = strip[1 if i in members else 2, y0:y1, x0:x1]
        if i in members:  # an edge tells a digit from the next one
            part[:] = bright[i] // 2
            part = part[1:-1, 1:-1]
        np.maximum(part, bright[i], out=part)
