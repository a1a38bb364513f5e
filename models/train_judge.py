"""Training of the judge on the numbers that the other networks read on transcribed pages."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.judge import judge_loss
from models.loaded import Detector
from models.reader import ACCEPT_BAR, CropsRead, Readers, read_chances, read_crops
from models.strip_changes import change_strips
from models.training import Losses, Recipe
from pipeline.confidence import logit
from pipeline.crops import cut_crops
from pipeline.numbers import among
from pipeline.page import PageDetections
from pipeline.scoring import right_numbers, score_page
from pipeline.strips import Strips
from pipeline.transcriptions import BESIDE, Line

_BATCH = 128
# how pages are seen otherwise: of the pages so many
_MORE_SEEN, _SIDE_MISSED = 0.35, 0.4
# of the numbers or boxes that this may happen to, each so often; and a missed digit has no box at all
_EACH_SEEN, _EACH_OF_SIDE, _EACH_MISSED, _NO_BOX = 0.5, 0.9, 0.3, 0.5
_WEAK = 2.0  # log-odds below the bar that a box may be raised from

Batch = tuple[Tensor, Tensor, Tensor]  # strips uint8 (N, 3, 36, 144), clues (N, 81), 1.0 where right (N,)


@dataclass(frozen=True, eq=False, slots=True)
class NumberTruths:
    """Of the numbers of a page whose truth is known: strips, clues float32 (N, 81), whether each is right."""

    strips: Strips
    clues: npt.NDArray[np.float32]
    is_right: npt.NDArray[np.bool_]


def judge_recipe(minutes: float, seed: int) -> Recipe:
    """Return the recipe that the shipped judge was trained by."""
    return Recipe(minutes, learning_rate=2e-3, weight_decay=5e-2, seed=seed)


def number_truths(
    detector: Detector,
    readers: Readers,
    rng: np.random.Generator,
    grey: npt.NDArray[np.uint8],
    lines: Sequence[Line],
) -> NumberTruths:
    """Return the numbers that the networks read on an upright page, uint8 (H, W), and which are right.

    They come twice: as they are read, and as they would be had the networks seen less and more.  Numbers
    with a digit outside all lines, or on one that was not wholly transcribed, say nothing.
    """
    found = detector.detect(grey)
    crops = cut_crops(grey, found)
    read = read_crops(found, crops, readers)
    left, odds = _seen_otherwise(read, rng)
    otherwise = replace(found, detections=tuple(found.detections[i] for i in left))
    read_so = read_chances(otherwise, crops[left], read.chances[left], odds[left], readers)
    both = [_truths(found, read, lines), _truths(otherwise, read_so, lines)]
    return NumberTruths(
        np.concatenate([truths.strips for truths in both]),
        np.concatenate([truths.clues for truths in both]),
        np.concatenate([truths.is_right for truths in both]),
    )


def _truths(found: PageDetections, read: CropsRead, lines: Sequence[Line]) -> NumberTruths:
    accepted = [i for i, reading in enumerate(read.readings) if reading.digit is not None]
    digits = [reading.digit for reading in read.readings if reading.digit is not None]
    score = score_page(lines, [found.detections[i].box for i in accepted], digits, BESIDE)
    numbers = among(read.numbers, accepted)
    unknown = {*score.outside, *(i for line in score.lines if line.line.is_unread for i in line.found)}
    known = np.array([unknown.isdisjoint(number.members) for number in numbers], bool)
    is_right = right_numbers(score, digits, numbers)
    return NumberTruths(read.strips[known], read.clues[known], is_right[known])


def _seen_otherwise(
    read: CropsRead, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return which detections are left (K,), and all odds (N,), where some digits are missed and others seen.

    Here and there a digit is missed, or all numbers of a page lack the same end, as where a column is cut
    off; and on some pages boxes that were not accepted are.
    """
    odds, bar = read.odds.copy(), float(logit(ACCEPT_BAR))
    if rng.random() < _MORE_SEEN:
        weak = (odds < bar) & (odds > bar - _WEAK) & (rng.random(len(odds)) < _EACH_SEEN)
        odds[weak] = bar + rng.uniform(0, _WEAK, int(weak.sum()))
    several = [number.members for number in read.numbers if len(number.members) > 1]
    if rng.random() < _SIDE_MISSED:
        end = -int(rng.integers(2))  # the first digits or the last
        missed = [members[end] for members in several if rng.random() < _EACH_OF_SIDE]
    else:
        missed = [
            members[int(rng.integers(len(members)))] for members in several if rng.random() < _EACH_MISSED
        ]
    gone = np.zeros(len(odds), bool)
    gone[missed] = rng.random(len(missed)) < _NO_BOX
    odds[missed] = bar - rng.uniform(0, 2 * _WEAK, len(missed))
    return np.flatnonzero(~gone), odds


def judge_losses(network: nn.Module, batch: Batch, device: torch.device) -> Losses:
    """Return the losses of the network on a batch."""
    strips, clues, is_right = batch
    with torch.autocast(device.type, enabled=False):  # in bfloat16 places are a tenth of a pixel off
        seen = change_strips(strips.to(device), lean=0.12)
    odds = network(seen.contiguous(memory_format=torch.channels_last), clues.to(device))
    return {"numbers": judge_loss(odds, is_right.to(device))}


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
