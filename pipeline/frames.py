"""The frame of a page: the quadrilateral of its printed table, found from its long rules.

Places on a form are shares of the frame, so that size, shift and skew of a scan don't matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.ruled_lines import (
    LEAST_PX,
    NEAR,
    SHORTEST,
    Floats,
    Grey,
    Rule,
    find_rules,
    joined,
    turned_upright,
)

Point = tuple[float, float]

_WORK_PX = 1430  # the longer side of the page that rules are looked for on
_FAINT = 0.3  # of a table's rules the faintest is at least so dark as a share of the darker ones
_KEPT = 0.5  # a rule of the table is at least so long, as a share of the longest one
_SAME = 0.008  # rules that stand so near are one (a double rule), as a share of the page


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of a page.

    `corners` are four points (x, y) in page pixels, as those of boxes are, clockwise from the upper left.
    `rules` are the table's vertical rules as shares of the frame's width, ascending, with its sides: 0 and 1.
    Without a printed table the frame is the sheet, and has no rules.
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
    if min(size) >= LEAST_PX:
        upright, turn = turned_upright(small)
        found = _table(upright)
    if found is None:
        corners = _sheet(small)
        rules: tuple[float, ...] = ()
    else:
        quad, at = found
        back = np.linalg.inv(np.vstack([turn, (0, 0, 1)]))
        corners = quad @ back[:2, :2].T + back[:2, 2] + 0.5  # from the middles of pixels
        rules = tuple(round(float(share), 5) for share in at)
    corners = corners * (width / size[0], height / size[1])
    upper_left, upper_right, lower_right, lower_left = ((float(x), float(y)) for x, y in corners)
    return Frame((upper_left, upper_right, lower_right, lower_left), rules, found is not None)


def _table(page: Grey) -> tuple[Floats, list[float]] | None:
    """Return the corners (4, 2) of the table of an upright page and its rules as shares; None without one."""
    height, width = page.shape
    near = NEAR * max(height, width)
    upright = find_rules(page)
    longest = max((rule.length for rule in upright if not rule.edge), default=0.0)
    upright = [rule for rule in upright if rule.length >= max(_KEPT * longest, 1)]
    level = find_rules(np.ascontiguousarray(page.T), [y for rule in upright for y in (rule.start, rule.end)])
    top = _top(upright, level, near)
    if top is None:
        upright = [rule for rule in upright if not rule.edge]
    else:
        upright = [rule for rule in upright if _joins(rule, top, near / 2)]
    strong = np.percentile([rule.darkness for rule in upright], 75) if upright else 0.0
    upright = [rule for rule in upright if rule.darkness >= _FAINT * strong]  # the others shine through
    if len(upright) < (2 if top is not None else 3):
        return None
    left, right = upright[0], upright[-1]  # of double sides the outer rule, which is the thicker one in print
    if right.middle - left.middle < SHORTEST * width:
        return None
    if top is None:
        top = _level_through([(rule.at(rule.start), rule.start) for rule in upright], 0.0)
    below = [rule.slope for rule in level if rule.middle > height / 2]
    lean = float(np.median(below)) if below else top.slope
    bottom = _level_through([(rule.at(rule.end), rule.end) for rule in upright], lean)
    quad = np.array(
        [_crossing(side, end) for end, side in ((top, left), (top, right), (bottom, right), (bottom, left))]
    )
    half = Rule((top.offset + bottom.offset) / 2, (top.slope + bottom.slope) / 2, 0, 0)
    inner = joined(upright, _SAME * max(height, width))[1:-1]
    at = _mapped([_crossing(rule, half) for rule in inner], quad, _UNIT)[:, 0]
    return quad, [0.0, *at.tolist(), 1.0]


def _top(upright: Sequence[Rule], level: Sequence[Rule], near: float) -> Rule | None:
    """Return the rule that most of the upright ones begin at, the upper one of equals."""

    def n_begun(rule: Rule) -> int:
        return sum(
            abs(rule.at(one.at(one.start)) - one.start) <= near
            and rule.start - near <= one.at(one.start) <= rule.end + near
            and not one.edge
            for one in upright
        )

    best = max((rule for rule in level if not rule.edge), key=n_begun, default=None)
    return best if best is not None and n_begun(best) >= 2 else None


def _joins(upright: Rule, top: Rule, near: float) -> bool:
    """Say whether an upright rule is of the table below `top`: not beyond its ends, a shadow only at them."""
    x = upright.at(top.middle)
    return min(abs(x - end) for end in (top.start, top.end)) <= near or (
        top.start < x < top.end and not upright.edge
    )


def _level_through(points: Sequence[Point], lean: float) -> Rule:
    """Return a horizontal rule that leaves as many points above as below."""
    return Rule(float(np.median([y - lean * x for x, y in points])), lean, 0, 0)


def _crossing(upright: Rule, level: Rule) -> Point:
    y = (level.offset + level.slope * upright.offset) / (1 - level.slope * upright.slope)
    return upright.at(y), y


def _sheet(small: Grey) -> Floats:
    """Return the corners (4, 2) of the sheet on a dark ground, or of the whole page."""
    height, width = small.shape
    whole = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    light = (cv2.blur(small, (9, 9)) > 0.5 * np.percentile(small, 90)).astype(np.uint8)
    outlines, _ = cv2.findContours(light, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(outlines, key=cv2.contourArea, default=None)
    if largest is None or cv2.contourArea(largest) < height * width / 3:
        return whole
    (x, y), (w, h), degrees = cv2.minAreaRect(largest)
    if (w - 1) * (h - 1) < 1 or _is_about_whole(w + 1, h + 1, small.shape):
        return whole
    points = np.asarray(cv2.boxPoints(((x + 0.5, y + 0.5), (w + 1, h + 1), degrees)), np.float64)
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
