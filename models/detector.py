"""The digit detector: a small feature pyramid that marks the centre and size of every digit.

Each digit is a peak in a centre map at half the ink map's resolution, with its width, height and
sub-pixel offset at the peak (Zhou, Wang, Krähenbühl 2019, "Objects as Points"); features come from
a pyramid with a top-down path (Lin and others 2017, "Feature Pyramid Networks").  All its work is done at
a quarter of the ink map's resolution or less; the last layer gives four cells of the centre map at each
place (Shi and others 2016, "sub-pixel convolution").  Fully convolutional: any size of ink map whose
sides are multiples of 16.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import SeparableBlock, conv, separable

STRIDE = 2  # ink map pixels per cell of the centre map
MULTIPLE = 16  # the sides of what goes in
_N_MAPS = 5  # heat, log w, log h, dx, dy
_SIZE_UNIT = 16.0  # sizes are learned as log(size / 16 ink map pixels)


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Plain numbers that make a detector."""

    channels: tuple[int, int, int, int] = (16, 40, 80, 128)  # at strides 2, 4, 8, 16
    head: int = 40  # channels of the last layer before the maps
    blocks: tuple[int, int, int] = (1, 2, 4)  # residual blocks at strides 4, 8 and 16


class DigitDetector(nn.Module):
    """Ink maps (N, 1, H, W), float 0 to 1 → maps (N, 5, H/2, W/2): heat logit, log w, log h, dx, dy."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        c2, c4, c8, c16 = config.channels
        self.stem = conv(1, c2, stride=2)
        n4, n8, n16 = config.blocks
        self.down4 = nn.Sequential(conv(c2, c4, stride=2), *(SeparableBlock(c4) for _ in range(n4)))
        self.down8 = nn.Sequential(conv(c4, c8, stride=2), *(SeparableBlock(c8) for _ in range(n8)))
        self.down16 = nn.Sequential(conv(c8, c16, stride=2), *(SeparableBlock(c16) for _ in range(n16)))
        self.side16 = conv(c16, c8, size=1)
        self.side8 = conv(c8, c4, size=1)
        self.fuse8 = separable(c8, c8)
        self.fuse4 = separable(c4, c4)
        self.head = separable(c4, config.head)
        self.maps = nn.Conv2d(config.head, _N_MAPS * 4, 1)
        assert self.maps.bias is not None
        nn.init.constant_(self.maps.bias[:4], -4.0)  # digits are rare: begin with low heat

    def forward(self, ink: Tensor) -> Tensor:
        """(N, 1, H, W) → (N, 5, H/2, W/2)."""
        x4 = self.down4(self.stem(ink))
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        x8 = self.fuse8(_double(self.side16(x16)).add_(x8))
        x4 = self.fuse4(_double(self.side8(x8)).add_(x4))
        return F.pixel_shuffle(self.maps(self.head(x4)), 2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def detector_loss(maps: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of the heat (penalty-reduced focal loss) and of the boxes (L1 at the centres).

    `maps` (N, 5, h, w) from the network; `target` the same shape: heat 0 to 1 (1 exactly at a
    centre cell), then log sizes and offsets, which count at centres only; `weight` (N, h, w), 0 where
    nothing is known.
    """
    logit, truth = maps[:, 0].float(), target[:, 0]
    centre = (truth == 1).float()
    hit = F.logsigmoid(logit) * (1 - logit.sigmoid()) ** 2 * centre
    miss = F.logsigmoid(-logit) * logit.sigmoid() ** 2 * (1 - truth) ** 4 * (1 - centre)
    n_centres = centre.sum().clamp(min=1)
    heat = -((hit + miss) * weight).sum() / n_centres
    wrong = (maps[:, 1:].float() - target[:, 1:]).abs().sum(dim=1)
    boxes = (wrong * centre * weight).sum() / n_centres
    return heat, boxes


def encode_size(size_px: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return sizes in ink map pixels as the network learns them."""
    return np.asarray(np.log(size_px / _SIZE_UNIT), np.float32)


def decode_maps(maps: Tensor, threshold: float) -> Tensor:
    """Return the peaks of one page's maps (5, h, w) as rows (K, 5): x0, y0, x1, y1, score.

    Boxes are in ink map pixels.  A peak is a cell that is the highest of the 3×3 around it with a
    score (heat, 0 to 1) of at least `threshold`.
    """
    heat = maps[0].float().sigmoid()
    rows, columns = torch.nonzero(heat >= threshold, as_tuple=True)
    # only cells this high are compared with their neighbours: they are few
    around = F.pad(heat[None], (1, 1, 1, 1), value=-1.0)[0].unfold(0, 3, 1).unfold(1, 3, 1)[rows, columns]
    is_peak = heat[rows, columns] == around.amax(dim=(1, 2))
    rows, columns = rows[is_peak], columns[is_peak]
    at = maps[:, rows, columns].float()  # (5, K)
    width, height = (at[1:3].clamp(-3.0, 3.0).exp() * _SIZE_UNIT).unbind(0)
    x = (columns + 0.5 + at[3].clamp(-1, 1)) * STRIDE
    y = (rows + 0.5 + at[4].clamp(-1, 1)) * STRIDE
    score = heat[rows, columns]
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2, score], dim=1)
