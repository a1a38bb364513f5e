import itertools
import random
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.drawn import DrawnPage, draw_page
from pipeline.numbers import group_numbers
from pipeline.page import Box, Detection, Number, Reading


def row(text: str, x: float, y: float, *, gap: float = 4.0, width: float = 12.0, height: float = 20.0):
    """Digits side by side; a space leaves a gap of 1.2 heights, a dot one of half a height."""
    found = []
    for character in text:
        if character == " ":
            x += 1.2 * height
        elif character == ".":
            x += 0.5 * height - gap
        else:
            box = Box(x, y, x + width, y + height)
            found.append((Detection(box, 0.9), Reading(int(character), 0.98)))
            x += width + gap
    return found


def grouped(found) -> tuple[Number, ...]:
    return group_numbers([d for d, _ in found], [r for _, r in found])


def texts(found) -> list[str]:
    return [number.text for number in grouped(found)]


def as_found(page: DrawnPage):
    return [(Detection(d.box, 0.9), Reading(d.digit, 0.98)) for d in page.digits]


@st.composite
def found_digits(draw):
    """Digits anywhere, at whole pixels, some of them rejected, many of them touching."""
    n = draw(st.integers(0, 25))
    found = []
    for _ in range(n):
        x, y = draw(st.integers(0, 400)), draw(st.integers(0, 160))
        w, h = draw(st.integers(3, 30)), draw(st.integers(10, 40))
        digit = draw(st.sampled_from([None, *range(10)]))
        confidence = draw(st.integers(1, 16)) / 16
        found.append((Detection(Box(x, y, x + w, y + h), 0.5), Reading(digit, confidence)))
    return found


def test_nothing_gives_nothing():
    assert group_numbers([], []) == ()


def test_a_small_nought_belongs_to_the_tall_digits_before_it():
    tall = row("25", 0, 0, height=22)
    small = row("0", 32, 12, width=6, height=7)
    assert texts(tall + small) == ["250"]


def test_rejected_readings_give_nothing():
    found = row("12", 0, 0)
    rejected = [(detection, Reading(None, 0.9)) for detection, _ in found]
    assert grouped(rejected) == ()


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 detections but 1 readings"):
        group_numbers([d for d, _ in row("12", 0, 0)], [Reading(1, 0.9)])


def test_leading_zeros_stay():
    assert texts(row("0042", 10, 10)) == ["0042"]


def test_a_number_knows_its_digits_box_and_confidence():
    found = row("307", 10, 30)
    (number,) = grouped(found)
    assert number.members == (0, 1, 2)
    assert number.box == Box(10, 30, 54, 50)
    assert number.confidence == pytest.approx(0.98**3)
    assert number.line == 0


def test_a_decimal_point_stays_inside_and_its_gap_stays_in_the_boxes():
    found = row("1234.50", 10, 10)
    (number,) = grouped(found)
    assert number.text == "123450"
    boxes = [found[i][0].box for i in number.members]
    gaps = [b.x0 - a.x1 for a, b in itertools.pairwise(boxes)]
    assert max(gaps) == gaps[3]


def test_a_wide_gap_begins_another_number():
    assert texts(row("12 345 6", 0, 0)) == ["12", "345", "6"]


def test_a_gap_that_is_wide_beside_its_neighbours_begins_another_number():
    close = row("18", 0, 0, gap=2) + row("97", 42, 0, gap=2)  # 16 px apart, 0.8 of the height
    assert texts(close) == ["18", "97"]
    loose = row("1897", 0, 0, gap=14)
    assert texts(loose) == ["1897"]


def test_closely_set_lines_stay_apart_and_come_from_top_to_bottom():
    found = row("111", 40, 0) + row("222", 0, 23) + row("333", 20, 46)
    numbers = grouped(list(reversed(found)))
    assert [(n.text, n.line) for n in numbers] == [("111", 0), ("222", 1), ("333", 2)]


def test_old_style_figures_share_a_line():
    sizes = {"1": (7, 20), "8": (0, 20), "5": (7, 27), "0": (7, 20), "4": (7, 27), "9": (7, 27)}
    found, x = [], 0.0
    for character in "1850491":
        top, bottom = sizes[character]
        found.append((Detection(Box(x, top, x + 11, bottom), 0.9), Reading(int(character), 0.9)))
        x += 14
    assert texts(found) == ["1850491"]


@pytest.mark.parametrize("skew_deg", [-1.5, 0.7, 1.5])
def test_a_skewed_page_is_read_row_by_row(skew_deg):
    columns = ("count", "amount", "count", "year")
    page = draw_page(3, columns=columns, skew_deg=skew_deg, header=False, n_hands=1)
    numbers = grouped(as_found(page))
    assert [n.text for n in numbers] == [n.text for n in page.numbers]  # they are drawn in reading order
    assert [n.line for n in numbers] == [i // len(columns) for i in range(len(numbers))]


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_page_gives_the_numbers_that_were_drawn(seed):
    page = draw_page(seed)
    numbers = grouped(as_found(page))
    assert {frozenset(n.members) for n in numbers} == {frozenset(n.members) for n in page.numbers}
    assert sorted(n.text for n in numbers) == sorted(n.text for n in page.numbers)


def test_two_thousand_digits_in_one_band_are_grouped():
    found = []
    for line in range(20):
        found += row(" ".join(["123"] * 33), 0, 23.0 * line)
    assert texts(found) == ["123"] * 660


@given(found_digits())
@settings(max_examples=150, deadline=None)
def test_every_accepted_digit_is_in_exactly_one_number(found):
    members = [i for number in grouped(found) for i in number.members]
    accepted = {i for i, (_, reading) in enumerate(found) if reading.digit is not None}
    assert sorted(members) == sorted(accepted)


@given(found_digits())
@settings(max_examples=100, deadline=None)
def test_a_number_says_what_its_members_say(found):
    for number in grouped(found):
        readings = [found[i][1] for i in number.members]
        assert number.text == "".join(str(reading.digit) for reading in readings)
        assert number.confidence == pytest.approx(prod(reading.confidence for reading in readings))
        boxes = [found[i][0].box for i in number.members]
        assert number.box.x0 == min(box.x0 for box in boxes)
        assert number.box.y1 == max(box.y1 for box in boxes)


@given(found_digits(), st.integers(0, 2**16))
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_detections_does_not_matter(found, seed):
    order = list(range(len(found)))
    random.Random(seed).shuffle(order)
    shuffled = [found[i] for i in order]
    before = [(n.text, n.line, n.box, n.confidence) for n in grouped(found)]
    after = [(n.text, n.line, n.box, n.confidence) for n in grouped(shuffled)]
    assert after == before


@given(found_digits(), st.integers(-300, 900), st.integers(-300, 900), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
@settings(max_examples=100, deadline=None)
def test_moving_and_scaling_a_page_changes_no_number(found, dx, dy, scale):
    def changed(box: Box) -> Box:
        return Box(*(scale * v for v in (box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy)))

    other = [(Detection(changed(d.box), d.score), r) for d, r in found]
    assert [(n.text, n.line, n.members) for n in grouped(other)] == [
        (n.text, n.line, n.members) for n in grouped(found)
    ]
