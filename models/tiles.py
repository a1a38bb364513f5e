"""Running the detector over an ink map of any size in tiles, so that memory is bounded."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import nms

from models.detector import MULTIPLE

_CORE_PX = 1536  # at most; detections count in the tile whose core holds their centre
_HALO_PX = 48  # seen round the core: more than a digit is high
_MAX_BOXES = 20_000  # a page full of figures has 3,000; more is a network that sees them everywhere
_OVERLAP = 0.5  # of two boxes that share more than this (IoU) the weaker goes

Boxes = npt.NDArray[np.float32]
Core = tuple[int, int, int, int]  # x, y, width, height
# tiles uint8 (N, 1, h, w) → of each the boxes, float32 (K, 5): x0, y0, x1, y1, score; in its pixels
Find = Callable[[npt.NDArray[np.uint8]], Sequence[Boxes]]


def detect_boxes(ink: npt.NDArray[np.uint8], find: Find) -> Boxes:
    """Return the boxes of a page's digits as float32 (K, 5): x0, y0, x1, y1, score; best first.

    `ink` is uint8 (h, w); boxes are in its pixels.  `find` gives the boxes of each of some tiles.  Tiles
    without any ink are left out.
    """
    cores = list(_cores(ink))
    boxes_of: dict[Core, Boxes] = {}
    for alike in _by_size(cores):
        tiles = np.stack([_cut(ink, *core) for core in alike])[:, None]
        boxes_of |= zip(alike, find(tiles), strict=True)
    found = [np.zeros((0, 5), np.float32)]
    for core in cores:
        (x, y, width, height), boxes = core, boxes_of[core]
        centre_x, centre_y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        inside = (
            (centre_x >= _HALO_PX)
            & (centre_x < _HALO_PX + width)
            & (centre_y >= _HALO_PX)
            & (centre_y < _HALO_PX + height)
        )
        found.append(boxes[inside] + np.array([x - _HALO_PX, y - _HALO_PX] * 2 + [0], np.float32))
    boxes = np.concatenate(found)
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")[:_MAX_BOXES]]
    kept = nms(torch.from_numpy(boxes[:, :4]), torch.from_numpy(boxes[:, 4]), _OVERLAP).numpy()
    return np.asarray(boxes[kept], np.float32)


def _by_size(cores: Iterable[Core]) -> list[list[Core]]:
    """Return cores in groups of one size."""
    groups: dict[tuple[int, int], list[Core]] = {}
    for core in cores:
        groups.setdefault(core[2:], []).append(core)
    return list(groups.values())


def _cores(ink: npt.NDArray[np.uint8]) -> Iterator[Core]:
    """Yield each core that has ink, row by row."""
    # as many as needed, all about as large: a narrow last one would be mostly halo; on the grid of the
    # coarsest layer, so that a tile shows what the whole page would
    down, across = (-(-side // -(-side // _CORE_PX) // MULTIPLE) * MULTIPLE for side in ink.shape)
    for y in range(0, ink.shape[0], down):
        for x in range(0, ink.shape[1], across):
            core = ink[y : y + down, x : x + across]
            if np.count_nonzero(core > 64) >= 8:
                yield x, y, core.shape[1], core.shape[0]


def _cut(ink: npt.NDArray[np.uint8], x: int, y: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return a core with its halo, paper beyond the page, both sides multiples of 16."""
    tile_height, tile_width = (-(-(side + 2 * _HALO_PX) // MULTIPLE) * MULTIPLE for side in (height, width))
    tile = np.zeros((tile_height, tile_width), np.uint8)
    top, left = y - _HALO_PX, x - _HALO_PX
    part = ink[max(top, 0) : top + tile_height, max(left, 0) : left + tile_width]
    tile[max(-top, 0) : max(-top, 0) + part.shape[0], max(-left, 0) : max(-left, 0) + part.shape[1]] = part
    return tile
