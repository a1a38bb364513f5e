"""What else a number may be: as recognised, as boxes say, together with the one beside it, or in part."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.alternatives import LEAST, MOST, with_alternatives
from models.recogniser import N_COLUMNS, NOTHING, Columns, likely_texts, log_chances
from pipeline.confidence import REJECT
from pipeline.numbers import group_numbers
from pipeline.page import Alternative, Box, Detection, Number, PageDetections, Reading
from pipeline.results import alternatives_as_text, alternatives_of
from pipeline.turning import turn_back

TEXT = st.text("0123456789- _", min_size=1, max_size=14)


def looks_like(*texts: str, second: str = "") -> Columns:
    """Columns of a recogniser that is nearly sure of these texts; they may be `second`, digit by digit."""
    columns = np.full((len(texts), N_COLUMNS, 11), 1e-5, np.float32)
    columns[:, :, NOTHING] = 1
    for row, text in zip(columns, texts, strict=True):
        for k, digit in enumerate(text):
            row[2 * k + 2] = 1e-5
            row[2 * k + 2, int(digit)] = 1
            if second:
                row[2 * k + 2, int(second[k])] += 0.4
    return np.log(columns / columns.sum(axis=2, keepdims=True))


def read(
    text: str, columns: Columns | None = None, *, turned: int = 0, sure: float = 0.2
) -> tuple[Number, ...]:
    """The numbers of a page; a digit after a "-" was not accepted; " " and "_" are gaps."""
    boxes, digits, best, x = [], [], [], 0.0
    weak = False
    for character in text:
        if character == "-":
            weak = True
        elif character in " _":
            x += 20 if character == " " else 100
        else:
            boxes.append(Box(x, 0, x + 12, 20))
            best.append(int(character))
            digits.append(REJECT if weak else int(character))
            x, weak = x + 15, False
    found = PageDetections(tuple(Detection(box, 0.9) for box in boxes), 0.75)
    if turned:
        found = turn_back(found, turned, 400, 300)
    chances = np.full((len(boxes), 11), 0.01, np.float32)
    chances[np.arange(len(boxes)), best] = 0.9
    odds = np.where(np.array(digits, np.int64) == REJECT, -1.5, 2.0)
    readings = [Reading(None if digit == REJECT else digit, 0.9) for digit in digits]
    numbers = tuple(
        replace(number, confidence=sure) for number in group_numbers(found.detections, readings, found.turned)
    )
    if columns is None:
        columns = looks_like(*(number.text for number in numbers))
    known = with_alternatives(numbers, found, np.array(digits, np.int64), chances, odds, columns)
    assert tuple(replace(number, alternatives=()) for number in known) == numbers
    return known


def test_a_digit_without_a_box_is_read_by_the_recogniser() -> None:
    best = read("174", looks_like("1074"))[0].alternatives[0]
    assert (best.text, best.members) == ("1074", (0, 1, 2))


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_a_weak_box_is_among_those_that_are_read(turned: int) -> None:
    best = read("-1074", looks_like("1074"), turned=turned)[0].alternatives[0]
    assert (best.text, best.members) == ("1074", (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("text", "looks", "members"),
    [
        ("10721", "1072", (0, 1, 2, 3)),  # a ditto mark
        ("11072", "1072", (1, 2, 3, 4)),  # a rule
        ("11172", "172", (2, 3, 4)),
        ("2746", "2799", (0, 1, 2, 3)),
        ("2250", "22", (0, 1)),
        ("2250", "50", (2, 3)),
    ],
)
def test_what_the_number_looks_like_is_the_likeliest(text: str, looks: str, members: tuple[int, ...]) -> None:
    best = read(text, looks_like(looks))[0].alternatives[0]
    assert (best.text, best.members) == (looks, members)


def test_a_number_that_was_split_is_read_with_the_one_beside_it() -> None:
    first, second = read("23 78", looks_like("2378", "2378"))
    for number in first, second:
        assert (number.alternatives[0].text, number.alternatives[0].members) == ("2378", (0, 1, 2, 3))
    far = read("23_78")
    assert [number.text for number in far] == ["23", "78"]
    assert not any(one.text == "2378" for number in far for one in number.alternatives)


def test_a_second_digit_is_likelier_the_more_it_looks_like_it() -> None:
    plain, doubtful = read("2378")[0], read("2378", looks_like("2378", second="2379"))[0]

    def chance(number: Number) -> float:
        return next((one.probability for one in number.alternatives if one.text == "2379"), 0.0)

    assert chance(doubtful) > chance(plain)


def test_a_number_that_is_sure_has_none_and_no_number_needs_none() -> None:
    assert read("238", sure=0.9999)[0].alternatives == ()
    none = np.zeros((0, N_COLUMNS, 11), np.float32)
    empty = PageDetections((), 1.0)
    chances = np.zeros((0, 11), np.float32)
    assert with_alternatives((), empty, np.zeros(0, np.int64), chances, np.zeros(0), none) == ()


@given(TEXT, st.floats(0.0001, 0.9999), st.integers(0, 99))
def test_alternatives_share_what_confidence_leaves(text: str, sure: float, seed: int) -> None:
    numbers = read(text.strip("-_ ") or "0", sure=sure)
    rng = np.random.default_rng(seed)
    noise = torch.log_softmax(torch.from_numpy(3 * rng.normal(size=(len(numbers), N_COLUMNS, 11))), dim=2)
    for number in read(text.strip("-_ ") or "0", noise.numpy().astype(np.float32), sure=sure):
        told = number.alternatives
        assert len(told) <= MOST and all(one.probability >= LEAST for one in told)
        assert sum(one.probability for one in told) <= 1 - sure + 1e-4 * len(told)
        assert [one.probability for one in told] == sorted((one.probability for one in told), reverse=True)
        assert len({number.text, "", *(one.text for one in told)}) == len(told) + 2
        assert all(one.members and len(one.members) <= len(one.text) for one in told)
        assert alternatives_of(alternatives_as_text(told)) == told


@given(st.integers(0, 999))
def test_the_likeliest_text_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chances = np.full((1, N_COLUMNS, 11), 1e-6)
    chances[:, :, NOTHING] = 1
    some = rng.choice(4, 2, replace=False)  # side by side or not
    for _ in range(2):
        chances[0, some, rng.integers(0, 4, 2)] = rng.uniform(0.1, 1.5, 2)
    columns = np.log(chances / chances.sum(axis=2, keepdims=True)).astype(np.float32)
    texts = ["".join(some) for n in range(4) for some in product("0123", repeat=n)]
    true = log_chances(torch.from_numpy(columns).expand(len(texts), -1, -1), texts).numpy()
    found = likely_texts(columns, 3)[0]
    of_found = log_chances(torch.from_numpy(columns).expand(len(found), -1, -1), found).numpy()
    assert of_found[0] >= true.max() - 1e-3
    assert (np.diff(of_found) <= 1e-3).all()


def test_no_strip_and_no_text_are_nothing() -> None:
    assert likely_texts(np.zeros((0, N_COLUMNS, 11), np.float32), 3) == []
    assert log_chances(torch.zeros(0, N_COLUMNS, 11), []).shape == (0,)


def test_what_is_stored_is_short_and_exact() -> None:
    told = (Alternative("0042", 0.3125, (3, 0, 7, 9)), Alternative("42", 0.0005, (7, 9)))
    assert alternatives_as_text(told) == '[["0042",0.3125,[3,0,7,9]],["42",0.0005,[7,9]]]'
    assert alternatives_of(alternatives_as_text(told)) == told
    assert alternatives_as_text(()) == "[]" and alternatives_of("[]") == ()
