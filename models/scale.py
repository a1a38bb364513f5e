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
_RANKS = (0.0, 0.08, 0.2, 0.4)  # which windows are looked at, by how many parts of a digit's size they have
_FEW = 10  # digits that say little about the size of all: other scales are tried
_NEAR = 1.2  # an estimate this near to the scale that it was made at is believed
_TRIED = (0.4, 0.63, 1.6, 2.5)  # times the guess, which the ink may have misled

# ink windows uint8 (h, w) → boxes float32 (K, 5): x0, y0, x1, y1, score
Detect = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False, slots=True)
class Look:
    """A first look at a page: its ink map at `look_scale`, and the scale that its ink asks for."""

    ink: npt.NDArray[np.uint8]
    look_scale: float
    scale: float


def look_at(grey: npt.NDArray[np.uint8]) -> Look:
    """Return a first look at a page, uint8 (H, W)."""
    look = _bounded(min(1.0, _LOOK_PX / grey.shape[1]), grey)
    ink = ink_map(grey, look)
    heights = ink_heights(ink)
    wanted = DIGIT_PX / (_DIGITS_PER_PART * float(np.median(heights))) if len(heights) else 1.0
    return Look(ink, look, _bounded(look * wanted, grey))


def settle_scale(grey: npt.NDArray[np.uint8], scale: float, detect: Detect) -> float:
    """Return the scale at which the digits of a page, uint8 (H, W), have the size the detector knows.

    `scale` is a first guess.
    """
    tried = [_digits_at(grey, scale, detect)]
    if tried[0].n < _FEW:
        tried += [_digits_at(grey, _bounded(scale * factor, grey), detect) for factor in _TRIED]
    best = max(tried, key=lambda digits: digits.score)
    settled = _fitting(best, grey)
    if max(settled / best.scale, best.scale / settled) > _NEAR:
        settled = _fitting(_digits_at(grey, settled, detect), grey)
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


def ink_heights(ink: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the heights in pixels of the parts of ink that may be characters."""
    parts = _parts(ink)
    return np.asarray(parts[:, 3], np.float64)


def _parts(ink: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Return the parts of ink that may be characters: x, y, width, height, area."""
    n, _, stats, _ = cv2.connectedComponentsWithStats((ink > 110).astype(np.uint8), connectivity=8)
    parts = stats[1:n]
    width, height, area = parts[:, 2], parts[:, 3], parts[:, 4]
    likely = (height >= 7) & (height <= 250) & (width <= 3 * height) & (height <= 8 * width)
    likely &= area < 0.7 * width * height
    return np.asarray(parts[likely])


def _digits_at(grey: npt.NDArray[np.uint8], scale: float, detect: Detect) -> _Digits:
    ink = ink_map(grey, scale)
    found = [np.zeros((0, 5), np.float32)]
    for x, y in _windows(ink):
        found.append(detect(ink[y : y + _WINDOW_PX, x : x + _WINDOW_PX]))
    boxes = np.concatenate(found)
    height = float(np.median(boxes[:, 3] - boxes[:, 1])) if len(boxes) else DIGIT_PX
    return _Digits(scale, len(boxes), height, float(boxes[:, 4].sum()))


def _windows(ink: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return the corners of some windows, those with many parts of a digit's size first."""
    parts = _parts(ink)
    rows, columns = (-(-side // _WINDOW_PX) for side in ink.shape)
    x, y, width, height, _ = parts.T
    alike = (height > 0.6 * DIGIT_PX) & (height < 1.7 * DIGIT_PX) & (width < height)
    row, column = (y + height // 2)[alike] // _WINDOW_PX, (x + width // 2)[alike] // _WINDOW_PX
    places = row * columns + column
    order = np.argsort(-np.bincount(places, minlength=rows * columns), kind="stable")
    chosen = sorted({int(order[min(int(rank * len(order)), len(order) - 1)]) for rank in _RANKS})
    return [(place % columns * _WINDOW_PX, place // columns * _WINDOW_PX) for place in chosen]


def _bounded(scale: float, grey: npt.NDArray[np.uint8]) -> float:
    return min(scale, _MAX_SCALE, math.sqrt(_MAX_INK_PIXELS / grey.size))
