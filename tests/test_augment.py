"""Windows that the detector learns from: whatever is done to the ink, its boxes stay on it."""

import numpy as np
import pytest

from models.augment import sample_window
from pipeline.labels import LabelledDigit, LabelledPage
from pipeline.page import Box


def blots() -> LabelledPage:
    """Return a page with a grid of blots of 12 × 20 pixels, each labelled as a digit."""
    ink = np.zeros((900, 900), np.uint8)
    boxes = [Box(x, y, x + 12, y + 20) for x in range(40, 860, 60) for y in range(40, 860, 60)]
    for box in boxes:
        ink[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = 255
    digits = tuple(LabelledDigit(box, 1) for box in boxes)
    return LabelledPage("blots", ink, np.full(ink.shape, 2, np.uint8), digits, len(digits))


def ink_in(ink: np.ndarray, box: np.ndarray, wider: float) -> tuple[float, np.ndarray]:
    """Return how much ink stands in a box made wider, and the middle of that ink."""
    x0, y0, x1, y1 = np.round(box + np.array([-wider, -wider, wider, wider])).astype(int).clip(0, 320)
    rows, columns = np.mgrid[y0:y1, x0:x1] + 0.5
    part = np.where(ink[y0:y1, x0:x1] > 110, ink[y0:y1, x0:x1], 0).astype(float)
    mass = part.sum()
    return mass, np.array([(part * columns).sum(), (part * rows).sum()]) / max(mass, 1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_boxes_follow_the_ink(seed: int) -> None:
    ink, known, boxes = sample_window(blots(), np.random.default_rng(seed), 320)
    assert ink.shape == known.shape == (320, 320) and ink.dtype == known.dtype == np.uint8
    assert len(boxes) > 3
    height = boxes[:, 3] - boxes[:, 1]
    whole = (boxes[:, :2] > 4).all(axis=1) & (boxes[:, 2:] < 316).all(axis=1)
    apart = []
    for box in boxes[whole]:
        mass, middle = ink_in(ink, box, 2.0)
        if mass > 30 * 110:  # not where faint strokes broke, or grain covers everything
            apart.append(float(np.hypot(*(middle - (box[:2] + box[2:]) / 2))))
    assert len(apart) > 0.5 * whole.sum() or ink.max() < 200
    assert not apart or float(np.median(apart)) < 0.1 * float(height.mean()), "the boxes' middles"
    outside = np.where(ink > 110, ink, 0).astype(float)
    outside[:16] = outside[-16:] = outside[:, :16] = outside[:, -16:] = 0  # digits whose middles are beyond
    whole_ink = outside.sum()
    for x0, y0, x1, y1 in np.round(boxes + np.array([-2, -2, 2, 2])).astype(int).clip(0, 320):
        outside[y0:y1, x0:x1] = 0
    assert outside.sum() <= 0.1 * whole_ink


def test_the_same_seed_gives_the_same_window() -> None:
    page = blots()
    for one, two in zip(*(sample_window(page, np.random.default_rng(3), 320) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(one, two)
