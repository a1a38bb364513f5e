"""A number written with single digits of many writers: touching, slanted, with points, in one pen."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.hands import Hands, Picture

Corners = tuple[float, float, float, float]

_LENGTHS = np.array([0.14, 0.22, 0.16, 0.16, 0.12, 0.09, 0.07, 0.04])  # chances of 1 to 8 digits
_ROUND = 0.15  # share of numbers of 3 digits or more that end in zeros
_POINTED = 0.25  # share of numbers with points or commas
_FAINT = 60  # ink no stronger than this is none


def write_number(
    hands: Hands, rng: np.random.Generator, height_px: float
) -> tuple[Picture, list[Corners], list[int]]:
    """Return a number as a picture of ink, uint8 (h, w), the boxes of its digits in it, and the digits."""
    members = _members(hands, rng)
    slant = rng.normal(0.12, 0.16)
    wide = math.exp(rng.normal(0, 0.22))
    gaps = [rng.uniform(-0.08, 0.05), rng.uniform(0.05, 0.35), rng.uniform(0.3, 0.8)]
    gap = rng.choice(gaps, p=[0.4, 0.4, 0.2]) * height_px
    pointed = rng.random() < _POINTED
    canvas = np.zeros((int(height_px * 2) + 4, int(height_px * 3 * (len(members) + 1))), np.uint8)
    boxes: list[Corners] = []
    digits: list[int] = []
    right = height_px * 0.5
    for place, k in enumerate(members):
        tall = height_px * math.exp(rng.normal(0, 0.08))
        shaped = _shaped(hands.pictures[k], tall, wide, slant + rng.normal(0, 0.05))
        top = max(0, int(canvas.shape[0] / 2 - tall / 2 + rng.normal(0, 0.05) * height_px))
        h, w = shaped.shape
        left = int(right)
        if h == 0 or left + w >= canvas.shape[1] or top + h >= canvas.shape[0]:
            continue
        spot = canvas[top : top + h, left : left + w]
        np.maximum(spot, shaped, out=spot)
        boxes.append((float(left), float(top), float(left + w), float(top + h)))
        digits.append(int(hands.digits[k]))
        right = left + w + gap
        if pointed and (len(members) - place) % 3 == 1 and place + 1 < len(members):
            right = _point(canvas, left + w, height_px, rng)
    return _trimmed(_pen(canvas, rng), boxes, digits)


def write_digit(
    hands: Hands, rng: np.random.Generator, digit: int, height_px: float, width_px: float
) -> Picture | None:
    """Return a digit as a picture of ink, uint8 (h, w), about that large; None where nobody wrote it."""
    members = np.flatnonzero(hands.digits == digit)
    if not len(members):
        return None
    picture = hands.pictures[int(rng.choice(members))]
    wide = math.exp(rng.normal(0, 0.15)) * width_px / (picture.shape[1] * height_px / picture.shape[0])
    shaped = _shaped(picture, height_px, float(np.clip(wide, 0.6, 1.5)), rng.normal(0.12, 0.16))
    room = cv2.copyMakeBorder(shaped, 1, 1, 1, 1, cv2.BORDER_CONSTANT) if shaped.size else shaped
    return _pen(np.asarray(room, np.uint8), rng) if shaped.size else None


def _members(hands: Hands, rng: np.random.Generator) -> list[int]:
    """Return which pictures a number is written with."""
    length = 1 + int(rng.choice(len(_LENGTHS), p=_LENGTHS))
    members = [int(k) for k in rng.integers(len(hands.digits), size=length)]
    zeros = np.flatnonzero(hands.digits == 0)
    if length >= 3 and len(zeros) and rng.random() < _ROUND:
        for place in range(length - int(rng.integers(2, min(length, 4))), length):
            members[place] = int(rng.choice(zeros))
    return members


def _shaped(picture: Picture, tall: float, wide: float, lean: float) -> Picture:
    """Return a digit brought to a height, widened and slanted, cut to its ink; (0, 0) where none is left."""
    zoom_y = tall / picture.shape[0]
    zoom_x = min(zoom_y, tall * 1.4 / picture.shape[1]) * wide
    w, h = int(picture.shape[1] * zoom_x + abs(lean) * tall) + 3, int(tall) + 3
    matrix = np.array([[zoom_x, -lean * zoom_y, 1 + max(lean, 0) * tall], [0, zoom_y, 1]])
    shaped = np.asarray(cv2.warpAffine(picture, matrix, (w, h), flags=cv2.INTER_LINEAR), np.uint8)
    rows, columns = (
        np.flatnonzero((shaped > _FAINT).any(axis=1)),
        np.flatnonzero((shaped > _FAINT).any(axis=0)),
    )
    if not len(rows):
        return shaped[:0, :0]
    return shaped[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _point(canvas: Picture, left: int, height_px: float, rng: np.random.Generator) -> float:
    """Draw a point or a comma at the foot of a digit; return where the next digit begins."""
    x = left + height_px * rng.uniform(0.12, 0.3)
    y = canvas.shape[0] / 2 + height_px * rng.uniform(0.35, 0.5)
    tail = height_px * rng.choice([0.0, 0.25])
    thick = max(1, round(height_px * rng.uniform(0.06, 0.14)))
    cv2.line(canvas, (round(x), round(y)), (round(x - tail / 2), round(y + tail)), 255, thick, cv2.LINE_AA)
    return float(x + height_px * rng.uniform(0.1, 0.35))


def _pen(canvas: Picture, rng: np.random.Generator) -> Picture:
    """Return the ink of a broader pen, a finer one, one out of focus, or as it is."""
    pen = rng.random()
    if pen < 0.2:
        return np.asarray(cv2.dilate(canvas, np.ones((2, 2), np.uint8)), np.uint8)
    if pen > 0.85:
        return np.asarray(cv2.erode(canvas, np.ones((2, 2), np.uint8)), np.uint8)
    if pen > 0.7:
        return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 0.7), np.uint8)
    return canvas


def _trimmed(
    canvas: Picture, boxes: list[Corners], digits: list[int]
) -> tuple[Picture, list[Corners], list[int]]:
    """Return the ink cut out, points and commas too, and the digits that the pen left some ink of."""
    drawn = [(canvas[int(b) : int(d), int(a) : int(c)] > _FAINT).any() for a, b, c, d in boxes]
    boxes = [box for box, some in zip(boxes, drawn, strict=True) if some]
    digits = [digit for digit, some in zip(digits, drawn, strict=True) if some]
    if not boxes:
        return canvas[:1, :1], [], []
    rows, columns = (np.flatnonzero((canvas > _FAINT).any(axis=axis)) for axis in (1, 0))
    around = np.array([*boxes, (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)])
    x0, y0 = (int(v) for v in around[:, :2].min(axis=0))
    x1, y1 = (int(v) for v in around[:, 2:].max(axis=0))
    moved: list[Corners] = [(a - x0, b - y0, c - x0, d - y0) for a, b, c, d in boxes]
    cut: npt.NDArray[np.uint8] = canvas[y0:y1, x0:x1]
    return cut, moved, digits
