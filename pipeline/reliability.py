"""How far a confidence can be trusted: what share of the answers given with it is right."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# answers at least this sure are kept by people who don't check each one
KEEP_BAR = 0.95
_N_BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """Some answers of about the same confidence: their mean confidence, the share that is right, how many."""

    confidence: float
    right: float
    n: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """What confidences are worth; `ece` is the expected calibration error.

    `kept` is the share of the answers with a confidence of at least 0.95, `right_of_kept` the share of
    those that is right.
    """

    n: int
    ece: float
    kept: float
    right_of_kept: float
    bins: tuple[Bin, ...]


def reliability(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> Reliability:
    """Return what the confidences (N,), 0 to 1, are worth, given which answers (N,) are right.

    The error is taken over 15 bins of equal mass (Nguyen and O'Connor 2015): most answers are nearly
    certain, and bins of equal width would put them into the last one and hide how they differ.
    """
    n = len(confidence)
    if n == 0:
        return Reliability(0, 0.0, 0.0, 0.0, ())
    # among equal confidences by rightness too, so that the order of the answers decides nothing
    order = np.lexsort((right, confidence))
    bins = tuple(
        Bin(float(confidence[part].mean()), float(right[part].mean()), len(part))
        for part in np.array_split(order, _N_BINS)
        if len(part)
    )
    kept = confidence >= KEEP_BAR
    return Reliability(
        n,
        sum(part.n * abs(part.confidence - part.right) for part in bins) / n,
        float(kept.mean()),
        float(right[kept].mean()) if kept.any() else 0.0,
        bins,
    )
