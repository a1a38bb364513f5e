"""Pages that lie on their side or stand on their head: turning them, and boxes with them, by quarter turns.

Degrees count clockwise.  On a page that is turned by 90° what was at the left edge is at the top.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.page import Box, Detection, PageDetections

QUARTERS = (0, 90, 180, 270)


def turn_page(grey: npt.NDArray[np.uint8], degrees: int) -> npt.NDArray[np.uint8]:
    """Return a page, uint8 (H, W), turned by 0, 90, 180 or 270 degrees."""
    return np.ascontiguousarray(np.rot90(grey, -(degrees // 90)))


def turn_box(box: Box, degrees: int, width: float, height: float) -> Box:
    """Return where a box of a page of this size, before it is turned, lies afterwards."""
    if degrees == 90:
        return Box(height - box.y1, box.x0, height - box.y0, box.x1)
    if degrees == 180:
        return Box(width - box.x1, height - box.y1, width - box.x0, height - box.y0)
    if degrees == 270:
        return Box(box.y0, width - box.x1, box.y1, width - box.x0)
    return box


def turn_back(found: PageDetections, degrees: int, width: int, height: int) -> PageDetections:
    """Return what was found on a turned page in pixels of the page itself; the size is the page's own."""
    if degrees == 0:
        return found
    turned_size = (width, height) if degrees == 180 else (height, width)
    detections = tuple(
        replace(detection, box=turn_box(detection.box, 360 - degrees, *turned_size))
        for detection in found.detections
    )
    return replace(found, detections=detections, turned=degrees)


def upright_corners(detections: Sequence[Detection], turned: int) -> npt.NDArray[np.float64]:
    """Return boxes of a page as they stand once it is turned by these degrees, (N, 4), xyxy.

    They are turned round the page's corner: what counts is how they stand to each other.
    """
    boxes = [turn_box(detection.box, turned, 0, 0) for detection in detections]
    return np.array([box.corners for box in boxes], np.float64).reshape(-1, 4)
