"""Pages that lie on their side: boxes turn with their ink, and come back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crops import cut_crops
from pipeline.numbers import group_numbers
from pipeline.page import Box, Detection, PageDetections, Reading
from pipeline.turning import QUARTERS, turn_back, turn_box, turn_page

WIDTH, HEIGHT = 90, 60


@given(
    st.sampled_from(QUARTERS),
    st.integers(0, WIDTH - 2),
    st.integers(0, HEIGHT - 2),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_a_box_turns_with_its_ink(degrees: int, x: int, y: int, width: int, height: int) -> None:
    x1, y1 = min(x + width, WIDTH), min(y + height, HEIGHT)
    page = np.full((HEIGHT, WIDTH), 255, np.uint8)
    page[y:y1, x:x1] = 0
    box = turn_box(Box(x, y, x1, y1), degrees, WIDTH, HEIGHT)
    rows, columns = np.nonzero(turn_page(page, degrees) == 0)
    assert box == Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("degrees", QUARTERS)
def test_what_is_found_on_a_turned_page_comes_back(degrees: int) -> None:
    box = Box(10, 5, 22, 25)
    turned = turn_box(box, degrees, WIDTH, HEIGHT)
    found = PageDetections((Detection(turned, 0.5),), 1.0)
    back = turn_back(found, degrees, WIDTH, HEIGHT)
    assert back.detections[0].box == box
    assert back.turned == degrees


@pytest.mark.parametrize("degrees", QUARTERS)
def test_crops_and_numbers_of_a_turned_page_are_those_of_the_upright_one(degrees: int) -> None:
    rng = np.random.default_rng(0)
    upright = rng.integers(0, 255, (200, 300), dtype=np.uint8)
    boxes = [Box(20 + 25 * i, 40, 40 + 25 * i, 70) for i in range(5)]
    readings = [Reading(i, 0.9) for i in range(5)]
    plain = PageDetections(tuple(Detection(box, 0.9) for box in boxes), 0.8)
    # the page as it was scanned: it must be turned by `degrees` to be upright
    scanned = turn_page(upright, (360 - degrees) % 360)
    found = turn_back(plain, degrees, scanned.shape[1], scanned.shape[0])
    np.testing.assert_array_equal(cut_crops(scanned, found), cut_crops(upright, plain))
    (number,) = group_numbers(found.detections, readings, degrees)
    assert number.text == "01234"
    around = turn_box(Box(20, 40, 140, 70), (360 - degrees) % 360, 300, 200)
    assert number.box == around
