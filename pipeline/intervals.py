"""How far figures may be off by chance: bootstrap intervals over pages (Efron 1979)."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

N_RESAMPLES = 1000

Floats = npt.NDArray[np.float64]


def interval(counts: Floats, figure: Callable[[Floats], Floats], seed: int = 0) -> tuple[float, float]:
    """Return the bounds between which 95 % of 1000 resamples of the pages put a figure.

    `counts` is (P, K), K counts of each page; `figure` takes sums of them, (..., K), and returns (...).
    Pages are drawn whole, since the digits of a page share a hand.  Without pages both bounds are 0.
    """
    if len(counts) == 0:
        return 0.0, 0.0
    n_pages = len(counts)
    times = np.random.default_rng(seed).multinomial(n_pages, np.full(n_pages, 1 / n_pages), N_RESAMPLES)
    low, high = np.percentile(figure(times @ counts), (2.5, 97.5))  # of (1000,)
    return float(low), float(high)


def share(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, and 0 where the whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part, np.float64), where=whole > 0))
