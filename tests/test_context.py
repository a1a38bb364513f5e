"""What the rest of its page says about a number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import context
from pipeline.context import N_CONTEXT, number_context
from pipeline.page import Box, Detection, Number, PageDetections
from pipeline.turning import turn_box

Placed = list[tuple[float, float, str]]  # where a number begins, and its digits


def context_of(placed: Placed, *, size: float = 20, turned: int = 0) -> np.ndarray:
    """Return the context of numbers whose digits are `size` high and stand close, in the order given."""
    detections, numbers = [], []
    for x, y, text in placed:
        boxes = [
            Box((x + 0.6 * k) * size, y * size, (x + 0.6 * k + 0.5) * size, (y + 1) * size)
            for k in range(len(text))
        ]
        members = tuple(range(len(detections), len(detections) + len(text)))
        whole = Box(boxes[0].x0, boxes[0].y0, boxes[-1].x1, boxes[-1].y1)
        numbers.append(Number(text, 0.9, whole, 0, members))
        back = (360 - turned) % 360
        detections += [Detection(turn_box(box, back, 2000, 2000), 0.9) for box in boxes]
    odds = np.arange(len(detections), dtype=float)
    return number_context(numbers, PageDetections(tuple(detections), 1.0, turned), odds)


SERIALS: Placed = [(5, 2.0 * k, str(101 + k)) for k in range(6)]


def test_a_column_is_described_to_each_of_its_numbers() -> None:
    seen = context_of([*SERIALS, (30, 4, "7")])
    assert seen.shape == (7, N_CONTEXT)
    assert np.exp(seen[:, 0]) - 1 == pytest.approx([5, 5, 5, 5, 5, 5, 0])  # how many there are
    assert seen[:6, 1:4] == pytest.approx(np.array([[1, 0, 0]] * 6))  # all as long
    assert seen[:6, 5:9] == pytest.approx(np.array([[0, 0, 1, 1]] * 6))  # all flush
    assert seen[6, :9].tolist() == [0, 0, 0, 0, context._ALONE, 0, 0, 0, 0]


def test_a_number_that_lost_its_first_digit_stands_out() -> None:
    whole, cut = SERIALS[2], (SERIALS[2][0] + 0.6, SERIALS[2][1], SERIALS[2][2][1:])
    as_it_is, without = (context_of([*SERIALS[:2], one, *SERIALS[3:]])[2] for one in (whole, cut))
    assert without[1] == pytest.approx(0)  # none is as long,
    assert without[2] == pytest.approx(1)  # all are longer,
    assert without[5] == pytest.approx(-0.6)  # and begin further left
    assert without[7] == pytest.approx(0)
    assert without[8] == pytest.approx(as_it_is[8]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("texts", "running"),
    [
        # by how many of its neighbours the middle one's value is one more, equal, larger, less, soon;
        # and whether numbers go up, down, or up and down there
        (("101", "102", "103"), [2, 0, 2, 0, 2, 1, 0, 0]),
        (("101", "105", "106"), [1, 0, 2, 0, 2, 1, 0, 0]),
        (("103", "102", "101"), [0, 0, 0, 2, 0, 0, 1, 0]),
        (("101", "901", "103"), [0, 0, 1, 1, 0, 0, 0, 1]),
        (("101", "101", "99"), [0, 1, 0, 0, 1, 0, 0, 0]),  # the next as long counts, there is none
    ],
)
def test_how_numbers_run_in_a_column(texts: tuple[str, ...], running: list[float]) -> None:
    seen = context_of([(5, 2.0 * k, text) for k, text in enumerate(texts)])
    assert seen[1, 9:17].tolist() == running


def test_numbers_written_alike_are_counted() -> None:
    texts = ["1899", "1899", "1899", "1889", "899", "12", "12", "7", "18999"]
    alike = np.exp(context_of([(9.0 * k, 0, text) for k, text in enumerate(texts)])[:, 17:22])
    assert alike[0] == pytest.approx([1, 1, 3, 2, 2])  # one differs in one digit, one goes on
    assert alike[3] == pytest.approx([1, 1, 1, 4, 1])
    assert alike[4] == pytest.approx([1, 1, 1, 1, 4])
    assert alike[5] == pytest.approx([1, 2, 1, 1, 1])
    assert alike[7] == pytest.approx([1, 1, 1, 1, 1])


def test_digits_are_counted_with_the_first_and_the_last() -> None:
    written = context_of([(0, 0, "0100")])[0, 22:]
    assert np.flatnonzero(written).tolist() == [0, 1, 10, 20]
    assert written[0] == 3


NUMBERS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30), st.text("0123456789", min_size=1, max_size=20)),
    min_size=1,
    max_size=12,
    unique_by=lambda placed: placed[:2],
)


@given(NUMBERS, st.randoms(use_true_random=False), st.floats(5, 60))
def test_neither_order_nor_size_matters(placed: Placed, random, size: float) -> None:
    placed = [(1.1371 * x, 1.0973 * y, text) for x, y, text in placed]  # nothing lies just at a limit
    order = list(range(len(placed)))
    random.shuffle(order)
    seen = context_of(placed)
    again = context_of([placed[i] for i in order], size=size)
    least = 4  # of a column: odds go by position here
    kept = [k for k in range(N_CONTEXT) if k != least]
    assert np.allclose(seen[order][:, kept], again[:, kept], atol=1e-6)


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_on_a_turned_page_it_is_the_same(turned: int) -> None:
    assert np.allclose(context_of(SERIALS, turned=turned), context_of(SERIALS))


def test_a_page_of_many_numbers_is_seen_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    placed = [(7.0 * (k % 9), 2.0 * (k // 9), str(rng.integers(1, 2000))) for k in range(300)]
    in_parts = context_of(placed)
    monkeypatch.setattr(context, "_BLOCK", 10_000)
    assert np.allclose(in_parts, context_of(placed), atol=1e-9)


def test_a_page_without_numbers_says_nothing() -> None:
    assert context_of([]).shape == (0, N_CONTEXT)
