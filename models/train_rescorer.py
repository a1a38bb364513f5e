"""Training of the rescorer on the boxes that the other networks draw on transcribed pages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.loaded import Classifier, Detector
from models.rescorer import box_features, rescorer_loss, single_boxes, strengths
from models.training import Losses, Recipe
from pipeline.confidence import REJECT
from pipeline.crops import cut_crops
from pipeline.scoring import right_digits, score_page
from pipeline.transcriptions import BESIDE, Line

_BATCH = 512

Batch = tuple[Tensor, Tensor]  # features (N, 40), 1.0 where there is a digit (N,)


@dataclass(frozen=True, eq=False, slots=True)
class BoxTruths:
    """Of the boxes of a page whose truth is known: features float32 (N, 40), and whether each is a digit."""

    features: npt.NDArray[np.float32]
    is_digit: npt.NDArray[np.bool_]


def rescorer_recipe(minutes: float, seed: int) -> Recipe:
    """Return the recipe that the shipped rescorer was trained by."""
    return Recipe(minutes, learning_rate=3e-3, weight_decay=3e-2, seed=seed)


def box_truths(
    detector: Detector, classifier: Classifier, grey: npt.NDArray[np.uint8], lines: Sequence[Line]
) -> BoxTruths:
    """Return what the networks draw on an upright page, uint8 (H, W), and which of it its lines confirm.

    Boxes outside all lines, or on one that was not wholly transcribed, say nothing.
    """
    found = detector.detect(grey)
    chances = classifier.chances(cut_crops(grey, found))
    features = box_features(chances, found)
    if not len(features):
        return BoxTruths(features, np.zeros(0, bool))
    single = np.flatnonzero(single_boxes(found, strengths(chances, found), np.ones(len(features), bool)))
    digits = chances[single, :REJECT].argmax(axis=1).tolist()
    score = score_page(lines, [found.detections[i].box for i in single], digits, BESIDE)
    is_digit, known = np.zeros(len(features), bool), np.ones(len(features), bool)
    is_digit[single] = right_digits(score, digits)
    known[single[list(score.outside)]] = False
    for scored in score.lines:
        if scored.line.is_unread:
            known[single[list(scored.found)]] = False
    return BoxTruths(features[known], is_digit[known])


def rescorer_losses(network: nn.Module, batch: Batch, device: torch.device) -> Losses:
    """Return the losses of the network on a batch."""
    features, is_digit = batch
    return {"boxes": rescorer_loss(network(features.to(device)), is_digit.to(device))}


def rescorer_batches(pages: Sequence[BoxTruths], rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches without end, each box as often as any other."""
    features = torch.from_numpy(np.concatenate([page.features for page in pages]))
    is_digit = torch.from_numpy(np.concatenate([page.is_digit for page in pages]).astype(np.float32))
    while True:
        order = torch.from_numpy(rng.permutation(len(features)))
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            if len(chosen) > 1:  # batch normalisation needs two
                yield features[chosen], is_digit[chosen]
