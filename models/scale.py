"""How far a page must be shrunk or enlarged until its digits have the size the detector knows.

The scale of a scan is estimated, not assumed.  The parts of ink say roughly how large the writing is; how
large its digits are, the detector itself says, on a few windows of the page.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.ink import ink_map

# the height that the digits of a page have (their median) where the detector knows them best
DIGIT_PX = 15.0
ORIENT_DIGIT_PX = 10.5  # the same, for the orienter
# of labelled pages half the digits are higher than this many median parts of ink (1.0 to 2.5)
_DIGITS_PER_PART = 1.35
_LOOK_PX = 1800  # parts of ink are measured on a page brought to about this width
_MAX_INK_PIXELS = 16_000_000  # an ink map is never made larger than this
_MAX_SCALE = 4.0  # digits lower than 5 pixels can't be read however far they are enlarged
_WINDOW_PX = 320
# which windows are looked at, by how many parts of a digit's size they have; a square of them
_RANKS = (0.0, 0.08, 0.2, 0.4)
_FEW = 10  # digits that say little about the size of all: other scales are tried
_NEAR = 1.2  # an estimate this near to the scale that it was made at is believed
_TRIED = (0.4, 0.63, 1.6, 2.5)  # times the guess, which the ink may have misled

# ink windows uint8 (h, w) → boxes float32 (K, 5): x0, y0, x1, y1, score
Detect = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False, slots=True)
class Look:
    """A first look at a page: its ink map at `look_scale`, and the scale that its ink asks for.

    `parts` int32 (K, 5) are the parts of ink that may be characters: x, y, width, height, area.
    """

    ink: npt.NDArray[np.uint8]
    look_scale: float
    parts: npt.NDArray[np.int32]
    scale: float


def look_at(grey: npt.NDArray[np.uint8]) -> Look:
    """Return a first look at a page, uint8 (H, W)."""
    look = _bounded(min(1.0, _LOOK_PX / grey.shape[1]), grey)
    ink = ink_map(grey, look)
    parts = _parts(ink)
    wanted = DIGIT_PX / (_DIGITS_PER_PART * float(np.median(parts[:, 3]))) if len(parts) else 1.0
    return Look(ink, look, parts, _bounded(look * wanted, grey))


def settle_scale(grey: npt.NDArray[np.uint8], look: Look, detect: Detect) -> float:
    """Return the scale at which the digits of a page, uint8 (H, W), have the size the detector knows."""
    tried = [_digits_at(grey, look, look.scale, detect)]
    if tried[0].n < _FEW:
        tried += [_digits_at(grey, look, _bounded(look.scale * times, grey), detect) for times in _TRIED]
    best = max(tried, key=lambda digits: digits.score)
    settled = _fitting(best, grey)
    if max(settled / best.scale, best.scale / settled) > _NEAR:
        settled = _fitting(_digits_at(grey, look, settled, detect), grey)
    return settled


@dataclass(frozen=True, slots=True)
class _Digits:
    """How many digits some windows of a page show at a scale, their median height, and their summed score."""

    scale: float
    n: int
    height_px: float
    score: float


def _fitting(digits: _Digits, grey: npt.NDArray[np.uint8]) -> float:
    """Return the scale that brings digits to the size the detector knows; a single one may be anything."""
    return _bounded(digits.scale * DIGIT_PX / digits.height_px, grey) if digits.n > 1 else digits.scale


def _parts(ink: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Return the parts of ink that may be characters: x, y, width, height, area."""
    n, _, stats, _ = cv2.connectedComponentsWithStats((ink > 110).astype(np.uint8), connectivity=8)
    parts = stats[1:n]
    width, height, area = parts[:, 2], parts[:, 3], parts[:, 4]
    likely = (height >= 7) & (height <= 250) & (width <= 3 * height) & (height <= 8 * width)
    likely &= area < 0.7 * width * height
    return np.asarray(parts[likely])


def _digits_at(grey: npt.NDArray[np.uint8], look: Look, scale: float, detect: Detect) -> _Digits:
    boxes = detect(_some_windows(grey, look, scale))
    height = float(np.median(boxes[:, 3] - boxes[:, 1])) if len(boxes) else DIGIT_PX
    return _Digits(scale, len(boxes), height, float(boxes[:, 4].sum()))


def _some_windows(grey: npt.NDArray[np.uint8], look: Look, scale: float) -> npt.NDArray[np.uint8]:
    """Return some windows of a page's ink map at a scale as one square picture."""
    # a page is only looked at anew where it must be enlarged
    ink, known = (look.ink, look.look_scale) if scale <= look.look_scale else (ink_map(grey, scale), scale)
    factor, side = scale / known, math.isqrt(len(_RANKS))
    shown = np.zeros((side * _WINDOW_PX, side * _WINDOW_PX), np.uint8)
    height, width = (round(length * factor) for length in ink.shape)
    for k, (x, y) in enumerate(_corners(look, scale, -(-height // _WINDOW_PX), -(-width // _WINDOW_PX))):
        x0, y0, x1, y1 = (round(v / factor) for v in (x, y, x + _WINDOW_PX, y + _WINDOW_PX))
        part = ink[y0:y1, x0:x1]
        size = [min(_WINDOW_PX, max(1, round(length * factor))) for length in part.shape[::-1]]
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        top, left = k // side * _WINDOW_PX, k % side * _WINDOW_PX
        shown[top : top + size[1], left : left + size[0]] = part
    return shown


def _corners(look: Look, scale: float, rows: int, columns: int) -> list[tuple[int, int]]:
    """Return the corners of some windows at a scale, of so many rows and columns of them.

    Those come first that have many parts of a digit's size.
    """
    rows, columns = max(rows, 1), max(columns, 1)
    x, y, width, height, _ = look.parts.T * (scale / look.look_scale)
    alike = (height > 0.6 * DIGIT_PX) & (height < 1.7 * DIGIT_PX) & (width < height)
    row = np.minimum((y + height / 2)[alike] // _WINDOW_PX, rows - 1)
    column = np.minimum((x + width / 2)[alike] // _WINDOW_PX, columns - 1)
    places = (row * columns + column).astype(np.int64)
    order = np.argsort(-np.bincount(places, minlength=rows * columns), kind="stable")
    chosen = sorted({int(order[min(int(rank * len(order)), len(order) - 1)]) for rank in _RANKS})
    return [(place % columns * _WINDOW_PX, place // columns * _WINDOW_PX) for place in chosen]


def _bounded(scale: float, grey: npt.NDArray[np.uint8]) -> float:
    return min(scale, _MAX_SCALE, math.sqrt(_MAX_INK_PIXELS / grey.size))
