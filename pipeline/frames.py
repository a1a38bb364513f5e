"""The frame of a page: the quadrilateral of its printed table, found from its long rules.

Places on a form are shares of the frame, so that size, shift and skew of a scan don't matter.  A rule is a
ridge: dark between two lighter sides.  The edge of a sheet, a shadow in the gutter and a dark border are
steps, and don't count.  Everything is done on a page made small and turned upright by its own rules.
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
Point = tuple[float, float]

_WORK_PX = 1430  # the longer side of the page that rules are looked for on
_FAINTEST = 0.045  # how much darker than the paper beside it a rule is at least
_FAINT = 0.3  # of a table's rules the faintest is at least so dark as a share of the darker ones
_N_BANDS = 30  # a rule is followed through so many bands of the page
_STEEPEST = 0.08  # rules lean by this at most: 4.6 degrees
_KEPT = 0.5  # a rule of the table is at least so long, as a share of the longest one
_SHORTEST = 0.3  # and the longest at least so long, as a share of the page
_GAP = 0.04  # a rule may be interrupted so far (a stamp, a blot), as a share of the page
_NEAR = 0.02  # rules that come so near to each other meet, as a share of the page
_SAME = 0.008  # rules that stand so near are one (a double rule), as a share of the page
_STEP = 0.09  # where its two sides differ by this much in brightness a line is an edge


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of a page.

    `corners` are four points (x, y) in page pixels, clockwise from the upper left.  `rules` are the table's
    vertical rules as shares of the frame's width, ascending, with its sides: 0 and 1.  Without a printed
    table the frame is the sheet, and has no rules.
    """

    corners: tuple[Point, Point, Point, Point]
    rules: tuple[float, ...]
    printed: bool

    def to_shares(self, points: npt.ArrayLike) -> Floats:
        """Return points (N, 2) of the page as shares (u, v) of the frame: 0, 0 is its upper left corner.

        Points outside of the frame have shares below 0 or above 1.
        """
        return _mapped(points, np.array(self.corners), _UNIT)

    def to_page(self, shares: npt.ArrayLike) -> Floats:
        """Return shares (N, 2) of the frame as points (x, y) of the page."""
        return _mapped(shares, _UNIT, np.array(self.corners))


_ACROSS = np.array([-12, -11, -10, -9, -8, -7, -2, -1, 0, 1, 2, 7, 8, 9, 10, 11, 12])
_OWN = abs(_ACROSS) <= 2
_UNIT = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float64)


def find_frame(grey: Grey) -> Frame:
    """Return the frame of a page: uint8 (H, W), 0 black to 255 white, upright but for a few degrees.

    A table has two vertical rules at least and a horizontal one that joins them, or three vertical ones.  Its
    upper side is a rule, or where the vertical ones begin; its lower side is where they end, for many tables
    are open below.  What lies beyond the ends of the upper rule belongs to the neighbouring page.
    """
    height, width = grey.shape
    scale = min(1.0, _WORK_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    found = None
    if min(size) >= 4 * _N_BANDS:
        upright, turn = _turned_upright(small)
        found = _table(upright)
    if found is None:
        corners = _sheet(small)
        rules: tuple[float, ...] = ()
    else:
        quad, at = found
        back = np.linalg.inv(np.vstack([turn, (0, 0, 1)]))
        corners = quad @ back[:2, :2].T + back[:2, 2]
        rules = tuple(round(float(share), 5) for share in at)
    corners = (corners + 0.5) * (width / size[0], height / size[1]) - 0.5
    upper_left, upper_right, lower_right, lower_left = ((float(x), float(y)) for x, y in corners)
    return Frame((upper_left, upper_right, lower_right, lower_left), rules, found is not None)


@dataclass(frozen=True, slots=True)
class _Rule:
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
        return self.offset + self.slope * along

    @property
    def length(self) -> float:
        return self.end - self.start

    @property
    def middle(self) -> float:
        return self.at((self.start + self.end) / 2)


def _turned_upright(small: Grey) -> tuple[Grey, Floats]:
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


def _rules(page: Grey, near: Sequence[float] | None = None) -> list[_Rule]:
    """Return the vertical rules of an upright page, from left to right; only those `near` an x, if given."""
    height = page.shape[0]
    ridges = _ridges(page)
    strokes = _strokes(ridges, height // 22)
    bands, middles = _bands(strokes)
    total = cv2.GaussianBlur(bands.sum(axis=0)[None], (0, 0), 1.0)[0]
    peaks = np.asarray(cv2.dilate(total[None], np.ones((1, 5), np.uint8)), np.float64)[0]
    # the rules of a page may lean otherwise than it does, so that their peaks are low
    candidates = np.flatnonzero((total == peaks) & (total > 0.12 * _N_BANDS))
    if near is not None:
        reach = 1.5 * _NEAR * max(page.shape)
        candidates = np.array([x for x in candidates if any(abs(x - y) <= reach for y in near)], dtype=int)
    sides = cv2.dilate(page, np.ones((3, 9), np.uint8))  # without what is written there
    found: list[_Rule] = []
    for x in candidates:
        line = _fitted(bands, middles, float(x))
        if line is None:
            continue
        offset, slope = line
        start, end = _longest_run(strokes, offset, slope)
        rule = _Rule(offset, slope, start, end)
        if rule.length >= _SHORTEST * height:
            found.append(replace(_measured(ridges, rule), edge=_is_edge(sides, rule)))
    return _joined(sorted(found, key=lambda rule: rule.middle), 2.0)


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
        if seen.sum() < 0.6 * _SHORTEST * n_bands:
            return None
        at = (cover * columns).sum(axis=1)[seen] / weight[seen]
        y = (middles - centre)[seen]
        # bands whose stroke is not the rule's count for little
        trust = np.ones(len(at))
        for _ in range(4):
            offset, slope = _straight(y, at, trust)
            trust = 1 / (1 + ((at - offset - slope * y) / 1.5) ** 2) ** 2
        if abs(slope) > _STEEPEST:
            return None
    return float(offset - slope * centre), float(slope)


def _straight(y: Floats, x: Floats, weight: Floats) -> tuple[float, float]:
    """Return offset and slope of the line x = offset + slope · y nearest to points with weights."""
    whole = weight.sum()
    y_mean, x_mean = (weight * y).sum() / whole, (weight * x).sum() / whole
    spread = (weight * (y - y_mean) ** 2).sum()
    slope = (weight * (y - y_mean) * (x - x_mean)).sum() / spread if spread > 0 else 0.0
    return x_mean - slope * y_mean, slope


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


def _is_edge(sides: npt.NDArray[Any], rule: _Rule) -> bool:
    """Say whether a rule is the shadow at an edge: what lies on its two sides is not equally light."""
    y = np.linspace(rule.start, rule.end - 1, 40).astype(int)
    x = np.rint(rule.offset + rule.slope * y).astype(int)
    last = sides.shape[1] - 1
    if np.median(x) < 9 or np.median(x) > last - 9:
        return True  # there is nothing beyond it: no table ends there
    left, right = (sides[y, (x + by).clip(0, last)].astype(float) for by in (-7, 7))
    return bool(abs(np.median((left - right) / (left + right))) > _STEP / 2)


def _measured(ridges: Grey, rule: _Rule) -> _Rule:
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


def _joined(rules: Sequence[_Rule], near: float) -> list[_Rule]:
    """Return rules, given in order, with those that lie near to the one before joined to it."""
    groups: list[list[_Rule]] = []
    for rule in rules:
        if groups and rule.middle - groups[-1][-1].middle <= near:
            groups[-1].append(rule)
        else:
            groups.append([rule])
    return [
        _Rule(
            (group[0].offset + group[-1].offset) / 2,
            (group[0].slope + group[-1].slope) / 2,
            min(rule.start for rule in group),
            max(rule.end for rule in group),
            max(rule.darkness for rule in group),
            all(rule.edge for rule in group),
        )
        for group in groups
    ]


def _table(page: Grey) -> tuple[Floats, list[float]] | None:
    """Return the corners (4, 2) of the table of an upright page and its rules as shares; None without one."""
    height, width = page.shape
    near = _NEAR * max(height, width)
    upright = _joined(_rules(page), _SAME * max(height, width))
    longest = max((rule.length for rule in upright if not rule.edge), default=0.0)
    upright = [rule for rule in upright if rule.length >= max(_KEPT * longest, 1)]
    level = _rules(np.ascontiguousarray(page.T), [y for rule in upright for y in (rule.start, rule.end)])
    top = _top(upright, level, near)
    if top is None:
        upright = [rule for rule in upright if not rule.edge]
    else:
        upright = [rule for rule in upright if _joins(rule, top, near / 2)]
    strong = np.percentile([rule.darkness for rule in upright], 75) if upright else 0.0
    upright = [rule for rule in upright if rule.darkness >= _FAINT * strong]  # the others shine through
    if len(upright) < (2 if top is not None else 3):
        return None
    left, right = upright[0], upright[-1]
    if right.middle - left.middle < _SHORTEST * width:
        return None
    if top is None:
        top = _level_through([(rule.at(rule.start), rule.start) for rule in upright], 0.0)
    below = [rule.slope for rule in level if rule.middle > height / 2]
    lean = float(np.median(below)) if below else top.slope
    bottom = _level_through([(rule.at(rule.end), rule.end) for rule in upright], lean)
    quad = np.array(
        [_crossing(side, end) for end, side in ((top, left), (top, right), (bottom, right), (bottom, left))]
    )
    half = _Rule((top.offset + bottom.offset) / 2, (top.slope + bottom.slope) / 2, 0, 0)
    at = _mapped([_crossing(rule, half) for rule in upright[1:-1]], quad, _UNIT)[:, 0]
    return quad, [0.0, *at.tolist(), 1.0]


def _top(upright: Sequence[_Rule], level: Sequence[_Rule], near: float) -> _Rule | None:
    """Return the rule that most of the upright ones begin at, the upper one of equals."""

    def n_begun(rule: _Rule) -> int:
        return sum(
            abs(rule.at(one.at(one.start)) - one.start) <= near
            and rule.start - near <= one.at(one.start) <= rule.end + near
            and not one.edge
            for one in upright
        )

    best = max((rule for rule in level if not rule.edge), key=n_begun, default=None)
    return best if best is not None and n_begun(best) >= 2 else None


def _joins(upright: _Rule, top: _Rule, near: float) -> bool:
    """Say whether an upright rule is of the table below `top`: not beyond its ends, a shadow only at them."""
    x = upright.at(top.middle)
    return min(abs(x - end) for end in (top.start, top.end)) <= near or (
        top.start < x < top.end and not upright.edge
    )


def _level_through(points: Sequence[Point], lean: float) -> _Rule:
    """Return a horizontal rule that leaves as many points above as below."""
    return _Rule(float(np.median([y - lean * x for x, y in points])), lean, 0, 0)


def _crossing(upright: _Rule, level: _Rule) -> Point:
    y = (level.offset + level.slope * upright.offset) / (1 - level.slope * upright.slope)
    return upright.at(y), y


def _sheet(small: Grey) -> Floats:
    """Return the corners (4, 2) of the sheet on a dark ground, or of the whole page."""
    height, width = small.shape
    whole = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64) - 0.5
    light = (cv2.blur(small, (9, 9)) > 0.5 * np.percentile(small, 90)).astype(np.uint8)
    outlines, _ = cv2.findContours(light, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(outlines, key=cv2.contourArea, default=None)
    if largest is None or cv2.contourArea(largest) < height * width / 3:
        return whole
    (x, y), (w, h), degrees = cv2.minAreaRect(largest)
    if (w - 1) * (h - 1) < 1 or _is_about_whole(w + 1, h + 1, small.shape):
        return whole
    points = np.asarray(cv2.boxPoints(((x, y), (w + 1, h + 1), degrees)), np.float64)
    first = int(np.argmin(points.sum(axis=1)))  # boxPoints goes round clockwise
    return np.roll(points, -first, axis=0)


def _is_about_whole(width: float, height: float, shape: tuple[int, ...]) -> bool:
    sizes = sorted((width, height)), sorted(shape)
    return all(one >= 0.99 * whole for one, whole in zip(*sizes, strict=True))


def _mapped(points: npt.ArrayLike, source: Floats, target: Floats) -> Floats:
    matrix = cv2.getPerspectiveTransform(source.astype(np.float32), target.astype(np.float32))
    given = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    mapped = np.column_stack([given, np.ones(len(given))]) @ np.asarray(matrix, np.float64).T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)
