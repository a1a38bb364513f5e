"""What the rest of its page says about a number: its column, how numbers run there, others written alike.

Registers are full of such agreement: numbers of a column have as many digits and stand one below the
other, serial numbers count up, years and fees come back.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.page import Number, PageDetections
from pipeline.turning import upright_corners

_N_COLUMN, _N_RUNNING, _N_ALIKE, _N_WRITTEN = 9, 8, 5, 30
N_CONTEXT = _N_COLUMN + _N_RUNNING + _N_ALIKE + _N_WRITTEN
# lengths are in heights of the number's digits
_ASIDE = 0.5  # a column's numbers overlap, or stand at most so far from each other sideways
_SAME_LINE = 0.7  # what is nearer above or below stands on the same line
_FAR, _RUN_FAR = 14.0, 10.0  # further away it is another part of the page
_FADE = 5.0  # at this distance a number counts 1/e
_FLUSH = 0.5  # edges this near are one edge
_APART = 3.0  # edges are compared up to here
_ALONE = -3.0  # log-odds that stand for a column where there is none
_SOON = 10  # a serial number may leave some out
_LONGEST = 15  # digits that a float holds
_BLOCK = 256  # numbers at a time, so that memory is bounded

Floats = npt.NDArray[np.float64]


def number_context(numbers: Sequence[Number], found: PageDetections, odds: Floats) -> Floats:
    """Return what its page says about each number, float64 (M, 52).

    `odds` (N,) are the rescorer's, of all detections.  The numbers above and below it (9: how many, how
    long, how sure, how flush), how its value stands to theirs (8), numbers written alike (5), and
    which digits it has (30).
    """
    if not numbers:
        return np.zeros((0, N_CONTEXT))
    boxes = upright_corners(found.detections, found.turned)
    members = [list(number.members) for number in numbers]
    places = np.array([[*boxes[own, :2].min(axis=0), *boxes[own, 2:].max(axis=0)] for own in members])
    heights = np.array([(boxes[own, 3] - boxes[own, 1]).mean() for own in members])
    least = np.array([odds[own].min() for own in members])
    texts = ["".join(c for c in number.text if c.isdigit()) for number in numbers]
    rows = np.arange(len(numbers))
    parts = np.array_split(rows, -(-len(rows) // _BLOCK))
    stands = np.concatenate([_columns(part, places, heights, least, texts) for part in parts])
    return np.column_stack([stands, _alike(texts), _written(texts)])


def _columns(
    rows: npt.NDArray[np.int64], places: Floats, heights: Floats, least: Floats, texts: list[str]
) -> Floats:
    """Return what stands above and below some numbers, and how values run there, (R, 17)."""
    height, own = heights[rows, None], places[rows]
    middle = (places[:, 1] + places[:, 3]) / 2
    away = (middle - middle[rows, None]) / height
    overlap = np.minimum(places[:, 2], own[:, 2:3]) - np.maximum(places[:, 0], own[:, :1])
    near = (overlap > -_ASIDE * height) & (np.abs(away) > _SAME_LINE)
    lengths = np.array([len(text) for text in texts])
    longer = lengths - lengths[rows, None]
    left, right = (
        ((places[:, side] - own[:, side : side + 1]) / height).clip(-_APART, _APART) for side in (0, 2)
    )
    weight = np.where(near & (np.abs(away) < _FAR), np.exp(-np.abs(away) / _FADE), 0.0)
    there = weight.sum(axis=1)
    weight /= np.maximum(there, np.finfo(float).tiny)[:, None]
    column = [
        np.log1p((weight > 0).sum(axis=1)),
        *((weight * seen).sum(axis=1) for seen in (longer == 0, longer > 0, longer < 0)),
        np.where(there > 0, weight @ least, _ALONE),
        *((weight * seen).sum(axis=1) for seen in (left, right)),
        *((weight * (np.abs(seen) < _FLUSH)).sum(axis=1) for seen in (left, right)),
    ]
    values = np.array([float(text[-_LONGEST:]) for text in texts])
    as_long = near & (longer == 0) & (np.abs(away) < _RUN_FAR)
    # from the number above to this one, and from this one to the number below
    steps = (-_rise(-away, as_long, values, values[rows]), _rise(away, as_long, values, values[rows]))
    flags = [
        np.array([step == 1, step == 0, step > 0, step < 0, (step >= 0) & (step <= _SOON)]) for step in steps
    ]
    running = [
        *(flags[0].astype(float) + flags[1]),
        flags[0][2] & flags[1][2],  # up all the way
        flags[0][3] & flags[1][3],
        (flags[0][2] & flags[1][3]) | (flags[0][3] & flags[1][2]),
    ]
    return np.column_stack([*column, *running]).astype(np.float64)


def _rise(away: Floats, as_long: npt.NDArray[np.bool_], values: Floats, own: Floats) -> Floats:
    """Return by how much the nearest number on one side is larger, (R,); NaN where there is none.

    Of several equally near the largest one counts, so that their order says nothing.
    """
    distance = np.where(as_long & (away > 0), away, np.inf)
    nearest = distance == distance.min(axis=1, keepdims=True)
    rise = np.where(nearest, values, -np.inf).max(axis=1) - own
    return np.where(np.isinf(distance.min(axis=1)), np.nan, rise)


def _alike(texts: list[str]) -> Floats:
    """Return logarithms of how many numbers of the page are written alike, (M, 5).

    As the number itself, apart by whether it has one, two or more digits; as it but for one digit; as
    it with one digit more at an end.
    """
    same = Counter(texts)
    but_one = Counter(mask for text in texts for mask in _masks(text))
    ends = Counter(part for text in texts for part in {text[1:], text[:-1]})
    rows = np.zeros((len(texts), _N_ALIKE))
    for row, text in zip(rows, texts, strict=True):
        row[min(len(text), 3) - 1] = np.log(same[text])
        if len(text) > 2:
            row[3] = np.log1p(sum(but_one[mask] - same[text] for mask in _masks(text)))
        if len(text) > 1:
            row[4] = np.log1p(ends[text])
    return rows


def _masks(text: str) -> list[str]:
    return [f"{text[:i]}_{text[i + 1 :]}" for i in range(len(text))]


def _written(texts: list[str]) -> Floats:
    """Return how often each number has each digit, which it begins and which it ends with, (M, 30)."""
    digits = np.eye(10)
    return np.array(
        [
            np.concatenate([sum(digits[int(c)] for c in text), digits[int(text[0])], digits[int(text[-1])]])
            for text in texts
        ]
    )
