"""Hands that write: strokes of digits, numbers and words as a pen would leave them.

A hand is a writer's habits.  What it writes comes out as `Line`s: points in page pixels and the
pen's width at each of them, which `pipeline.inking` puts on paper.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.glyphs import DESCENDING, DIGITS, LETTERS, MARKS, N_NEAT, SMALL, Shape, Stroke

Floats = NDArray[np.float32]

_STEPS = 7  # points that are put between two control points
_T = np.arange(_STEPS, dtype=np.float32) / _STEPS


@dataclass(frozen=True, slots=True)
class Line:
    """One stroke as drawn: `points` (n, 2) float32 in pixels, `widths` (n,) float32 in pixels."""

    points: Floats
    widths: Floats


@dataclass(frozen=True, slots=True)
class Hand:
    """A writer's habits; lengths are parts of the height of a digit.

    `shapes` holds the shape that this writer prefers for each digit, `faithful` how often
    it is the one.  `contrast` is how much wider strokes down are than strokes up (a steel
    nib), `spacing` the mean gap between digits (below 0 they touch), `old_style` how far
    3 4 5 7 9 go below the line and how much smaller 0 1 2 are.
    """

    shapes: tuple[int, ...]
    faithful: float = 1.0
    slant: float = 0.15
    breadth: float = 1.0
    tension: float = 0.5
    pen: float = 0.09
    contrast: float = 0.5
    tremor: float = 0.008
    spread: float = 0.02
    spacing: float = 0.14
    sway: float = 0.02
    old_style: float = 0.0


def neat_hand(rng: np.random.Generator) -> Hand:
    """Return a hand that writes clearly: plain shapes, no touching digits."""
    return Hand(
        shapes=tuple(int(rng.integers(N_NEAT)) for _ in range(10)),
        slant=float(rng.uniform(0.0, 0.25)),
        breadth=float(rng.uniform(0.9, 1.1)),
        pen=float(rng.uniform(0.08, 0.12)),
        contrast=float(rng.uniform(0.2, 0.7)),
    )


def any_hand(rng: np.random.Generator) -> Hand:
    """Return a hand out of the whole range, from a schoolmaster's to a notary's in a hurry."""
    haste = rng.uniform() ** 1.5  # most hands are tolerable
    return Hand(
        shapes=tuple(int(rng.integers(len(DIGITS[digit]))) for digit in range(10)),
        faithful=float(rng.uniform(0.7, 1.0)),
        slant=float(rng.normal(0.2, 0.18)),
        breadth=float(rng.uniform(0.65, 1.3)),
        tension=float(rng.uniform(0.4, 0.62)),
        pen=float(np.exp(rng.uniform(np.log(0.05), np.log(0.14)))),
        contrast=float(rng.uniform(0.0, 1.2)),
        tremor=float(rng.uniform(0.002, 0.008 + 0.02 * haste)),
        spread=float(rng.uniform(0.01, 0.02 + 0.035 * haste)),
        spacing=float(rng.normal(0.13 - 0.08 * haste, 0.06)),
        sway=float(rng.uniform(0.01, 0.03 + 0.04 * haste)),
        old_style=float(rng.uniform(0.15, 0.4)) if rng.uniform() < 0.3 else 0.0,
    )


def smooth(stroke: Stroke | Floats, tension: float = 0.5) -> Floats:
    """Return the points (n, 2) of a Catmull-Rom spline through a stroke's points, split at its corners."""
    points = np.asarray(stroke, dtype=np.float32)  # (k, 2)
    corners = np.flatnonzero((points[1:] == points[:-1]).all(axis=1)) + 1
    parts = [_spline(part, tension) for part in np.split(points, corners) if len(part) > 1]
    return np.concatenate(parts) if parts else points


def _spline(points: Floats, tension: float) -> Floats:
    before = np.concatenate([2 * points[:1] - points[1:2], points[:-1]])[:-1]
    after = np.concatenate([points[1:], 2 * points[-1:] - points[-2:-1]])[1:]
    start, end = points[:-1], points[1:]
    leave, arrive = tension * (end - before), tension * (after - start)
    t = _T[:, None, None]
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * start
        + (t**3 - 2 * t**2 + t) * leave
        + (3 * t**2 - 2 * t**3) * end
        + (t**3 - t**2) * arrive
    )  # (steps, k - 1, 2)
    return np.concatenate([curve.transpose(1, 0, 2).reshape(-1, 2), points[-1:]])


def write_shape(rng: np.random.Generator, hand: Hand, shape: Shape, height: float) -> list[Line]:
    """Return the lines of one shape, its top left at (0, 0), in pixels; `height` is that of a digit."""
    # the whole shape varies a little in size and slant, then each of its points does
    slant = hand.slant + rng.normal(0, hand.spread * 1.5)
    grow = 1 + rng.normal(0, hand.spread, 2)
    matrix = np.array([[hand.breadth * grow[0], 0], [-slant, grow[1]]], dtype=np.float32)  # (x, y) @ matrix
    lines = []
    for stroke in shape:
        points = np.asarray(stroke, dtype=np.float32)
        shift = rng.normal(0, hand.spread, points.shape).astype(np.float32)
        shift[1:][(points[1:] == points[:-1]).all(axis=1)] = 0  # both halves of a corner move together
        same = np.flatnonzero((points[1:] == points[:-1]).all(axis=1)) + 1
        shift[same] = shift[same - 1]
        curve = smooth(points + shift, hand.tension)
        curve += _wander(rng, len(curve), hand.tremor)
        slanted = (curve - (0, 1)) @ matrix + (0, 1)  # about the baseline
        lines.append(_press(rng, hand, slanted.astype(np.float32) * height, height))
    return lines


def _wander(rng: np.random.Generator, n: int, size: float) -> Floats:
    """Return how the pen trembles: noise that is smooth along the stroke, (n, 2)."""
    knots = rng.normal(0, size, (max(n // 5, 1) + 2, 2))
    at = np.linspace(0, len(knots) - 1, n)
    shaken = [np.interp(at, np.arange(len(knots)), knots[:, axis]) for axis in (0, 1)]
    return np.stack(shaken, axis=1).astype(np.float32)


def _press(rng: np.random.Generator, hand: Hand, points: Floats, height: float) -> Line:
    """Give a curve the widths of a nib: broad on the way down, fine on the way up, tapered at its end."""
    step = np.gradient(points, axis=0) if len(points) > 1 else np.ones_like(points)
    down = step[:, 1] / (np.hypot(step[:, 0], step[:, 1]) + 1e-6)
    down = np.convolve(np.pad(down, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    pressure = 1 + hand.contrast * (np.clip(down, -0.3, 1) - 0.4) + rng.normal(0, 0.06)
    if len(points) > 8:
        pressure[-4:] *= np.linspace(1, 0.65, 4)
    widths = np.maximum(hand.pen * height * np.maximum(pressure, 0.35), 0.7)
    return Line(points, widths.astype(np.float32))


def write_digit(rng: np.random.Generator, hand: Hand, digit: int, height: float) -> list[Line]:
    """Return the lines of a digit; its baseline is at y = `height`."""
    shapes = DIGITS[digit]
    chosen = hand.shapes[digit] if rng.uniform() < hand.faithful else int(rng.integers(len(shapes)))
    lines = write_shape(rng, hand, shapes[chosen], height)
    if hand.old_style and digit in DESCENDING:
        return moved(lines, 0.0, hand.old_style * height)
    if hand.old_style and digit in SMALL:
        small = 1 - hand.old_style
        return [Line(line.points * small + (0, height * (1 - small)), line.widths) for line in lines]
    return lines


def write_number(
    rng: np.random.Generator, hand: Hand, text: str, height: float
) -> list[tuple[str, list[Line]]]:
    """Return (character, its lines) for each of a number's characters, placed one after the other from x = 0.

    A space is a thousands space, narrow enough to stay inside a number.  Spaces have no lines.
    """
    written: list[tuple[str, list[Line]]] = []
    x = 0.0
    for character in text:
        if character == " ":
            x += 0.24 * height
            written.append((character, []))
            continue
        if character.isdigit():
            lines = write_digit(rng, hand, int(character), height)
        else:
            lines = write_shape(rng, hand, MARKS[character], height)
        left, right = extent(lines)
        # a gap is between inks, not between cells: a 1 takes less room than an 8
        lines = moved(lines, x - left, rng.normal(0, hand.sway) * height)
        written.append((character, lines))
        gap = max(hand.spacing + rng.normal(0, 0.25 * abs(hand.spacing) + 0.01), -0.12)
        x += right - left + (gap + hand.pen) * height
    return written


def write_word(rng: np.random.Generator, hand: Hand, word: str, x_height: float) -> list[Line]:
    """Return a word's lines: its letters joined in one stroke; baseline at y = `x_height`, from x = 0."""
    joined: list[tuple[float, float]] = []
    others: list[Stroke] = []
    lines: list[Line] = []
    x = 0.0
    for letter in word:
        first, *rest = LETTERS[letter]
        joined.extend((px + x, py) for px, py in first)
        others.extend(tuple((px + x, py) for px, py in stroke) for stroke in rest)
        x += max(px for px, _ in first) + rng.normal(0, 0.03)
        if letter.isupper() or rng.uniform() < 0.12:  # the pen is lifted
            lines += write_shape(rng, hand, (tuple(joined),), x_height)
            joined = []
            x += 0.15
    if joined:
        lines += write_shape(rng, hand, (tuple(joined),), x_height)
    return lines + write_shape(rng, hand, tuple(others), x_height)


def moved(lines: list[Line], dx: float, dy: float) -> list[Line]:
    """Return the lines moved by (dx, dy) pixels."""
    by = np.array([dx, dy], dtype=np.float32)
    return [Line(line.points + by, line.widths) for line in lines]


def extent(lines: list[Line]) -> tuple[float, float]:
    """Return the leftmost and the rightmost x of some lines' points."""
    return (
        min(float(line.points[:, 0].min()) for line in lines),
        max(float(line.points[:, 0].max()) for line in lines),
    )
