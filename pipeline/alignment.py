"""Which candidate box is which digit of a transcribed line.

A line's text says which digits stand in it, in which order and roughly where; the trained networks say where
digits may stand and which.  Dynamic programming finds the assignment that explains both best
(Needleman and Wunsch 1970, with a cost for place and for the gap to the digit before).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.page import Box
from pipeline.transcriptions import Line

# how wide a character is written, in digits; all others are about as wide as a digit
_WIDTHS = {" ": 0.7, "i": 0.6, "l": 0.6, "j": 0.6, "t": 0.7, "r": 0.8, ".": 0.4, ",": 0.4, "'": 0.4, "^": 0.0}
_WIDTHS |= {"m": 1.6, "w": 1.5, "M": 1.9, "W": 1.9, "I": 0.7, "-": 0.8, "|": 0.4}
# log-probabilities: of a digit that no candidate shows, and the most that a candidate shows for nothing
_MISSED = -3.5
_SPURIOUS = -3.0
_FLOOR = -4.6  # no reading is so sure that it outweighs everything else
_REACH = 3  # digits in a row that may be missed

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Candidates:
    """Where digits may stand: boxes float64 (N, 4), xyxy, and what they may be.

    `digits` (N, 10) is the chance of each digit given that it is one; `scores` (N,) the chance that it
    is one at all.
    """

    boxes: Floats
    digits: Floats
    scores: Floats

    def among(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Candidates":
        """Return some of the candidates: by a mask (N,), or by their positions, in that order."""
        return Candidates(self.boxes[which], self.digits[which], self.scores[which])


def align_line(line: Line, polygon: Floats, found: Candidates) -> list[Box | None]:
    """Return the box of each digit of a line, in the order of its text; None where none fits.

    `polygon` (P, 2) is the line's, in the pixels of the candidates; `found` are the candidates on the line.
    """
    text = line.text.strip()
    spots = [i for i, character in enumerate(text) if character in "0123456789"]
    boxes: list[Box | None] = [None] * len(spots)
    if not spots or not len(found.boxes):
        return boxes
    axis, origin, length = _direction(line, polygon)
    along = ((found.boxes[:, :2] + found.boxes[:, 2:]) / 2 - origin) @ axis
    # by all that a candidate is: the answer must not depend on the order they come in
    order = np.lexsort((*np.column_stack([found.digits, found.scores, found.boxes]).T, along))
    found, along = found.among(order), along[order]
    for spot, member in _assign(text, spots, along / length, length, found):
        boxes[spot] = Box(*(float(v) for v in found.boxes[member]))
    return boxes


def _assign(
    text: str, spots: list[int], at: Floats, length: float, found: Candidates
) -> list[tuple[int, int]]:
    """Return (digit, candidate) of the best assignment, both counted along the line."""
    expected, unit = _places(text)
    # people squeeze and stretch: a place is known to about a digit and a tenth of the line
    spread = unit * 1.5 + 0.06
    heights = found.boxes[:, 3] - found.boxes[:, 1]
    scores = found.scores.clip(1e-3, 1 - 1e-3)
    spurious = np.concatenate([[0.0], np.cumsum(np.maximum(np.log(1 - scores), _SPURIOUS))])
    # between the centres of each two, in heights
    gap = (at[None, :] - at[:, None]) * length / ((heights[None, :] + heights[:, None]) / 2)
    n = len(found.boxes)
    best = np.full((len(spots), n), -np.inf)
    before: dict[tuple[int, int], tuple[int, int] | None] = {}
    for d, spot in enumerate(spots):
        reading = np.log(found.digits[:, int(text[spot])].clip(1e-9)).clip(_FLOOR)
        place = -0.5 * np.minimum(((at - expected[spot]) / spread) ** 2, 16.0)
        here = reading + np.log(scores) * 0.5 + place
        best[d] = here + spurious[:n] + _MISSED * d  # the first digit that is found
        previous = np.full(n, -1)
        previous_digit = np.full(n, -1)
        for e in range(max(0, d - _REACH), d):
            beside = d - e == spot - spots[e]  # nothing but digits between the two
            cost = best[e][:, None] + (spurious[:n][None, :] - spurious[1:][:, None]) + _MISSED * (d - e - 1)
            if beside:
                wide = gap / (d - e)
                cost = cost - 4.0 * np.clip(wide - 1.1, 0, 2.0) - 6.0 * np.clip(0.25 - wide, 0, 1.0)
                cost = cost - 2.0 * np.abs(np.log(heights[None, :] / heights[:, None]))
            cost = np.where(np.arange(n)[:, None] < np.arange(n)[None, :], cost, -np.inf)
            top = cost.argmax(axis=0)
            value = cost[top, np.arange(n)] + here
            better = value > best[d]
            best[d][better] = value[better]
            previous[better], previous_digit[better] = top[better], e
        for j in range(n):
            before[d, j] = None if previous[j] < 0 else (int(previous_digit[j]), int(previous[j]))
    ends = (
        best
        + (spurious[n] - spurious[1:])[None, :]
        + _MISSED * (len(spots) - 1 - np.arange(len(spots)))[:, None]
    )
    none = spurious[n] + _MISSED * len(spots)
    if ends.max() <= none:
        return []
    state: tuple[int, int] | None = tuple(int(v) for v in np.unravel_index(ends.argmax(), ends.shape))  # type: ignore[assignment]
    path = []
    while state is not None:
        path.append(state)
        state = before[state]
    return path[::-1]


def _places(text: str) -> tuple[list[float], float]:
    """Return the middle of each character as a share of the line, and the width of a digit as one."""
    widths = [_WIDTHS.get(character, 1.0) for character in text]
    ends = np.cumsum(widths)
    whole = max(float(ends[-1]), 1e-6)
    return [(float(end) - width / 2) / whole for end, width in zip(ends, widths, strict=True)], 1 / whole


def _direction(line: Line, polygon: Floats) -> tuple[Floats, Floats, float]:
    """Return the unit vector of a line's writing, where it begins, and its length in pixels."""
    axis = np.array([1.0, 0.0])
    if len(line.baseline) >= 2:
        across = (line.baseline[-1] - line.baseline[0]).astype(np.float64)
        if math.hypot(*across) > 1:
            axis = across / math.hypot(*across)
    along = polygon @ axis
    origin = axis * float(along.min())
    return axis, origin, max(float(along.max() - along.min()), 1.0)
