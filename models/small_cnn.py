"""A small convolutional reference network: three convolutions of 25 filters, pooled twice."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import glorot


@dataclass(frozen=True, slots=True)
class SmallCnnConfig:
    """Plain numbers that make the network."""

    n_filters: int = 25
    hidden: int = 50


class SmallCnn(nn.Module):
    """Digits (N, 1, 28, 28), float 0 to 1, ink is 1 → logits (N, 10)."""

    def __init__(self, config: SmallCnnConfig) -> None:
        super().__init__()
        n = config.n_filters
        self.first = nn.Conv2d(1, n, 5, padding=2)
        self.second = nn.Conv2d(n, n, 5, padding=2)
        self.third = nn.Conv2d(n, n, 4)
        self.hidden = nn.Linear(n * 4 * 4, config.hidden)
        self.classes = nn.Linear(config.hidden, 10)
        glorot(self)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) → (N, 10)."""
        x = F.max_pool2d(F.relu(self.first(images)), 2)  # (N, 25, 14, 14)
        x = F.max_pool2d(F.relu(self.second(x)), 2)  # (N, 25, 7, 7)
        x = F.relu(self.third(x)).flatten(1)  # (N, 25·4·4)
        logits: Tensor = self.classes(F.relu(self.hidden(x)))
        return logits
