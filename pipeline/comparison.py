"""Two runs over the same pages, digit by digit: what is the same, what is another digit, what only one has.

Digits of a page are matched where their boxes overlap: intersection over union, one to one, the best pairs
first.  Ties are decided by what the boxes and digits are, never by their order or by which run comes first.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEAST_OVERLAP = 0.5  # intersection over union, for two boxes to be of one digit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class PageDigits:
    """The digits of a page in one run: boxes (N, 4), xyxy in page pixels, and the rest (N,).

    `numbers` are places in `texts`, which has every number of the page; -1 for a digit of none.
    """

    boxes: Floats
    digits: Ints
    confidences: Floats
    numbers: Ints
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class PageComparison:
    """A page in run A and run B: positions of digits, and of numbers.

    `pairs` (P, 2) are matched digits; `only_a` and `only_b` the others, of which `moved_a` and `moved_b`
    stand in numbers that read the same in both: the same digit, in a box elsewhere.  `numbers` are pairs of
    numbers, (position in A, position in B), that share digits.
    """

    a: PageDigits
    b: PageDigits
    pairs: Ints
    only_a: Ints
    only_b: Ints
    moved_a: Ints
    moved_b: Ints
    numbers: tuple[tuple[int, int], ...]


def compare_page(a: PageDigits, b: PageDigits) -> PageComparison:
    """Match the digits of a page in two runs, and its numbers by the digits that they share."""
    pairs = match_digits(a, b)
    only_a = np.setdiff1d(np.arange(len(a.digits)), pairs[:, 0])
    only_b = np.setdiff1d(np.arange(len(b.digits)), pairs[:, 1])
    numbers = _match_numbers(a, b, pairs)
    same = np.array([pair for pair in numbers if a.texts[pair[0]] == b.texts[pair[1]]]).reshape(-1, 2)
    return PageComparison(
        a=a,
        b=b,
        pairs=pairs,
        only_a=only_a,
        only_b=only_b,
        moved_a=only_a[np.isin(a.numbers[only_a], same[:, 0])],
        moved_b=only_b[np.isin(b.numbers[only_b], same[:, 1])],
        numbers=numbers,
    )


def match_digits(a: PageDigits, b: PageDigits) -> Ints:
    """Return matched positions (P, 2), best pairs first: overlap of `LEAST_OVERLAP` or more, one to one."""
    i, j = _near(a.boxes, b.boxes)
    overlaps = _overlaps(a.boxes[i], b.boxes[j])
    close = overlaps >= LEAST_OVERLAP
    i, j, overlaps = i[close], j[close], overlaps[close]
    others = a.digits[i] != b.digits[j]
    order = np.lexsort((*_both_boxes(a.boxes[i], b.boxes[j]), others, -overlaps))
    return np.array(_one_to_one(i[order], j[order]), np.int64).reshape(-1, 2)


def _both_boxes(a: Floats, b: Floats) -> Floats:
    """Return each pair of boxes as one row of keys, (8, N), the same for (a, b) and (b, a)."""
    apart = a - b
    place = np.argmax(apart != 0, axis=1)
    turned = apart[np.arange(len(a)), place, np.newaxis] > 0
    return np.concatenate([np.where(turned, b, a), np.where(turned, a, b)], axis=1).T


def _near(a: Floats, b: Floats) -> tuple[Ints, Ints]:
    """Return the pairs of boxes that may overlap enough: positions in a and in b.

    Where two boxes overlap by half or more, the centre of each lies within the other (the one is at most
    twice as high): a sorted list of centres answers for the height, and a look at what is left for the width.
    """
    middle = (b[:, 1] + b[:, 3]) / 2
    order = np.argsort(middle)
    slack = 1e-6 * np.abs(a[:, 3])  # rounding must not lose a pair at the very edge
    first = np.searchsorted(middle[order], a[:, 1] - slack)
    n = np.searchsorted(middle[order], a[:, 3] + slack, side="right") - first
    n = np.maximum(n, 0)
    i = np.repeat(np.arange(len(a)), n)
    j = order[np.arange(len(i)) - np.repeat(np.cumsum(n) - n, n) + np.repeat(first, n)]
    beside = (a[i, 0] < b[j, 2]) & (b[j, 0] < a[i, 2])
    return i[beside], j[beside]


def _overlaps(a: Floats, b: Floats) -> Floats:
    """Return the intersection over union of boxes, row by row, (N,)."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    whole = np.prod(a[:, 2:] - a[:, :2], axis=1) + np.prod(b[:, 2:] - b[:, :2], axis=1) - common
    overlaps = np.zeros(len(a))
    np.divide(common, whole, out=overlaps, where=whole > 0)
    return overlaps


def _one_to_one(i: Ints, j: Ints) -> list[tuple[int, int]]:
    """Return those pairs, of which the best come first, that take nothing from a better one."""
    taken_i: set[int] = set()
    taken_j: set[int] = set()
    chosen = []
    for one, other in zip(i.tolist(), j.tolist(), strict=True):
        if one not in taken_i and other not in taken_j:
            taken_i.add(one)
            taken_j.add(other)
            chosen.append((one, other))
    return chosen


def _match_numbers(a: PageDigits, b: PageDigits, pairs: Ints) -> tuple[tuple[int, int], ...]:
    """Return pairs of numbers, one to one: first those that share most digits, then those of one text."""
    i, j = a.numbers[pairs[:, 0]], b.numbers[pairs[:, 1]]
    of_both = (i >= 0) & (j >= 0)
    known, which, n_shared = np.unique(
        np.stack([i[of_both], j[of_both]], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    which = which.reshape(-1)  # NumPy 2.0 gives it another shape
    others = [a.texts[number] != b.texts[other] for number, other in known.tolist()]
    # ties, as for digits: the pairs of these come in an order of their own
    first = np.full(len(known), len(pairs))
    np.minimum.at(first, which, np.flatnonzero(of_both))
    order = np.lexsort((first, others, -n_shared))
    return tuple(_one_to_one(known[order, 0], known[order, 1]))
