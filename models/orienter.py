"""The orienter: a small convolutional network that says which way up a page's writing is.

It sees windows of the ink map at a coarse scale, where lines and the slant of letters show, and not what
is written.  Its logits are averaged over windows (global average pooling: Lin and others 2013, "Network
In Network").
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import conv
from models.scale import DIGIT_PX, ORIENT_DIGIT_PX, Look

WINDOW_PX = 256
_MOST_WINDOWS = 12
_MIN_INK = 0.01  # share of a window that is written on
N_TURNS = 4  # by how many quarters, clockwise, a window must be turned to be upright


@dataclass(frozen=True, slots=True)
class OrienterConfig:
    """Plain numbers that make an orienter."""

    channels: tuple[int, int, int, int] = (16, 32, 48, 64)  # at strides 2, 4, 8, 16


class PageOrienter(nn.Module):
    """Windows (N, 1, 256, 256), float 0 to 1, ink is 1 → logits (N, 4)."""

    def __init__(self, config: OrienterConfig) -> None:
        super().__init__()
        a, b, c, d = config.channels
        self.coarser = nn.Sequential(
            conv(1, a, stride=2, size=5), conv(a, b, stride=2), conv(b, c, stride=2), conv(c, d, stride=2)
        )
        self.last = conv(d, d)
        self.turns = nn.Linear(d, N_TURNS)

    def forward(self, windows: Tensor) -> Tensor:
        """(N, 1, 256, 256) → (N, 4)."""
        x = self.last(self.coarser(windows)).mean(dim=(2, 3))  # (N, d)
        logits: Tensor = self.turns(x)
        return logits


def orienting_windows(look: Look) -> npt.NDArray[np.uint8]:
    """Return the windows of a page that have the most ink, uint8 (N, 256, 256), 12 at most."""
    factor = look.scale / look.look_scale * ORIENT_DIGIT_PX / DIGIT_PX
    size = (max(1, round(look.ink.shape[1] * factor)), max(1, round(look.ink.shape[0] * factor)))
    ink = cv2.resize(look.ink, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    windows = []
    for y in range(0, ink.shape[0], WINDOW_PX):
        for x in range(0, ink.shape[1], WINDOW_PX):
            window = np.zeros((WINDOW_PX, WINDOW_PX), np.uint8)
            part = ink[y : y + WINDOW_PX, x : x + WINDOW_PX]
            window[: part.shape[0], : part.shape[1]] = part
            windows.append(window)
    # no more than so full: the fullest windows are edges and stains
    filled = np.array([min(float((window > 110).mean()), 0.25) for window in windows])
    chosen = np.argsort(-filled, kind="stable")[:_MOST_WINDOWS]
    return np.stack([windows[k] for k in chosen if filled[k] >= _MIN_INK] or windows[:1])


def orienter_loss(logits: Tensor, turns: Tensor) -> Tensor:
    """Return the mean cross-entropy; smoothed, since some windows show nothing that has a way up."""
    return F.cross_entropy(logits.float(), turns, label_smoothing=0.1)
