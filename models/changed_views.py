"""Changed copies of a view: the same page as another scanner, or another hand at it, would have shown it."""

import cv2
import numpy as np
import numpy.typing as npt

View = npt.NDArray[np.uint8]  # (C, H, W), ink is 255

_TURN = 2.5  # degrees either way
_STRETCH = (0.88, 1.14)  # across and down, each for itself
_LEAN, _SHIFT = 0.04, 0.05  # of the side, either way


def changed_views(view: View, n: int, rng: np.random.Generator) -> list[View]:
    """Return `n` copies of a view, each turned, stretched, leaning and shifted a little in its own way.

    The layers of a view change together.
    """
    return [_changed(view, rng) for _ in range(n)]


def _changed(view: View, rng: np.random.Generator) -> View:
    angle = np.deg2rad(rng.uniform(-_TURN, _TURN))
    across, down = rng.uniform(*_STRETCH, 2)
    lean = rng.uniform(-_LEAN, _LEAN)
    matrix = np.array([[np.cos(angle) * across, lean - np.sin(angle)], [np.sin(angle), np.cos(angle) * down]])
    size = (view.shape[2], view.shape[1])
    middle = np.array(size) / 2
    shift = middle * (1 + rng.uniform(-_SHIFT, _SHIFT, 2)) - matrix @ middle
    # what comes in at the edges goes on as the edge was: paper, or the scanner's bed
    placed = np.c_[matrix, shift]
    changed = [cv2.warpAffine(layer, placed, size, borderMode=cv2.BORDER_REPLICATE) for layer in view]
    return np.asarray(np.stack(changed), np.uint8)
