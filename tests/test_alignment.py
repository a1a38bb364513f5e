"""Aligning a line's text with what may be digits on it: properties that hold whatever the candidates are."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite

from pipeline.alignment import Candidates, align_line
from pipeline.page import Box
from pipeline.transcriptions import Line, held_boxes

LENGTH, HEIGHT = 800.0, 60.0
POLYGON = np.array([(0, 0), (LENGTH, 0), (LENGTH, HEIGHT), (0, HEIGHT)])


def line_of(text: str) -> Line:
    return Line(POLYGON.astype(np.float32), np.zeros((0, 2), np.float32), text)


@composite
def candidates(draw: DrawFn) -> Candidates:
    n = draw(st.integers(0, 14))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    # coarse places and sizes, so that candidates stand above and on one another too
    left, top = rng.integers(-4, 80, n) * 10.0, rng.integers(-2, 5, n) * 10.0
    width, height = rng.integers(1, 4, n) * 6.0, rng.integers(2, 5, n) * 6.0
    boxes = np.column_stack([left, top, left + width, top + height])
    chances = rng.dirichlet(np.full(10, 0.3), n).reshape(-1, 10)
    return Candidates(boxes, chances, rng.choice([0.0, 0.03, 0.4, 0.9, 1.0], n))


texts = st.text("0123456789abm ,.", max_size=16)


@settings(deadline=None, max_examples=150)
@given(texts, candidates())
def test_digits_keep_their_order_and_share_no_candidate(text: str, found: Candidates) -> None:
    found = found.among(held_boxes([POLYGON], found.boxes, 0.0)[0])
    boxes = align_line(line_of(text), POLYGON, found)
    assert len(boxes) == sum(character.isdigit() for character in text)
    rows = [tuple(row) for row in found.boxes]
    chosen = [(box.x0, box.y0, box.x1, box.y1) for box in boxes if box is not None]
    assert all(rows.count(box) >= chosen.count(box) for box in chosen)
    centres = [(x0 + x1) / 2 for x0, _, x1, _ in chosen]
    assert centres == sorted(centres)
    assert all(0 <= x <= LENGTH for x in centres)


@settings(deadline=None, max_examples=150)
@given(texts, candidates(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(text: str, found: Candidates, chance: object) -> None:
    order = list(range(len(found.scores)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    moved = Candidates(found.boxes[order], found.digits[order], found.scores[order])
    assert align_line(line_of(text), POLYGON, moved) == align_line(line_of(text), POLYGON, found)


def test_no_candidates_leave_every_digit_without_a_box() -> None:
    none = Candidates(np.zeros((0, 4)), np.zeros((0, 10)), np.zeros(0))
    assert align_line(line_of("rue 12, 345"), POLYGON, none) == [None] * 5
    assert align_line(line_of("rue"), POLYGON, none) == []
    assert align_line(line_of(""), POLYGON, none) == []


def seen(*digits: tuple[float, int, float]) -> Candidates:
    """Candidates 14 × 22 pixels large at these x, read as these digits with these scores."""
    boxes = np.array([(x, 20.0, x + 14, 42.0) for x, _, _ in digits]).reshape(-1, 4)
    chances = np.full((len(digits), 10), 0.01)
    chances[np.arange(len(digits)), [digit for _, digit, _ in digits]] = 0.91
    return Candidates(boxes, chances, np.array([score for *_, score in digits]))


def left_of(boxes: list[Box | None]) -> list[float | None]:
    return [None if box is None else box.x0 for box in boxes]


def test_a_letter_that_looks_like_a_digit_is_passed_over() -> None:
    # the b of the word stands where no digit is written
    found = seen((30, 6, 0.5), (400, 1, 0.9), (416, 2, 0.8))
    assert left_of(align_line(line_of("abbaye de st m 12 aabb maab mamb"), POLYGON, found)) == [400, 416]


def test_a_digit_that_nothing_shows_stays_without_a_box() -> None:
    found = seen((2, 1, 0.9), (270, 8, 0.9), (530, 3, 0.9))
    polygon = POLYGON.copy()
    assert left_of(align_line(line_of("1 8 5 3"), polygon, found)) == [2, 270, None, 530]


def test_a_line_up_the_page_is_read_along_its_baseline() -> None:
    found = seen((10, 1, 0.9), (10, 2, 0.9))
    found.boxes[:, 1::2] = [(300, 322), (100, 122)]
    polygon = np.array([(0, 0), (40, 0), (40, 400), (0, 400)], np.float64)
    line = Line(polygon.astype(np.float32), np.array([(20, 400), (20, 0)], np.float32), "1 m 2")
    boxes = align_line(line, polygon, found)
    assert [box and box.y0 for box in boxes] == [300, 100]
