"""Hypotheses: other ways to put a number together from the boxes of its page.

A number may lack boxes that were drawn and not accepted, have one that holds no digit, or one whose digit is
its second or third best, or be no number at all.  The boxes alone say how likely each is; what the number
looks like as a whole says the rest (as a graph of segmentations is searched: LeCun, Bottou, Bengio and
Haffner 1998, "Gradient-Based Learning Applied to Document Recognition").
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.confidence import REJECT
from pipeline.numbers import beside, in_one_place, of_one_digit
from pipeline.page import Number

_MOST_WEAK = 4  # of the weak boxes beside a number only the strongest are tried
_MAX_ADDED = 2
_OTHER_DIGITS = 2  # of each box
_HEIGHTS = 0.35, 1.8  # times a number's digits: how high another one may be
FLOOR = 1e-4  # no digit is less likely

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A number as it might be: its boxes in order, its digits, and how likely that is by the boxes alone.

    `odds` are natural logarithms, 0.0 for the number as it was read.  It may be no number at all.
    """

    members: tuple[int, ...]
    text: str
    odds: float


def hypotheses(
    number: Number, boxes: Floats, digits: Ints, chances: npt.NDArray[np.float32], odds: Floats
) -> list[Hypothesis]:
    """Return the number as it was read, and what else it may be.

    Of all detections of its page: `boxes` (N, 4) upright, `digits` (N,) as read, 10 where there is none,
    `chances` (N, 11) of digits and reject, `odds` (N,) that each holds a digit.
    """
    members = list(number.members)
    told = [Hypothesis(number.members, number.text, 0.0), Hypothesis((), "", -float(odds[members].sum()))]
    for added in _some(_weak(members, boxes, digits, odds), boxes):
        for left_out in [None, *members]:
            kept = sorted({*members, *added} - {left_out}, key=lambda i: (boxes[i, 0] + boxes[i, 2], i))
            if kept and kept != members:
                changed = float(odds[list(added)].sum()) - (0.0 if left_out is None else odds[left_out])
                best = [int(chances[i, :REJECT].argmax()) if i in added else int(digits[i]) for i in kept]
                told.append(Hypothesis(tuple(kept), "".join(map(str, best)), changed))
    for place, i in enumerate(members):
        row = np.maximum(chances[i, :REJECT].astype(np.float64), FLOOR)
        others = [int(d) for d in np.argsort(-row, kind="stable") if d != digits[i]]
        for digit in others[:_OTHER_DIGITS]:
            text = f"{number.text[:place]}{digit}{number.text[place + 1 :]}"
            told.append(Hypothesis(number.members, text, float(np.log(row[digit] / row[digits[i]]))))
    return told


def _weak(members: list[int], boxes: Floats, digits: Ints, odds: Floats) -> list[int]:
    """Return the likeliest boxes beside a number that were not accepted, none of a digit that has one."""
    heights = boxes[:, 3] - boxes[:, 1]
    usual = heights[members].mean()
    near = beside(boxes, members) & (digits == REJECT)
    near &= (heights > _HEIGHTS[0] * usual) & (heights < _HEIGHTS[1] * usual)
    of_others = digits != REJECT
    of_others[members] = False
    weak = [
        i
        for i in np.flatnonzero(near).tolist()
        if not of_one_digit(boxes[i], boxes[of_others]).any()
        and not in_one_place(boxes[i], boxes[members]).any()
    ]
    return sorted(weak, key=lambda i: (-odds[i], *boxes[i].tolist()))[:_MOST_WEAK]


def _some(weak: list[int], boxes: Floats) -> Iterator[tuple[int, ...]]:
    """Yield none, one or two of the weak boxes; not two of one digit."""
    for n in range(_MAX_ADDED + 1):
        for some in itertools.combinations(weak, n):
            if not any(in_one_place(boxes[a], boxes[[b]]).any() for a, b in itertools.combinations(some, 2)):
                yield some
