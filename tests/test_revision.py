"""Second thoughts: what boxes say and what the whole number looks like, weighed against each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recogniser import N_COLUMNS, NOTHING, Columns
from models.revision import revised_digits
from pipeline.confidence import REJECT
from pipeline.hypotheses import hypotheses
from pipeline.numbers import group_numbers
from pipeline.page import Box, Detection, Number, PageDetections, Reading


def page(text: str) -> tuple[PageDetections, np.ndarray, np.ndarray, np.ndarray, tuple[Number, ...]]:
    """Return boxes side by side: a digit was accepted, one after a "-" was not, and a space is a wide gap.

    With them the digits that were read, chances, odds and numbers.
    """
    boxes, digits, best, x, weak = [], [], [], 0.0, False
    for character in text:
        if character == "-":
            weak = True
            continue
        if character == " ":
            x += 20
            continue
        boxes.append(Box(x, 0, x + 12, 20))
        best.append(int(character))
        digits.append(REJECT if weak else int(character))
        x, weak = x + 15, False
    found = PageDetections(tuple(Detection(box, 0.9) for box in boxes), 0.75)
    chances = np.full((len(boxes), 11), 0.01, np.float32)
    chances[np.arange(len(boxes)), best] = 0.8
    chances[:, 7] += 0.1  # what else it may be
    odds = np.where(np.array(digits) == REJECT, -1.5, 2.0)
    readings = [Reading(None if digit == REJECT else digit, 0.9) for digit in digits]
    return found, np.array(digits), chances, odds, group_numbers(found.detections, readings)


def looks_like(*texts: str) -> Columns:
    """Return the columns of a recogniser that is sure of these texts."""
    columns = np.full((len(texts), N_COLUMNS, 11), np.log(0.001), np.float32)
    columns[:, :, NOTHING] = np.log(0.99)
    for row, text in zip(columns, texts, strict=True):
        for k, digit in enumerate(text):
            row[3 * k + 2] = np.log(0.001)
            row[3 * k + 2, int(digit)] = np.log(0.99)
    return columns


def revised(text: str, *looks: str) -> str:
    found, digits, chances, odds, numbers = page(text)
    return "".join(
        "-" if digit == REJECT else str(digit)
        for digit in revised_digits(numbers, found, digits, chances, odds, looks_like(*looks))
    )


@pytest.mark.parametrize(
    ("boxed", "looks", "becomes"),
    [
        ("238", "238", "238"),
        ("-238", "238", "238"),  # its first digit had been left out
        ("23-8", "238", "238"),
        ("-23-8", "238", "238"),
        ("238", "28", "2-8"),  # one that is none
        ("238", "278", "278"),  # the second best digit
        ("238", "298", "238"),  # not what no box looks like
        ("-238", "38", "-38"),
        ("2", "", "-"),  # no number at all
        ("2238", "", "----"),
    ],
)
def test_what_is_likelier_by_both_stands(boxed: str, looks: str, becomes: str) -> None:
    assert revised(boxed, looks) == becomes


def test_what_is_only_a_little_likelier_changes_nothing() -> None:
    found, digits, chances, odds, numbers = page("238")
    columns = looks_like("28")  # by 6.2
    for odds_of_3, stands in ((3.5, [2, REJECT, 8]), (4.6, [2, 3, 8]), (9.0, [2, 3, 8])):
        odds[1] = odds_of_3
        told = revised_digits(numbers, found, digits, chances, odds, columns)
        assert told.tolist() == stands


def test_a_number_is_none_where_that_is_likelier() -> None:
    found, digits, chances, odds, numbers = page("2")
    for odds_of_2, stands in ((3.0, REJECT), (4.0, 2)):  # it looks like none by 3.4
        odds[0] = odds_of_2
        assert revised_digits(numbers, found, digits, chances, odds, looks_like("")).tolist() == [stands]


def test_a_box_between_two_numbers_goes_to_one_of_them() -> None:
    found, digits, chances, odds, numbers = page("12-3 45")
    assert [number.text for number in numbers] == ["12", "45"]
    looks = looks_like("123", "345")
    for claims in (looks, looks[::-1]):
        told = revised_digits(numbers, found, digits, chances, odds, claims)
        assert told.tolist().count(3) <= 1


def test_two_boxes_of_one_digit_are_not_both_added() -> None:
    found, digits, chances, odds, (number,) = page("12-3")
    doubled = (*found.detections, Detection(Box(31, 1, 43, 19), 0.5))
    boxes = np.array([detection.box.corners for detection in doubled])
    told = hypotheses(
        number, boxes, np.append(digits, REJECT), np.vstack([chances, chances[2]]), np.append(odds, -2.0)
    )
    assert told[0].members == (0, 1) and told[0].odds == 0
    assert {len(one.members) for one in told} == {0, 1, 2, 3}
    assert not any({2, 3} <= set(one.members) for one in told)


@given(st.text("0123456789-", min_size=1, max_size=14), st.integers(0, 99))
def test_a_hypothesis_has_a_digit_for_each_box_from_left_to_right(text: str, seed: int) -> None:
    found, digits, chances, _, numbers = page(text)
    odds = np.random.default_rng(seed).normal(size=len(digits))
    boxes = np.array([detection.box.corners for detection in found.detections]).reshape(-1, 4)
    for number in numbers:
        told = hypotheses(number, boxes, digits, chances, odds)
        assert told[0].members == number.members and told[0].text == number.text
        assert sum(not one.text for one in told) == 1
        assert len(told) <= 1 + 11 * (1 + len(number.members)) + 2 * len(number.members)
        for one in told:
            assert len(one.members) == len(one.text)
            assert (np.diff(boxes[list(one.members), 0]) > 0).all()
            assert set(one.members) - set(number.members) <= set(np.flatnonzero(digits == REJECT).tolist())
