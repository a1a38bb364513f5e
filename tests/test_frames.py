"""The frame of a page: found where the table was drawn, and found again on another scan."""

import functools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.drawn import PageStyle, draw_page
from pipeline.frames import Frame, find_frame
from pipeline.layout import _columns
from pipeline.paper import Look

Grey = NDArray[np.uint8]
WIDTH, HEIGHT, DIGIT_PX = 1240, 1754, 28.0
MARGIN = 1.6 * DIGIT_PX
WORN = Look(grey=True, paper=(190, 190, 190), ink=(60, 60, 60), rules=(120, 120, 120), bleed=0.15, noise=4.0)
STYLES = {
    "plain": PageStyle(look=replace(WORN, bleed=0, noise=1.0)),
    "worn": PageStyle(look=WORN, columns=("running", "day", "text", "count", "amount"), skew_deg=-0.8),
    "double": PageStyle(look=WORN, rules="double", skew_deg=0.5),
    "dotted": PageStyle(look=WORN, rules="dotted", row_rules=False),
    "narrow": PageStyle(look=WORN, columns=("count",) * 7, row_rules=False, skew_deg=1.0),
}


@functools.cache
def drawn(style: PageStyle, seed: int = 5) -> Grey:
    pixels = draw_page(seed, style).pixels
    return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def truth(style: PageStyle) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corners of a drawn table, and its rules as shares."""
    edges = np.array(_columns(style))
    low, high = MARGIN, style.height - MARGIN
    corners = np.array([(edges[0], low), (edges[-1], low), (edges[-1], high), (edges[0], high)])
    turn = cv2.getRotationMatrix2D((style.width / 2, style.height / 2), style.skew_deg, 1.0)
    return corners @ turn[:, :2].T + turn[:, 2], (edges - edges[0]) / (edges[-1] - edges[0])


def off_by(frame: Frame, corners: NDArray[np.float64]) -> float:
    """How far the worst corner is from where it should be, as a share of the frame's sides."""
    sides = [np.hypot(*(corners[1] - corners[0])), np.hypot(*(corners[3] - corners[0]))]
    return float((np.abs(np.array(frame.corners) - corners) / sides).max())


@pytest.mark.parametrize("name", STYLES)
def test_the_frame_is_where_the_table_was_drawn(name: str) -> None:
    style = STYLES[name]
    corners, rules = truth(style)
    frame = find_frame(drawn(style))
    assert frame.printed
    assert off_by(frame, corners) < 0.008, "rules are as thick as that, or double"
    assert len(frame.rules) == len(rules)
    assert np.allclose(frame.rules, rules, atol=0.005)


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("how", ["smaller", "moved", "turned", "turned back"])
def test_another_scan_of_a_page_has_the_same_frame(name: str, how: str) -> None:
    page = drawn(STYLES[name])
    height, width = page.shape
    if how == "smaller":
        moved = np.array([(0.7, 0, 0), (0, 0.7, 0)])
        size = (round(width * 0.7), round(height * 0.7))
        scan = cv2.resize(page, size, interpolation=cv2.INTER_AREA)
    elif how == "moved":  # beside a strip of the scanner's black bed
        moved = np.array([(1.0, 0, 130), (0, 1, 60)])
        scan = cv2.copyMakeBorder(page, 60, 20, 130, 40, cv2.BORDER_CONSTANT, value=(15,))
    else:
        degrees = 2 if how == "turned" else -2
        moved = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
        moved[:, 2] += 40
        scan = cv2.warpAffine(page, moved, (width + 80, height + 80), borderValue=(230,))
    before, after = find_frame(page), find_frame(np.asarray(scan, np.uint8))
    expected = np.array(before.corners) @ moved[:, :2].T + moved[:, 2]
    assert after.printed
    assert off_by(after, expected) < 0.005
    assert len(after.rules) == len(before.rules)
    assert np.allclose(after.rules, before.rules, atol=0.005)


def test_what_lies_beyond_the_gutter_is_not_of_the_table() -> None:
    style = replace(STYLES["plain"], width=1000)
    corners, rules = truth(style)
    other = drawn(replace(style, columns=("running", "text", "count")), seed=8)
    gutter = np.full((HEIGHT, 16), 70, np.uint8)
    opening = np.hstack([other[:, -150:], gutter, drawn(style)])
    frame = find_frame(opening)
    assert off_by(frame, corners + np.array((166, 0))) < 0.008
    assert np.allclose(frame.rules, rules, atol=0.005)


def test_rules_that_shine_through_are_none() -> None:
    front = drawn(STYLES["plain"]).astype(float)
    behind = drawn(replace(STYLES["plain"], columns=("running", "text", "count", "count")), seed=6).astype(
        float
    )
    paper = np.percentile(behind, 90)
    page = (front * (1 - 0.12 * (1 - (behind / paper).clip(0, 1)))).astype(np.uint8)[:, ::1]
    assert np.allclose(find_frame(page).rules, truth(STYLES["plain"])[1], atol=0.005)


def test_a_table_that_is_open_below_ends_where_its_rules_do() -> None:
    page = np.full((1600, 1200), 220, np.uint8)
    page[150:154, 100:1101] = 40
    for x in (100, 260, 700, 1098):
        page[150:1400, x : x + 3] = 40
    frame = find_frame(page)
    expected = np.array([(101, 151.5), (1099, 151.5), (1099, 1400), (101, 1400)])
    assert np.abs(np.array(frame.corners) - expected).max() < 3
    assert np.allclose(frame.rules, [0, 160 / 998, 600 / 998, 1], atol=0.002)


@pytest.mark.parametrize("rules", ["none", "letter", "blank"])
def test_without_a_table_the_frame_is_the_page(rules: str) -> None:
    if rules == "blank":
        page = np.full((1754, 1240), 255, np.uint8)
    else:
        columns = ("text",) if rules == "letter" else ("running", "day", "text")
        page = drawn(PageStyle(rules="none", columns=columns, row_rules=False))
    frame = find_frame(page)
    assert not frame.printed and frame.rules == ()
    assert np.allclose(frame.corners, [(0, 0), (1240, 0), (1240, 1754), (0, 1754)])


def test_without_a_table_the_frame_is_the_sheet_on_a_dark_ground() -> None:
    sheet = np.full((1000, 700), 210, np.uint8)
    page = np.full((1400, 1100), 25, np.uint8)
    page[150:1150, 200:900] = sheet
    turn = cv2.getRotationMatrix2D((550, 700), 3, 1.0)
    frame = find_frame(np.asarray(cv2.warpAffine(page, turn, (1100, 1400), borderValue=(25,)), np.uint8))
    expected = np.array([(200, 150), (900, 150), (900, 1150), (200, 1150)]) @ turn[:, :2].T + turn[:, 2]
    assert not frame.printed
    assert np.abs(np.array(frame.corners) - expected).max() < 6


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (40, 400), (130, 4000)])
def test_a_page_of_any_size_has_a_frame(shape: tuple[int, int]) -> None:
    frame = find_frame(np.full(shape, 200, np.uint8))
    assert not frame.printed
    assert frame.corners[2] == (shape[1], shape[0])


def test_points_go_to_shares_and_back() -> None:
    frame = Frame(((10, 20), (210, 30), (190, 420), (0, 400)), (0.0, 1.0), True)
    assert np.allclose(frame.to_shares(frame.corners), [(0, 0), (1, 0), (1, 1), (0, 1)])
    points = np.random.default_rng(1).uniform(-50, 450, (100, 2))
    assert np.allclose(frame.to_page(frame.to_shares(points)), points)
    assert frame.to_shares(np.zeros((0, 2))).shape == (0, 2)
    assert frame.to_shares((100, 200)).shape == (1, 2), "one point is a list of one"
