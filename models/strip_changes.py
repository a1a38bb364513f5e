"""Changes of a number's strip that no answer depends on: slant, bent strokes, place, size, ink."""

import torch
import torch.nn.functional as F
from torch import Tensor

_BENDS = 4, 13  # strokes are bent between so many places down and across


def change_strips(strips: Tensor, lean: float, bent_px: float = 0.0) -> Tensor:
    """Return strips, uint8 (N, C, H, W), slanted, bent, moved, resized and inked anew, float 0 to 1.

    The first channel is ink.  Slants have a standard deviation of `lean`, and strokes are bent by up to
    about `bent_px` pixels.
    """
    n, _, height, width = strips.shape
    matrix = torch.zeros(n, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = torch.exp(torch.randn(2, n) * 0.06)
    matrix[:, 0, 1] = torch.randn(n) * lean * height / width
    matrix[:, 0, 2], matrix[:, 1, 2] = torch.randn(n) * 1.7 / width, torch.randn(n) * 1.8 / height
    grid = F.affine_grid(matrix, list(strips.shape), align_corners=False)
    if bent_px:
        bend = torch.randn(n, 2, *_BENDS) * torch.rand(n, 1, 1, 1) * bent_px
        bend = F.interpolate(bend, size=(height, width), mode="bicubic", align_corners=True)
        grid = grid + bend.permute(0, 2, 3, 1) * 2 / torch.tensor([width, height])
    seen = F.grid_sample(strips.float() / 255, grid.to(strips.device), align_corners=False)
    ink = seen[:, :1] * torch.empty(n, 1, 1, 1, device=seen.device).uniform_(0.7, 1.25)
    kind = torch.rand(n, 1, 1, 1, device=seen.device)
    ink = torch.where(kind < 0.15, F.max_pool2d(ink, 3, 1, 1), ink)  # a broader pen, or out of focus
    ink = torch.where(kind > 0.8, F.avg_pool2d(ink, 3, 1, 1), ink)
    grain = torch.randn_like(ink) * torch.rand(n, 1, 1, 1, device=seen.device) * 0.05
    return torch.cat([(ink + grain).clamp(0, 1), seen[:, 1:]], dim=1)
