"""What a sorter sees of a page: a small square of its ink and of the scan, whatever its size and shape."""

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.ink import ink_map

VIEW_PX = 512  # the sides of the square
LAYERS = ("ink", "darkness")  # of a view


def sorting_view(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a page, uint8 (H, W), squashed to a square, uint8 (2, 512, 512): its ink, and its darkness.

    Ink is 255 as in `ink_map`, with paper and light divided out, for networks of ours; darkness is 255 where
    the scan is black, for networks that learned photographs.

    Squashed and not cut or padded, so that what is learned is what stands on pages: size and shape say with
    which scanner they were made, and a set of a few images would teach that.
    """
    height, width = grey.shape
    smaller = min(height, width) >= VIEW_PX
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    square = cv2.resize(grey, (VIEW_PX, VIEW_PX), interpolation=interpolation)
    grey = np.asarray(square, np.uint8)
    return np.stack([ink_map(grey), 255 - grey])
