"""Readings become numbers: digits that stand side by side on a line, in the order a person reads them.

Nobody tells us how big digits are or how much a page is skewed, so everything is decided between
neighbours and in units of their heights.  A digit and the next one are linked where each is the
other's nearest neighbour; chains of links are numbers.  Decimal points and thousands spaces
leave gaps that a chain bridges; the marks that were found in them go into a number as it is written.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from pipeline.page import Box, Detection, Number, Reading
from pipeline.turning import upright_corners

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# In units of digit height (the mean of two neighbours), where nothing else is said.
MAX_GAP = 0.9  # wider, and another number begins
JUMP = 0.66  # wider, and another begins if the gaps beside it are much narrower
JUMP_TIMES = 3.0
MIN_OVERLAP = 0.45  # of the smaller one's height, for two digits to share a line
MAX_RATIO = 3.5  # between the heights of two neighbours: some write noughts a third as high as the rest
CORE = 0.6  # two boxes that overlap when they are brought to this share of their size are of one digit
SAME_PLACE = 0.8  # of the narrower box's width that two digits of one number share at most
LINE_APART = 0.5  # numbers further off their line's middle than this begin the next line
_NEAR_TIE = 1e-9  # so that rounding decides nothing when a page is moved or scaled


def group_numbers(
    detections: Sequence[Detection], readings: Sequence[Reading], turned: int = 0
) -> tuple[Number, ...]:
    """Return the numbers of a page in reading order: line by line from the top, each from the left.

    `readings` are those of `detections`, position by position; `turned` says by how many degrees
    clockwise the page is to be turned to be upright.  Every accepted reading is in exactly one number.
    The order of the detections does not matter.  Raises ValueError where the lengths differ.
    """
    if len(detections) != len(readings):
        raise ValueError(f"{len(detections)} detections but {len(readings)} readings")
    accepted = [i for i, reading in enumerate(readings) if reading.digit is not None]
    if not accepted:
        return ()
    boxes = upright_corners([detections[i] for i in accepted], turned)
    trust = np.array([(readings[i].confidence, detections[i].score) for i in accepted], dtype=np.float64)
    digits = np.array([readings[i].digit for i in accepted])
    # an order of our own, so that the order they came in does not show
    order = np.lexsort((digits, trust[:, 1], trust[:, 0], boxes[:, 2], boxes[:, 3], boxes[:, 0], boxes[:, 1]))
    boxes, positions = boxes[order], np.array(accepted)[order]
    chains = _split_at_jumps(boxes, _chains(boxes))
    numbers = []
    for line, chain in _in_lines(boxes, chains):
        members = tuple(int(positions[i]) for i in chain)
        around = np.array([detections[i].box.corners for i in members], dtype=np.float64)
        number = _number(line, members, around, readings)
        numbers.append(replace(number, written=as_written(number.text, members, detections)))
    return tuple(numbers)


def rebuilt(number: Number, members: tuple[int, ...], text: str, detections: Sequence[Detection]) -> Number:
    """Return the number with other members and digits, at its place in the reading order."""
    around = np.array([detections[i].box.corners for i in members], dtype=np.float64)
    written = as_written(text, members, detections)
    return replace(number, members=members, text=text, box=_box_around(around), written=written)


def as_written(text: str, members: Sequence[int], detections: Sequence[Detection]) -> str | None:
    """Return digits with the marks between them; None where there are none, or not a detection for each.

    `members` are the positions of their detections; the mark behind the last one is not the number's.
    """
    if len(text) != len(members):
        return None
    marks = [detections[i].mark or "" for i in members[:-1]]
    return "".join(map("".join, zip(text, [*marks, ""], strict=True))) if any(marks) else None


def beside(boxes: Floats, members: Sequence[int]) -> NDArray[np.bool_]:
    """Return which upright boxes (N, 4) stand on the line of a number within the gap of a digit, bool (N,).

    `members` are the positions of the number's digits; they are not beside it.
    """
    own = boxes[list(members)]
    (x0, y0), (x1, y1) = own[:, :2].min(axis=0), own[:, 2:].max(axis=0)
    low = np.minimum(y1 - y0, boxes[:, 3] - boxes[:, 1])
    near = np.minimum(boxes[:, 3], y1) - np.maximum(boxes[:, 1], y0) > MIN_OVERLAP * low
    near &= np.maximum(boxes[:, 0] - x1, x0 - boxes[:, 2]) < MAX_GAP * float((own[:, 3] - own[:, 1]).mean())
    near[list(members)] = False
    return np.asarray(near)


def of_one_digit(box: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Return which boxes (N, 4) are round the same digit as a box (4,): their cores overlap, bool (N,)."""
    apart = np.abs((boxes[:, :2] + boxes[:, 2:]) - (box[:2] + box[2:])) / 2
    reach = ((boxes[:, 2:] - boxes[:, :2]) + (box[2:] - box[:2])) / 2 * CORE
    return np.asarray((apart < reach).all(axis=1))


def in_one_place(box: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Return which boxes (N, 4) share too much with a box (4,) to be other digits of its number, bool (N,).

    By their widths, and not by their cores, as the boxes of a page at first: those of slanted digits that
    touch overlap, and 75 would lose its 5.
    """
    shared = np.minimum(boxes[:, 2], box[2]) - np.maximum(boxes[:, 0], box[0])
    narrow = np.minimum(boxes[:, 2] - boxes[:, 0], box[2] - box[0])
    return np.asarray(shared > SAME_PLACE * narrow)


def among(numbers: Sequence[Number], positions: Sequence[int]) -> tuple[Number, ...]:
    """Return numbers whose members count among these positions, which all of them are at.

    Their alternatives stay behind: they may read boxes that are at none of the positions.
    """
    place = {position: k for k, position in enumerate(positions)}
    return tuple(
        replace(number, members=tuple(place[i] for i in number.members), alternatives=())
        for number in numbers
    )


def _number(line: int, members: tuple[int, ...], boxes: Floats, readings: Sequence[Reading]) -> Number:
    return Number(
        text="".join(str(readings[i].digit) for i in members),
        confidence=prod(readings[i].confidence for i in members),
        box=_box_around(boxes),
        line=line,
        members=members,
    )


def _box_around(boxes: Floats) -> Box:
    x0, y0 = boxes[:, :2].min(axis=0).tolist()
    x1, y1 = boxes[:, 2:].max(axis=0).tolist()
    return Box(x0, y0, x1, y1)


def _pairs(boxes: Floats) -> tuple[Ints, Ints]:
    """Return all pairs (i, j) of boxes that share some height, i and j in any order, each pair once."""
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    heights = boxes[:, 3] - boxes[:, 1]
    down = np.argsort(middle, kind="stable")
    middle, heights = middle[down], heights[down]
    reach = float(heights.max())
    firsts, seconds = [], []
    # from the top: each with the next one below, with the one after that, … until all are out of reach
    for step in range(1, len(down)):
        apart = middle[step:] - middle[:-step]
        near = np.flatnonzero(apart < reach)
        if not len(near):
            break
        near = near[apart[near] < (heights[near] + heights[near + step]) / 2]
        firsts.append(down[near])
        seconds.append(down[near + step])
    none = np.zeros(0, dtype=np.int64)
    return np.concatenate([none, *firsts]), np.concatenate([none, *seconds])


def _chains(boxes: Floats) -> list[list[int]]:
    """Return runs of digits from left to right, each linked with the next as nearest neighbours."""
    i, j = _pairs(boxes)
    centre = (boxes[:, 0] + boxes[:, 2]) / 2
    swap = centre[j] < centre[i]
    i, j = np.where(swap, j, i), np.where(swap, i, j)  # i is on the left
    heights = boxes[:, 3] - boxes[:, 1]
    mean, small = (heights[i] + heights[j]) / 2, np.minimum(heights[i], heights[j])
    overlap = np.minimum(boxes[i, 3], boxes[j, 3]) - np.maximum(boxes[i, 1], boxes[j, 1])
    gap = (boxes[j, 0] - boxes[i, 2]) / mean
    fit = (
        (gap < MAX_GAP)
        & (overlap > MIN_OVERLAP * small)
        & (2 * mean - small < MAX_RATIO * small)
        & (centre[j] > centre[i])
    )
    i, j, mean = i[fit], j[fit], mean[fit]
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    away = (centre[j] - centre[i]) / mean + np.abs(middle[j] - middle[i]) / mean
    after, before = _nearest(i, j, away), _nearest(j, i, away)
    links = {a: b for a, b in after.items() if before[b] == a}
    chains = []
    for start in sorted(set(range(len(boxes))) - set(links.values())):
        chain = [start]
        while chain[-1] in links:
            chain.append(links[chain[-1]])
        chains.append(chain)
    return chains


def _nearest(of: Ints, to: Ints, away: Floats) -> dict[int, int]:
    """Return for each of `of` that one of `to` which is the least away."""
    order = np.lexsort((to, np.round(away / _NEAR_TIE) * _NEAR_TIE, of))
    firsts = np.unique(of[order], return_index=True)[1]
    return dict(zip(of[order][firsts].tolist(), to[order][firsts].tolist(), strict=True))


def _split_at_jumps(boxes: Floats, chains: list[list[int]]) -> list[list[int]]:
    """Split chains at gaps that are wide beside their other gaps: two numbers that stand close."""
    parts = []
    for chain in chains:
        of = boxes[chain]
        heights = of[:, 3] - of[:, 1]
        gaps = (of[1:, 0] - of[:-1, 2]) / ((heights[1:] + heights[:-1]) / 2)
        cuts = []
        if len(chain) > 2 and gaps.max() > JUMP:
            usual = max(float(np.median(gaps)), 0.1)
            cuts = (np.flatnonzero((gaps > JUMP) & (gaps > JUMP_TIMES * usual)) + 1).tolist()
        parts += [chain[a:b] for a, b in zip([0, *cuts], [*cuts, len(chain)], strict=True)]
    return parts


def _in_lines(boxes: Floats, chains: list[list[int]]) -> list[tuple[int, list[int]]]:
    """Return (line, chain) in reading order; lines are counted from the top, from 0."""
    around = np.array([[*boxes[c, :2].min(axis=0), *boxes[c, 2:].max(axis=0)] for c in chains])
    heights = np.array([float((boxes[c, 3] - boxes[c, 1]).mean()) for c in chains])
    x = (around[:, 0] + around[:, 2]) / 2
    y = np.array([float((boxes[c, 1] + boxes[c, 3]).mean()) / 2 for c in chains])
    # a page is skewed as a whole: near neighbours tell roughly how much, far ones then exactly
    upright = y - y.min()
    for reach in (12.0, np.inf):
        upright = upright - _slope(x, upright, heights, reach) * (x - x.min())
    order = np.lexsort((x, np.round(upright / _NEAR_TIE) * _NEAR_TIE))
    lines: list[list[int]] = []
    middle = 0.0  # of the line that is being filled
    for n in order.tolist():
        if lines and (upright[n] - middle) / heights[n] <= LINE_APART + _NEAR_TIE:
            lines[-1].append(n)
            middle += (upright[n] - middle) / len(lines[-1])
        else:
            lines.append([n])
            middle = float(upright[n])
    return [
        (line, chains[n])
        for line, members in enumerate(lines)
        for n in sorted(members, key=lambda n: (around[n, 0], around[n, 1], n))
    ]


def _slope(x: Floats, y: Floats, heights: Floats, reach: float) -> float:
    """Return how much lines fall a pixel to the right: the median from each number to its right neighbour."""
    half = heights[:, None] * [-0.5, 0.5]
    i, j = _pairs(np.stack([x, y + half[:, 0], x, y + half[:, 1]], axis=1))
    swap = x[j] < x[i]
    i, j = np.where(swap, j, i), np.where(swap, i, j)
    mean = (heights[i] + heights[j]) / 2
    fit = (
        (x[j] - x[i] < reach * mean)
        & (x[j] - x[i] > mean)
        & (np.abs(y[j] - y[i]) / mean < LINE_APART - _NEAR_TIE)
    )
    i, j = i[fit], j[fit]
    if not len(i):
        return 0.0
    after = _nearest(i, j, x[j] - x[i])
    a, b = np.array(list(after), dtype=np.int64), np.array(list(after.values()), dtype=np.int64)
    # a few neighbours say little: their offsets are the writer's, not the page's
    return float(np.median((y[b] - y[a]) / (x[b] - x[a]))) * len(a) / (len(a) + 4)
