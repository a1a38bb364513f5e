"""How far a page must be shrunk or enlarged until its digits have the size the detector knows.

The scale of a scan is estimated, not assumed: the parts of ink say how large the writing is.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.ink import ink_map

# the height that parts of ink have (their median) where digits have the size that the detector knows
# best; on register pages a digit is about half as high again as the median part
_PART_PX = 20.0
_LOOK_PX = 1800  # parts of ink are measured on a page brought to about this width
_MAX_INK_PIXELS = 16_000_000  # an ink map is never made larger than this


def estimate_scale(grey: npt.NDArray[np.uint8]) -> float:
    """Return what a page, uint8 (H, W), is to be multiplied by for the detector to read it."""
    look: float = min(1.0, _LOOK_PX / grey.shape[1])
    heights = ink_heights(ink_map(grey, look))
    wanted = look if len(heights) == 0 else look * _PART_PX / float(np.median(heights))
    return min(wanted, math.sqrt(_MAX_INK_PIXELS / grey.size))


def ink_heights(ink: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the heights in pixels of the parts of ink that may be characters."""
    n, _, stats, _ = cv2.connectedComponentsWithStats((ink > 110).astype(np.uint8), connectivity=8)
    parts = stats[1:n]
    width, height, area = parts[:, 2], parts[:, 3], parts[:, 4]
    likely = (height >= 7) & (height <= 250) & (width <= 3 * height) & (height <= 8 * width)
    likely &= area < 0.7 * width * height
    return np.asarray(height[likely], np.float64)
