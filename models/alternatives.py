"""Alternatives: what else a number may be, by its boxes and by what the recogniser reads in its ink.

What revision weighs where the recogniser reads a number otherwise (`models/revision.py`) is weighed here for
every number, and more: what the recogniser finds likely though a box lacks for it, the number together with
the one beside it, and a part of it alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from models.recogniser import LEAST_LOG, Columns, has_room, likely_texts, log_chances
from pipeline.confidence import REJECT
from pipeline.hypotheses import FLOOR, hypotheses
from pipeline.page import Alternative, Number, PageDetections
from pipeline.turning import upright_corners

MOST, LEAST = 5, 0.0005  # alternatives of a number, and how likely each is at least
_DECIMALS = 4  # of their chances: more would tell nothing, and fill the database
_BY_BOXES, _BY_INK = 10, 8  # ways to read a number otherwise that are weighed
_JOINED_GAP = 2.0  # in units of digit height: numbers further apart are never one
_NO_BOX = -3.0  # log odds that a digit was seen and no box drawn for it

Kind = Literal["boxes", "ink", "joined", "part", "none"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Weights:
    """How likely a way to read a number is, from what was said of it: e to the sum of these, in shares.

    `temperature` divides what boxes and recogniser say, as log chances; the rest is added, by the kind of
    the way.  `another` is what all readings that nobody thought of have together.
    """

    temperature: float
    joined: float
    part: float
    none: float
    another: float


# what `python benchmarks/alternatives.py registers/train --fit` prints: 1,075 wrong of 5,308 numbers
FITTED = Weights(temperature=3.94, joined=-0.13, part=0.79, none=2.21, another=-1.40)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to read a number otherwise: its boxes, its digits, and its log odds by the boxes alone."""

    text: str
    members: tuple[int, ...]
    odds: float
    kind: Kind


def with_alternatives(
    numbers: Sequence[Number],
    found: PageDetections,
    digits: Ints,
    chances: npt.NDArray[np.float32],
    odds: Floats,
    columns: Columns,
) -> tuple[Number, ...]:
    """Return the numbers of a page with what else each of them may be; nothing else about them changes.

    `digits` int64 (N,) are those of its detections, 10 where there is none; `chances` (N, 11) and `odds` (N,)
    the classifier's and the rescorer's, `columns` (M, 36, 11) the recogniser's.
    """
    known = []
    for number, (ways, likely) in zip(
        numbers, weighed(numbers, found, digits, chances, odds, columns), strict=True
    ):
        of_ways = (1 - number.confidence) * shares(ways, likely, FITTED)[:-1]
        best = sorted(zip((-of_ways).tolist(), range(len(ways)), strict=True))
        told = (Alternative(ways[k].text, round(-p, _DECIMALS), ways[k].members) for p, k in best)
        kept = [one for one in told if one.text and one.probability >= LEAST][:MOST]
        known.append(replace(number, alternatives=tuple(kept)))
    return tuple(known)


def weighed(
    numbers: Sequence[Number],
    found: PageDetections,
    digits: Ints,
    chances: npt.NDArray[np.float32],
    odds: Floats,
    columns: Columns,
) -> list[tuple[list[Way], Floats]]:
    """Return ways to read each number otherwise, and of each its log chance by boxes and recogniser together.

    None for a number that is too sure to have any.
    """
    boxes = upright_corners(found.detections, found.turned)
    texts = likely_texts(columns, _BY_INK)
    every = [
        []
        if 1 - number.confidence < LEAST
        else _ways(number, tuple(_beside(numbers, k, boxes)), texts[k], boxes, digits, chances, odds)
        for k, number in enumerate(numbers)
    ]
    which = [k for k, ways in enumerate(every) for _ in ways]
    of_texts = log_chances(torch.from_numpy(columns[which]), [way.text for ways in every for way in ways])
    likely = of_texts.numpy().astype(np.float64).clip(LEAST_LOG, 0)
    likely += np.array([way.odds for ways in every for way in ways])
    ends = np.cumsum([len(ways) for ways in every])[:-1]
    return list(zip(every, np.split(likely, ends), strict=True)) if every else []


def shares(ways: Sequence[Way], likely: Floats, weights: Weights) -> Floats:
    """Return how likely each of K ways is if the number as it was read is wrong, (K + 1,).

    `likely` (K,) are their log chances.  The last one is that of another reading.
    """
    added = {"joined": weights.joined, "part": weights.part, "none": weights.none}
    of_kinds = np.array([added.get(way.kind, 0.0) for way in ways])
    logs = np.append(likely / weights.temperature + of_kinds, weights.another)
    chances = np.exp(logs - logs.max())
    return np.asarray(chances / chances.sum())


def _ways(
    number: Number,
    beside: Sequence[tuple[Number, Number]],
    texts: Sequence[str],
    boxes: Floats,
    digits: Ints,
    chances: npt.NDArray[np.float32],
    odds: Floats,
) -> list[Way]:
    """Return the ways to read a number otherwise, one for each text.

    `beside` are pairs of it and a number on its line, from the left, `texts` what the recogniser may read.
    """
    told = hypotheses(number, boxes, digits, chances, odds)
    others = sorted(told[2:], key=lambda one: -one.odds)
    ways = [Way("", (), told[1].odds, "none")]
    ways += [Way(one.text, one.members, one.odds, "boxes") for one in others[:_BY_BOXES]]
    ways += [Way(a.text + b.text, (*a.members, *b.members), 0.0, "joined") for a, b in beside]
    for k in range(1, len(number.text)):
        ways.append(Way(number.text[:k], number.members[:k], 0.0, "part"))
        ways.append(Way(number.text[k:], number.members[k:], 0.0, "part"))
    known = {number.text, *(way.text for way in ways)}
    places = sorted({i for one in told for i in one.members}, key=lambda i: (boxes[i, 0] + boxes[i, 2], i))
    ways += _by_ink([text for text in texts if text not in known], places, digits, chances, odds)
    first = {way.text: way for way in reversed(ways) if way.text != number.text and has_room(way.text)}
    return list(first.values())


def _beside(numbers: Sequence[Number], k: int, boxes: Floats) -> Iterator[tuple[Number, Number]]:
    """Yield the k-th number and the one before it, and it and the one after it, where they stand close."""
    for i in (k - 1, k):
        if 0 <= i < len(numbers) - 1 and numbers[i].line == numbers[i + 1].line:
            a, b = boxes[list(numbers[i].members)], boxes[list(numbers[i + 1].members)]
            height = float((a[:, 3] - a[:, 1]).mean() + (b[:, 3] - b[:, 1]).mean()) / 2
            if b[:, 0].min() - a[:, 2].max() < _JOINED_GAP * height:
                yield numbers[i], numbers[i + 1]


def _by_ink(
    texts: Sequence[str],
    places: Sequence[int],
    digits: Ints,
    chances: npt.NDArray[np.float32],
    odds: Floats,
) -> list[Way]:
    """Return the likeliest way to read each text from boxes, `places` from left to right.

    Those are a number's and weak ones beside it.  Each holds one of the digits or none, and a digit may have
    no box (Levenshtein 1966, weighed).
    """
    logs = np.log(np.maximum(chances[places, :REJECT].astype(np.float64), FLOOR))
    mine = digits[places] < REJECT
    as_read = np.where(mine, digits[places], logs.argmax(axis=1))
    logs -= logs[np.arange(len(places)), as_read][:, None]
    # log odds that a box holds this digit, and that it holds none
    holds = (logs + np.where(mine, 0.0, odds[places])[:, None]).tolist()
    empty = np.where(mine, -odds[places], 0.0).tolist()
    own = tuple(np.array(places)[mine].tolist())  # where none fits at all, it still stands there
    ways = [_likeliest_way(text, places, holds, empty) for text in texts]
    return [way if way.members else replace(way, members=own) for way in ways]


def _likeliest_way(
    text: str, places: Sequence[int], holds: Sequence[Sequence[float]], empty: Sequence[float]
) -> Way:
    # of the text up to each digit, told by the boxes so far: log odds, and the boxes that tell it
    best: list[tuple[float, tuple[int, ...]]] = [(_NO_BOX * k, ()) for k in range(len(text) + 1)]
    for i, of_digits, of_none in zip(places, holds, empty, strict=True):
        here = [(best[0][0] + of_none, best[0][1])]
        for k, digit in enumerate(text):
            (before, members), (above, same) = best[k], best[k + 1]
            here.append(
                max(
                    (above + of_none, same),
                    (before + of_digits[int(digit)], (*members, i)),
                    (here[k][0] + _NO_BOX, here[k][1]),
                )
            )
        best = here
    return Way(text, best[-1][1], best[-1][0], "ink")
