"""Crops: what the classifier sees of each detection, and a page's crops as one blob."""

import io
import zipfile
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.ink import ink_map
from pipeline.page import Box, PageDetections
from pipeline.turning import turn_box, turn_page

CROP_SIZE_PX = 40
# a crop has two views, which show this many times the longer side of its box: the near one to read the
# digit by, the far one to tell a number from a word
VIEWS = (1.6, 5.0)
# crops are cut from an ink map so many times as large as the one that digits are found on
CROP_ZOOM = 17 / 15
_BLUR = 0.4  # standard deviation in pixels of the view, where it is shrunk

Crops = npt.NDArray[np.uint8]  # (N, 2, 40, 40)


def cut_crops(grey: npt.NDArray[np.uint8], found: PageDetections) -> Crops:
    """Return the crop of every detection, uint8 (N, 2, 40, 40), 0 paper to 255 ink.

    `grey` is the page, uint8 (H, W).  Crops are cut from its ink map, turned and at `CROP_ZOOM` times the
    scale that digits were found at, so that the same page always gives the same crops.
    """
    if not found.detections:
        return np.zeros((0, len(VIEWS), CROP_SIZE_PX, CROP_SIZE_PX), np.uint8)
    height, width = grey.shape
    boxes = [turn_box(d.box, found.turned, width, height) for d in found.detections]
    scale = found.scale * CROP_ZOOM
    return cut_boxes(ink_map(turn_page(grey, found.turned), scale), [box.scaled(scale) for box in boxes])


def cut_boxes(ink: npt.NDArray[np.uint8], boxes: Sequence[Box], margin_px: int = 0) -> Crops:
    """Return the crops of boxes given in ink map pixels, uint8 (N, 2, 40, 40); paper beyond the edge.

    `margin_px` widens every view at the same zoom, on all sides: training turns and shifts such
    crops without running out of what stands round them.
    """
    size = CROP_SIZE_PX + 2 * margin_px
    crops = np.zeros((len(boxes), len(VIEWS), size, size), np.uint8)
    for crop, box in zip(crops, boxes, strict=True):
        for view, times in zip(crop, VIEWS, strict=True):
            zoom = CROP_SIZE_PX / (max(box.width, box.height, 4.0) * times)
            _draw_view(ink, box.centre, zoom, view)
    return crops


def _draw_view(ink: npt.NDArray[np.uint8], centre: tuple[float, float], zoom: float, view: Crops) -> None:
    """Draw what stands round a place of an ink map, `zoom` times as large, into a square view of it."""
    x, y = centre
    size = len(view)
    reach = (size / 2 + 3 * _BLUR) / zoom + 2
    x0, y0 = max(0, int(x - reach)), max(0, int(y - reach))
    part = ink[y0 : max(0, int(y + reach)) + 1, x0 : max(0, int(x + reach)) + 1]
    if part.size == 0:
        return
    if zoom < 0.75:  # blurred first, so that shrinking it skips no stroke
        part = np.asarray(cv2.GaussianBlur(part, (0, 0), _BLUR / zoom), dtype=np.uint8)
    # sampled at pixel centres: the middle of the view falls on the place
    middle = (size - 1) / 2
    matrix = np.array([[zoom, 0, middle - zoom * (x - 0.5 - x0)], [0, zoom, middle - zoom * (y - 0.5 - y0)]])
    cv2.warpAffine(part, matrix, (size, size), dst=view, flags=cv2.INTER_LINEAR)


def pack_crops(crops: Crops) -> bytes:
    """Return a page's crops as one blob; it lives until they are read, too short to be compressed."""
    blob = io.BytesIO()
    np.savez(blob, crops=crops)
    return blob.getvalue()


def unpack_crops(blob: bytes) -> Crops:
    """Return the crops of a blob, uint8 (N, 2, 40, 40); ValueError if it is damaged."""
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as opened:
            crops = np.asarray(opened["crops"])
    except (OSError, KeyError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"damaged blob of crops: {error}") from error
    if crops.dtype != np.uint8 or crops.shape[1:] != (len(VIEWS), CROP_SIZE_PX, CROP_SIZE_PX):
        raise ValueError(f"blob of crops holds {crops.dtype} {crops.shape}")
    return crops
