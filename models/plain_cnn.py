"""Plain convolutional reference networks: one size of kernel, no pooling, no padding.

An, Lee, Park, Yang and So 2020, "An Ensemble of Simple Convolutional Neural Network Models for MNIST Digit
Recognition".
"""

from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.hands import MNIST_PX


@dataclass(frozen=True, slots=True)
class PlainCnnConfig:
    """Plain numbers that make a network: its kernel, and the channels behind each convolution."""

    kernel_px: int = 3
    channels: tuple[int, ...] = (32, 48, 64, 80, 96, 112, 128, 144, 160, 176)


class PlainCnn(nn.Module):
    """Digits (N, 1, 28, 28), float 0 to 1, ink is 1 → logits (N, 10)."""

    def __init__(self, config: PlainCnnConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in, side_px = 1, MNIST_PX
        for n in config.channels:
            layer = nn.Conv2d(n_in, n, config.kernel_px, bias=False)
            layers += [layer, nn.BatchNorm2d(n), nn.ReLU(inplace=True)]
            n_in, side_px = n, side_px - config.kernel_px + 1
        self.features = nn.Sequential(*layers)
        self.classes = nn.Sequential(
            nn.Flatten(), nn.Linear(n_in * side_px * side_px, 10, bias=False), nn.BatchNorm1d(10)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) → (N, 10); grey from -1 to 1 inside."""
        logits: Tensor = self.classes(self.features(2 * images - 1))  # (N, C, s, s) → (N, 10)
        return logits
