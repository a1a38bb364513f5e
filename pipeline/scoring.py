"""How well found digits agree with transcribed lines: what is right, wrong, missed and added.

A found digit belongs to the line whose polygon holds its centre (the nearest baseline where several
do).  Inside a line the found digits, in its writing direction, are aligned with the digits of the
transcription by edit distance (Levenshtein 1966); of the alignments with the fewest edits the one with
the most equal digits counts.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.page import Box, Number
from pipeline.transcriptions import Line, held_boxes


@dataclass(frozen=True, slots=True)
class LineScore:
    """A line, what was found on it in order, and how the two agree.

    `found` are positions of the page's digits; `pairs` are (digit of the line, place in `found`), None
    on either side where one is missed or added.
    """

    line: Line
    found: tuple[int, ...]
    pairs: tuple[tuple[int | None, int | None], ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class PageScore:
    """The lines of a page, and the positions of digits found on no line."""

    lines: tuple[LineScore, ...]
    outside: tuple[int, ...]


@dataclass(slots=True)
class Totals:
    """Counts over pages, and the shares they make."""

    pages: int = 0
    truth: int = 0
    equal: int = 0
    substituted: int = 0
    added: int = 0
    outside: int = 0
    cells: int = 0
    cells_exact: int = 0
    in_cells: int = 0  # digits of lines that are all number
    in_cells_equal: int = 0
    confusions: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((11, 11), np.int64))

    @property
    def found(self) -> int:
        """Everything that was found."""
        return self.equal + self.substituted + self.added + self.outside

    @property
    def precision(self) -> float:
        """Right digits among the found ones."""
        return _share(self.equal, self.found)

    @property
    def recall(self) -> float:
        """Right digits among the true ones."""
        return _share(self.equal, self.truth)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _share(2 * self.precision * self.recall, self.precision + self.recall)

    @property
    def cells_share(self) -> float:
        """Lines that are all number, read exactly."""
        return _share(self.cells_exact, self.cells)

    @property
    def classifier(self) -> float:
        """How often a found digit got its right class."""
        return _share(self.equal, self.equal + self.substituted)

    @property
    def recall_in_cells(self) -> float:
        """The share of the digits in number cells that were read right."""
        return _share(self.in_cells_equal, self.in_cells)

    @property
    def recall_in_text(self) -> float:
        """The share of all other digits that were read right."""
        return _share(self.equal - self.in_cells_equal, self.truth - self.in_cells)

    def add(self, page: PageScore, digits: Sequence[int]) -> None:
        """Count a page; `digits` are all that was found on it, by position."""
        self.pages += 1
        self.outside += len(page.outside)
        for position in page.outside:
            self.confusions[10, digits[position]] += 1
        for scored in page.lines:
            truth = scored.line.digits
            self.truth += len(truth)
            equal = 0
            for i, j in scored.pairs:
                t = 10 if i is None else int(truth[i])
                f = 10 if j is None else digits[scored.found[j]]
                self.confusions[t, f] += 1
                equal += t == f
                self.substituted += i is not None and j is not None and t != f
                self.added += i is None
            self.equal += equal
            if scored.line.is_number:
                self.cells += 1
                self.cells_exact += scored.exact
                self.in_cells += len(truth)
                self.in_cells_equal += equal


def score_page(
    lines: Sequence[Line], boxes: Sequence[Box], digits: Sequence[int], reach: float = 0.0
) -> PageScore:
    """Return how the digits found on a page agree with its lines; boxes and lines in the same pixels.

    With `reach` a digit outside all lines belongs to the nearest one within so many of its heights.
    """
    members: list[list[tuple[float, int]]] = [[] for _ in lines]
    outside = []
    corners = np.array([box.corners for box in boxes], np.float64).reshape(-1, 4)
    holds = held_boxes([line.polygon for line in lines], corners, reach)
    for position, (x, y) in enumerate(box.centre for box in boxes):
        holding = np.flatnonzero(holds[:, position])
        if not len(holding):
            outside.append(position)
            continue
        best = min(holding.tolist(), key=lambda k: _distance(lines[k], x, y))
        members[best].append((_along(lines[best], x, y), position))
    scored = []
    for line, found in zip(lines, members, strict=True):
        order = tuple(
            position for _, position in sorted(found, key=lambda item: (item[0], str(digits[item[1]])))
        )
        read = "".join(str(digits[position]) for position in order)
        scored.append(LineScore(line, order, align(line.digits, read), read == line.digits))
    return PageScore(tuple(scored), tuple(outside))


def align(truth: str, found: str) -> tuple[tuple[int | None, int | None], ...]:
    """Return the pairs of an alignment with the fewest edits, and of those with the most equal digits."""
    n, m = len(truth), len(found)
    cost = [[(i + j, 0) for j in range(m + 1)] for i in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            cost[i][j] = min(_paired(cost, truth, found, i, j), _missed(cost, i, j), _added(cost, i, j))
    pairs: list[tuple[int | None, int | None]] = []
    i, j = n, m
    while i or j:
        if i and j and cost[i][j] == _paired(cost, truth, found, i, j):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif i and cost[i][j] == _missed(cost, i, j):
            i -= 1
            pairs.append((i, None))
        else:
            j -= 1
            pairs.append((None, j))
    return tuple(reversed(pairs))


def true_classes(page: PageScore, n_found: int) -> npt.NDArray[np.int64]:
    """Return for each digit found on a page which digit stands there, int64 (N,); 10 where there is none."""
    classes = np.full(n_found, 10, np.int64)
    for scored in page.lines:
        truth = scored.line.digits
        for i, j in scored.pairs:
            if i is not None and j is not None:
                classes[scored.found[j]] = int(truth[i])
    return classes


def right_digits(page: PageScore, digits: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return for each digit found on a page whether it is right; one where there is none is wrong."""
    return np.asarray(true_classes(page, len(digits)) == np.array(digits, np.int64))


def right_numbers(page: PageScore, digits: Sequence[int], numbers: Sequence[Number]) -> npt.NDArray[np.bool_]:
    """Return for each number found on a page whether it is a whole number of the transcription.

    `members` of the numbers count positions among `digits`.  A missed or added digit makes it wrong.
    """
    where: dict[int, tuple[LineScore, int]] = {}
    for scored in page.lines:
        truth = scored.line.digits
        for i, j in scored.pairs:
            if i is not None and j is not None and int(truth[i]) == digits[scored.found[j]]:
                where[scored.found[j]] = (scored, i)
    return np.array([_is_whole([where.get(m) for m in number.members]) for number in numbers], bool)


def _is_whole(places: list[tuple[LineScore, int] | None]) -> bool:
    known = [place for place in places if place is not None]
    if len(known) != len(places) or any(scored is not known[0][0] for scored, _ in known):
        return False
    line, spots = known[0][0].line, [spot for _, spot in known]
    if spots != list(range(spots[0], spots[-1] + 1)):
        return False
    at = line.spots
    of_number = at[spots[0] : spots[-1] + 1]
    bounded = spots[0] == 0 or at[spots[0] - 1] < of_number[0] - 1
    bounded &= spots[-1] == len(at) - 1 or at[spots[-1] + 1] > of_number[-1] + 1
    return bounded and all(line.goes_on(a, b) for a, b in itertools.pairwise(of_number))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


Cost = list[list[tuple[int, int]]]


def _paired(cost: Cost, truth: str, found: str, i: int, j: int) -> tuple[int, int]:
    same = truth[i - 1] == found[j - 1]
    return cost[i - 1][j - 1][0] + (not same), cost[i - 1][j - 1][1] - same


def _missed(cost: Cost, i: int, j: int) -> tuple[int, int]:
    return cost[i - 1][j][0] + 1, cost[i - 1][j][1]


def _added(cost: Cost, i: int, j: int) -> tuple[int, int]:
    return cost[i][j - 1][0] + 1, cost[i][j - 1][1]


def _along(line: Line, x: float, y: float) -> float:
    if len(line.baseline) < 2:
        return x
    (ax, ay), (bx, by) = line.baseline[0].tolist(), line.baseline[-1].tolist()
    return float((x - ax) * (bx - ax) + (y - ay) * (by - ay))


def _distance(line: Line, x: float, y: float) -> float:
    """Return how far a point is above or below a line's baseline, or the middle of its polygon."""
    if not len(line.baseline):
        return abs(y - float(line.polygon[:, 1].min() + line.polygon[:, 1].max()) / 2)
    points = sorted(line.baseline.tolist())
    if x <= points[0][0]:
        return abs(y - float(points[0][1]))
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        if ax <= x <= bx:
            return abs(y - float(ay + (by - ay) * (x - ax) / max(bx - ax, math.ulp(1.0))))
    return abs(y - float(points[-1][1]))
