"""Numbers in other hands, set into the blank places of labelled pages in the pages' own ink.

A few hundred pages have a few dozen hands; collections of single digits have hundreds.  Pasted between
real lines, rules and stains they teach both networks hands that no page here has (Ghiasi and others
2021, "Simple Copy-Paste").
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.hands import Hands, Picture
from pipeline.labels import LabelledDigit, LabelledLine, LabelledPage
from pipeline.page import Box

_CLEAR_PX = 4  # between a number and its neighbours
_TRIES = 12  # places looked at for each number
_LENGTHS = np.array([0.16, 0.24, 0.16, 0.16, 0.10, 0.08, 0.06, 0.04])  # chances of 1 to 8 digits
_USUAL_PX = 21.0  # height of a page's digits where it has too few to tell


def paste_pages(pages: Iterable[LabelledPage], hands: Hands, seed: int, n: int) -> Iterator[LabelledPage]:
    """Yield each page with up to n numbers set into it; the seed and its place say which and where."""
    for k, page in enumerate(pages):
        yield paste_numbers(page, hands, np.random.default_rng([seed, k]), n)


def paste_numbers(page: LabelledPage, hands: Hands, rng: np.random.Generator, n: int) -> LabelledPage:
    """Return the page with up to n numbers of other hands in places with little ink.

    Its own digits keep their boxes clear, and no place is taken where digits may stand unlabelled.
    """
    ink, known = page.ink.copy(), page.known.copy()
    digits: list[LabelledDigit] = []
    lines: list[LabelledLine] = []
    usual = page.digit_px or _USUAL_PX
    filled = cv2.integral((ink > 90).astype(np.uint8))
    taken = (known == 0).astype(np.uint8)
    for x0, y0, x1, y1 in page.boxes.astype(np.int64):
        taken[max(0, y0 - _CLEAR_PX) : y1 + _CLEAR_PX, max(0, x0 - _CLEAR_PX) : x1 + _CLEAR_PX] = 1
    for _ in range(n):
        height = usual * math.exp(rng.normal(0.0, 0.2))
        number, boxes, read = _write(hands, rng, height)
        h, w = number.shape
        if not read:
            continue
        if h + 8 >= ink.shape[0] or w + 8 >= ink.shape[1]:
            continue
        crowded = 0.10 if rng.random() < 0.2 else 0.01  # now and then over a rule or a stroke
        for _ in range(_TRIES):
            x, y = int(rng.integers(4, ink.shape[1] - w - 4)), int(rng.integers(4, ink.shape[0] - h - 4))
            covered = filled[y + h, x + w] - filled[y, x + w] - filled[y + h, x] + filled[y, x]
            if covered <= crowded * w * h and not taken[y : y + h, x : x + w].any():
                break
        else:
            continue
        strength = rng.uniform(0.55, 1.0)
        spot = ink[y : y + h, x : x + w]
        np.maximum(spot, (number * strength).astype(np.uint8), out=spot)
        known[y : y + h, x : x + w] = 2
        taken[max(0, y - _CLEAR_PX) : y + h + _CLEAR_PX, max(0, x - _CLEAR_PX) : x + w + _CLEAR_PX] = 1
        pasted = tuple(
            LabelledDigit(Box(x0 + x, y0 + y, x1 + x, y1 + y), digit)
            for (x0, y0, x1, y1), digit in zip(boxes, read, strict=True)
        )
        digits += pasted
        around = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], np.int32)
        lines.append(LabelledLine("".join(map(str, read)), "pasted", around, pasted))
    return replace(
        page,
        name=f"{page.name}-pasted",
        ink=ink,
        known=known,
        digits=page.digits + tuple(digits),
        n_pasted=page.n_pasted + len(digits),
        lines=page.lines + tuple(lines),
    )


def _write(
    hands: Hands, rng: np.random.Generator, height: float
) -> tuple[Picture, list[tuple[float, float, float, float]], list[int]]:
    """Return a number as a picture of ink, the boxes of its digits in it, and the digits."""
    length = 1 + int(rng.choice(len(_LENGTHS), p=_LENGTHS))
    slant = rng.normal(0.12, 0.16)
    wide = math.exp(rng.normal(0, 0.12))
    spacing = rng.choice(
        [rng.uniform(-0.12, 0.05), rng.uniform(0.05, 0.35), rng.uniform(0.3, 0.8)], p=[0.4, 0.4, 0.2]
    )
    pen = rng.random()
    canvas = np.zeros((int(height * 2) + 4, int((height * 2.4) * (length + 1))), np.uint8)
    boxes: list[tuple[float, float, float, float]] = []
    digits: list[int] = []
    right = height * 0.5
    for _ in range(length):
        k = int(rng.integers(len(hands.digits)))
        picture = hands.pictures[k]
        tall = height * math.exp(rng.normal(0, 0.08))
        zoom_y = tall / picture.shape[0]
        zoom_x = min(zoom_y, height * 1.4 / picture.shape[1]) * wide
        lean = slant + rng.normal(0, 0.05)
        top = canvas.shape[0] / 2 - tall / 2 + rng.normal(0, 0.05) * height
        reach = abs(lean) * tall
        w, h = int(picture.shape[1] * zoom_x + reach) + 3, int(tall) + 3
        matrix = np.array([[zoom_x, -lean * zoom_y, 1 + max(lean, 0) * tall], [0, zoom_y, 1]])
        shaped = cv2.warpAffine(picture, matrix, (w, h), flags=cv2.INTER_LINEAR)
        columns, rows = np.flatnonzero((shaped > 60).any(axis=0)), np.flatnonzero((shaped > 60).any(axis=1))
        if not len(columns):
            continue
        shaped = shaped[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        left, upper = int(right), max(0, int(top))
        h, w = shaped.shape
        if left + w >= canvas.shape[1] or upper + h >= canvas.shape[0]:
            break
        spot = canvas[upper : upper + h, left : left + w]
        np.maximum(spot, shaped, out=spot)
        boxes.append((float(left), float(upper), float(left + w), float(upper + h)))
        digits.append(int(hands.digits[k]))
        right = left + w + spacing * height
    if pen < 0.2:
        canvas = np.asarray(cv2.dilate(canvas, np.ones((2, 2), np.uint8)), np.uint8)
    elif pen > 0.85:
        canvas = np.asarray(cv2.erode(canvas, np.ones((2, 2), np.uint8)), np.uint8)
    elif pen > 0.7:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), 0.7), np.uint8)
    return _trimmed(canvas, boxes, digits)


def _trimmed(
    canvas: Picture, boxes: list[tuple[float, float, float, float]], digits: list[int]
) -> tuple[Picture, list[tuple[float, float, float, float]], list[int]]:
    around = np.array(boxes).reshape(-1, 4)
    if not len(around):
        return canvas[:1, :1], [], []
    x0, y0 = (int(v) for v in around[:, :2].min(axis=0))
    x1, y1 = (int(v) for v in around[:, 2:].max(axis=0))
    moved: list[tuple[float, float, float, float]] = [
        (a - x0, b - y0, c - x0, d - y0) for a, b, c, d in boxes
    ]
    cut: npt.NDArray[np.uint8] = canvas[y0:y1, x0:x1]
    return cut, moved, digits
