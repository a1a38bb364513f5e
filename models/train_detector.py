"""Training of the digit detector on labelled pages."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.augment import Boxes, sample_window
from models.detector import STRIDE, detector_loss, encode_size
from models.training import Losses, Recipe
from pipeline.labels import LabelledPage


@dataclass(frozen=True, slots=True)
class Windows:
    """Plain numbers of the windows that a training of the detector sees."""

    batch: int = 8
    size_px: int = 320
    outside: float = 0.4  # weight of paper outside all transcribed lines


@dataclass(frozen=True, slots=True)
class Batch:
    """Ink float (N, 1, S, S), the maps wanted (N, 5, S/2, S/2) and their weights (N, S/2, S/2)."""

    ink: Tensor
    target: Tensor
    weight: Tensor


def detector_recipe(minutes: float, seed: int, *, goes_on: bool) -> Recipe:
    """Return the recipe that the shipped detector was trained by; half the rate to go on."""
    return Recipe(minutes, learning_rate=1e-3 if goes_on else 2e-3, weight_decay=1e-3, seed=seed)


def detector_losses(network: nn.Module, batch: Batch, device: torch.device) -> Losses:
    """Return the losses of the network on a batch."""
    maps = network(batch.ink.to(device, memory_format=torch.channels_last))
    heat, boxes = detector_loss(maps, batch.target.to(device), batch.weight.to(device))
    return {"heat": heat, "boxes": 0.5 * boxes}


def detector_batches(
    sets: Sequence[tuple[Sequence[LabelledPage], float]], windows: Windows, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield batches without end.

    `sets` are collections of labelled pages, each with the share of the windows it gives.  Inside a set
    pages are taken by the square root of their digits, so that large ones don't drown the others.
    """
    pages = [page for part, _ in sets for page in part]
    chances = []
    for part, share in sets:
        weights = np.array([math.sqrt(len(page.digits)) + 4 for page in part])
        chances.append(share * weights / weights.sum())
    chance = np.concatenate(chances)
    chance /= chance.sum()
    while True:
        cut = [
            sample_window(pages[i], rng, windows.size_px)
            for i in rng.choice(len(pages), windows.batch, p=chance)
        ]
        ink = torch.from_numpy(np.stack([window[0] for window in cut])[:, None]).float() / 255
        target = torch.from_numpy(
            np.stack([draw_target(boxes, windows.size_px // STRIDE) for _, _, boxes in cut])
        )
        known = torch.from_numpy(np.stack([known[::STRIDE, ::STRIDE] for _, known, _ in cut]))
        weight = torch.tensor([0.0, windows.outside, 1.0])[known.long()]
        yield Batch(ink, target, torch.where(target[:, 0] == 1, torch.ones_like(weight), weight))


def draw_target(boxes: Boxes, size: int) -> npt.NDArray[np.float32]:
    """Return the maps (5, size, size) that the network should give for boxes (N, 4) in ink map pixels.

    Heat is an elliptical Gaussian at each centre, 1 exactly in the centre's cell.
    """
    target = np.zeros((5, size, size), np.float32)
    cells = np.arange(size, dtype=np.float32)
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 2.0)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / STRIDE
    rows = zip(centres.tolist(), sizes.tolist(), encode_size(sizes).tolist(), strict=True)
    for (x, y), (width, height), size_log in rows:
        column, row = min(int(x), size - 1), min(int(y), size - 1)
        sx, sy = max(width / STRIDE / 6, 0.7), max(height / STRIDE / 6, 0.7)
        left, right = max(0, column - int(4 * sx)), column + int(4 * sx) + 1
        top, bottom = max(0, row - int(4 * sy)), row + int(4 * sy) + 1
        across = np.exp(-((cells[left:right] - column) ** 2) / (2 * sx * sx))
        down = np.exp(-((cells[top:bottom] - row) ** 2) / (2 * sy * sy))
        heat = target[0, top:bottom, left:right]
        np.maximum(heat, down[:, None] * across[None, :], out=heat)
        target[1:, row, column] = (*size_log, x - column - 0.5, y - row - 0.5)
        target[0, row, column] = 1.0
    return target
