"""The rescorer: says from what stands beside a box whether it holds a digit.

A strong box may be a letter of a word, and a faint one the nought of a number; neighbours tell (Pato,
Negrinho and Aguiar 2020, "Seeing without Looking: Contextual Rescoring of Object Detections").  It sees no
pixels, only what the detector and the classifier say about the boxes of a page.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchvision.ops import nms

from pipeline.confidence import REJECT, logit
from pipeline.numbers import CORE
from pipeline.page import PageDetections
from pipeline.turning import upright_corners

N_FEATURES = 40  # of a box: see `box_features`
_STRONG, _WEAK = 0.45, 0.3  # score times chance of the best digit: of what is counted beside a box
_NEAREST = 2  # on each side
_FAR = 9.0  # where nobody stands beside a box
_NOBODY = -7.0  # the log-odds of nobody
_ROWS = 256  # boxes looked at at a time, so that memory is bounded

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RescorerConfig:
    """Plain numbers that make a rescorer."""

    width: int = 32
    dropout: float = 0.15


class DigitRescorer(nn.Module):
    """Features of boxes (N, 40) → the log-odds that each holds the digit that looks best in it, (N,)."""

    def __init__(self, config: RescorerConfig) -> None:
        super().__init__()
        width = config.width
        self.layers = nn.Sequential(
            nn.BatchNorm1d(N_FEATURES, affine=False),
            nn.Linear(N_FEATURES, width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, 40) → (N,)."""
        odds: Tensor = self.layers(features)[:, 0]
        return odds


def rescorer_loss(odds: Tensor, is_digit: Tensor) -> Tensor:
    """Return the cross-entropy of log-odds (N,) against 1.0 for a digit and 0.0 for none, (N,)."""
    return nn.functional.binary_cross_entropy_with_logits(odds, is_digit)


def box_features(chances: npt.NDArray[np.float32], found: PageDetections) -> npt.NDArray[np.float32]:
    """Return what the rescorer sees of each of a page's N boxes, float32 (N, 40).

    `chances` (N, 11) are the classifier's.  Of the box itself: score, best digit, its chance, margin and
    reject, shape and size; of each side: the two nearest boxes on the line, the strongest one within a
    digit's gap, and how many strong and weak ones stand there; and what else stands at its place.
    """
    if not found.detections:
        return np.zeros((0, N_FEATURES), np.float32)
    boxes, strength = upright_corners(found.detections, found.turned), strengths(chances, found)
    # in an order of their own: what a box sees must not depend on the order that they came in
    order = np.lexsort((strength, boxes[:, 0], boxes[:, 1], boxes[:, 1] + boxes[:, 3]))
    beside = np.zeros((len(boxes), 23), np.float64)
    beside[order] = _beside(boxes[order], strength[order])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    strong = strength > _STRONG
    usual = np.median(height[strong]) if strong.sum() > 5 else np.median(height)
    digits = np.sort(chances[:, :REJECT].astype(np.float64), axis=1)
    own = np.column_stack(
        [
            logit(np.array(found.scores)),
            logit(digits[:, -1]),
            logit(chances[:, REJECT]),
            digits[:, -1] - digits[:, -2],
            logit(strength),
            width / height,
            np.log(height / usual),
            np.eye(REJECT)[chances[:, :REJECT].argmax(axis=1)],
        ]
    )
    return np.concatenate([own, beside], axis=1).astype(np.float32)


def strengths(chances: npt.NDArray[np.float32], found: PageDetections) -> Floats:
    """Return the score of each box times the chance of its best digit, (N,)."""
    best = chances[:, :REJECT].max(axis=1, initial=0.0).astype(np.float64)
    return np.asarray(np.array(found.scores, np.float64) * best)


def single_boxes(found: PageDetections, odds: Floats, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which detections stay where several are round one digit, bool (N,).

    Only those `among`, bool (N,), are looked at; the better ones by their `odds` (N,) stay.
    """
    positions = np.flatnonzero(among)
    corners = [found.detections[i].box.corners for i in positions]
    boxes = torch.tensor(corners, dtype=torch.float64).reshape(-1, 4)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * CORE
    kept = nms(torch.cat([centre - half, centre + half], dim=1), torch.from_numpy(odds[positions]), 0.0)
    stays = np.zeros(len(odds), bool)
    stays[positions[kept.numpy()]] = True
    return stays


def _beside(boxes: Floats, strength: Floats) -> Floats:
    """Return what stands beside each box, (N, 23); boxes (N, 4) come from the top to the bottom."""
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    reach = float((boxes[:, 3] - boxes[:, 1]).max())  # none further up or down shares a line
    rows = []
    for start in range(0, len(boxes), _ROWS):
        these = slice(start, start + _ROWS)
        first = np.searchsorted(middle, middle[these][0] - reach, side="left")
        last = np.searchsorted(middle, middle[these][-1] + reach, side="right")
        rows.append(_beside_these(boxes[these], boxes[first:last], strength[first:last]))
    return np.concatenate(rows)


def _beside_these(these: Floats, boxes: Floats, strength: Floats) -> Floats:
    n, odds = len(these), logit(strength)
    height, their_height = these[:, 3] - these[:, 1], boxes[:, 3] - boxes[:, 1]
    x, their_x = (these[:, 0] + these[:, 2]) / 2, (boxes[:, 0] + boxes[:, 2]) / 2
    y, their_y = (these[:, 1] + these[:, 3]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    mean = (height[:, None] + their_height) / 2
    across = (their_x - x[:, None]) / mean
    shared = np.minimum(these[:, None, 3], boxes[:, 3]) - np.maximum(these[:, None, 1], boxes[:, 1])
    in_line = (shared > 0.35 * np.minimum(height[:, None], their_height)) & (np.abs(across) > 0.3)
    seen = []
    for right in (True, False):
        space = boxes[:, 0] - these[:, None, 2] if right else these[:, None, 0] - boxes[:, 2]
        gap = np.where(in_line & ((across > 0) == right), space / mean, _FAR)
        near = np.argsort(gap, axis=1, kind="stable")[:, :_NEAREST]
        for k in range(_NEAREST):
            j = near[:, min(k, near.shape[1] - 1)]
            of_j = np.where(k < near.shape[1], gap[np.arange(n), j], _FAR)
            there = of_j < 3
            seen += [
                np.where(there, of_j, _FAR),
                np.where(there, odds[j], _NOBODY),
                np.where(there, np.log(their_height[j] / height), 0.0),
                np.where(there, (their_y[j] - y) / height, 0.0),
            ]
        seen.append(np.where(gap < 0.8, odds, _NOBODY).max(axis=1))
        seen += [((gap < 8) & (strength > _STRONG)).sum(axis=1), ((gap < 8) & (strength < _WEAK)).sum(axis=1)]
    tall = np.maximum(height[:, None], their_height)
    same = (np.abs(their_x - x[:, None]) < 0.5 * tall) & (np.abs(their_y - y[:, None]) < 0.5 * tall)
    same &= (these[:, None, :] != boxes).any(axis=2)
    seen.append(np.where(same, odds, _NOBODY).max(axis=1))
    return np.column_stack(seen)
