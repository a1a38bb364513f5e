"""The same page at another size or turned, its transcription with it: what reading must stand."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.transcriptions import Line

Grey = npt.NDArray[np.uint8]


def resized(grey: Grey, lines: Sequence[Line], factor: float) -> tuple[Grey, list[Line]]:
    """Return a page, uint8 (H, W), and its lines at `factor` times their size."""
    height, width = grey.shape
    size = max(1, round(width * factor)), max(1, round(height * factor))
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    picture = np.asarray(cv2.resize(grey, size, interpolation=interpolation), np.uint8)
    matrix = np.array([[size[0] / width, 0, 0], [0, size[1] / height, 0]])
    return picture, [_moved(line, matrix) for line in lines]


def turned(grey: Grey, lines: Sequence[Line], degrees: float) -> tuple[Grey, list[Line]]:
    """Return a page, uint8 (H, W), and its lines turned clockwise, on paper that holds the whole page."""
    height, width = grey.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # a hair less, so that rounding adds no row to a page turned by 90°
    new_width = math.ceil(abs(width * cos) + abs(height * sin) - 1e-6)
    new_height = math.ceil(abs(width * sin) + abs(height * cos) - 1e-6)
    turn = np.array([[cos, -sin], [sin, cos]])
    shift = np.array([new_width, new_height]) / 2 - turn @ (np.array([width, height]) / 2)
    matrix = np.column_stack([turn, shift])  # (2, 3), in edges of pixels
    if degrees % 90 == 0:
        picture = np.ascontiguousarray(np.rot90(grey, -int(degrees // 90)))
    else:
        # OpenCV counts from the middle of the first pixel, boxes and polygons from its edge
        centred = np.column_stack([turn, shift + turn @ (0.5, 0.5) - 0.5])
        paper = float(np.median(grey[::8, ::8]))
        picture = np.asarray(
            cv2.warpAffine(
                grey, centred, (new_width, new_height), flags=cv2.INTER_CUBIC, borderValue=(paper,)
            ),
            np.uint8,
        )
    return picture, [_moved(line, matrix) for line in lines]


def _moved(line: Line, matrix: npt.NDArray[np.float64]) -> Line:
    """Return a line under an affine map (2, 3); one without a baseline gets the middle of its polygon."""
    baseline = line.baseline
    if not len(baseline):
        (x0, y0), (x1, y1) = line.polygon.min(axis=0), line.polygon.max(axis=0)
        baseline = np.array([(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2)], np.float32)
    polygon, baseline = (
        (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32) for points in (line.polygon, baseline)
    )
    return Line(polygon, baseline, line.text)
