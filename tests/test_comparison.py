"""Matching and counting: what must hold whatever stands on a page."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.differences import short_count
from pipeline.changes import NONE, Change, MostConfident, Tally
from pipeline.comparison import LEAST_OVERLAP, PageDigits, compare_page, match_digits
from pipeline.exports import BATCH_DIGITS, BATCH_PAGES, in_batches
from pipeline.runs import PagePair

few = settings(deadline=None, max_examples=50)  # a page has many digits: each example says much


@st.composite
def pages(draw: st.DrawFn) -> PageDigits:
    """Digits in boxes that often overlap and are never the same twice, each in one of a few numbers."""
    corner = st.integers(0, 24)
    side = st.integers(2, 12)
    boxes = draw(st.lists(st.tuples(corner, corner, side, side), max_size=14, unique=True))
    n = len(boxes)
    digits = draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
    confidences = draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    wanted = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    places = {number: place for place, number in enumerate(dict.fromkeys(wanted))}
    numbers = [places[number] for number in wanted]
    texts = [
        "".join(str(d) for d, of in zip(digits, numbers, strict=True) if of == k) for k in range(len(places))
    ]
    return page_of([(x, y, x + w, y + h) for x, y, w, h in boxes], digits, confidences, numbers, texts)


def page_of(boxes: object, digits: object, confidences: object, numbers: object, texts: object) -> PageDigits:
    return PageDigits(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(digits, np.int64),
        np.array(confidences, np.float64),
        np.array(numbers, np.int64),
        tuple(texts),  # type: ignore[arg-type]
    )


def in_row(text: str, *, x: float = 0.0, confidence: float = 0.9) -> PageDigits:
    """One number, its digits of 10 px beside one another."""
    boxes = [(x + 12 * k, 0, x + 12 * k + 10, 20) for k in range(len(text))]
    return page_of(boxes, [int(d) for d in text], [confidence] * len(text), [0] * len(text), [text])


def tally_of(a: PageDigits, b: PageDigits) -> Tally:
    tally = Tally()
    tally.add(compare_page(a, b))
    return tally


def counts(tally: Tally) -> tuple[object, ...]:
    numbers = (tally.n_numbers_same, tally.n_numbers_other, tally.n_numbers_gone, tally.n_numbers_new)
    return tally.digits.tolist(), tally.n_moved_a, tally.n_moved_b, numbers


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


@few
@given(pages(), pages())
def test_a_pair_is_left_only_for_a_better_one(a: PageDigits, b: PageDigits) -> None:
    chosen = {(i, j): overlap(a.boxes[i], b.boxes[j]) for i, j in match_digits(a, b).tolist()}
    assert all(value >= LEAST_OVERLAP for value in chosen.values())
    assert all(set(Counter(pair[side] for pair in chosen).values()) <= {1} for side in (0, 1))
    for i, box in enumerate(a.boxes):
        for j, other in enumerate(b.boxes):
            value = overlap(box, other)
            if value >= LEAST_OVERLAP and (i, j) not in chosen:
                assert any(kept >= value for (k, m), kept in chosen.items() if k == i or m == j)


@few
@given(pages())
def test_a_run_compared_to_itself_has_no_change(page: PageDigits) -> None:
    tally = tally_of(page, page)
    assert (tally.n_same, tally.n_changes, tally.n_only_a, tally.n_only_b) == (len(page.digits), 0, 0, 0)
    assert tally.digits.diagonal()[:NONE].tolist() == [np.sum(page.digits == digit) for digit in range(10)]
    assert tally.n_numbers_same == len(page.texts)
    assert (tally.n_numbers_other, tally.n_numbers_gone, tally.n_numbers_new) == (0, 0, 0)
    assert tally.confidence_a == tally.confidence_b


@few
@given(pages(), pages())
def test_swapping_the_runs_swaps_the_counts(a: PageDigits, b: PageDigits) -> None:
    there, back = tally_of(a, b), tally_of(b, a)
    digits, moved_a, moved_b, (same, other, gone, new) = counts(there)
    assert counts(back) == (np.transpose(digits).tolist(), moved_b, moved_a, (same, other, new, gone))
    assert (there.confidence_a, there.confidence_b) == (back.confidence_b, back.confidence_a)


@few
@given(pages(), pages(), st.randoms(use_true_random=False))
def test_the_order_of_digits_changes_nothing(a: PageDigits, b: PageDigits, random: object) -> None:
    order = list(range(len(a.digits)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = PageDigits(a.boxes[order], a.digits[order], a.confidences[order], a.numbers[order], a.texts)
    assert counts(tally_of(shuffled, b)) == counts(tally_of(a, b))
    assert tally_of(shuffled, b).confidence_a == pytest.approx(tally_of(a, b).confidence_a)


@few
@given(pages(), pages())
def test_every_digit_and_number_is_counted_once(a: PageDigits, b: PageDigits) -> None:
    tally = tally_of(a, b)
    assert (tally.n_a, tally.n_b) == (len(a.digits), len(b.digits))
    assert tally.n_same + tally.n_another + tally.n_only_a == tally.n_a
    assert tally.n_same + tally.n_another + tally.n_only_b == tally.n_b
    both = tally.n_numbers_same + tally.n_numbers_other
    assert (both + tally.n_numbers_gone, both + tally.n_numbers_new) == (len(a.texts), len(b.texts))


@few
@given(st.lists(st.tuples(pages(), pages()), max_size=4), st.integers(0, 12))
def test_the_most_confident_changes_are_kept_and_no_more(
    found: list[tuple[PageDigits, PageDigits]], limit: int
) -> None:
    few, all_of_them, tally = MostConfident(limit), MostConfident(10**6), Tally()
    for page_id, (a, b) in enumerate(found):
        page = compare_page(a, b)
        tally.add(page)
        few.add(page_id, page)
        all_of_them.add(page_id, page)
    every = all_of_them.changes()
    assert len(every) == tally.n_changes
    assert few.changes() == every[:limit]
    assert [change.confidence for change in every] == sorted((c.confidence for c in every), reverse=True)


def test_a_number_that_gained_a_digit_is_the_same_number_with_another_text() -> None:
    a, b = in_row("381", x=12), in_row("2381")
    tally = tally_of(a, b)
    assert (tally.n_same, tally.n_only_b, tally.digits[NONE, 2]) == (3, 1, 1)
    assert counts(tally)[-1] == (0, 1, 0, 0)
    (change,) = kept(a, b)
    assert change.a is None and change.b is not None and (change.b.digit, change.b.confidence) == (2, 0.9)
    assert (change.number_a, change.number_b) == ("381", "2381")


def test_another_digit_is_counted_in_the_row_of_the_first_and_the_column_of_the_second() -> None:
    tally = tally_of(in_row("1890"), in_row("1896", confidence=0.6))
    assert (tally.digits[0, 6], tally.digits[6, 0], tally.n_another, tally.n_same) == (1, 0, 1, 3)
    assert (tally.confidence_a, tally.confidence_b) == pytest.approx((3.6, 2.4))


def test_a_box_that_moved_in_a_number_that_reads_the_same_is_no_change() -> None:
    a, b = in_row("28"), in_row("28")
    moved = b.boxes + np.array([[6.0, 0, 6, 0], [0, 0, 0, 0]])
    tally = tally_of(a, replace(b, boxes=moved))
    assert (tally.n_only_a, tally.n_only_b, tally.n_moved_a, tally.n_moved_b) == (1, 1, 1, 1)
    assert tally.n_changes == 0 and kept(a, replace(b, boxes=moved)) == []
    other = replace(b, boxes=moved, texts=("23",), digits=np.array([2, 3]))
    assert tally_of(a, other).n_moved_a == 0 and len(kept(a, other)) == 3


def kept(a: PageDigits, b: PageDigits) -> list[Change]:
    found = MostConfident(10)
    found.add(1, compare_page(a, b))
    return found.changes()


@few
@given(st.lists(st.integers(0, 2 * BATCH_DIGITS), max_size=60), st.integers(0, 3 * BATCH_PAGES))
def test_a_batch_ends_before_it_is_too_large(large: list[int], n_small: int) -> None:
    pairs = [PagePair(k, False, k, k, n) for k, n in enumerate([*large, *[3] * n_small])]
    batches = list(in_batches(iter(pairs), lambda pair: pair.n_digits))
    assert [pair for batch in batches for pair in batch] == pairs
    for batch in batches:
        assert 0 < len(batch) <= BATCH_PAGES
        assert sum(pair.n_digits for pair in batch[:-1]) < BATCH_DIGITS


def test_counts_of_the_table_take_five_columns() -> None:
    shown = [short_count(n) for n in (0, 7, 99_999, 100_000, 999_999, 1_000_000, 123_456_789)]
    assert shown == [".", "7", "99999", "100k", "999k", "1M", "123M"]
