"""How far a page must be shrunk or enlarged until its digits have the size the detector knows.

The scale of a scan is estimated, not assumed: the parts of ink say how large the writing is; then the
detector tries scales round that on the parts of the page that have the most ink, and where one of them
finds clearly more than the guess does, it wins.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt
import torch

from models.detector import DigitDetector
from models.tiles import detect_boxes
from pipeline.ink import ink_map

# the height that parts of ink have (their median) where digits have the size that the detector knows
# best; on register pages a digit is about half as high again as the median part
_PART_PX = 17.0
_LOOK_PX = 1800  # parts of ink are measured on a page brought to about this width
_WINDOW_PX = 448  # the side of the windows that scales are tried on, in pixels of the first guess
_N_WINDOWS = 2
_TRIES = (0.67, 1.5)
_MAX_INK_PIXELS = 16_000_000  # an ink map is never made larger than this
_SCORE = 0.35
# the guess stays unless another scale finds this much more: a larger page always finds a little more,
# of wrong things too, and takes longer
_BETTER = 1.3


def estimate_scale(network: DigitDetector, grey: npt.NDArray[np.uint8], device: torch.device) -> float:
    """Return what a page, uint8 (H, W), is to be multiplied by for the detector to read it."""
    largest = largest_scale(grey)
    guess = min(guess_scale(grey), largest)
    windows = _windows(grey, guess)
    sums = {
        scale: sum(_summed_score(network, ink_map(window, scale), device) for window in windows)
        for scale in (guess, *(min(guess * factor, largest) for factor in _TRIES))
    }
    best = max(sums, key=lambda scale: sums[scale])
    return best if sums[best] > _BETTER * sums[guess] else guess


def guess_scale(grey: npt.NDArray[np.uint8]) -> float:
    """Return the scale that brings the parts of ink of a page to their usual height."""
    look: float = min(1.0, _LOOK_PX / grey.shape[1])
    heights = ink_heights(ink_map(grey, look))
    if len(heights) == 0:
        return look
    return look * _PART_PX / float(np.median(heights))


def ink_heights(ink: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the heights in pixels of the parts of ink that may be characters."""
    n, _, stats, _ = cv2.connectedComponentsWithStats((ink > 110).astype(np.uint8), connectivity=8)
    parts = stats[1:n]
    width, height, area = parts[:, 2], parts[:, 3], parts[:, 4]
    likely = (height >= 7) & (height <= 250) & (width <= 3 * height) & (height <= 8 * width)
    likely &= area < 0.7 * width * height
    return np.asarray(height[likely], np.float64)


def largest_scale(grey: npt.NDArray[np.uint8]) -> float:
    """Return the scale at which the ink map reaches the size it may have."""
    return math.sqrt(_MAX_INK_PIXELS / grey.size)


def _windows(grey: npt.NDArray[np.uint8], scale: float) -> list[npt.NDArray[np.uint8]]:
    """Return the parts of a page with the most ink, apart from one another; a small page whole."""
    side = max(16, round(_WINDOW_PX / scale))
    height, width = grey.shape
    if height <= 2 * side and width <= 2 * side:
        return [grey]
    rows, columns = -(-height // side), -(-width // side)
    cells = [
        (float(np.count_nonzero(ink_map(grey[y : y + side, x : x + side][::2, ::2]) > 110)), y, x)
        for y in range(0, rows * side, side)
        for x in range(0, columns * side, side)
    ]
    cells.sort(reverse=True)
    return [grey[y : y + side, x : x + side] for _, y, x in cells[:_N_WINDOWS]]


def _summed_score(network: DigitDetector, ink: npt.NDArray[np.uint8], device: torch.device) -> float:
    return float(detect_boxes(network, ink, _SCORE, device)[:, 4].sum())
