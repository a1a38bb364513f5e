"""Revision: what a number's boxes say and what the recogniser reads, weighed against each other."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from models.recogniser import Columns, best_texts, log_chances
from pipeline.confidence import REJECT
from pipeline.hypotheses import Hypothesis, hypotheses
from pipeline.page import Number, PageDetections
from pipeline.turning import upright_corners

# natural logarithms that another way to put a number together must be likelier by: of dozens some look
# likely by chance
_MARGIN = 2.0
_MARGIN_OF_NONE = 0.0  # there is only one way to be no number
_LEAST = -30.0  # log chances are no smaller

Ints = npt.NDArray[np.int64]


def revised_digits(
    numbers: Sequence[Number],
    found: PageDetections,
    digits: Ints,
    chances: npt.NDArray[np.float32],
    odds: npt.NDArray[np.float64],
    columns: Columns,
) -> Ints:
    """Return the digits of a page's detections, int64 (N,), 10 where there is none, after a second thought.

    `digits` are those of the first; `chances` (N, 11) and `odds` (N,) are the classifier's and the
    rescorer's, `columns` (M, 36, 11) the recogniser's of the numbers.  Where the recogniser reads a number
    otherwise, and boxes can be put together to what is clearly likelier by both, they are; or the
    number is none.
    """
    boxes = upright_corners(found.detections, found.turned)
    better = []
    for number, own, said in zip(numbers, best_texts(columns), columns, strict=True):
        if own != number.text:
            told = hypotheses(number, boxes, digits, chances, odds)
            gain, best = _likeliest(told, said)
            if gain > (_MARGIN if best.text else _MARGIN_OF_NONE):
                better.append((gain, number, best))
    revised, taken = digits.copy(), set[int]()
    # a weak box may stand between two numbers: it goes to the one that gains most
    for _, number, best in sorted(better, key=lambda one: -one[0]):
        if taken.isdisjoint(best.members):
            taken.update(best.members)
            revised[list(number.members)] = REJECT
            revised[list(best.members)] = [int(digit) for digit in best.text]
    return revised


def _likeliest(told: Sequence[Hypothesis], columns: Columns) -> tuple[float, Hypothesis]:
    """Return the likeliest hypothesis, and by how much it is likelier than the first."""
    every = torch.from_numpy(columns)[None].expand(len(told), -1, -1)
    of_texts = log_chances(every, [one.text for one in told]).numpy().clip(_LEAST, 0)
    likely = of_texts + np.array([one.odds for one in told])
    best = int(likely.argmax())
    return float(likely[best] - likely[0]), told[best]
