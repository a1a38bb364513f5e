"""Two runs over the same pages, digit by digit: what is the same, what is another digit, what only one has.

Digits of a page are matched where their boxes overlap: intersection over union, one to one, the best pairs
first.  Ties are decided by what the boxes and digits are, never by their order or by which run comes first.
"""

import heapq
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.page import Box

LEAST_OVERLAP = 0.5  # intersection over union, for two boxes to be of one digit
NONE = 10  # where a run has no digit, in the table of digits

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


@dataclass(frozen=True, slots=True)
class Found:
    """A digit that a run found."""

    box: Box
    digit: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Change:
    """What one place of a page is in A and in B; None: no digit.  One of them is there.

    `number_a` and `number_b` are the numbers it stands in, or would; empty where a run has none there.
    """

    page_id: int
    a: Found | None
    b: Found | None
    number_a: str
    number_b: str

    @property
    def confidence(self) -> float:
        """How sure the run is that is surer."""
        return max(found.confidence for found in (self.a, self.b) if found is not None)


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


@dataclass(slots=True)
class Tally:
    """Counts over pages.

    `digits` is (11, 11), int64: how often A's digit (the row) stands where B's does (the column); the last
    of each is none.  Confidences are sums over all digits of a run.
    """

    n_pages: int = 0
    digits: Ints = field(default_factory=lambda: np.zeros((NONE + 1, NONE + 1), np.int64))
    confidence_a: float = 0.0
    confidence_b: float = 0.0
    n_moved_a: int = 0
    n_moved_b: int = 0
    n_numbers_same: int = 0
    n_numbers_other: int = 0
    n_numbers_gone: int = 0
    n_numbers_new: int = 0

    def add(self, page: PageComparison) -> None:
        """Count a page."""
        a, b = page.a, page.b
        self.n_pages += 1
        np.add.at(self.digits, (a.digits[page.pairs[:, 0]], b.digits[page.pairs[:, 1]]), 1)
        np.add.at(self.digits[:, NONE], a.digits[page.only_a], 1)
        np.add.at(self.digits[NONE], b.digits[page.only_b], 1)
        self.n_moved_a += len(page.moved_a)
        self.n_moved_b += len(page.moved_b)
        self.confidence_a += float(a.confidences.sum())
        self.confidence_b += float(b.confidences.sum())
        n_same = sum(a.texts[i] == b.texts[j] for i, j in page.numbers)
        self.n_numbers_same += n_same
        self.n_numbers_other += len(page.numbers) - n_same
        self.n_numbers_gone += len(a.texts) - len(page.numbers)
        self.n_numbers_new += len(b.texts) - len(page.numbers)

    @property
    def n_same(self) -> int:
        """Digits that are the same in both."""
        return int(np.trace(self.digits))

    @property
    def n_another(self) -> int:
        """Digits that both have, and not as the same."""
        return int(self.digits[:NONE, :NONE].sum()) - self.n_same

    @property
    def n_only_a(self) -> int:
        """Digits that only A has."""
        return int(self.digits[:, NONE].sum())

    @property
    def n_only_b(self) -> int:
        """Digits that only B has."""
        return int(self.digits[NONE].sum())

    @property
    def n_changes(self) -> int:
        """Digits that are another, came or went; not those whose box moved."""
        return self.n_another + self.n_only_a + self.n_only_b - self.n_moved_a - self.n_moved_b

    @property
    def n_a(self) -> int:
        """All digits of A."""
        return int(self.digits[:NONE].sum())

    @property
    def n_b(self) -> int:
        """All digits of B."""
        return int(self.digits[:, :NONE].sum())


class MostConfident:
    """Keeps so many changes and no more: those of which a run is surest; of equals those that came first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[tuple[float, int, Change]] = []  # a heap, the least confident on top
        self._n_seen = 0

    def add(self, page_id: int, page: PageComparison) -> None:
        """Look at the changes of a page."""
        if not self._limit:
            return
        a, b, pairs = page.a, page.b, page.pairs
        others = pairs[a.digits[pairs[:, 0]] != b.digits[pairs[:, 1]]]
        gone, new = np.setdiff1d(page.only_a, page.moved_a), np.setdiff1d(page.only_b, page.moved_b)
        i = np.concatenate([others[:, 0], gone, np.full(len(new), -1)])
        j = np.concatenate([others[:, 1], np.full(len(gone), -1), new])
        # -1 looks at the zero behind the last
        sure = np.maximum(np.append(a.confidences, 0.0)[i], np.append(b.confidences, 0.0)[j])
        for one, other, confidence in zip(i.tolist(), j.tolist(), sure.tolist(), strict=True):
            self._n_seen += 1
            if len(self._kept) == self._limit and confidence <= self._kept[0][0]:
                continue
            numbers = _numbers_at(page, one, other)
            change = Change(page_id, _found(a, one), _found(b, other), *numbers)
            entry = (confidence, -self._n_seen, change)
            if len(self._kept) < self._limit:
                heapq.heappush(self._kept, entry)
            else:
                heapq.heapreplace(self._kept, entry)

    def changes(self) -> list[Change]:
        """Return what was kept, the most confident first."""
        return [change for *_, change in sorted(self._kept, key=lambda entry: entry[:2], reverse=True)]


def _found(page: PageDigits, position: int) -> Found | None:
    if position < 0:
        return None
    box = Box(*page.boxes[position].tolist())
    return Found(box, int(page.digits[position]), float(page.confidences[position]))


def _numbers_at(page: PageComparison, i: int, j: int) -> tuple[str, str]:
    """Return the numbers that a digit of A and one of B stand in; -1 for none: its number's partner then."""
    a, b = page.a, page.b
    number_a = int(a.numbers[i]) if i >= 0 else -1
    number_b = int(b.numbers[j]) if j >= 0 else -1
    if i < 0:
        number_a = next((one for one, other in page.numbers if other == number_b), -1)
    if j < 0:
        number_b = next((other for one, other in page.numbers if one == number_a), -1)
    return a.texts[number_a] if number_a >= 0 else "", b.texts[number_b] if number_b >= 0 else ""
