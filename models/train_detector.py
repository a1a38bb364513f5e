"""Training of the digit detector on labelled pages."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.augment import Boxes, sample_window
from models.detector import STRIDE, DigitDetector, detector_loss, encode_size
from pipeline.labels import LabelledPage


@dataclass(frozen=True, slots=True)
class DetectorRecipe:
    """Plain numbers of a training of the detector."""

    minutes: float = 30.0
    batch: int = 8
    window_px: int = 416
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    outside: float = 0.4  # weight of paper outside all transcribed lines
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands: share of its time, step, and the running losses."""

    done: float
    step: int
    losses: tuple[float, ...]


def train_detector(
    network: DigitDetector,
    sets: Sequence[tuple[Sequence[LabelledPage], float]],
    recipe: DetectorRecipe,
    device: torch.device,
    on_progress: Callable[[Progress], None],
) -> None:
    """Train the network in place until the recipe's minutes are over.

    `sets` are collections of labelled pages, each with the share of the windows it gives.  The learning
    rate rises for the first 3 % of the time and falls along a cosine after.  Steps are
    taken in bfloat16.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    began, running = time.monotonic(), (0.0, 0.0)
    for step, (ink, target, weight) in enumerate(_batches(sets, recipe, rng), start=1):
        done = (time.monotonic() - began) / (recipe.minutes * 60)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(done)
        with torch.autocast(device.type, torch.bfloat16):
            maps = network(ink.to(device, memory_format=torch.channels_last))
        heat, boxes = detector_loss(maps, target.to(device), weight.to(device))
        optimizer.zero_grad(set_to_none=True)
        (heat + 0.5 * boxes).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        keep = min(0.98, 1 - 1 / step)
        running = (
            keep * running[0] + (1 - keep) * float(heat.detach()),
            keep * running[1] + (1 - keep) * float(boxes.detach()),
        )
        on_progress(Progress(done, step, running))
    network.eval()


def schedule(done: float) -> float:
    """Return the share of the learning rate at a share of the time: a short rise, then a cosine."""
    return min(1.0, done / 0.03 + 0.05) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def _batches(
    sets: Sequence[tuple[Sequence[LabelledPage], float]], recipe: DetectorRecipe, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield batches without end: ink (N, 1, S, S), target (N, 5, S/2, S/2), weight (N, S/2, S/2).

    Inside a set pages are taken by the square root of their digits, so that large ones don't drown the
    others.
    """
    pages = [page for part, _ in sets for page in part]
    chances = []
    for part, share in sets:
        weights = np.array([math.sqrt(len(page.digits)) + 4 for page in part])
        chances.append(share * weights / weights.sum())
    chance = np.concatenate(chances)
    chance /= chance.sum()
    while True:
        windows = [
            sample_window(pages[i], rng, recipe.window_px)
            for i in rng.choice(len(pages), recipe.batch, p=chance)
        ]
        ink = torch.from_numpy(np.stack([window[0] for window in windows])[:, None]).float() / 255
        targets = [draw_target(boxes, recipe.window_px // STRIDE) for _, _, boxes in windows]
        known = np.stack([known[::STRIDE, ::STRIDE] for _, known, _ in windows])
        target = torch.from_numpy(np.stack(targets))
        weight = torch.tensor([0.0, recipe.outside, 1.0])[torch.from_numpy(known).long()]
        yield ink, target, torch.where(target[:, 0] == 1, torch.ones_like(weight), weight)


def draw_target(boxes: Boxes, size: int) -> npt.NDArray[np.float32]:
    """Return the maps (5, size, size) that the network should give for boxes (N, 4) in ink map pixels.

    Heat is an elliptical Gaussian at each centre, 1 exactly in the centre's cell.
    """
    target = np.zeros((5, size, size), np.float32)
    cells = np.arange(size, dtype=np.float32)
    for x0, y0, x1, y1 in boxes:
        x, y = (x0 + x1) / 2 / STRIDE, (y0 + y1) / 2 / STRIDE
        column, row = min(int(x), size - 1), min(int(y), size - 1)
        width, height = max(x1 - x0, 2.0), max(y1 - y0, 2.0)
        sx, sy = max(width / STRIDE / 6, 0.7), max(height / STRIDE / 6, 0.7)
        left, right = max(0, column - int(4 * sx)), column + int(4 * sx) + 1
        top, bottom = max(0, row - int(4 * sy)), row + int(4 * sy) + 1
        across = np.exp(-((cells[left:right] - column) ** 2) / (2 * sx * sx))
        down = np.exp(-((cells[top:bottom] - row) ** 2) / (2 * sy * sy))
        heat = target[0, top:bottom, left:right]
        np.maximum(heat, down[:, None] * across[None, :], out=heat)
        size_log = encode_size(torch.tensor([width, height])).numpy()
        target[1:, row, column] = (*size_log, x - column - 0.5, y - row - 0.5)
        target[0, row, column] = 1.0
    return target
