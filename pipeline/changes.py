"""What changed between two runs: counts over all pages, and the changes that a run is surest of."""

import heapq
from dataclasses import dataclass, field

import numpy as np

from pipeline.comparison import Ints, PageComparison, PageDigits
from pipeline.page import Box

NONE = 10  # where a run has no digit, in the table of digits


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
