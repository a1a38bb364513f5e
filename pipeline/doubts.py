"""What stands beside a number and may belong to it: digits that were not accepted, other numbers, ink."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.confidence import sigmoid
from pipeline.crops import CROP_SIZE_PX, VIEWS, Crops
from pipeline.numbers import beside, in_one_place
from pipeline.page import Number, PageDetections, Reading
from pipeline.turning import upright_corners

N_DOUBTS = 3
_FAINT = 0.02  # a chance that is less says nothing
_BESIDE = 0.8  # ink is looked for so many heights beside a number: where its next digit would stand
_INNER = 0.9  # of a digit's height: lines above and below reach into the rest

Floats = npt.NDArray[np.float64]


def number_doubts(
    numbers: Sequence[Number], found: PageDetections, readings: Sequence[Reading], odds: Floats, crops: Crops
) -> Floats:
    """Return what stands beside each number and may belong to it, (M, 3), each from 0 to 1.

    The first is the chance that the likeliest detection that was not accepted is a digit, by the
    rescorer's `odds` (N,).  The second is 1 where a digit of another number stands beside this one.  The
    third is how dark the ink beside it is, by the `crops` uint8 (N, 2, 40, 40) of the detections.
    """
    boxes = upright_corners(found.detections, found.turned)
    accepted = np.array([reading.digit is not None for reading in readings], bool)
    chance = np.where(accepted, 0.0, sigmoid(odds))
    doubts = np.zeros((len(numbers), N_DOUBTS))
    for k, number in enumerate(numbers):
        members = list(number.members)
        near = beside(boxes, members)
        for x in np.flatnonzero(near & ~accepted):
            near[x] = not in_one_place(boxes[x], boxes[members]).any()
        first, last = members[0], members[-1]
        ink = max(_ink_right(crops[first][:, :, ::-1], boxes[first]), _ink_right(crops[last], boxes[last]))
        doubts[k] = chance[near].max(initial=0.0), (near & accepted).any(), ink
    return doubts


def doubt_features(doubts: Floats) -> Floats:
    """Return doubts, (M, 3) as of `number_doubts`, as a network sees them best, (M, 3)."""
    return np.column_stack([np.log(np.maximum(doubts[:, 0], _FAINT)), doubts[:, 1:]])


def _ink_right(crop: Crops, box: Floats) -> float:
    """Return how dark, 0 to 1, the darkest ink is on the right of a box, by its far view."""
    width, height = box[2:] - box[:2]
    scale = CROP_SIZE_PX / (max(width, height) * VIEWS[1])
    middle, up = CROP_SIZE_PX / 2, _INNER * height * scale / 2
    rows = slice(round(middle - up), round(middle + up) + 1)
    start = int(np.ceil(middle + width * scale / 2))
    columns = slice(start, start + max(1, int(_BESIDE * height * scale)))
    return float(crop[1, rows, columns].max(initial=0)) / 255
