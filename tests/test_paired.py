"""Two readings of the same pages, compared: the exact test, the counts, and who may take whose place."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.page import Box
from pipeline.paired import Comparison, Difference, PairedPage, Pairs, compare, mcnemar, pair_page
from pipeline.scoring import score_page
from pipeline.transcriptions import Line

counts = st.integers(0, 60)
pairs_of = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30)
pages = st.lists(st.tuples(pairs_of, pairs_of, st.integers(0, 5), st.integers(0, 5)), max_size=6)


@given(counts, counts)
def test_p_is_the_chance_of_a_split_at_least_as_uneven(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    uneven = abs(only_a - only_b)
    expected = Fraction(sum(comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= uneven), 2**n)
    assert mcnemar(only_a, only_b) == pytest.approx(float(expected), rel=1e-12)
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)


def test_p_of_known_splits() -> None:
    assert mcnemar(0, 0) == mcnemar(7, 7) == 1
    assert mcnemar(0, 6) == 2 / 64
    assert mcnemar(1, 7) == 2 * 9 / 256
    assert 0 < mcnemar(3000, 1000) < 1e-200


def made(drawn: list[tuple[list[tuple[bool, bool]], list[tuple[bool, bool]], int, int]]) -> list[PairedPage]:
    """Pages of cells and digits; each reading also found some digits where there are none."""
    found = []
    for cells, digits, *false in drawn:
        right = np.array(digits, bool).reshape(-1, 2)
        n_found = [int(n) + extra for n, extra in zip(right.sum(axis=0), false, strict=True)]
        found.append(PairedPage(np.array(cells, bool).reshape(-1, 2), right, (n_found[0], n_found[1])))
    return found


@settings(max_examples=50, deadline=None)
@given(pages)
def test_the_two_readings_can_change_places(drawn: list) -> None:
    here = compare(made(drawn))
    there = compare(
        [PairedPage(p.cells[:, ::-1], p.digits[:, ::-1], (p.n_found[1], p.n_found[0])) for p in made(drawn)]
    )
    assert (here.cells.n_old, here.cells.n_new) == (there.cells.n_new, there.cells.n_old)
    assert here.cells.n == sum(len(cells) for cells, *_ in drawn)
    assert here.digits.n_old == sum(old for _, digits, *_ in drawn for old, _ in digits)
    assert here.digits.p == there.digits.p
    assert (here.f1.old, here.f1.new) == (there.f1.new, there.f1.old)
    assert (here.f1.low, here.f1.high) == pytest.approx((-there.f1.high, -there.f1.low))
    assert here.refusal("cells", 1) or there.refusal("cells", 1), "not each better than the other"


@settings(max_examples=25, deadline=None)
@given(pages)
def test_a_reading_is_not_better_than_itself(drawn: list) -> None:
    pages = made([([(a, a) for a, _ in c], [(a, a) for a, _ in d], n, n) for c, d, n, _ in drawn])
    same = compare(pages)
    assert same.cells.p == same.digits.p == 1
    assert same.f1.old == same.f1.new and (same.f1.low, same.f1.high) == (0, 0)
    assert same.refusal("cells", 1) and same.refusal("digits", 1)


@pytest.mark.parametrize(
    ("cells", "f1", "p_bar", "says"),
    [
        (Pairs(20, 10, 0, 6), (0.80, 0.85, 0.01, 0.09), 0.05, ""),
        (Pairs(20, 10, 0, 6), (0.80, 0.79, -0.03, 0.01), 0.05, ""),
        (Pairs(20, 10, 0, 6), (0.80, 0.70, -0.15, -0.05), 0.05, "F1 of digits is 0.7000 and was 0.8000"),
        (Pairs(20, 10, 0, 5), (0.80, 0.85, 0.01, 0.09), 0.05, "may be chance: p = 0.062, not below 0.05"),
        (Pairs(20, 10, 0, 5), (0.80, 0.85, 0.01, 0.09), 0.10, ""),
        (Pairs(20, 10, 6, 0), (0.80, 0.85, 0.01, 0.09), 0.05, "reads 10 of 20 cells right, the old one 16"),
    ],
)
def test_only_the_better_one_takes_the_place(
    cells: Pairs, f1: tuple[float, float, float, float], p_bar: float, says: str
) -> None:
    refusal = Comparison(3, cells, Pairs(0, 0, 0, 0), Difference(*f1)).refusal("cells", p_bar)
    assert says in refusal and bool(says) == bool(refusal)


def test_a_page_is_paired_by_cell_and_by_digit() -> None:
    def line(y: float, text: str) -> Line:
        polygon = np.array([(0, y), (100, y), (100, y + 20), (0, y + 20)], np.float32)
        return Line(polygon, np.zeros((0, 2), np.float32), text)

    def read(*placed: tuple[float, float, int]) -> tuple[list[Box], list[int]]:
        return [Box(x, y + 2, x + 8, y + 18) for x, y, _ in placed], [digit for *_, digit in placed]

    lines = [line(0, "12"), line(30, "no 7"), line(60, "5")]
    old = read((10, 0, 1), (20, 0, 2), (50, 30, 1), (10, 60, 5), (10, 90, 3))
    new = read((20, 0, 2), (50, 30, 7), (10, 60, 5))
    page = pair_page(score_page(lines, *old), score_page(lines, *new), old[1], new[1])
    assert page.cells.tolist() == [[True, False], [True, True]]
    assert page.digits.tolist() == [[True, False], [True, True], [False, True], [True, True]]
    assert page.n_found == (5, 3)
    found = compare([page]).f1
    assert (found.old, found.new) == pytest.approx((2 * 3 / 9, 2 * 3 / 7))
