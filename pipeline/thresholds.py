"""How much can be accepted without a person: the threshold that keeps answers as accurate as is asked for.

A threshold counts only where the answers that it keeps would be accurate enough with one more of them, and
that one wrong, which a small sample that was lucky does not meet.  It is the correction of conformal risk
control (Angelopoulos and others 2022) without its guarantee: the share of wrong answers among those kept
does not only fall as the threshold rises.  `benchmarks/halves.py` measures how well it holds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# thresholds are multiples of it, so that people can type the one that is printed
_PLACES = 4
STEP = 10.0**-_PLACES
_SLACK = 1e-9  # 1 - 0.9 is a little less than 0.1, and 9 right answers of 9 are enough for it

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a threshold keeps of `n` answers: how many, and how many of those are right."""

    n: int
    n_kept: int
    n_right: int

    @property
    def kept(self) -> float | None:
        """The share that is kept; None where there are no answers."""
        return self.n_kept / self.n if self.n else None

    @property
    def right_of_kept(self) -> float | None:
        """The share of the kept ones that is right; None where none is kept."""
        return self.n_right / self.n_kept if self.n_kept else None


@dataclass(frozen=True, eq=False, slots=True)
class TradeOff:
    """What each of K thresholds, float64 (K,) and rising, keeps of `n` answers.

    `n_kept` int64 (K,) are at least so sure, `n_right` int64 (K,) of those are right.
    """

    n: int
    thresholds: Floats
    n_kept: Ints
    n_right: Ints


def trade_off(confidence: Floats, right: Bools) -> TradeOff:
    """Return what every threshold keeps of answers, given how sure (N,) and whether right (N,) each is."""
    order = np.argsort(confidence, kind="stable")
    rising = confidence[order]
    # rounded down, and what they keep is counted after that, so that it holds for what is typed
    near = np.round(rising, _PLACES)
    thresholds = np.unique(np.where(near > rising, np.round(near - STEP, _PLACES), near))
    first = np.searchsorted(rising, thresholds, side="left")
    n_right_from = np.append(np.cumsum(right[order][::-1], dtype=np.int64)[::-1], 0)
    return TradeOff(len(rising), thresholds, (len(rising) - first).astype(np.int64), n_right_from[first])


def choose_threshold(confidence: Floats, right: Bools, target: float) -> float | None:
    """Return the lowest threshold whose kept answers are right often enough; None where no threshold is.

    They are if (wrong + 1) / (kept + 1) is at most 1 - `target`, which is between 0 and 1.
    """
    each = trade_off(confidence, right)
    n_wrong = each.n_kept - each.n_right
    enough = np.flatnonzero(n_wrong + 1 <= _allowed(target) * (each.n_kept + 1))
    return float(each.thresholds[enough[0]]) if len(enough) else None


def least_kept(target: float) -> int:
    """Return how many answers a threshold must keep at least to count, if all of them are right.

    >>> least_kept(0.9), least_kept(0.99)
    (9, 99)
    """
    return max(0, math.ceil(1 / _allowed(target)) - 1)


def kept_by(threshold: float | None, confidence: Floats, right: Bools) -> Kept:
    """Return what a threshold keeps of answers; None keeps nothing."""
    kept = np.zeros(len(right), bool) if threshold is None else confidence >= threshold
    return Kept(len(right), int(kept.sum()), int(right[kept].sum()))


def second_half(pages: Sequence[tuple[str, str]]) -> Bools:
    """Return which pages, named by collection and name, are in the second of two halves, bool (P,).

    Those of a collection alternate in the order of their names; where one ends the next goes on, so that
    collections of one page don't all end in the same half.
    """
    in_second = np.zeros(len(pages), bool)
    order = sorted(range(len(pages)), key=lambda k: pages[k])
    in_second[order[1::2]] = True
    return in_second


def _allowed(target: float) -> float:
    """Return the share of answers that may be wrong."""
    return (1 - target) * (1 + _SLACK)
