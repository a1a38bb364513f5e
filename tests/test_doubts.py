"""What stands beside a number and may belong to it."""

import numpy as np
import pytest

from pipeline.confidence import logit
from pipeline.crops import cut_crops
from pipeline.doubts import number_doubts
from pipeline.numbers import group_numbers
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.turning import turn_box, turn_page

DIGITS = [Box(x, 100, x + 12, 120) for x in (100, 116, 132, 180, 196)]  # 123 and, well apart, 45


def page(*boxes: Box) -> np.ndarray:
    """Return a page with blots of ink in these boxes."""
    grey = np.full((240, 360), 230, np.uint8)
    for box in boxes:
        grey[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = 40
    return grey


def doubts(grey: np.ndarray, others: list[Box], chances: list[float], turned: int = 0) -> np.ndarray:
    """Return the doubts of the two numbers of DIGITS, with other boxes that were not accepted."""
    upright = [*DIGITS, *others]
    height, width = turn_page(grey, turned).shape
    boxes = [turn_box(box, 360 - turned if turned else 0, width, height) for box in upright]
    found = PageDetections(tuple(Detection(box, 0.9) for box in boxes), 15 / 20, turned)
    readings = [Reading(k + 1, 0.98) for k in range(5)] + [Reading(None, 0.4)] * len(others)
    numbers = group_numbers(found.detections, readings, turned)
    assert [number.text for number in numbers] == ["123", "45"]
    odds = logit(np.array([0.9] * 5 + chances))
    return number_doubts(numbers, found, readings, odds, cut_crops(grey, found))


def test_a_weak_box_beside_a_number_is_a_doubt_and_one_inside_is_none() -> None:
    between, inside = Box(158, 100, 166, 120), DIGITS[0]
    grey = page(*DIGITS)
    assert doubts(grey, [], [])[:, 0].tolist() == [0, 0]
    assert doubts(grey, [inside], [0.3])[:, 0].tolist() == [0, 0]
    assert doubts(grey, [inside, between], [0.3, 0.3])[:, 0] == pytest.approx([0.3, 0.3])


def test_another_number_close_by_is_a_doubt() -> None:
    boxes = [Box(0, 0, 12, 20), Box(14, 0, 26, 20), Box(40, 0, 52, 20), Box(54, 0, 66, 20)]
    found = PageDetections(tuple(Detection(box, 0.9) for box in boxes), 1.0)
    readings = [Reading(k, 0.98) for k in range(4)]
    apart = [
        Number("01", 0.8, Box(0, 0, 26, 20), 0, (0, 1)),
        Number("23", 0.8, Box(40, 0, 66, 20), 0, (2, 3)),
    ]
    crops = np.zeros((4, 2, 40, 40), np.uint8)
    assert number_doubts(apart, found, readings, np.ones(4), crops)[:, 1].tolist() == [1, 1]


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_ink_beside_a_number_is_a_doubt_where_nothing_was_detected(turned: int) -> None:
    def ink(*others: Box) -> list[float]:
        grey = np.ascontiguousarray(turn_page(page(*DIGITS, *others), 360 - turned if turned else 0))
        return [round(float(dark), 1) for dark in doubts(grey, [], [], turned)[:, 2]]

    assert ink() == [0, 0]
    left, right, above = Box(86, 101, 94, 119), Box(212, 101, 220, 119), Box(100, 70, 140, 85)
    assert ink(left)[0] > 0.5 and ink(left)[1] == 0
    assert ink(right)[1] > 0.5 and ink(right)[0] == 0
    assert ink(above) == [0, 0]
