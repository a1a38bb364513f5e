"""How far figures may be off by chance: bootstrap intervals over pages (Efron 1979), and of shares."""

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


def share_interval(n_right: int, n: int) -> tuple[float, float]:
    """Return the bounds of a share that was counted, with 95 % confidence (Wilson 1927).

    Where all of a few are right it says how little that is, as a bootstrap can't.
    """
    if n == 0:
        return 0.0, 1.0
    z2 = 1.959964**2
    middle = (n_right + z2 / 2) / (n + z2)
    reach = (z2 * (n_right * (n - n_right) / n + z2 / 4)) ** 0.5 / (n + z2)
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def share(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, and 0 where the whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part, np.float64), where=whole > 0))
