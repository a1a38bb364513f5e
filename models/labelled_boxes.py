"""Labelled pages as the other networks see them: at their size, by a detector's boxes."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import box_iou

from models.loaded import Detector
from models.scale import DIGIT_PX
from pipeline.crops import CROP_ZOOM
from pipeline.labels import LabelledPage
from pipeline.page import Box, Detection


@dataclass(frozen=True, eq=False, slots=True)
class LabelledBoxes:
    """The N boxes that a detector draws on a labelled page.

    `nearest` int64 (N,) is which of the page's digits each shares most with, and `iou` float32 (N,) is
    how much: intersection over union, 0.0 where it touches none.
    """

    detections: tuple[Detection, ...]
    nearest: npt.NDArray[np.int64]
    iou: npt.NDArray[np.float32]


def shown(page: LabelledPage, rng: np.random.Generator, scales: float) -> tuple[LabelledPage, LabelledPage]:
    """Return a page as the detector would see it, and as large as crops are cut from.

    The scale is a little wrong at times, as it is when a page is read: its logarithm by a standard
    deviation of `scales`.
    """
    scale = DIGIT_PX / page.digit_px * math.exp(rng.normal(0, scales))
    return page.scaled(scale), page.scaled(scale * CROP_ZOOM)


def labelled_boxes(page: LabelledPage, detector: Detector, score_bar: float) -> LabelledBoxes:
    """Return the detector's boxes on a page at its size, those whose score is over a bar."""
    drawn = detector.boxes(page.ink, score_bar)
    true = torch.from_numpy(page.boxes.astype(np.float32))
    iou = box_iou(torch.from_numpy(drawn[:, :4].astype(np.float32)), true).numpy()
    if not page.digits:
        iou = np.zeros((len(drawn), 1), np.float32)
    return LabelledBoxes(
        tuple(Detection(Box(*(float(v) for v in row[:4])), float(row[4])) for row in drawn),
        iou.argmax(axis=1),
        iou.max(axis=1),
    )
