"""The dense reference networks: layers of neurons over the flattened pixels of a digit."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import glorot
from pipeline.hands import MNIST_PX

N_DIGITS = 10


@dataclass(frozen=True, slots=True)
class DenseConfig:
    """Plain numbers that make a dense network."""

    hidden: tuple[int, ...] = (784, 256, 64)
    last_is_sigmoid: bool = True  # the last hidden layer; all others are ReLU
    dropout: float = 0.0  # behind each hidden layer


class DenseNetwork(nn.Module):
    """Digits (N, 1, 28, 28), float 0 to 1, ink is 1 → logits (N, 10)."""

    def __init__(self, config: DenseConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = MNIST_PX * MNIST_PX
        for n in config.hidden:
            layers += [nn.Linear(n_in, n), nn.ReLU()]
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
            n_in = n
        if config.last_is_sigmoid:
            layers[-1] = nn.Sigmoid()
        self.hidden = nn.Sequential(*layers)
        self.classes = nn.Linear(n_in, N_DIGITS)
        glorot(self)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) → (N, 10)."""
        logits: Tensor = self.classes(self.hidden(images.flatten(1)))  # (N, 784) → (N, 10)
        return logits


def one_hot_loss(logits: Tensor, digits: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of softmax chances with one-hot digits, each class by itself."""
    chances = torch.softmax(logits, dim=1).clamp(1e-7, 1 - 1e-7)
    return F.binary_cross_entropy(chances, F.one_hot(digits, N_DIGITS).to(chances.dtype))
