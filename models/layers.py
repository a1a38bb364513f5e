"""Layers that several networks are made of; none of them has a bias before its batch normalisation."""

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3×3 convolutions with a shortcut; at first it changes nothing (Goyal and others 2017)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.first = conv(n, n)
        self.second = nn.Sequential(nn.Conv2d(n, n, 3, padding=1, bias=False), _zeros(n))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        return _added(self.second(self.first(x)), x)


class SeparableBlock(nn.Module):
    """As `Block`, of separable convolutions: a fifth of the time."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.first = separable(n, n)
        pointwise = nn.Sequential(nn.Conv2d(n, n, 1, bias=False), _zeros(n))
        self.second = nn.Sequential(_depthwise(n), pointwise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        return _added(self.second(self.first(x)), x)


def conv(n_in: int, n_out: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    """Return a convolution with batch normalisation and ReLU."""
    layer = nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


def separable(n_in: int, n_out: int) -> nn.Sequential:
    """Return a 3×3 convolution of each channel by itself, and one that mixes channels (Chollet 2017)."""
    return nn.Sequential(_depthwise(n_in), conv(n_in, n_out, size=1))


def _added(changed: Tensor, x: Tensor) -> Tensor:
    """Return ReLU of the sum, in the memory of `changed`: a new one as large takes longer than the sum."""
    changed += x
    return F.relu_(changed)


def _depthwise(n: int) -> nn.Conv2d:
    return nn.Conv2d(n, n, 3, padding=1, groups=n, bias=False)


def _zeros(n: int) -> nn.BatchNorm2d:
    normalised = nn.BatchNorm2d(n)
    nn.init.zeros_(normalised.weight)
    return normalised


def glorot(network: nn.Module) -> None:
    """Set weights as Keras does (Glorot and Bengio 2010, uniform), biases to zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
