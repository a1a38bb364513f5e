"""The crops that teach the classifier: digits and rejects of labelled pages, and MNIST's digits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.labelled_boxes import labelled_boxes, shown
from models.loaded import Detector
from pipeline.confidence import REJECT
from pipeline.crops import CROP_SIZE_PX, CROP_ZOOM, VIEWS, cut_boxes
from pipeline.hands import read_mnist
from pipeline.labels import LabelledPage
from pipeline.page import Box

# seen round every training crop, so that it can be turned and shifted
MARGIN_PX = 12
_SIDE_PX = CROP_SIZE_PX + 2 * MARGIN_PX
_BATCH = 256
_SCORE_BAR = 0.15  # boxes of the detector that the classifier learns from
_SCALES = 0.12  # standard deviation of the logarithm of the scale that a page is shown at


@dataclass(frozen=True, eq=False, slots=True)
class TrainingCrops:
    """Crops uint8 (N, 2, 64, 64), ink is 255, and their classes int64 (N,): 0 to 9, or 10 for reject."""

    crops: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]

    @property
    def seen(self) -> npt.NDArray[np.uint8]:
        """The crops as a classifier sees them, uint8 (N, 2, 40, 40): their margins cut off."""
        return np.ascontiguousarray(self.crops[..., MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX])


def page_crops(
    pages: Sequence[LabelledPage], detector: Detector | None, rng: np.random.Generator
) -> TrainingCrops:
    """Return the labelled digits of pages, and as rejects what is known to be none.

    Rejects are parts of ink on lines without digits, boxes that span two digits and, with a detector,
    the boxes it drew where there is no digit; its boxes on labelled digits are taken as digits too,
    since those are what the classifier will be given.
    """
    crops = [np.zeros((0, len(VIEWS), _SIDE_PX, _SIDE_PX), np.uint8)]
    classes = [np.zeros(0, np.int64)]
    for page in pages:
        page, large = shown(page, rng, _SCALES)
        boxes = [digit.box for digit in page.digits]
        digits = [digit.digit for digit in page.digits]
        rejects = _parts_without_digits(page, rng) + _between_digits(page, rng)
        if detector is not None:
            hits, hit_digits, misses = _detected(page, detector)
            boxes, digits, rejects = boxes + hits, digits + hit_digits, rejects + misses
        crops.append(cut_boxes(large.ink, [box.scaled(CROP_ZOOM) for box in boxes + rejects], MARGIN_PX))
        classes.append(np.array(digits + [REJECT] * len(rejects), np.int64))
    return TrainingCrops(np.concatenate(crops), np.concatenate(classes))


def pooled_crops(sets: Sequence[TrainingCrops]) -> TrainingCrops:
    """Return the crops of several sets as one, also of none."""
    none = np.zeros((0, len(VIEWS), _SIDE_PX, _SIDE_PX), np.uint8)
    return TrainingCrops(
        np.concatenate([none, *(part.crops for part in sets)]),
        np.concatenate([np.zeros(0, np.int64), *(part.classes for part in sets)]),
    )


def right_of(network: nn.Module, crops: TrainingCrops, device: torch.device) -> npt.NDArray[np.bool_]:
    """Return whether the best class of each crop, of all eleven, is right, bool (N,)."""
    best = [np.zeros(0, np.int64)]
    with torch.inference_mode():
        seen = crops.seen
        for start in range(0, len(seen), _BATCH):
            some = torch.from_numpy(seen[start : start + _BATCH]).to(device).float().div(255)
            logits = network(some.contiguous(memory_format=torch.channels_last))
            best.append(logits.argmax(dim=1).cpu().numpy())
    return np.asarray(np.concatenate(best) == crops.classes)


def mnist_crops(folder: Path, part: str = "train") -> TrainingCrops:
    """Return the digits of MNIST as crops; `part` is "train" (60,000) or "t10k" (10,000)."""
    return crops_of_pictures(*read_mnist(folder, part))


def crops_of_pictures(images: npt.NDArray[np.uint8], digits: npt.NDArray[np.int64]) -> TrainingCrops:
    """Return pictures of single digits, uint8 (N, H, W), ink is 255, as crops; no picture is blank."""
    crops = np.zeros((len(images), len(VIEWS), _SIDE_PX, _SIDE_PX), np.uint8)
    for crop, image in zip(crops, images, strict=True):
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        box = Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        crop[:] = cut_boxes(image, [box], MARGIN_PX)[0]
    return TrainingCrops(crops, digits)


def _parts_without_digits(page: LabelledPage, rng: np.random.Generator) -> list[Box]:
    """Return some parts of ink on lines that are known to hold no digit."""
    n, _, stats, _ = cv2.connectedComponentsWithStats((page.ink > 110).astype(np.uint8), connectivity=8)
    boxes = [
        Box(float(x), float(y), float(x + w), float(y + h))
        for x, y, w, h, _ in stats[1:n]
        if 8 <= h <= 70 and w <= 1.6 * h and page.known[y + h // 2, x + w // 2] == 2
    ]
    labelled = _array([digit.box for digit in page.digits])
    apart = [box for box in boxes if not _overlaps(box, labelled, 0.1)]
    few = rng.permutation(len(apart))[: 20 + len(page.digits)]
    return [apart[i] for i in few]


def _between_digits(page: LabelledPage, rng: np.random.Generator) -> list[Box]:
    """Return boxes over the seam of two digits side by side: what a detector sometimes draws."""
    seams = []
    for a, b in zip(page.digits, page.digits[1:], strict=False):
        near = 0 <= b.box.x0 - a.box.x1 < 0.5 * a.box.height and abs(a.box.y0 - b.box.y0) < 0.5 * a.box.height
        if near and rng.random() < 0.25:
            ax, bx = a.box.centre[0], b.box.centre[0]
            seams.append(Box(ax, min(a.box.y0, b.box.y0), max(bx, ax + 4), max(a.box.y1, b.box.y1)))
    return seams


def _detected(page: LabelledPage, detector: Detector) -> tuple[list[Box], list[int], list[Box]]:
    """Return the detector's boxes on labelled digits, those digits, and its boxes where no digit is."""
    drawn = labelled_boxes(page, detector, _SCORE_BAR)
    hits, digits, misses = [], [], []
    for detection, nearest, iou in zip(drawn.detections, drawn.nearest, drawn.iou, strict=True):
        box = detection.box
        x, y = (int(v) for v in box.centre)
        inside = 0 <= y < page.known.shape[0] and 0 <= x < page.known.shape[1]
        if iou > 0.6:
            hits.append(box)
            digits.append(page.digits[nearest].digit)
        elif iou < 0.2 and inside and page.known[y, x] == 2:
            misses.append(box)
    return hits, digits, misses


def _array(boxes: Sequence[Box]) -> npt.NDArray[np.float32]:
    return np.array([box.corners for box in boxes], np.float32).reshape(-1, 4)


def _overlaps(box: Box, others: npt.NDArray[np.float32], share: float) -> bool:
    width = np.minimum(others[:, 2], box.x1) - np.maximum(others[:, 0], box.x0)
    height = np.minimum(others[:, 3], box.y1) - np.maximum(others[:, 1], box.y0)
    shared = width.clip(0) * height.clip(0)
    return bool((shared > share * box.width * box.height).any())
