"""The contact sheet of `archive compare`: places where two runs differ, as A saw them beside B."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.changes import Change, Found
from pipeline.contact_sheets import Strip, sheet_png
from pipeline.page import Box

VIEW_PX = 98  # a side of each of the two views: seven pairs stand beside one another
_TIMES = 2.6  # the longer side of a box, to see its neighbours too
_BETWEEN_PX = 6
_HEIGHT_PX = 40_000  # no sheet of as many changes as may be asked for is higher
DOUBTFUL = 0.5  # less sure than this is drawn red

Pixels = npt.NDArray[np.uint8]


def change_strip(page_rgb: Pixels, change: Change, name: str) -> Strip:
    """Return a change, cut from its page uint8 (H, W, 3): the same place twice, with A's box and with B's."""
    founds = [found for found in (change.a, change.b) if found is not None]
    corners = np.array([found.box.corners for found in founds])
    (x0, y0), (x1, y1) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    side = max(x1 - x0, y1 - y0, 4.0) * _TIMES
    left, top = math.floor((x0 + x1 - side) / 2), math.floor((y0 + y1 - side) / 2)
    side_px = math.ceil(side)
    view = _square(page_rgb, left, top, side_px)
    zoom = VIEW_PX / side_px
    interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    view = np.asarray(cv2.resize(view, (VIEW_PX, VIEW_PX), interpolation=interpolation), np.uint8)
    between = np.full((VIEW_PX, _BETWEEN_PX, 3), 255, np.uint8)
    boxes: list[tuple[Box, str, bool]] = []
    notes: list[tuple[float, str]] = []
    for found, x in ((change.a, 0), (change.b, VIEW_PX + _BETWEEN_PX)):
        if found is None:
            notes.append((x + VIEW_PX / 2, "none"))
        else:
            boxes.append((_moved(found, left, top, zoom, x), _said(found), found.confidence < DOUBTFUL))
    caption = f"{change.number_a or 'none'} > {change.number_b or 'none'}, {name}"
    picture = np.concatenate([view, between, view], axis=1)
    return Strip(picture, tuple(boxes), caption, tuple(notes), enlarged=False)


def changes_png(strips: Sequence[Strip], title: str) -> bytes:
    """Return the sheet of changes as a PNG, as high as they need."""
    return sheet_png(strips, title, _HEIGHT_PX)


def _square(page: Pixels, left: int, top: int, side: int) -> Pixels:
    """Return a square of a page, uint8 (side, side, 3); paper beyond its edges."""
    height, width = page.shape[:2]
    square = np.full((side, side, 3), 255, np.uint8)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, width), min(top + side, height)
    if x0 < x1 and y0 < y1:
        square[y0 - top : y1 - top, x0 - left : x1 - left] = page[y0:y1, x0:x1]
    return square


def _moved(found: Found, left: int, top: int, zoom: float, x: int) -> Box:
    box = found.box
    moved = Box(box.x0 - left, box.y0 - top, box.x1 - left, box.y1 - top).scaled(zoom)
    return Box(moved.x0 + x, moved.y0, moved.x1 + x, moved.y1)


def _said(found: Found) -> str:
    return f"{found.digit}: {found.confidence:.2f}"
