import numpy as np
import pytest

from pipeline.drawn import draw_page, draw_strip
from pipeline.numbers import group_numbers
from pipeline.overlay import DOUBTFUL_KIND, GUESS_KIND, NONE_KIND, SURE_KIND, draw_overlay, kind_of
from pipeline.page import Box, Detection, Reading

PAPER = 200


def blank(height: int = 120, width: int = 400) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)


def has_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour, np.uint8)).all(axis=-1).any())


def one_digit(reading: Reading, height: int = 30) -> tuple[list[Detection], list[Reading]]:
    return [Detection(Box(100, 50, 120, 50 + height), 0.9)], [reading]


def test_kinds_follow_confidence():
    assert kind_of(Reading(3, 0.99)) is SURE_KIND
    assert kind_of(Reading(3, 0.95)) is SURE_KIND
    assert kind_of(Reading(3, 0.7)) is DOUBTFUL_KIND
    assert kind_of(Reading(3, 0.2)) is GUESS_KIND
    assert kind_of(Reading(None, 0.99)) is NONE_KIND


def test_kinds_differ_in_brightness_or_line_style_too():
    styles = [
        (kind.dash, kind.weight, kind.crossed) for kind in (SURE_KIND, DOUBTFUL_KIND, GUESS_KIND, NONE_KIND)
    ]
    assert len(set(styles)) == 4


def test_a_page_without_digits_gets_a_legend_below_it():
    page = blank()
    picture = draw_overlay(page, [], [], [])
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 120 and picture.shape[1:] == (400, 3)
    assert (picture[:120] == page).all()
    assert (picture[121:] != 255).any()


@pytest.mark.parametrize("reading", [Reading(5, 0.99), Reading(5, 0.7), Reading(5, 0.1), Reading(None, 0.9)])
def test_a_box_is_drawn_in_the_colour_of_its_kind_and_leaves_its_ink_visible(reading):
    detections, readings = one_digit(reading)
    picture = draw_overlay(blank(), detections, readings, group_numbers(detections, readings))
    assert has_colour(picture[40:90, 90:130], kind_of(reading).colour)
    if reading.digit is not None:
        assert (picture[50:80, 100:120] == PAPER).all()


def test_what_was_read_stands_above_its_box_and_a_rejected_box_has_no_label():
    for reading, labelled in ((Reading(8, 0.99), True), (Reading(None, 0.99), False)):
        detections, readings = one_digit(reading)
        picture = draw_overlay(blank(), detections, readings, group_numbers(detections, readings))
        assert (picture[25:47, 95:125] != PAPER).any() == labelled


def test_one_doubt_colours_its_whole_number_but_not_the_boxes_of_the_others():
    detections = [Detection(Box(x, 50, x + 18, 80), 0.9) for x in (100, 124, 148)]
    readings = [Reading(1, 0.99), Reading(2, 0.3), Reading(3, 0.99)]
    numbers = group_numbers(detections, readings)
    assert len(numbers) == 1
    picture = draw_overlay(blank(), detections, readings, numbers)
    assert has_colour(picture[82:92, 100:112], GUESS_KIND.colour)  # the bracket, below a sure digit
    assert not has_colour(picture[48:79, 98:112], GUESS_KIND.colour)
    assert has_colour(picture[48:79, 98:112], SURE_KIND.colour)


def test_the_input_stays_as_it_was():
    page = blank()
    detections, readings = one_digit(Reading(5, 0.99))
    draw_overlay(page, detections, readings, group_numbers(detections, readings))
    assert (page == PAPER).all()


def test_small_digits_are_shown_enlarged():
    detections, readings = one_digit(Reading(5, 0.99), height=13)
    picture = draw_overlay(blank(), detections, readings, group_numbers(detections, readings))
    assert picture.shape[1] == 800


def test_a_huge_page_is_not_enlarged():
    page = np.full((6000, 5000, 3), PAPER, np.uint8)
    detections, readings = one_digit(Reading(5, 0.99), height=13)
    assert draw_overlay(page, detections, readings, ()).shape[1] == 5000


def test_a_label_at_the_top_edge_is_not_cut_off():
    detections = [Detection(Box(100, 0, 120, 30), 0.9)]
    readings = [Reading(5, 0.99)]
    picture = draw_overlay(blank(), detections, readings, group_numbers(detections, readings))
    first_row_of_page = int(np.flatnonzero((picture[:, 0] == PAPER).all(axis=1))[0])
    assert first_row_of_page >= 18
    assert has_colour(picture[:first_row_of_page, 95:125], SURE_KIND.colour)


@pytest.mark.parametrize("seed", [0, 3])
def test_drawn_pages_and_strips_are_overlaid(seed):
    for page in (draw_page(seed, "varied", width=600, height=500), draw_strip(seed)):
        detections = [Detection(digit.box, 0.9) for digit in page.digits]
        readings = [Reading(digit.digit, 0.99) for digit in page.digits]
        rgb = page.pixels if page.pixels.ndim == 3 else np.dstack([page.pixels] * 3)
        picture = draw_overlay(rgb, detections, readings, group_numbers(detections, readings))
        assert picture.shape[0] > rgb.shape[0]
        assert has_colour(picture, SURE_KIND.colour)


def test_lists_of_different_length_are_refused():
    detections, _ = one_digit(Reading(5, 0.9))
    with pytest.raises(ValueError, match="1 detections but 0 readings"):
        draw_overlay(blank(), detections, [], [])
