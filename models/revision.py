"""Revision: what a number's boxes say and what the recogniser reads, weighed against each other."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from models.recogniser import LEAST_LOG, Columns, best_texts, has_room, log_chances
from pipeline.confidence import REJECT
from pipeline.hypotheses import Hypothesis, hypotheses
from pipeline.numbers import of_one_digit, rebuilt
from pipeline.page import Number, PageDetections
from pipeline.turning import upright_corners

# natural logarithms that another way to put a number together must be likelier by: of dozens some look
# likely by chance; there is only one way to be no number, and boxes were accepted since they look like digits
_MARGIN, _MARGIN_OF_NONE = 2.0, -2.5

Ints = npt.NDArray[np.int64]


def revise(
    numbers: Sequence[Number],
    found: PageDetections,
    digits: Ints,
    chances: npt.NDArray[np.float32],
    odds: npt.NDArray[np.float64],
    columns: Columns,
) -> tuple[list[Number | None], Ints]:
    """Return the numbers of a page after a second thought, None for those that are none, and their digits.

    `digits` int64 (N,) are those of its detections at first, 10 where there is none; `chances` (N, 11) and
    `odds` (N,) the classifier's and the rescorer's, `columns` (M, 36, 11) the recogniser's.  Where it reads
    a number otherwise, and boxes put together otherwise are clearly likelier by both, they make the number.
    """
    boxes = upright_corners(found.detections, found.turned)
    better = []
    for k, (number, own) in enumerate(zip(numbers, best_texts(columns), strict=True)):
        if own != number.text and has_room(number.text):
            told = [one for one in hypotheses(number, boxes, digits, chances, odds) if has_room(one.text)]
            gain, best = _likeliest(told, columns[k])
            if gain > 0:
                better.append((gain, k, best))
    revised: list[Number | None] = list(numbers)
    digits, added = digits.copy(), list[int]()
    # a weak box may stand between two numbers: it goes to the one that gains most
    for _, k, best in sorted(better, key=lambda one: (-one[0], one[1])):
        new = [i for i in best.members if i not in numbers[k].members]
        if not any(of_one_digit(boxes[i], boxes[added]).any() for i in new):
            added += new
            digits[list(numbers[k].members)] = REJECT
            digits[list(best.members)] = [int(digit) for digit in best.text]
            revised[k] = (
                rebuilt(numbers[k], best.members, best.text, found.detections) if best.members else None
            )
    return revised, digits


def _likeliest(told: Sequence[Hypothesis], columns: Columns) -> tuple[float, Hypothesis]:
    """Return the likeliest hypothesis by the columns (36, 11), and how far beyond its margin it is.

    It is compared with the first, the number as it was read.
    """
    every = torch.from_numpy(columns)[None].expand(len(told), -1, -1)
    of_texts = log_chances(every, [one.text for one in told]).numpy().clip(LEAST_LOG, 0)
    margins = [0.0, *(_MARGIN if one.text else _MARGIN_OF_NONE for one in told[1:])]
    likely = of_texts + np.array([one.odds for one in told]) - np.array(margins)
    best = int(likely.argmax())
    return float(likely[best] - likely[0]), told[best]
