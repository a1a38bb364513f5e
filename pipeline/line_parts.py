"""The digits of a number line by its ink alone: as many parts as digits, each part a box.

The ink is cut into connected components at several thresholds, rules taken out, wide parts cut at
their valleys.
"""

import itertools

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.page import Box

# the ink level from which a pixel belongs to a part; touching digits come apart at the higher ones
_LEVELS = (70, 110, 160)

Ink = npt.NDArray[np.uint8]


def cut_line(written: Ink, polygon: npt.NDArray[np.int32], n_digits: int) -> list[Box]:
    """Return the boxes of a number line's digits, left to right, or none where ink and digits don't match.

    `written` is the ink map without rules, uint8 (h, w), and `polygon` (P, 2) the line's in its pixels.
    Of the levels that give as many parts as digits, the one with the most even heights wins.
    """
    x, y, width, height = cv2.boundingRect(polygon)
    x0, y0 = max(x, 0), max(y, 0)
    patch = written[y0 : max(y + height, 0), x0 : max(x + width, 0)]
    if patch.size == 0:
        return []
    inside = np.zeros(patch.shape, np.uint8)
    cv2.fillPoly(inside, [polygon - (x0, y0)], (255,))
    near = np.asarray(cv2.dilate(inside, np.ones((5, 5), np.uint8)))
    patch = np.where(near > 0, patch, 0).astype(np.uint8)
    best: tuple[float, list[Box]] | None = None
    for level in _LEVELS:
        parts = _parts(patch, level)
        boxes = _match(patch, parts, n_digits)
        if boxes is None:
            continue
        heights = np.array([box.height for box in boxes])
        unevenness = float(heights.std() / heights.mean())
        if best is None or unevenness < best[0]:
            best = (unevenness, boxes)
    if best is None or best[0] > 0.45:
        return []
    return [Box(b.x0 + x0, b.y0 + y0, b.x1 + x0, b.y1 + y0) for b in best[1]]


def without_rules(ink: Ink) -> Ink:
    """Return an ink map without its long straight rules: what survives an opening by a long thin bar."""
    mask = (ink > 60).astype(np.uint8)
    upright = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((61, 1), np.uint8))
    level = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, 61), np.uint8))
    rules = cv2.dilate(cv2.bitwise_or(upright, level), np.ones((3, 3), np.uint8))
    return np.where(rules > 0, 0, ink).astype(np.uint8)


def _parts(patch: Ink, level: int) -> list[Box]:
    """Return the parts of ink above a level, specks left out and stacked pieces joined, left to right."""
    mask = (patch > level).astype(np.uint8)
    n, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    boxes = [
        Box(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h, area in stats[1:n] if area >= 12
    ]
    if not boxes:
        return []
    tall = float(np.median(sorted((box.height for box in boxes), reverse=True)[:3]))
    joined: list[Box] = []
    for box in sorted(boxes, key=lambda box: box.x0):
        if joined and _stacked(joined[-1], box):
            joined[-1] = _union(joined[-1], box)
        else:
            joined.append(box)
    return [box for box in joined if box.height >= 0.45 * tall]


def _stacked(a: Box, b: Box) -> bool:
    """Whether two pieces stand over one another, as the bar of a 5 does over its bow."""
    shared = min(a.x1, b.x1) - max(a.x0, b.x0)
    return shared > 0.6 * min(a.width, b.width)


def _union(a: Box, b: Box) -> Box:
    return Box(min(a.x0, b.x0), min(a.y0, b.y0), max(a.x1, b.x1), max(a.y1, b.y1))


def _match(patch: Ink, parts: list[Box], n_digits: int) -> list[Box] | None:
    """Return n boxes from the parts of a line: as they are, or with the widest cut; else None."""
    if not parts or len(parts) > n_digits or n_digits > 3 * len(parts):
        return None
    cuts = [1] * len(parts)
    for _ in range(n_digits - len(parts)):
        widest = max(range(len(parts)), key=lambda i: parts[i].width / cuts[i])
        cuts[widest] += 1
    boxes: list[Box] = []
    for part, n in zip(parts, cuts, strict=True):
        pieces = [part] if n == 1 else _cut(patch, part, n)
        if n > 1 and part.width / n < 0.3 * part.height:
            return None  # too narrow to be n digits: the ink doesn't match
        boxes += pieces
    usable = all(6 <= box.height <= 80 and box.width <= 1.8 * box.height for box in boxes)
    return boxes if usable else None


def _cut(patch: Ink, part: Box, n: int) -> list[Box]:
    """Cut a wide part into n pieces at the columns with the least ink near the even cuts."""
    x0, y0, x1, y1 = (int(v) for v in (part.x0, part.y0, part.x1, part.y1))
    columns = patch[y0:y1, x0:x1].sum(axis=0, dtype=np.float64)
    columns = np.convolve(columns, [0.25, 0.5, 0.25], mode="same")
    step = (x1 - x0) / n
    edges = [0]
    for k in range(1, n):
        low, high = int(step * (k - 0.3)), int(step * (k + 0.3)) + 1
        edges.append(low + int(np.argmin(columns[low:high])))
    edges.append(x1 - x0)
    pieces = []
    for left, right in itertools.pairwise(edges):
        rows = np.flatnonzero((patch[y0:y1, x0 + left : x0 + right] > _LEVELS[0]).any(axis=1))
        if len(rows) == 0:
            return [part]
        pieces.append(Box(float(x0 + left), float(y0 + rows[0]), float(x0 + right), float(y0 + rows[-1] + 1)))
    return pieces
