"""Confidence: the chance that a box, a digit or a whole number is right, from all that networks say about it.

A logistic regression on the logits of what the networks say (Platt 1999, "Probabilistic
Outputs for Support Vector Machines"), fitted on pages that people transcribed.  A box where there is no
digit counts as wrong, and so does a number with a digit too many or too few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

REJECT = 10  # the last of a crop's eleven classes: there is no digit

_EDGE = 1e-4  # nobody is surer than this
_RIDGE = 0.05  # keeps weights small where there is little to learn from
_ROUNDS = 50
_N_DIGIT, _N_NUMBER = 7, 7  # weights of the regressions, their constants included

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Confidence:
    """Weights of two regressions: of digits that were accepted, and of numbers.

    Without them the classifier's own chances stand.
    """

    digit: tuple[float, ...] = ()
    number: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for weights of other features than ours."""
        n = len(self.digit), len(self.number)
        if n[0] not in (0, _N_DIGIT) or n[1] not in (0, _N_NUMBER):
            raise ValueError(f"confidence has {n} weights")

    def of_digits(
        self, digits: Ints, chances: Floats, scores: Floats, odds: Floats, agreed: Floats
    ) -> Floats:
        """Return the confidence in the digit that was read in each crop, (N,); it means nothing for none.

        `digits` (N,) were read, 10 is none; `chances` (N, 11) are those of the digits and of a reject,
        `scores` (N,) the detector's, `odds` (N,) the rescorer's, `agreed` (N,) the log-odds that the
        recogniser reads the digit's number the same.
        """
        if not self.digit:
            return np.asarray(np.take_along_axis(chances, digits[:, None], axis=1)[:, 0], np.float64)
        return apply_logistic(self.digit, digit_features(digits, chances, scores, odds, agreed))

    def of_numbers(self, numbers: Sequence[Floats], told: Floats, judged: Floats) -> Floats:
        """Return the confidence in each of M numbers, (M,), from those of its digits.

        `told` (M,) are the log chances that the recogniser gives their texts, `judged` (M,) the judge's
        log-odds.
        """
        if not self.number:
            return np.array([float(np.prod(digits)) for digits in numbers])
        return apply_logistic(self.number, number_features(numbers, told, judged))


def digit_features(digits: Ints, chances: Floats, scores: Floats, odds: Floats, agreed: Floats) -> Floats:
    """Return what a digit's confidence depends on, (N, 6)."""
    of_others = chances[:, :REJECT].copy()
    read = digits < REJECT
    best = np.take_along_axis(chances, digits[:, None], axis=1)[:, 0]
    of_others[read, digits[read]] = 0.0
    second = of_others.max(axis=1, initial=0.0)
    return np.column_stack(
        [
            logit(scores),
            logit(best),
            np.log(best + _EDGE) - np.log(second + _EDGE),
            -logit(chances[:, REJECT]),
            odds,
            agreed,
        ]
    )


def of_members(values: Floats, members: Sequence[Sequence[int]], n: int) -> Floats:
    """Return for each of N digits the value of its number, (N,), 0.0 where it is in none.

    `values` (M,) are of the numbers, `members` the positions of their digits.
    """
    spread = np.zeros(n)
    for value, own in zip(values.tolist(), members, strict=True):
        spread[list(own)] = value
    return spread


def number_features(numbers: Sequence[Floats], told: Floats, judged: Floats) -> Floats:
    """Return what a number's confidence depends on, (M, 6)."""
    rows = [
        (logit(np.prod(digits)), logit(np.min(digits)), np.log(len(digits)), len(digits) == 1)
        for digits in numbers
    ]
    of_digits = np.array(rows, np.float64).reshape(-1, 4)
    return np.column_stack([of_digits, told, judged])


def fit_logistic(features: Floats, right: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """Return the weights, the constant first, with the least cross-entropy (Newton's method)."""
    if not len(right):
        return ()
    x = _with_constant(features)
    y = right.astype(np.float64)
    ridge = np.full(x.shape[1], _RIDGE)
    ridge[0] = 0.0
    weights = np.zeros(x.shape[1])
    weights[0] = logit(np.array(y.mean()))
    for _ in range(_ROUNDS):
        chance = sigmoid(x @ weights)
        slope = x.T @ (chance - y) + ridge * weights
        curve = (x * (chance * (1 - chance))[:, None]).T @ x + np.diag(ridge + 1e-9)
        step = np.linalg.solve(curve, slope)
        weights = weights - step / max(1.0, float(np.abs(step).max()))
        if float(np.abs(step).max()) < 1e-6:
            break
    return tuple(float(weight) for weight in weights)


def apply_logistic(weights: Sequence[float], features: Floats) -> Floats:
    """Return the chance of each row of features, (N,)."""
    return np.asarray(np.clip(sigmoid(_with_constant(features) @ np.array(weights)), _EDGE, 1 - _EDGE))


def logit(chance: npt.ArrayLike) -> Floats:
    """Return the log-odds of chances, any shape, as if nobody were surer than 0.9999."""
    kept = np.clip(np.asarray(chance, np.float64), _EDGE, 1 - _EDGE)
    return np.asarray(np.log(kept / (1 - kept)), np.float64)


def sigmoid(x: Floats) -> Floats:
    """Return the chances of log-odds, any shape."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))), np.float64)


def _with_constant(features: Floats) -> Floats:
    return np.column_stack([np.ones(len(features)), features])
