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
# a crop shows this many times the longer side of its box: the neighbours help to read it
CROP_CONTEXT = 1.6

Crops = npt.NDArray[np.uint8]


def cut_crops(grey: npt.NDArray[np.uint8], found: PageDetections) -> Crops:
    """Return the crop of every detection, uint8 (N, 40, 40), 0 paper to 255 ink.

    `grey` is the page, uint8 (H, W).  Crops are cut from its ink map, turned and at the scale that the
    page was read at, so that the same page always gives the same crops.
    """
    if not found.detections:
        return np.zeros((0, CROP_SIZE_PX, CROP_SIZE_PX), np.uint8)
    height, width = grey.shape
    boxes = [turn_box(d.box, found.turned, width, height) for d in found.detections]
    scaled = [Box(*(v * found.scale for v in (b.x0, b.y0, b.x1, b.y1))) for b in boxes]
    return cut_boxes(ink_map(turn_page(grey, found.turned), found.scale), scaled)


def cut_boxes(ink: npt.NDArray[np.uint8], boxes: Sequence[Box], margin_px: int = 0) -> Crops:
    """Return the crops of boxes given in ink map pixels, uint8 (N, 40, 40); paper beyond the edge.

    `margin_px` widens every crop at the same zoom, on all sides: training turns and shifts such
    crops without running out of what stands round them.
    """
    size = CROP_SIZE_PX + 2 * margin_px
    crops = np.zeros((len(boxes), size, size), np.uint8)
    for crop, box in zip(crops, boxes, strict=True):
        zoom = CROP_SIZE_PX / (max(box.width, box.height, 4.0) * CROP_CONTEXT)
        x, y = box.centre
        reach = size / zoom
        x0, y0 = max(0, int(x - reach)), max(0, int(y - reach))
        part = ink[y0 : max(0, int(y + reach)) + 1, x0 : max(0, int(x + reach)) + 1]
        if part.size == 0:
            continue
        if zoom < 0.75:  # blurred first, so that shrinking it skips no stroke
            part = np.asarray(cv2.GaussianBlur(part, (0, 0), 0.4 / zoom), dtype=np.uint8)
        # sampled at pixel centres: the middle of the crop falls on the box's centre
        middle = (size - 1) / 2
        matrix = np.array(
            [[zoom, 0, middle - zoom * (x - 0.5 - x0)], [0, zoom, middle - zoom * (y - 0.5 - y0)]]
        )
        cv2.warpAffine(part, matrix, (size, size), dst=crop, flags=cv2.INTER_LINEAR)
    return crops


def pack_crops(crops: Crops) -> bytes:
    """Return a page's crops as one blob."""
    blob = io.BytesIO()
    np.savez_compressed(blob, crops=crops)
    return blob.getvalue()


def unpack_crops(blob: bytes) -> Crops:
    """Return the crops of a blob, uint8 (N, 40, 40); ValueError if it is damaged."""
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as opened:
            crops = np.asarray(opened["crops"])
    except (OSError, KeyError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"damaged blob of crops: {error}") from error
    if crops.dtype != np.uint8 or crops.shape[1:] != (CROP_SIZE_PX, CROP_SIZE_PX):
        raise ValueError(f"blob of crops holds {crops.dtype} {crops.shape}")
    return crops
