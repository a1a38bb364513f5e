"""Changes of a page's ink that a reader must not mind: scale, slant, turn, stroke width, strength, grain."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from models.scale import DIGIT_PX
from pipeline.labels import LabelledPage
from pipeline.variants import waves

Boxes = npt.NDArray[np.float32]  # (N, 4), xyxy


def sample_window(
    page: LabelledPage, rng: np.random.Generator, size_px: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Boxes]:
    """Return a changed window of a page: ink and known, uint8 (size, size), and its boxes (N, 4).

    Three windows of four are placed at a labelled digit, the others anywhere.
    """
    height, width = page.ink.shape
    if page.digits and rng.random() < 0.75:
        x, y = page.digits[rng.integers(len(page.digits))].box.centre
    else:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
    zoom = math.exp(rng.uniform(math.log(0.65), math.log(1.5)))
    zoom *= min(max(DIGIT_PX / page.digit_px, 0.4), 2.5)
    stretch = math.exp(rng.normal(0, 0.12))
    turn, slant = math.radians(rng.normal(0, 2.0)), rng.normal(0, 0.24)
    # ink pixels → window pixels: slant, then turn, then zoom
    shape = np.array([[zoom * stretch, 0], [0, zoom / stretch]])
    shape = shape @ np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    shape = shape @ np.array([[1, slant], [0, 1]])
    middle = size_px / 2 + rng.uniform(-0.4, 0.4, 2) * size_px
    matrix = np.column_stack([shape, middle - shape @ (x, y)])
    # OpenCV counts from the middle of the first pixel, boxes from its edge
    centred = np.column_stack([shape, matrix[:, 2] + shape @ (0.5, 0.5) - 0.5])
    ink = cv2.warpAffine(page.ink, centred, (size_px, size_px), flags=cv2.INTER_LINEAR)
    known = cv2.warpAffine(page.known, centred, (size_px, size_px), flags=cv2.INTER_NEAREST, borderValue=1)
    boxes = _moved(page, matrix, slant, size_px)
    digit_px = zoom * page.digit_px
    ink, boxes = _bent(np.asarray(ink, np.uint8), boxes, digit_px, rng.uniform(0, 0.1) * digit_px, rng)
    return change_ink(ink, rng), np.asarray(known, np.uint8), boxes


def change_ink(ink: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return the ink with another stroke width, strength and grain; same shape."""
    kind = rng.random()
    anchor = (0, 0) if rng.random() < 0.5 else (1, 1)  # each moves ink by half a pixel, to either side
    if kind < 0.12:
        ink = np.asarray(cv2.dilate(ink, np.ones((2, 2), np.uint8), anchor=anchor), np.uint8)
    elif kind < 0.22:
        ink = np.asarray(cv2.erode(ink, np.ones((2, 2), np.uint8), anchor=anchor), np.uint8)
    elif kind < 0.37:
        ink = np.asarray(cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.5, 1.2)), np.uint8)
    changed = ink.astype(np.float32) * rng.uniform(0.6, 1.25)
    if rng.random() < 0.08:
        np.maximum(changed, _safety_pattern(ink.shape, rng), out=changed)
    if rng.random() < 0.4:
        changed += rng.normal(0, rng.uniform(2, 14), ink.shape).astype(np.float32)
    if rng.random() < 0.2:
        changed -= rng.uniform(5, 40)  # faint strokes break
    return np.asarray(changed.clip(0, 255), np.uint8)


def _bent(
    ink: npt.NDArray[np.uint8], boxes: Boxes, digit_px: float, amount_px: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Boxes]:
    """Return a window whose strokes are bent by about so many pixels, and its boxes where the digits went."""
    side = ink.shape[0]
    x, y = (waves((side, side), digit_px, amount_px, rng) for _ in range(2))
    places = np.arange(side, dtype=np.float32)
    bent = cv2.remap(ink, x + places, y + places[:, None], cv2.INTER_LINEAR)
    columns, rows = ((boxes[:, :2] + boxes[:, 2:]) / 2).astype(int).clip(0, side - 1).T
    moved = np.stack([x[rows, columns], y[rows, columns]], axis=1)
    return np.asarray(bent, np.uint8), boxes - np.tile(moved, 2)


def _safety_pattern(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return fine wavy lines, as banks print them on paper that must not be altered, float32 (H, W)."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    along, across = (x, y) if rng.random() < 0.5 else (y, x)
    bend = rng.uniform(0, 6) * np.sin(along * (2 * math.pi / rng.uniform(20, 60)))
    wave = np.abs(np.sin((across + bend) * (math.pi / rng.uniform(4, 12))))
    return np.asarray(np.where(wave > rng.uniform(0.85, 0.97), rng.uniform(30, 110), 0), np.float32)


def _moved(page: LabelledPage, matrix: npt.NDArray[np.float64], slant: float, size_px: int) -> Boxes:
    """Return the boxes after the change whose centres fall into the window."""
    box = page.boxes
    centre, size = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    centre = centre @ matrix[:, :2].T + matrix[:, 2]
    # a slant of s moves top and bottom apart by s · height; the strokes there are narrower than the box
    size[:, 0] += 0.5 * abs(slant) * size[:, 1]
    size *= np.hypot(matrix[:, 0], matrix[:, 1])[None, :2]
    inside = ((centre >= 0) & (centre < size_px)).all(axis=1)
    centre, size = centre[inside], size[inside]
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
