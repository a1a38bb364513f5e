"""The same page at another size, turned, or in another hand, its transcription with it."""

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


def in_another_hand(
    grey: Grey, lines: Sequence[Line], digit_px: float, rng: np.random.Generator
) -> tuple[Grey, list[Line]]:
    """Return a page, uint8 (H, W), and its lines as another hand might have written them.

    Writing leans, is wider or narrower, its strokes are bent, and they are bolder, thinner or softer.  Its
    digits are `digit_px` high.  To networks that have learned a page this one is about as hard as
    a new one.
    """
    height, width = grey.shape
    lean = float(rng.choice([-1, 1]) * rng.uniform(0.2, 0.45))
    stretch = math.exp(float(rng.choice([-1, 1]) * rng.uniform(0.08, 0.2)))
    matrix = np.array([[stretch, lean, max(0.0, -lean * height)], [0, 1 / stretch, 0]])
    size = math.ceil(width * stretch + abs(lean) * height), math.ceil(height / stretch)
    paper = (float(np.median(grey[::8, ::8])),)
    picture = cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR, borderValue=paper)
    x = waves(size, digit_px, 0.09 * digit_px, rng) + np.arange(size[0], dtype=np.float32)
    y = waves(size, digit_px, 0.09 * digit_px, rng) + np.arange(size[1], dtype=np.float32)[:, None]
    picture = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderValue=paper)
    return _in_other_strokes(np.asarray(picture, np.uint8), digit_px, rng), [
        _moved(line, matrix) for line in lines
    ]


def waves(
    size: tuple[int, int], length_px: float, amount_px: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return by how much each pixel of a picture (width, height) is moved, float32 (H, W).

    Smooth over `length_px`, with a standard deviation of about `amount_px`.
    """
    coarse = rng.normal(0, amount_px, [int(side / length_px) + 2 for side in size[::-1]])
    return np.asarray(cv2.resize(coarse.astype(np.float32), size, interpolation=cv2.INTER_CUBIC), np.float32)


def _in_other_strokes(picture: Grey, digit_px: float, rng: np.random.Generator) -> Grey:
    kind = rng.random()
    side = max(2, round((0.11 if kind < 0.3 else 0.07) * digit_px))
    changed: npt.ArrayLike = picture
    if kind < 0.3:
        changed = cv2.erode(picture, np.ones((side, side), np.uint8))  # the dark grows
    elif kind < 0.5:
        changed = cv2.dilate(picture, np.ones((side, side), np.uint8))
    elif kind < 0.7:
        changed = cv2.GaussianBlur(picture, (0, 0), 0.055 * digit_px)
    return np.asarray(changed, np.uint8)


def _moved(line: Line, matrix: npt.NDArray[np.float64]) -> Line:
    """Return a line under an affine map (2, 3); one without a baseline gets the middle of its polygon."""
    baseline = line.baseline
    if not len(baseline):
        (x0, y0), (x1, y1) = line.polygon.min(axis=0), line.polygon.max(axis=0)
        baseline = np.array([(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2)], np.float32)
    polygon, baseline = (
        (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32) for points in (line.polygon, baseline)
    )
    return Line(polygon, baseline, line.text, line.printed)
