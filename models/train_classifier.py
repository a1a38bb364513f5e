"""Training of the digit classifier on crops."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.classifier import REJECT, DigitClassifier, classifier_loss
from models.train_detector import Progress, schedule
from models.training_crops import TrainingCrops
from pipeline.crops import CROP_SIZE_PX


@dataclass(frozen=True, slots=True)
class ClassifierRecipe:
    """Plain numbers of a training of the classifier."""

    minutes: float = 15.0
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    rejects: float = 0.25  # share of rejects in a batch: more of them cost digits
    seed: int = 0


def train_classifier(
    network: DigitClassifier,
    sets: list[tuple[TrainingCrops, float]],
    recipe: ClassifierRecipe,
    device: torch.device,
    on_progress: Callable[[Progress], None],
) -> None:
    """Train the network in place until the recipe's minutes are over.

    `sets` are collections of crops, each with the share of a batch's digits it gives; every class is
    drawn equally often.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    began, running = time.monotonic(), 0.0
    for step, (crops, classes) in enumerate(_batches(sets, recipe, rng), start=1):
        done = (time.monotonic() - began) / (recipe.minutes * 60)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(done)
        seen = change_crops(crops.to(device))
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(seen.contiguous(memory_format=torch.channels_last))
        loss = classifier_loss(logits, classes.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        keep = min(0.98, 1 - 1 / step)
        running = keep * running + (1 - keep) * float(loss.detach())
        on_progress(Progress(done, step, (running,)))
    network.eval()


def change_crops(wide: Tensor) -> Tensor:
    """Return wide crops, uint8 (N, 64, 64), turned, slanted, resized and inked anew.

    The answer is float (N, 1, 40, 40), 0 to 1.
    """
    n, side = len(wide), wide.shape[-1]
    ink = wide[:, None].float() / 255
    turn = torch.randn(n) * math.radians(5)
    slant = torch.randn(n) * 0.15
    zoom_x, zoom_y = (torch.exp(torch.randn(n) * 0.08) for _ in range(2))
    cos, sin = turn.cos(), turn.sin()
    shape = torch.stack([zoom_x * cos, slant * zoom_x - sin, zoom_y * sin, zoom_y * cos], dim=1).view(n, 2, 2)
    shift = torch.randn(n, 2, 1) * 1.5 * 2 / side
    matrix = torch.cat([shape * (CROP_SIZE_PX / side), shift], dim=2).to(wide.device)
    grid = F.affine_grid(matrix, [n, 1, CROP_SIZE_PX, CROP_SIZE_PX], align_corners=False)
    seen = F.grid_sample(ink, grid, align_corners=False)
    kind = torch.rand(n, 1, 1, 1, device=wide.device)
    seen = torch.where(kind < 0.2, F.max_pool2d(seen, 3, 1, 1), seen)  # a broader pen
    seen = torch.where((kind > 0.2) & (kind < 0.35), -F.max_pool2d(-seen, 3, 1, 1), seen)  # a finer one
    seen = torch.where(kind > 0.8, F.avg_pool2d(seen, 3, 1, 1), seen)  # out of focus
    strength = torch.empty(n, 1, 1, 1, device=wide.device).uniform_(0.6, 1.3)
    grain = torch.randn_like(seen) * torch.empty_like(strength).uniform_(0, 0.06)
    return (seen * strength + grain).clamp(0, 1)


def _batches(
    sets: list[tuple[TrainingCrops, float]], recipe: ClassifierRecipe, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    rows = [[np.flatnonzero(part.classes == c) for c in range(REJECT + 1)] for part, _ in sets]
    share = np.array([share for _, share in sets])
    with_rejects = [k for k in range(len(sets)) if len(rows[k][REJECT])]
    while True:
        crops, classes = [], []
        for _ in range(recipe.batch):
            c = REJECT if with_rejects and rng.random() < recipe.rejects else int(rng.integers(10))
            able = np.array([share[k] if len(rows[k][c]) else 0.0 for k in range(len(sets))])
            k = int(rng.choice(len(sets), p=able / able.sum()))
            crops.append(sets[k][0].crops[rng.choice(rows[k][c])])
            classes.append(c)
        yield torch.from_numpy(np.stack(crops)), torch.tensor(classes)
