"""The judge: says whether a number that was read is the whole number that stands there.

Digit by digit all may be right and the number still wrong: one was missed, or a letter beside was taken
for one.  The judge looks at the number with what stands round it, and at what the other networks said
about its digits, and gives the chance that a person would write down the same number (confidence from a
network of its own: Corbière and others 2019, "Addressing Failure Prediction by Learning Model
Confidence").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import conv
from models.recogniser import N_ANSWERS
from pipeline.confidence import REJECT, logit
from pipeline.context import N_CONTEXT, number_context
from pipeline.doubts import N_DOUBTS, doubt_features
from pipeline.page import Number, PageDetections
from pipeline.turning import upright_corners

_LENGTHS = 6  # numbers with more digits count as this long
N_CLUES = _LENGTHS + 14 + N_DOUBTS + N_ANSWERS + N_CONTEXT  # of a number: see `number_clues`

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """Plain numbers that make a judge."""

    channels: tuple[int, int, int] = (16, 32, 64)  # at strides 2, 4, 8
    width: int = 48
    dropout: float = 0.3


class NumberJudge(nn.Module):
    """Strips (M, 3, 36, 144), float 0 to 1, and clues (M, 81) → log-odds that each number is right, (M,)."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        a, b, c = config.channels
        self.look = nn.Sequential(
            conv(3, a, stride=2), conv(a, b), conv(b, b, stride=2), conv(b, c), conv(c, c, stride=2)
        )
        self.seen = nn.Dropout(config.dropout)
        self.said = nn.Sequential(nn.BatchNorm1d(N_CLUES, affine=False), nn.Dropout(config.dropout / 3))
        self.odds = nn.Sequential(
            nn.Linear(2 * c + N_CLUES, config.width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.width, config.width // 2),
            nn.ReLU(),
            nn.Linear(config.width // 2, 1),
        )

    def forward(self, strips: Tensor, clues: Tensor) -> Tensor:
        """(M, 3, 36, 144), (M, 81) → (M,)."""
        x = self.look(strips)
        seen = self.seen(torch.cat([x.amax(dim=(2, 3)), x.mean(dim=(2, 3))], dim=1))
        odds: Tensor = self.odds(torch.cat([seen, self.said(clues)], dim=1))[:, 0]
        return odds


def judge_loss(odds: Tensor, is_right: Tensor) -> Tensor:
    """Return the cross-entropy of log-odds (M,) against 1.0 for a right number and 0.0 for a wrong one."""
    return F.binary_cross_entropy_with_logits(odds, is_right)


def number_clues(
    numbers: Sequence[Number],
    found: PageDetections,
    chances: npt.NDArray[np.float32],
    odds: Floats,
    doubts: Floats,
    answers: Floats,
) -> npt.NDArray[np.float32]:
    """Return what the other networks said about each number's digits, and its page about it, float32 (M, 81).

    `chances` (N, 11) are the classifier's, `odds` (N,) the rescorer's, `doubts` (M, 3) those of
    `number_doubts`, `answers` (M, 6) the recogniser's.  How many digits there are, how they stand, the least
    sure of them, the doubts, the answers, and its context.
    """
    boxes, scores = upright_corners(found.detections, found.turned), logit(np.array(found.scores, np.float64))
    rows = []
    for number in numbers:
        own, digits = list(number.members), [int(digit) for digit in number.text]
        rows.append(_clues(boxes[own], scores[own], digits, chances[own].astype(np.float64), odds[own]))
    clues = np.array(rows, np.float64).reshape(-1, _LENGTHS + 14)
    context = number_context(numbers, found, odds)
    return np.column_stack([clues, doubt_features(doubts), answers, context]).astype(np.float32)


def _clues(boxes: Floats, scores: Floats, digits: list[int], chances: Floats, odds: Floats) -> list[float]:
    height, middle = boxes[:, 3] - boxes[:, 1], (boxes[:, 1] + boxes[:, 3]) / 2
    gaps = (
        (boxes[1:, 0] - boxes[:-1, 2]) / ((height[1:] + height[:-1]) / 2) if len(boxes) > 1 else np.zeros(1)
    )
    place = np.arange(len(digits))
    best, reject, others = chances[place, digits], chances[:, REJECT], chances[:, :REJECT].copy()
    others[place, digits] = 0.0  # not always less likely: the number as a whole may have told otherwise
    together = float(best.prod())
    return [
        *np.eye(_LENGTHS)[min(len(boxes), _LENGTHS) - 1],
        gaps.max(),
        gaps.min(),
        np.log(height.max() / height.min()),
        np.ptp(middle) / height.mean(),
        odds.min(),
        odds.mean(),
        odds.max(),
        scores.min(),
        scores.mean(),
        float(logit(reject.max())),
        float(logit(best.min())),
        float(logit(together)),
        (best - others.max(axis=1)).min(),
        np.log(together + 1e-4),
    ]
