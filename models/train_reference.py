"""Training of the reference networks on digits as MNIST shows them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.references import Reference
from models.training import Losses

Batch = tuple[Tensor, Tensor]  # images uint8 (N, 1, 28, 28), digits int64 (N,)

_READ_AT_A_TIME = 500
_TURN, _SHIFT = math.radians(20), 0.2  # a moved digit's most, to either side; a shift of the picture's side


@dataclass(frozen=True, eq=False, slots=True)
class Digits:
    """Pictures of single digits as MNIST shows them: uint8 (N, 28, 28), ink is 255, and digits int64 (N,)."""

    images: npt.NDArray[np.uint8]
    digits: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.digits)

    def parted(self, held: float) -> "tuple[Digits, Digits]":
        """Return those to learn from, and the last share, which validates."""
        n = len(self) - round(held * len(self))
        return Digits(self.images[:n], self.digits[:n]), Digits(self.images[n:], self.digits[n:])


def reference_batches(digits: Digits, n: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches of `n` without end; every digit once an epoch, in another order each time."""
    while True:
        order = rng.permutation(len(digits))
        for start in range(0, len(order), n):
            some = order[start : start + n]
            yield torch.from_numpy(digits.images[some][:, None]), torch.from_numpy(digits.digits[some])


def reference_losses(network: nn.Module, batch: Batch, reference: Reference, device: torch.device) -> Losses:
    """Return the loss of a network on a batch."""
    images, digits = batch
    seen = images.to(device).float().div(255)
    if reference.moved:
        with torch.autocast(device.type, enabled=False):
            seen = move_digits(seen)
    return {"classes": reference.loss(network(seen).float(), digits.to(device))}


def move_digits(images: Tensor) -> Tensor:
    """Return images (N, 1, S, S) turned by up to 20° and shifted by up to a fifth of their side."""
    n = len(images)
    turn = torch.empty(n).uniform_(-_TURN, _TURN)
    shift = torch.empty(n, 2, 1).uniform_(-2 * _SHIFT, 2 * _SHIFT)  # the grid's side is 2
    shape = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], dim=1).view(n, 2, 2)
    grid = F.affine_grid(torch.cat([shape, shift], dim=2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.device), align_corners=False)


def digit_chances(
    network: nn.Module, images: npt.NDArray[np.uint8], device: torch.device
) -> npt.NDArray[np.float32]:
    """Return the chances of the ten digits, float32 (N, 10), for images uint8 (N, 28, 28)."""
    chances = [np.zeros((0, 10), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), _READ_AT_A_TIME):
            some = torch.tensor(images[start : start + _READ_AT_A_TIME][:, None], device=device)
            chances.append(torch.softmax(network(some.float().div(255)).float(), dim=1).cpu().numpy())
    return np.concatenate(chances)


def digit_accuracy(network: nn.Module, digits: Digits, device: torch.device) -> float:
    """Return the share of digits that a network reads right."""
    read = digit_chances(network, digits.images, device).argmax(axis=1)
    return float((read == digits.digits).mean())
