"""Where digits may stand on a transcribed page: boxes of the networks, and parts of ink."""

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import box_iou, nms

from models.loaded import Classifier, Detector
from models.scale import DIGIT_PX
from pipeline.alignment import Candidates
from pipeline.confidence import REJECT
from pipeline.crops import CROP_ZOOM, cut_boxes
from pipeline.labels import LABEL_DIGIT_PX
from pipeline.line_parts import without_rules
from pipeline.page import Box

_SCORE_BAR = 0.06  # the transcription says that there is a digit: weak boxes count
_LEVELS = (70, 110, 160)
_PART_SCORE = 0.03  # of a part of ink that the detector saw no digit in
_DOUBT_IN_REJECT = 0.9  # a transcribed digit may look like none to the classifier


def find_candidates(
    ink: npt.NDArray[np.uint8], written: npt.NDArray[np.uint8], detector: Detector, classifier: Classifier
) -> Candidates:
    """Return the candidates on an ink map, uint8 (h, w).

    Its digits are about 21 pixels high.  `written` is uint8 (h, w), 1 on lines with digits: only there
    parts of ink count.
    """
    smaller = DIGIT_PX / LABEL_DIGIT_PX
    found = detector.boxes(_shrunk(ink, smaller), _SCORE_BAR)
    boxes, scores = found[:, :4] / np.float32(smaller), found[:, 4]
    parts = _parts(without_rules(ink), written)
    if len(parts) and len(boxes):
        nearest = box_iou(torch.from_numpy(parts), torch.from_numpy(boxes)).amax(dim=1).numpy()
        parts = parts[nearest < 0.5]
    boxes = np.concatenate([boxes, parts])
    scores = np.concatenate([scores, np.full(len(parts), _PART_SCORE, np.float32)])
    smaller *= CROP_ZOOM
    crops = cut_boxes(
        _shrunk(ink, smaller), [Box(*(float(v) for v in box)) for box in boxes * np.float32(smaller)]
    )
    chances = classifier.chances(crops).astype(np.float64)  # (N, 11)
    digits = chances[:, :REJECT] / chances[:, :REJECT].sum(axis=1, keepdims=True).clip(1e-9)
    return Candidates(boxes.astype(np.float64), digits, scores * (1 - _DOUBT_IN_REJECT * chances[:, REJECT]))


def _shrunk(ink: npt.NDArray[np.uint8], factor: float) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.resize(ink, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def _parts(ink: npt.NDArray[np.uint8], written: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the parts of ink on lines with digits that have the size of one, float32 (N, 4)."""
    boxes = [np.zeros((0, 4), np.float32)]
    for level in _LEVELS:
        mask = ((ink > level) & (written > 0)).astype(np.uint8)
        n, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        x, y, w, h, area = stats[1:n].T
        likely = (h >= 9) & (h <= 60) & (w <= 1.3 * h) & (area >= 12)
        boxes.append(np.column_stack([x, y, x + w, y + h])[likely].astype(np.float32))
    parts = np.concatenate(boxes)
    kept = nms(torch.from_numpy(parts), torch.ones(len(parts)), 0.7).numpy()
    return np.asarray(parts[kept])
