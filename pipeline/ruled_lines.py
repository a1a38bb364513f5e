"""The ruled lines of a page: long and straight ridges, dark between two lighter sides.

Everything is done on a page made small and turned upright by its own rules, where a rule is a few pixels
broad.  The edge of a sheet, a shadow in the gutter and a dark border are steps, and no rules.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

SHORTEST = 0.3  # a rule is at least so long, as a share of the page
NEAR = 0.02  # rules that come so near to each other meet, as a share of the page
_FAINTEST = 0.045  # how much darker than the paper beside it a rule is at least
_N_BANDS = 30  # a rule is followed through so many bands of the page
_STEEPEST = 0.08  # rules lean by this at most: 4.6 degrees
_GAP = 0.04  # a rule may be interrupted so far (a stamp, a blot), as a share of the page
_STEP = 0.09  # where its two sides differ by this much in brightness a line is an edge
LEAST_PX = 4 * _N_BANDS  # no side of the page is shorter
# where a rule and what is beside it are looked for, in pixels across
_ACROSS = np.array([-12, -11, -10, -9, -8, -7, -2, -1, 0, 1, 2, 7, 8, 9, 10, 11, 12])
_OWN = abs(_ACROSS) <= 2


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the small page: at `along` it is at `offset + slope · along`, from `start` to `end`.

    Of a vertical rule `along` is y and it is at an x; of a horizontal one the other way round.  An `edge` may
    be the shadow at the edge of a sheet, since its two sides are not equally light.
    """

    offset: float
    slope: float
    start: float
    end: float
    darkness: float = 0.0
    edge: bool = False

    def at(self, along: float) -> float:
        """Return where it is at a place along it."""
        return self.offset + self.slope * along

    @property
    def length(self) -> float:
        """Length in pixels."""
        return self.end - self.start

    @property
    def middle(self) -> float:
        """Where it is in its middle."""
        return self.at((self.start + self.end) / 2)


def turned_upright(small: Grey) -> tuple[Grey, Floats]:
    """Return the page with its vertical rules upright, and what brought each point (2, 3) there."""
    bands, _ = _bands(_strokes(_ridges(small), small.shape[0] // 40))
    slope = _common_slope(bands, small.shape[0])
    height, width = small.shape
    cos, sin = math.cos(math.atan(slope)), math.sin(math.atan(slope))
    turn = np.array([(cos, -sin, 0), (sin, cos, 0)])
    placed = np.array([(0, 0), (width, 0), (width, height), (0, height)]) @ turn[:, :2].T
    low, high = placed.min(axis=0), placed.max(axis=0)
    turn[:, 2] = -low
    size = (math.ceil(high[0] - low[0]), math.ceil(high[1] - low[1]))
    paper = float(np.median(small[::8, ::8]))
    upright = cv2.warpAffine(small, turn, size, flags=cv2.INTER_LINEAR, borderValue=paper)
    return np.asarray(upright, np.uint8), turn


def _ridges(page: Grey) -> Grey:
    """Return how much darker than the paper beside it each pixel of an upright stroke is, uint8 (H, W)."""
    smooth = cv2.blur(page, (1, 9))
    across = max(page.shape) // 90 | 1  # no rule is broader
    paper = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, np.ones((1, across), np.uint8))
    paper = cv2.morphologyEx(paper, cv2.MORPH_CLOSE, np.ones((15, 1), np.uint8))  # below rules of rows too
    return np.asarray(cv2.divide(cv2.subtract(paper, smooth), paper, scale=255), np.uint8)


def _strokes(ridges: Grey, length: int) -> Grey:
    """Return where upright strokes of a length are on a page, uint8 (H, W), 0 or 1."""
    strokes = cv2.threshold(ridges, 255 * _FAINTEST, 1, cv2.THRESH_BINARY)[1]
    strokes = cv2.morphologyEx(strokes, cv2.MORPH_CLOSE, np.ones((7, 1), np.uint8))  # dots of dotted rules
    strokes = cv2.dilate(strokes, np.ones((1, 3), np.uint8))  # those that lean
    return np.asarray(cv2.morphologyEx(strokes, cv2.MORPH_OPEN, np.ones((length, 1), np.uint8)), np.uint8)


def _bands(strokes: Grey) -> tuple[Floats, Floats]:
    """Return how much of each band's height has a stroke at each x, (B, W), and the bands' middles (B,)."""
    ends = np.linspace(0, strokes.shape[0], _N_BANDS + 1).astype(int)
    sums = np.add.reduceat(strokes, ends[:-1], axis=0, dtype=np.float64)
    return sums / np.diff(ends)[:, None], (ends[:-1] + ends[1:] - 1) / 2


def _common_slope(bands: Floats, height: int) -> float:
    """Return the slope, in pixels of x a pixel of y, at which the strokes of the bands add up best."""
    n_bands, width = bands.shape
    lean = (np.arange(n_bands) + 0.5) / n_bands - 0.5  # of a page one high
    most = math.ceil(_STEEPEST * height)  # by so many pixels from top to bottom
    room = np.pad(bands, ((0, 0), (most, most)))

    def sharpness(drift: float) -> float:
        total = np.zeros(width)
        for band, share in zip(room, lean, strict=True):
            shift = most + round(drift * share)
            total += band[shift : shift + width]
        return float((total**3).sum())

    coarse = max(range(-most, most + 1, 4), key=sharpness)
    drift = max(range(coarse - 4, coarse + 5), key=sharpness)
    return drift / height


def find_rules(page: Grey, near: Sequence[float] | None = None) -> list[Rule]:
    """Return the vertical rules of a page that lies upright, from left to right.

    With `near` they are only those that pass near one of these x.
    """
    height = page.shape[0]
    ridges = _ridges(page)
    strokes = _strokes(ridges, height // 22)
    bands, middles = _bands(strokes)
    total = cv2.GaussianBlur(bands.sum(axis=0)[None], (0, 0), 1.0)[0]
    peaks = np.asarray(cv2.dilate(total[None], np.ones((1, 5), np.uint8)), np.float64)[0]
    # the rules of a page may lean otherwise than it does, so that their peaks are low
    candidates = np.flatnonzero((total == peaks) & (total > 0.12 * _N_BANDS))
    if near is not None:
        reach = 1.5 * NEAR * max(page.shape)
        candidates = np.array([x for x in candidates if any(abs(x - y) <= reach for y in near)], dtype=int)
    sides = cv2.dilate(page, np.ones((3, 9), np.uint8))  # without what is written there
    found: list[Rule] = []
    for x in candidates:
        line = _fitted(bands, middles, float(x))
        if line is None:
            continue
        offset, slope = line
        start, end = _longest_run(strokes, offset, slope)
        rule = Rule(offset, slope, start, end)
        if rule.length >= SHORTEST * height:
            found.append(replace(_measured(ridges, rule), edge=_is_edge(sides, rule)))
    return joined(sorted(found, key=lambda rule: rule.middle), 2.0)


def _fitted(bands: Floats, middles: Floats, x: float) -> tuple[float, float] | None:
    """Return offset and slope of the rule that passes near x in the middle of the page; None without one."""
    offset, slope = x, 0.0
    centre = (middles[0] + middles[-1]) / 2
    n_bands, width = bands.shape
    rows = np.arange(n_bands)[:, None]
    for reach in (8, 5, 3, 3):
        expected = offset + slope * (middles - centre)
        columns = np.rint(expected).astype(int)[:, None] + np.arange(-reach, reach + 1)
        inside = (columns >= 0) & (columns < width)
        cover = np.where(inside, bands[rows, columns.clip(0, width - 1)], 0.0)
        cover = np.where(cover >= 0.35, cover, 0.0)
        weight = cover.sum(axis=1)
        seen = weight > 0
        if seen.sum() < 0.6 * SHORTEST * n_bands:
            return None
        at = (cover * columns).sum(axis=1)[seen] / weight[seen]
        y = (middles - centre)[seen]
        offset, slope = _straight(y, at)
        if abs(slope) > _STEEPEST:
            return None
    return offset - slope * centre, slope


def _straight(y: Floats, x: Floats) -> tuple[float, float]:
    """Return offset and slope of the line x = offset + slope · y through points (Theil and Sen).

    Bands whose stroke is not the rule's don't move it, and a rule that is bent has one answer on every scan.
    """
    first, second = np.triu_indices(len(y), 1)
    slope = float(np.median((x[second] - x[first]) / (y[second] - y[first])))
    return float(np.median(x - slope * y)), slope


def _longest_run(strokes: Grey, offset: float, slope: float) -> tuple[float, float]:
    """Return where the strokes along a rule begin and end, gaps left aside."""
    height, width = strokes.shape
    y = np.arange(height)[:, None]
    x = np.rint(offset + slope * y).astype(int) + _ACROSS
    on = strokes[y, x.clip(0, width - 1)]
    own = on[:, _OWN].any(axis=1)
    where = np.flatnonzero(own)
    if not len(where):
        return 0.0, 0.0
    breaks = np.flatnonzero(np.diff(where) > _GAP * height)
    firsts, lasts = where[np.r_[0, breaks + 1]], where[np.r_[breaks, len(where) - 1]]
    best = int(np.argmax(lasts - firsts))
    first, last = firsts[best], lasts[best] + 1
    # in dense writing strokes are everywhere
    beside = on[first:last, ~_OWN].mean() if last - first else 1.0
    stands_out = own[first:last].mean() - 1.5 * beside > 0.55
    return (float(first), float(last)) if stands_out else (0.0, 0.0)


def _is_edge(sides: npt.NDArray[Any], rule: Rule) -> bool:
    """Say whether a rule is the shadow at an edge: what lies on its two sides is not equally light."""
    y = np.linspace(rule.start, rule.end - 1, 40).astype(int)
    x = np.rint(rule.offset + rule.slope * y).astype(int)
    last = sides.shape[1] - 1
    if np.median(x) < 9 or np.median(x) > last - 9:
        return True  # there is nothing beyond it: no table ends there
    left, right = (sides[y, (x + by).clip(0, last)].astype(float) for by in (-7, 7))
    return bool(abs(np.median((left - right) / (left + right))) > _STEP / 2)


def _measured(ridges: Grey, rule: Rule) -> Rule:
    """Return a rule with its darkness, that of three quarters of its length at least, and with exact ends.

    What shines through from the other side is faint, and letters below one another have gaps between them.
    """
    y = np.arange(int(rule.start), int(rule.end))[:, None]
    x = np.rint(rule.offset + rule.slope * y).astype(int) + np.arange(-2, 3)
    along = ridges[y, x.clip(0, ridges.shape[1] - 1)].max(axis=1)
    darkness = float(np.percentile(along, 25))
    first, last = np.flatnonzero(along >= darkness / 2)[[0, -1]]  # smoothing made it longer
    return replace(
        rule, start=rule.start + int(first), end=rule.start + int(last) + 1, darkness=darkness / 255
    )


def joined(rules: Sequence[Rule], near: float) -> list[Rule]:
    """Return rules, given in order, with those that lie near to the one before joined to it."""
    groups: list[list[Rule]] = []
    for rule in rules:
        if groups and rule.middle - groups[-1][-1].middle <= near:
            groups[-1].append(rule)
        else:
            groups.append([rule])
    return [
        Rule(
            (group[0].offset + group[-1].offset) / 2,
            (group[0].slope + group[-1].slope) / 2,
            min(rule.start for rule in group),
            max(rule.end for rule in group),
            max(rule.darkness for rule in group),
            all(rule.edge for rule in group),
        )
        for group in groups
    ]
