"""Training of the judge on the numbers that the other networks read on transcribed pages."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.judge import judge_loss, number_clues
from models.reader import Classifier, Detector, Rescorer, read_crops
from models.training import Losses, Recipe
from pipeline.crops import cut_crops
from pipeline.numbers import among
from pipeline.scoring import right_numbers, score_page
from pipeline.strips import Strips, number_strips
from pipeline.transcriptions import BESIDE, Line

_BATCH = 128

Batch = tuple[Tensor, Tensor, Tensor]  # strips uint8 (N, 3, 28, 112), clues (N, 23), 1.0 where right (N,)


@dataclass(frozen=True, eq=False, slots=True)
class NumberTruths:
    """Of the numbers of a page whose truth is known: strips, clues float32 (N, 23), whether each is right."""

    strips: Strips
    clues: npt.NDArray[np.float32]
    is_right: npt.NDArray[np.bool_]


def judge_recipe(minutes: float, seed: int) -> Recipe:
    """Return the recipe that the shipped judge was trained by."""
    return Recipe(minutes, learning_rate=2e-3, weight_decay=5e-2, seed=seed)


def number_truths(
    detector: Detector,
    classifier: Classifier,
    rescorer: Rescorer,
    grey: npt.NDArray[np.uint8],
    lines: Sequence[Line],
) -> NumberTruths:
    """Return the numbers that the networks read on an upright page, uint8 (H, W), and which are right.

    Numbers with a digit outside all lines, or on one that was not wholly transcribed, say nothing.
    """
    found = detector.detect(grey)
    crops = cut_crops(grey, found)
    read = read_crops(found, crops, classifier, rescorer)
    accepted = [i for i, reading in enumerate(read.readings) if reading.digit is not None]
    digits = [reading.digit for reading in read.readings if reading.digit is not None]
    score = score_page(lines, [found.detections[i].box for i in accepted], digits, BESIDE)
    numbers = among(read.numbers, accepted)
    unknown = {*score.outside, *(i for line in score.lines if line.line.is_unread for i in line.found)}
    known = np.array([unknown.isdisjoint(number.members) for number in numbers], bool)
    clues = number_clues(read.numbers, found, read.chances, read.odds, read.doubts)
    strips = number_strips(read.numbers, found, read.odds, crops)
    return NumberTruths(strips[known], clues[known], right_numbers(score, digits, numbers)[known])


def judge_losses(network: nn.Module, batch: Batch, device: torch.device) -> Losses:
    """Return the losses of the network on a batch."""
    strips, clues, is_right = batch
    with torch.autocast(device.type, enabled=False):  # in bfloat16 places are a tenth of a pixel off
        seen = change_strips(strips.to(device))
    odds = network(seen.contiguous(memory_format=torch.channels_last), clues.to(device))
    return {"numbers": judge_loss(odds, is_right.to(device))}


def change_strips(strips: Tensor) -> Tensor:
    """Return strips, uint8 (N, 3, 28, 112), slanted, moved, resized and inked anew, float 0 to 1."""
    n, _, height, width = strips.shape
    matrix = torch.zeros(n, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = torch.exp(torch.randn(2, n) * 0.06)
    matrix[:, 0, 1] = torch.randn(n) * 0.12 * height / width
    matrix[:, 0, 2], matrix[:, 1, 2] = torch.randn(n) * 1.3 / width, torch.randn(n) * 1.4 / height
    grid = F.affine_grid(matrix, list(strips.shape), align_corners=False)
    seen = F.grid_sample(strips.float() / 255, grid.to(strips.device), align_corners=False)
    ink = seen[:, :1] * torch.empty(n, 1, 1, 1, device=seen.device).uniform_(0.7, 1.25)
    kind = torch.rand(n, 1, 1, 1, device=seen.device)
    ink = torch.where(kind < 0.15, F.max_pool2d(ink, 3, 1, 1), ink)  # a broader pen, or out of focus
    ink = torch.where(kind > 0.8, F.avg_pool2d(ink, 3, 1, 1), ink)
    grain = torch.randn_like(ink) * torch.rand(n, 1, 1, 1, device=seen.device) * 0.05
    return torch.cat([(ink + grain).clamp(0, 1), seen[:, 1:]], dim=1)


def judge_batches(pages: Sequence[NumberTruths], rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches without end, each number as often as any other."""
    strips = torch.from_numpy(np.concatenate([page.strips for page in pages]))
    clues = torch.from_numpy(np.concatenate([page.clues for page in pages]))
    is_right = torch.from_numpy(np.concatenate([page.is_right for page in pages]).astype(np.float32))
    per_epoch = math.ceil(len(is_right) / _BATCH)
    while True:
        for chosen in np.array_split(rng.permutation(len(is_right)), per_epoch):
            if len(chosen) > 1:  # batch normalisation needs two
                yield strips[chosen], clues[chosen], is_right[chosen]
