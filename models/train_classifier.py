"""Training of the digit classifier on crops."""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.classifier import classifier_loss
from models.training import Losses, Recipe
from models.training_crops import TrainingCrops
from pipeline.confidence import REJECT
from pipeline.crops import CROP_SIZE_PX, VIEWS

Batch = tuple[Tensor, Tensor]  # wide crops uint8 (N, 2, 64, 64), classes int64 (N,)

BATCH, BATCH_TO_GO_ON = 256, 64  # crops; from few labels a training that goes on learns in a minute
_REJECTS = 0.25  # share of rejects in a batch: more of them cost digits
_BENDS, _BENT_PX = 5, 2.0  # strokes are bent between so many places a side, by up to about so many pixels


def classifier_recipe(minutes: float, seed: int, *, goes_on: bool) -> Recipe:
    """Return the recipe that the shipped classifier was trained by; half the rate to go on."""
    return Recipe(minutes, learning_rate=1e-3 if goes_on else 2e-3, weight_decay=1e-2, seed=seed)


def classifier_losses(network: nn.Module, batch: Batch, device: torch.device) -> Losses:
    """Return the losses of the network on a batch."""
    crops, classes = batch
    with torch.autocast(device.type, enabled=False):  # in bfloat16 places are a tenth of a pixel off
        seen = change_crops(crops.to(device))
    logits = network(seen.contiguous(memory_format=torch.channels_last))
    return {"classes": classifier_loss(logits, classes.to(device))}


def change_crops(wide: Tensor) -> Tensor:
    """Return wide crops, uint8 (N, 2, 64, 64), turned, slanted, bent, resized and inked anew.

    The answer is float (N, 2, 40, 40), 0 to 1.
    """
    n, n_views, side = wide.shape[:3]
    turn = torch.randn(n) * math.radians(5)
    slant = torch.randn(n) * 0.22
    zoom_x, zoom_y = (torch.exp(torch.randn(n) * 0.08) for _ in range(2))
    cos, sin = turn.cos(), turn.sin()
    shape = torch.stack([zoom_x * cos, slant * zoom_x - sin, zoom_y * sin, zoom_y * cos], dim=1).view(n, 2, 2)
    shift = torch.randn(n, 2, 1) * 1.5 * 2 / side
    bend = torch.randn(n, 2, _BENDS, _BENDS) * torch.rand(n, 1, 1, 1) * _BENT_PX * 2 / side
    bend = F.interpolate(bend, size=CROP_SIZE_PX, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    strength = torch.empty(n, 1, 1, 1, device=wide.device).uniform_(0.6, 1.3)
    kind = torch.rand(n, 1, 1, 1, device=wide.device)
    views = []
    for k in range(n_views):
        smaller = VIEWS[0] / VIEWS[k]  # what is moved moves less in a far view
        matrix = torch.cat([shape * (CROP_SIZE_PX / side), shift * smaller], dim=2)
        grid = F.affine_grid(matrix, [n, 1, CROP_SIZE_PX, CROP_SIZE_PX], align_corners=False)
        if k == 0:
            grid = grid + bend
        ink = wide[:, k : k + 1].float() / 255
        seen = F.grid_sample(ink, grid.to(wide.device), align_corners=False)
        if k == 0:
            seen = _other_pen(seen, kind)
        grain = torch.randn_like(seen) * torch.empty_like(strength).uniform_(0, 0.06)
        views.append(seen * strength + grain)
    return torch.cat(views, dim=1).clamp(0, 1)


def _other_pen(seen: Tensor, kind: Tensor) -> Tensor:
    """Return views (N, 1, S, S) in a broader pen, a finer one, out of focus or as they are; `kind` 0 to 1."""
    seen = torch.where(kind < 0.2, F.max_pool2d(seen, 3, 1, 1), seen)
    seen = torch.where((kind > 0.2) & (kind < 0.35), -F.max_pool2d(-seen, 3, 1, 1), seen)
    return torch.where(kind > 0.8, F.avg_pool2d(seen, 3, 1, 1), seen)


def classifier_batches(
    sets: list[tuple[TrainingCrops, float]], rng: np.random.Generator, n: int = BATCH
) -> Iterator[Batch]:
    """Yield batches of n crops without end.

    `sets` are collections of crops, each with the share of a batch's digits it gives; every class
    that there is is drawn equally often.
    """
    rows = [[np.flatnonzero(part.classes == c) for c in range(REJECT + 1)] for part, _ in sets]
    share = np.array([share for _, share in sets])
    there = [c for c in range(REJECT + 1) if any(len(of_set[c]) for of_set in rows)]
    digits = [c for c in there if c != REJECT] or there
    while True:
        crops, classes = [], []
        for _ in range(n):
            c = REJECT if REJECT in there and rng.random() < _REJECTS else int(rng.choice(digits))
            able = np.array([share[k] if len(rows[k][c]) else 0.0 for k in range(len(sets))])
            k = int(rng.choice(len(sets), p=able / able.sum()))
            crops.append(sets[k][0].crops[rng.choice(rows[k][c])])
            classes.append(c)
        yield torch.from_numpy(np.stack(crops)), torch.tensor(classes)
