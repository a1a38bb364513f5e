"""Second thoughts: what boxes say and what the whole number looks like, weighed against each other."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recogniser import N_COLUMNS, NOTHING, Columns
from models.revision import revise
from pipeline.confidence import REJECT
from pipeline.hypotheses import hypotheses
from pipeline.numbers import group_numbers
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.turning import turn_back, upright_corners


@dataclass(frozen=True, eq=False)
class Boxed:
    """Boxes side by side, the digits that were read in them at first, and what the networks said of each."""

    found: PageDetections
    digits: np.ndarray
    chances: np.ndarray
    odds: np.ndarray

    @property
    def numbers(self) -> tuple[Number, ...]:
        readings = [Reading(None if digit == REJECT else digit, 0.9) for digit in self.digits.tolist()]
        return group_numbers(self.found.detections, readings, self.found.turned)

    @property
    def boxes(self) -> np.ndarray:
        return upright_corners(self.found.detections, self.found.turned)

    def revised(self, *looks: str) -> tuple[list[str], str]:
        """Return the texts of the numbers, to which the recogniser says so, and all digits."""
        numbers, digits = revise(
            self.numbers, self.found, self.digits, self.chances, self.odds, looks_like(*looks)
        )
        left = [number for number in numbers if number is not None]
        for number in left:  # a number is what its digits say, and lies round them
            assert number.text == "".join(str(digits[i]) for i in number.members)
            corners = np.array([self.found.detections[i].box.corners for i in number.members])
            assert number.box.corners == (*corners[:, :2].min(axis=0), *corners[:, 2:].max(axis=0))
        assert sum(len(number.members) for number in left) == (digits != REJECT).sum()
        shown = "".join("-" if digit == REJECT else str(digit) for digit in digits)
        return [number.text for number in left], shown


def boxed(text: str) -> Boxed:
    """Return a page: a digit was accepted, one after a "-" was not; " " is a wide gap, "_" a small one.

    After a "=" it was not accepted and stands nearly where the digit before it does, and after a "~" it leans
    over a part of that.
    """
    boxes, digits, best, x, mark = [], [], [], 0.0, ""
    for character in text:
        if character in "-=~":
            mark = character
            continue
        if character in " _":
            x += 20 if character == " " else 4
            continue
        left = x - {"=": 13, "~": 10}.get(mark, 0)
        boxes.append(Box(left, 0, left + 12, 20))
        best.append(int(character))
        digits.append(REJECT if mark else int(character))
        x, mark = (x if mark == "=" else x + 15), ""
    found = PageDetections(tuple(Detection(box, 0.9) for box in boxes), 0.75)
    chances = np.full((len(boxes), 11), 0.01, np.float32)
    chances[np.arange(len(boxes)), best] = 0.8
    chances[:, 7] += 0.1  # what else it may be
    odds = np.where(np.array(digits) == REJECT, -1.5, 2.0)
    return Boxed(found, np.array(digits), chances, odds)


def looks_like(*texts: str) -> Columns:
    """Return the columns of a recogniser that is sure of these texts."""
    columns = np.full((len(texts), N_COLUMNS, 11), np.log(0.001), np.float32)
    columns[:, :, NOTHING] = np.log(0.99)
    for row, text in zip(columns, texts, strict=True):
        for k, digit in enumerate(text):
            row[3 * k + 2] = np.log(0.001)
            row[3 * k + 2, int(digit)] = np.log(0.99)
    return columns


@pytest.mark.parametrize(
    ("text", "looks", "becomes"),
    [
        ("238", "238", "238"),
        ("-238", "238", "238"),  # its first digit had been left out
        ("23-8", "238", "238"),
        ("-23-8", "238", "238"),
        ("7~5", "75", "75"),  # slanted digits overlap
        ("7=5", "75", "7-"),  # the same one again
        ("238", "28", "2-8"),  # one that is none: the number has a gap now, and is one number still
        ("238", "278", "278"),  # the second best digit
        ("238", "298", "238"),  # not what no box looks like
        ("-238", "38", "-38"),
        ("2", "", "-"),  # no number at all
        ("2238", "", "----"),
    ],
)
def test_what_is_likelier_by_both_stands(text: str, looks: str, becomes: str) -> None:
    number = becomes.replace("-", "")
    assert boxed(text).revised(looks) == ([number] if number else [], becomes)


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_on_a_turned_page_too(turned: int) -> None:
    page = boxed("-238")
    lying = replace(page, found=turn_back(page.found, turned, 400, 300))
    assert lying.found.turned == turned
    assert lying.revised("238") == (["238"], "238")


def test_what_is_only_a_little_likelier_changes_nothing() -> None:
    page = boxed("238")
    for odds_of_3, stands in ((3.5, "28"), (4.6, "238"), (9.0, "238")):  # it looks like 28 by 6.2
        page.odds[1] = odds_of_3
        assert page.revised("28")[0] == [stands]


def test_a_number_is_none_where_that_is_likelier() -> None:
    page = boxed("2")
    for odds_of_2, stands in ((5.4, []), (6.4, ["2"])):  # it looks like none by 3.4, and 2.5 speak for that
        page.odds[0] = odds_of_2
        assert page.revised("")[0] == stands


@pytest.mark.parametrize("looks", [("123", "345"), ("123", "45"), ("12", "345")])
def test_a_digit_between_two_numbers_goes_to_one_of_them(looks: tuple[str, str]) -> None:
    page = boxed("12-3=3_45")  # two weak boxes of one digit
    assert [number.text for number in page.numbers] == ["12", "45"]
    texts, digits = page.revised(*looks)
    assert texts in (["123", "45"], ["12", "345"])
    assert sorted(digits) == sorted("123-45")


def test_the_second_box_of_another_numbers_digit_is_no_digit() -> None:
    page = boxed("12 4=45")
    page.odds[3] = 2.5  # it is as likely as the one that was accepted, for it is the same
    page.odds[:2] = 9.0
    assert page.revised("124", "45") == (["12", "45"], "124-5")


def test_two_boxes_of_one_digit_are_not_both_added() -> None:
    page = boxed("12-3=3")
    told = hypotheses(page.numbers[0], page.boxes, page.digits, page.chances, page.odds)
    assert told[0].members == (0, 1) and told[0].odds == 0
    assert {len(one.members) for one in told} == {0, 1, 2, 3}
    assert not any({2, 3} <= set(one.members) for one in told)


def test_a_number_that_no_strip_can_show_is_left_alone() -> None:
    page = boxed("1" * 40 + "-1")
    assert page.revised("1" * 12) == (["1" * 40], "1" * 40 + "-")


@given(st.text("0123456789-", min_size=1, max_size=14), st.integers(0, 99))
def test_a_hypothesis_has_a_digit_for_each_box_from_left_to_right(text: str, seed: int) -> None:
    page = boxed(text)
    odds = np.random.default_rng(seed).normal(size=len(page.digits))
    for number in page.numbers:
        told = hypotheses(number, page.boxes, page.digits, page.chances, odds)
        assert told[0].members == number.members and told[0].text == number.text
        assert sum(not one.text for one in told) == 1
        assert len(told) <= 1 + 11 * (1 + len(number.members)) + 2 * len(number.members)
        for one in told:
            assert len(one.members) == len(one.text)
            assert (np.diff(page.boxes[list(one.members), 0]) > 0).all()
            weak = set(np.flatnonzero(page.digits == REJECT).tolist())
            assert set(one.members) - set(number.members) <= weak
