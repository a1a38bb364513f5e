"""The ink map: a page divided by its own background, which is what the networks see.

Paper tone, uneven light and shading go out by division; the strength of the ink is brought to one
level, so that a pale microfilm and a black pen look alike.
"""

import cv2
import numpy as np
import numpy.typing as npt

# The background is looked for on a page shrunk by this factor: strokes vanish there, paper stays.
_SHRINK = 8
# Ink weaker than this share of the paper's brightness is grain, not writing.
_FAINT = 0.12


def ink_map(grey: npt.NDArray[np.uint8], scale: float = 1.0) -> npt.NDArray[np.uint8]:
    """Return how much ink lies on each pixel of a page brought to `scale` times its size.

    `grey` is uint8 (H, W), 0 black to 255 white.  The answer is uint8 (h, w) with
    h = round(H · scale) and w = round(W · scale), both at least 1: 0 is paper, 255 is ink as dark as
    the page's own writing, or darker.
    """
    height, width = grey.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size != (width, height):
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        grey = np.asarray(cv2.resize(grey, size, interpolation=interpolation), dtype=np.uint8)
    dark = 255 - cv2.divide(grey, _background(grey), scale=255)
    # every 4th row and column says as much about the strength of the ink as all of them
    sample = dark[::4, ::4]
    written = sample[sample > _FAINT * 255]
    strength = float(np.percentile(written, 85)) / 255 if written.size >= 16 else 0.5
    levels = np.arange(256) / max(strength, 0.2)
    return np.asarray(cv2.LUT(dark, levels.clip(0, 255).round().astype(np.uint8)), dtype=np.uint8)


def _background(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the brightness of the paper under each pixel, uint8 (H, W), 1 to 255."""
    height, width = grey.shape
    small_size = (max(1, width // _SHRINK), max(1, height // _SHRINK))
    small = cv2.resize(grey, small_size, interpolation=cv2.INTER_AREA)
    small = cv2.dilate(small, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_REPLICATE)
    small = cv2.medianBlur(small, 9)
    small = cv2.GaussianBlur(small, (0, 0), 3.0)
    small = np.maximum(small, 1)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
