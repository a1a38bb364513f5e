"""Two ways to read the same pages, compared on the same cells and digits, and what of it is chance.

Pairs are tested as by McNemar 1947, exactly: of those that only one of the two read right, each is as likely
to be the one's as the other's where both are equally good.  F1 is compared by resampling whole pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.intervals import Floats, interval, share
from pipeline.scoring import PageScore

Right = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class PairedPage:
    """What of a page each of two readings has right.

    `cells` bool (C, 2) are lines that are all number, read exactly; `digits` bool (D, 2) the digits of all
    lines; column 0 is the old reading, column 1 the new one.  `n_found` are the digits that each found.
    """

    cells: Right
    digits: Right
    n_found: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pairs:
    """How many things two readings have right: both, only the one, only the other; and all there are."""

    n: int
    n_both: int
    n_only_old: int
    n_only_new: int

    @property
    def n_old(self) -> int:
        """What the old reading has right."""
        return self.n_both + self.n_only_old

    @property
    def n_new(self) -> int:
        """What the new reading has right."""
        return self.n_both + self.n_only_new

    @property
    def p(self) -> float:
        """How likely so large a difference, either way, would be by chance."""
        return mcnemar(self.n_only_old, self.n_only_new)


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of both readings; 95 % of resamples put new less old between `low` and `high`."""

    old: float
    new: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that is compared of two readings."""

    n_pages: int
    cells: Pairs
    digits: Pairs
    f1: Difference

    def refusal(self, by: str, p_bar: float, old: str = "the old one") -> str:
        """Return why the new reading is not to take the place of `old`; empty where it may.

        It must have more right of `by` (cells or digits), by less chance than `p_bar`, and its F1 must not be
        worse by more than chance.
        """
        pairs = self.cells if by == "cells" else self.digits
        counts = f"it reads {pairs.n_new:,} of {pairs.n:,} {by} right, {old} {pairs.n_old:,}"
        if pairs.n_new <= pairs.n_old:
            return f"{counts} (p = {pairs.p:.2g})"
        if pairs.p >= p_bar:
            return f"{counts}, which may be chance: p = {pairs.p:.2g}, not below {p_bar:g}"
        if self.f1.high < 0:
            return (
                f"{counts}, but its F1 of digits is {self.f1.new:.4f} and was {self.f1.old:.4f}"
                f" (95 % {self.f1.low:+.4f} to {self.f1.high:+.4f})"
            )
        return ""


def mcnemar(n_only_a: int, n_only_b: int) -> float:
    """Return the exact two-sided p of McNemar's test; 1 where both counts are equal.

    >>> mcnemar(0, 6)
    0.03125
    """
    n = n_only_a + n_only_b
    term, tail = 1, 0  # n over k, and the sum of them
    for k in range(min(n_only_a, n_only_b) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return min(1.0, float(2 * tail / 2**n))


def pair_page(
    old: PageScore, new: PageScore, old_digits: Sequence[int], new_digits: Sequence[int]
) -> PairedPage:
    """Return what of a page each of two readings has right.

    Both were scored on the same lines; `…_digits` are all that each found, by position.
    """
    both = list(zip(old.lines, new.lines, strict=True))
    cells = [(a.exact, b.exact) for a, b in both if a.line.is_number]
    digits = [_right_of(score, found) for score, found in ((old, old_digits), (new, new_digits))]
    return PairedPage(
        np.array(cells, bool).reshape(-1, 2),
        np.array(digits, bool).T.reshape(-1, 2),
        (len(old_digits), len(new_digits)),
    )


def compare(pages: Sequence[PairedPage]) -> Comparison:
    """Return how two readings of some pages compare."""
    cells = np.concatenate([np.zeros((0, 2), bool), *(page.cells for page in pages)])
    digits = np.concatenate([np.zeros((0, 2), bool), *(page.digits for page in pages)])
    counts = np.array(
        [(*page.digits.sum(axis=0), *page.n_found, len(page.digits)) for page in pages], np.float64
    ).reshape(-1, 5)
    old, new = _f1s(counts.sum(axis=0))
    low, high = interval(counts, lambda n: np.subtract(*_f1s(n)[::-1]))
    return Comparison(
        len(pages), _pairs(cells), _pairs(digits), Difference(float(old), float(new), low, high)
    )


def _right_of(score: PageScore, found: Sequence[int]) -> list[bool]:
    """Return for each digit of the lines of a page whether it was read."""
    right: list[bool] = []
    for scored in score.lines:
        truth = scored.line.digits
        read = {i: found[scored.found[j]] for i, j in scored.pairs if i is not None and j is not None}
        right += [read.get(i) == int(digit) for i, digit in enumerate(truth)]
    return right


def _pairs(right: Right) -> Pairs:
    old, new = right[:, 0], right[:, 1]
    return Pairs(len(right), int((old & new).sum()), int((old & ~new).sum()), int((new & ~old).sum()))


def _f1s(n: Floats) -> tuple[Floats, Floats]:
    """Return F1 of the old and the new reading, by counts (..., 5): right, right, found, found, written."""
    return share(2 * n[..., 0], n[..., 2] + n[..., 4]), share(2 * n[..., 1], n[..., 3] + n[..., 4])
