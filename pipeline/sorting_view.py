"""What a sorter sees of a page: a small square of its ink, whatever the page's size and shape."""

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.ink import ink_map

VIEW_PX = 512  # the sides of the square


def sorting_view(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the ink of a page, uint8 (H, W), squashed to a square, uint8 (512, 512), 255 is ink.

    Squashed and not cut or padded, so that what is learned is what stands on pages: size and shape say with
    which scanner they were made, and a set of a few images would teach that.
    """
    height, width = grey.shape
    smaller = min(height, width) >= VIEW_PX
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    square = cv2.resize(grey, (VIEW_PX, VIEW_PX), interpolation=interpolation)
    return ink_map(np.asarray(square, np.uint8))
