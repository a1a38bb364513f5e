"""Rules from row to row: a serial goes on by its step, and days don't go back.

The likeliest chain of readings down the page says which of them hold; what stands between two that hold must
fit there.
"""

import datetime
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log, log1p
from typing import Protocol

from pipeline.forms import Values
from pipeline.page import Alternative
from pipeline.records import PERSON, Value, with_choice

_FLOOR = 1e-4  # no reading is less likely
_WRONG = 0.01  # how likely it is that a row's value was read in no way
_SAID = 1e-12  # and that a person's word is
_GAP = 0.02  # how likely it is that numbers are left out between two rows
_NO_ROW = 0.1  # and that a row that has a number is none
_NEW_MONTH = 0.2  # how likely it is that a month ends between two rows
_MONTH = 31
_LEAST, _LEAST_AT_END = 0.001, 0.05  # a reading that is chosen is so likely, also with a number on one side
_MUCH = 0.1  # of the first reading's confidence, where a value may go back though it is not usual
_ROUNDING = 1e-9
_FARTHEST = 100  # rows; two that hold have fewer between them, so that long pages take no longer a row

Ends = Sequence[tuple[int, int]]  # the rows before and behind that hold, with their values


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reading of a row: its value as a number, its chance, and which alternative it is (None: none)."""

    value: int
    chance: float
    alternative: Alternative | None


class Order(Protocol):
    """How values go on from row to row."""

    def step(self, n_rows: int, before: int, after: int) -> float | None:
        """Return how likely (a logarithm, 0 at most) it is so many rows on; None where it can't be."""

    def fits(self, row: int, value: int, ends: Ends) -> bool:
        """Whether a value may stand in a row between those that hold."""

    def least(self, ends: Ends, confidence: float) -> float:
        """Return how likely a reading must be to be taken there, where the first one is so sure."""

    def expected(self, row: int, ends: Ends) -> str:
        """Return what may stand in a row between those that hold."""


def follow(
    order: Order, values: Values, rows: Sequence[Value], candidates: Sequence[Sequence[Candidate]]
) -> list[Value]:
    """Return the values of a column after a rule from row to row; `candidates` are the readings of each."""
    left_out = [log(_SAID if value.made_by == PERSON else _WRONG) for value in rows]
    chain = likeliest_chain(order, candidates, left_out)
    held = sorted(chain)
    after = []
    for row, value in enumerate(rows):
        near = (*held[: bisect_left(held, row)][-1:], *held[bisect_right(held, row) :][:1])
        ends = [(k, chain[k].value) for k in near]
        kept = chain.get(row)
        holds = value.made_by == PERSON or (kept is not None and kept.alternative is None)
        if value.text and ends and not holds:
            value = _fitted(order, values, row, value, candidates[row], kept, ends)
        after.append(value)
    return after


def _fitted(
    order: Order,
    values: Values,
    row: int,
    value: Value,
    candidates: Sequence[Candidate],
    kept: Candidate | None,
    ends: Ends,
) -> Value:
    """Return a value whose first reading is not held to: the one other that fits, or a flag."""
    fitting = [one for one in candidates if order.fits(row, one.value, ends)]
    if any(one.alternative is None for one in fitting):
        return value  # it was left out because it is hardly sure
    sure = (
        len(fitting) == 1
        and kept in (None, fitting[0])
        and fitting[0].chance >= order.least(ends, value.confidence)
    )
    chosen = fitting[0].alternative if sure else None
    if chosen is not None:
        return with_choice(value, chosen, values)
    return replace(value, flag=value.flag or f"{order.expected(row, ends)} is expected here")


def likeliest_chain(
    order: Order, candidates: Sequence[Sequence[Candidate]], left_out: Sequence[float]
) -> dict[int, Candidate]:
    """Return the row and reading of those that hold: the likeliest sequence that goes on in order.

    Rows may be left out, at a price (a logarithm) each: of a value that was read in no way, or of a person's
    word.
    """
    price = [0.0, *itertools.accumulate(left_out)]  # of the rows before each
    best: list[list[tuple[float, tuple[int, int] | None]]] = []
    highest: list[float] = []  # of what a chain up to each row has over leaving all of it out
    for row, some in enumerate(candidates):
        reached = []
        for one in some:
            score, link = price[row], None
            for i in range(row - 1, max(row - _FARTHEST, 0) - 1, -1):
                if highest[i] + price[row] < score - _ROUNDING:
                    break  # no row above leads to more
                for n in range(len(candidates[i]) - 1, -1, -1):
                    step = order.step(row - i, candidates[i][n].value, one.value)
                    if step is None:
                        continue
                    total = best[i][n][0] + step + price[row] - price[i + 1]
                    if total > score or (total == score and link is not None):
                        score, link = total, (i, n)
            reached.append((score + log(max(one.chance, _FLOOR)), link))
        best.append(reached)
        above = highest[-1] if highest else 0.0
        highest.append(max(above, *(score - price[row + 1] for score, _ in reached)) if reached else above)
    keys = [(row, k) for row, some in enumerate(candidates) for k in range(len(some))]
    at = max(keys, key=lambda key: best[key[0]][key[1]][0] + price[-1] - price[key[0] + 1], default=None)
    chain = {}
    while at is not None:
        chain[at[0]] = candidates[at[0]][at[1]]
        at = best[at[0]][at[1]][1]
    return chain


@dataclass(frozen=True, slots=True)
class Serial:
    """Numbers that grow by a step from row to row, or by more where some may be left out."""

    size: int
    gaps: bool

    def step(self, n_rows: int, before: int, after: int) -> float | None:
        """Return what gaps cost, and rows that are none: a stain, a number that belongs to something else."""
        n_steps, rest = divmod(after - before, self.size)
        if rest or n_steps < 1:
            return None
        if n_steps > n_rows:
            return log(_GAP) if self.gaps else None
        return (n_rows - n_steps) * log(_NO_ROW)

    def fits(self, row: int, value: int, ends: Ends) -> bool:
        """Whether it stands between the one before and the one behind, and follows one without a gap."""
        ahead = [(value - of) * self.size * (1 if k < row else -1) for k, of in ends]
        return min(ahead) > 0 and any(value - of == self.size * (row - k) for k, of in ends)

    def least(self, ends: Ends, confidence: float) -> float:
        """Return less where there is a number on both sides."""
        return _LEAST_AT_END if len(ends) == 1 else _LEAST

    def expected(self, row: int, ends: Ends) -> str:
        """Return the numbers that follow from those around it."""
        return " or ".join(map(str, sorted({of + self.size * (row - k) for k, of in ends})))


@dataclass(frozen=True, slots=True)
class Ascending:
    """Values that stay or grow from row to row; days fall where a month begins."""

    type: str

    def step(self, n_rows: int, before: int, after: int) -> float | None:
        """Return less the more it grows, at any scale."""
        if after >= before:
            return -log1p(after - before)
        return log(_NEW_MONTH) - log1p(after + _MONTH - before) if self.type == "day" else None

    def fits(self, row: int, value: int, ends: Ends) -> bool:
        """Whether it is neither less than the one before nor more than the one behind."""
        within = [value >= of if k < row else value <= of for k, of in ends]
        return any(within) if _falls(ends) else all(within)

    def least(self, ends: Ends, confidence: float) -> float:
        """Return more where the first one is sure: a clerk may go back.  One end alone says too little."""
        return 1.0 if len(ends) == 1 else max(_LEAST, _MUCH * confidence)

    def expected(self, row: int, ends: Ends) -> str:
        """Return the values from the one before to the one behind."""
        told = [f"{self._shown(of)} or {'more' if k < row else 'less'}" for k, of in ends]
        if len(ends) == 1 or _falls(ends):
            return ", ".join(told)
        low, high = (self._shown(of) for _, of in ends)
        return low if low == high else f"{low} to {high}"

    def _shown(self, value: int) -> str:
        return datetime.date.fromordinal(value).isoformat() if self.type == "date" else str(value)


def _falls(ends: Ends) -> bool:
    return len(ends) == 2 and ends[0][1] > ends[1][1]
