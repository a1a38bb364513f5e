"""What a number looks like with what stands round it, put together from crops."""

import cv2
import numpy as np
import pytest

from pipeline.confidence import logit
from pipeline.crops import cut_crops
from pipeline.drawn import draw_page
from pipeline.ink import ink_map
from pipeline.numbers import group_numbers
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.strips import STRIP_DIGIT_PX, STRIP_PX, Strips, number_strips
from pipeline.turning import turn_box, turn_page

DIGIT_PX = 24.0
SCALE = 15 / DIGIT_PX


def drawn() -> tuple[np.ndarray, list[Box]]:
    """Return a drawn page, grey, and the boxes of its digits."""
    page = draw_page(3, "ledger", width=700, height=900, digit_px=DIGIT_PX)
    pixels = page.pixels
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, np.uint8), [digit.box for digit in page.digits]


def strips_of(grey: np.ndarray, boxes: list[Box], turned: int = 0) -> tuple[tuple[Number, ...], Strips]:
    """Return the numbers that boxes of a page make, and their strips."""
    found = PageDetections(tuple(Detection(box, 0.9) for box in boxes), SCALE, turned)
    numbers = group_numbers(found.detections, [Reading(k % 10, 0.9) for k in range(len(boxes))], turned)
    return numbers, number_strips(numbers, found, np.full(len(boxes), 9.0), cut_crops(grey, found))


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_a_strip_shows_the_page_round_its_number() -> None:
    page, boxes = drawn()
    numbers, strips = strips_of(page, boxes)
    ink = ink_map(page, SCALE)
    factor = ink.shape[1] / page.shape[1]
    assert len(numbers) > 20
    for number, strip in zip(numbers, strips, strict=True):
        heights = [boxes[i].height for i in number.members]
        zoom = STRIP_DIGIT_PX / np.median(heights)
        x, y = number.box.centre
        height, width = STRIP_PX
        matrix = np.array(
            [[zoom / factor, 0, width / 2 - x * zoom], [0, zoom / factor, height / 2 - y * zoom]], np.float64
        )
        direct = cv2.warpAffine(ink, matrix, (width, height))
        half = round(number.box.width * zoom / 2) + STRIP_DIGIT_PX
        middle = np.s_[4:-4, width // 2 - half : width // 2 + half]
        assert agreement(strip[0][middle], direct[middle]) > 0.85


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_turned_page_gives_the_strips_of_the_upright_one(turned: int) -> None:
    page, boxes = drawn()
    _, upright = strips_of(page, boxes)
    lying = turn_page(page, 360 - turned)
    width, height = page.shape[1], page.shape[0]
    _, strips = strips_of(lying, [turn_box(box, 360 - turned, width, height) for box in boxes], turned)
    assert strips.shape == upright.shape
    assert np.mean([agreement(a, b) for a, b in zip(strips[:, 0], upright[:, 0], strict=True)]) > 0.95


def test_own_boxes_and_others_are_told_apart() -> None:
    boxes = [Box(100, 100, 112, 120), Box(116, 100, 128, 120), Box(150, 100, 162, 120)]
    found = PageDetections(tuple(Detection(box, 0.9) for box in boxes), 0.75)
    number = Number("12", 0.9, Box(100, 100, 128, 120), 0, (0, 1))
    odds = logit(np.array([0.999, 0.6, 0.3]))
    (strip,) = number_strips([number], found, odds, np.zeros((3, 2, 40, 40), np.uint8))
    height, width = STRIP_PX
    own, others = strip[1], strip[2]
    assert own[height // 2, width // 2 - 5] == 254 and own[height // 2, width // 2 + 5] == 153
    assert own[height // 2, width // 2 - 11] == 127  # the edge of the first digit
    assert own[:, : width // 2 - 13].max() == own[:, width // 2 + 13 :].max() == 0
    assert others.max() == 76 and others[:, : width // 2 + 27].max() == 0
    assert strip[0].max() == 0


def test_a_long_number_fits_its_strip() -> None:
    boxes = [Box(14.0 * k, 100, 14.0 * k + 12, 120) for k in range(20)]
    found = PageDetections(tuple(Detection(box, 0.9) for box in boxes), 0.75)
    number = Number("1" * 20, 0.9, Box(0, 100, 278, 120), 0, tuple(range(20)))
    (strip,) = number_strips([number], found, np.zeros(20), np.zeros((20, 2, 40, 40), np.uint8))
    columns = np.flatnonzero(strip[1].any(axis=0))
    assert columns[0] >= 19 and columns[-1] < STRIP_PX[1] - 19
    assert np.unique(np.diff(columns)).max() <= 3  # gaps between digits stay open


def test_no_numbers_have_no_strips() -> None:
    none = number_strips([], PageDetections((), 1.0), np.zeros(0), np.zeros((0, 2, 40, 40), np.uint8))
    assert none.shape == (0, 3, *STRIP_PX)
