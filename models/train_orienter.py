"""Training of the orienter on windows of upright pages, turned by quarters: no labels are needed."""

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.augment import change_ink
from models.orienter import N_TURNS, WINDOW_PX, orienter_loss
from models.scale import ORIENT_DIGIT_PX
from models.training import Losses, Recipe
from pipeline.labels import LabelledPage

Batch = tuple[Tensor, Tensor]  # windows float (N, 1, 256, 256), turns int64 (N,)

_BATCH = 32
_TRIES = 50 * _BATCH  # then windows with little ink do
_MIN_INK = 0.02  # share of a window that is written on: emptier ones teach nothing


def orienter_recipe(minutes: float, seed: int, *, goes_on: bool) -> Recipe:
    """Return the recipe that the shipped orienter was trained by; half the rate to go on."""
    return Recipe(minutes, learning_rate=1e-3 if goes_on else 2e-3, weight_decay=1e-2, seed=seed)


def orienter_losses(network: nn.Module, batch: Batch, device: torch.device) -> Losses:
    """Return the losses of the network on a batch."""
    windows, turns = batch
    logits = network(windows.to(device, memory_format=torch.channels_last))
    return {"turns": orienter_loss(logits, turns.to(device))}


def orienter_batches(
    sets: Sequence[tuple[Sequence[LabelledPage], float]], rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield batches without end: windows of upright pages, turned, and the turns that make them upright.

    `sets` are collections of pages, each with the share of the windows it gives.
    """
    pages = [page for part, _ in sets for page in part]
    chance = np.concatenate([np.full(len(part), share / len(part)) for part, share in sets])
    chance /= chance.sum()
    while True:
        windows: list[npt.NDArray[np.uint8]] = []
        turns: list[int] = []
        n_tried = 0
        while len(windows) < _BATCH:
            window = _window(pages[int(rng.choice(len(pages), p=chance))], rng)
            n_tried += 1
            if float((window > 110).mean()) >= _MIN_INK or n_tried > _TRIES:
                turn = int(rng.integers(N_TURNS))
                windows.append(np.ascontiguousarray(np.rot90(window, turn)))  # turned back clockwise
                turns.append(turn)
        yield torch.from_numpy(np.stack(windows)[:, None]).float() / 255, torch.tensor(turns)


def _window(page: LabelledPage, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return an upright window of a page at the orienter's scale, uint8 (256, 256)."""
    zoom = ORIENT_DIGIT_PX / page.digit_px * math.exp(rng.uniform(math.log(0.6), math.log(1.7)))
    turn = math.radians(rng.normal(0, 2.5))
    shape = zoom * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    height, width = page.ink.shape
    middle = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    # cut first, then shrunk by area: strokes must not be skipped
    reach = int(WINDOW_PX / zoom * 0.75) + 1
    x0, y0 = max(0, int(middle[0]) - reach), max(0, int(middle[1]) - reach)
    part = page.ink[y0 : int(middle[1]) + reach, x0 : int(middle[0]) + reach]
    part = np.asarray(cv2.blur(part, (2, 2)), np.uint8)
    matrix = np.column_stack([shape, WINDOW_PX / 2 - shape @ (middle - (x0, y0))])
    window = cv2.warpAffine(part, matrix, (WINDOW_PX, WINDOW_PX), flags=cv2.INTER_LINEAR)
    return change_ink(np.asarray(window, np.uint8), rng)
