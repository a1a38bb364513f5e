"""What the crop sorter learns from: boxes of labelled pages, of digits, of letters and of noise.

Handwritten digits are the labelled ones of lines that nothing says are print, printed digits those of
lines that their transcription calls print, of pages in a folder named so, and of drawn print.  Letters
are what stands in lines (on drawn pages: in words) and is no digit, noise what stands outside all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch

from models.checkpoint import read_metadata
from models.classifier import ClassifierConfig, DigitClassifier
from models.crop_sorter import CATEGORIES, CropSorterConfig, CropSorterNetwork
from models.features import features_of
from models.head import FittedHead, fit_head
from models.labelled_boxes import labelled_boxes, shown
from models.loaded import Detector
from models.scale import DIGIT_PX
from models.training_crops import MARGIN_PX, TrainingCrops, pooled_crops
from pipeline.crops import CROP_ZOOM, cut_boxes
from pipeline.errors import SourceError
from pipeline.labels import LabelledPage
from pipeline.page import Box

Item = TypeVar("Item")

HAND, PRINT, LETTER, NOISE = range(len(CATEGORIES))
# pages in folders of these names are print, all of them
PRINTED_COLLECTIONS = ("printed", "typed")

_SCORE_BAR = 0.06  # boxes of the detector that letters and noise are among
_SCALES = 0.06  # standard deviation of the logarithm of the scale that a page is shown at
_INK = 110
# intersection over union with a digit: above the first a box is that digit, below the second it is none
_SAME, _APART = 0.6, 0.2
_SURE = 0.4  # a stronger box outside all lines may be a digit that nobody transcribed
_MOST_OF_A_PAGE = 150  # crops of a category
_DRAWN_OF_A_PAGE = 110  # of these, boxes that a detector draws, where they are letters or noise
_MOST = 6000  # crops of a category, of all pages


def sorter_crops(
    pages: Iterable[LabelledPage], detector: Detector | None, rng: np.random.Generator
) -> TrainingCrops:
    """Return crops of labelled pages whose classes are places of `CATEGORIES`.

    With a detector its boxes come first of what is no digit, since those are what there will be to sort.
    """
    sets = []
    for page in pages:
        page, large = shown(page, rng, _SCALES)
        boxes: list[Box] = []
        classes: list[int] = []
        for category, found in enumerate(_by_category(page, detector, rng)):
            boxes += [box.scaled(CROP_ZOOM) for box in found]
            classes += [category] * len(found)
        sets.append(TrainingCrops(cut_boxes(large.ink, boxes, MARGIN_PX), np.array(classes, np.int64)))
    every = pooled_crops(sets)
    kept = [
        rng.permutation(np.flatnonzero(every.classes == category))[:_MOST]
        for category in range(len(CATEGORIES))
    ]
    some = np.sort(np.concatenate(kept))
    return TrainingCrops(every.crops[some], every.classes[some])


def fit_crop_sorter(
    classifier: DigitClassifier, config: ClassifierConfig, crops: TrainingCrops, seed: int
) -> tuple[CropSorterNetwork, CropSorterConfig, FittedHead]:
    """Return the crop sorter that crops make on the frozen features of a classifier, and what was fitted.

    Raises SourceError where one of the categories has fewer than two crops.
    """
    counts = np.bincount(crops.classes, minlength=len(CATEGORIES))
    few = [name for name, n in zip(CATEGORIES, counts, strict=True) if n < 2]
    if few:
        raise SourceError(
            f"the label sets show no {' and no '.join(few)}: two of each category at least are needed;"
            " `archive labels --drawn 20 -o drawn` makes pages with all of them"
        )
    features = features_of(classifier, crops, torch.device("cpu"))
    fitted = fit_head(features, crops.classes, len(CATEGORIES), seed)
    sorter = CropSorterConfig(config.channels, config.hidden, fitted.config.hidden, fitted.temperature)
    network = CropSorterNetwork(sorter)
    frozen = {name: value for name, value in classifier.state_dict().items() if "classes." not in name}
    network.classifier.load_state_dict(frozen)
    network.head.load_state_dict(fitted.head.state_dict())
    return network.eval(), sorter, fitted


def config_of(classifier: Path) -> ClassifierConfig:
    """Return the configuration of a classifier's checkpoint; MissingError."""
    config = read_metadata(classifier)[0].config
    return ClassifierConfig(**config | {"channels": tuple(config["channels"])})


def as_metadata(config: CropSorterConfig) -> dict[str, object]:
    """Return a configuration as a checkpoint keeps it."""
    return asdict(config) | {"channels": list(config.channels)}


def _by_category(
    page: LabelledPage, detector: Detector | None, rng: np.random.Generator
) -> tuple[list[Box], ...]:
    """Return the boxes of each category on a page at the detector's size."""
    found: tuple[list[Box], ...] = tuple([] for _ in CATEGORIES)
    all_print = page.collection in PRINTED_COLLECTIONS
    kinds = [PRINT if all_print or digit.printed else HAND for digit in page.digits]
    for kind, digit in zip(kinds, page.digits, strict=True):
        found[kind].append(digit.box)
    others = []
    if detector is not None:
        drawn = labelled_boxes(page, detector, _SCORE_BAR)
        for detection, nearest, iou in zip(drawn.detections, drawn.nearest, drawn.iou, strict=True):
            if iou > _SAME:
                found[kinds[nearest]].append(detection.box)
            elif iou < _APART:
                others.append((detection.box, detection.score))
    for digits in found[:LETTER]:
        digits[:] = _some(digits, _MOST_OF_A_PAGE, rng)
    for more, n in ((others, _DRAWN_OF_A_PAGE), ([(box, 0.0) for box in _parts(page.ink)], _MOST_OF_A_PAGE)):
        _sort_others(page, _some(more, len(more), rng), n, found)
    _sort_others(page, [(box, 0.0) for box in _windows(page, rng)], _MOST_OF_A_PAGE, found)
    return found


def _some(boxes: list[Item], n: int, rng: np.random.Generator) -> list[Item]:
    return [boxes[k] for k in rng.permutation(len(boxes))[:n]]


def _sort_others(
    page: LabelledPage, boxes: list[tuple[Box, float]], n: int, found: tuple[list[Box], ...]
) -> None:
    """Put boxes with scores, round no digit, to the letters and the noise until there are n of each."""
    for box, score in boxes:
        if len(found[LETTER]) >= n and len(found[NOISE]) >= n:
            return
        category = _without_digit(page, box, score)
        if category is not None and len(found[category]) < n:
            found[category].append(box)


def _without_digit(page: LabelledPage, box: Box, score: float) -> int | None:
    """Return what a box that was drawn round no digit shows: a letter, noise, or None where nobody knows."""
    x, y = (int(v) for v in box.centre)
    inside = 0 <= y < page.known.shape[0] and 0 <= x < page.known.shape[1]
    if not inside or page.known[y, x] == 0 or _touched(box, page.boxes) > 0.1:
        return None
    if page.words is not None:
        words = np.array([word.corners for word in page.words]).reshape(-1, 4)
        on_line = bool(((words[:, :2] <= (x, y)) & (words[:, 2:] > (x, y))).all(axis=1).any())
        beside = _touched(box, words) > 0
    elif page.collection == "drawn":  # a set of an older version: it does not say where words are
        return None
    else:
        on_line = page.known[y, x] == 2
        x0, y0, x1, y1 = (max(0, int(v)) for v in box.corners)
        beside = bool((page.known[y0 : y1 + 1, x0 : x1 + 1] != 1).any())
        if not on_line and score >= _SURE:
            return None
    if on_line:
        like_letter = 0.4 * DIGIT_PX <= box.height <= 2.2 * DIGIT_PX and box.width <= 1.8 * box.height
        return LETTER if like_letter else None
    return None if beside else NOISE


def _parts(ink: npt.NDArray[np.uint8]) -> list[Box]:
    """Return the parts of ink of a page, specks left out."""
    n, _, stats, _ = cv2.connectedComponentsWithStats((ink > _INK).astype(np.uint8), connectivity=8)
    return [
        Box(float(x), float(y), float(x + w), float(y + h))
        for x, y, w, h, area in stats[1:n]
        if area >= 4 and max(w, h) >= 4 and max(w, h) <= 4 * DIGIT_PX
    ]


def _windows(page: LabelledPage, rng: np.random.Generator) -> list[Box]:
    """Return boxes of a digit's size on ink anywhere: pieces of rules, of stains, of words."""
    y, x = np.nonzero(page.ink > _INK)
    boxes = []
    for k in rng.permutation(len(x))[: 4 * _MOST_OF_A_PAGE]:
        height = DIGIT_PX * float(np.exp(rng.normal(0, 0.25)))
        width = height * float(rng.uniform(0.4, 0.9))
        left, top = x[k] - width * rng.uniform(0.2, 0.8), y[k] - height * rng.uniform(0.2, 0.8)
        boxes.append(Box(left, top, left + width, top + height))
    return boxes


def _touched(box: Box, others: npt.NDArray[np.float64]) -> float:
    """Return the largest share of a box that one of the others, (N, 4), covers."""
    width = np.minimum(others[:, 2], box.x1) - np.maximum(others[:, 0], box.x0)
    height = np.minimum(others[:, 3], box.y1) - np.maximum(others[:, 1], box.y0)
    shared = width.clip(0) * height.clip(0)
    return float(shared.max(initial=0.0)) / max(box.width * box.height, 1e-9)


def counts_of(classes: Sequence[int] | npt.NDArray[np.int64]) -> dict[str, int]:
    """Return how many crops there are of each category."""
    counts = np.bincount(np.asarray(classes, np.int64), minlength=len(CATEGORIES))
    return dict(zip(CATEGORIES, counts.tolist(), strict=True))
