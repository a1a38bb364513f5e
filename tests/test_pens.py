import itertools

import numpy as np
import pytest

from pipeline.drawn import draw_digit
from pipeline.glyphs import DIGITS, LETTERS, MARKS, N_NEAT, NAMES, WORDS, parse_shape
from pipeline.inking import FACES, put_lines, put_print
from pipeline.pens import Line, any_hand, extent, neat_hand, smooth, write_digit, write_number, write_word


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_digit_has_several_shapes_and_enough_neat_ones():
    assert sorted(DIGITS) == list(range(10))
    assert all(len(shapes) >= 4 > N_NEAT for shapes in DIGITS.values())


def test_shapes_stay_within_their_room():
    for shapes in DIGITS.values():
        for shape in shapes:
            points = [point for stroke in shape for point in stroke]
            assert all(-0.1 <= x <= 0.8 and -0.1 <= y <= 1.1 for x, y in points)
            assert max(y for _, y in points) - min(y for _, y in points) > 0.9


def test_a_shape_is_parsed_with_its_strokes_and_corners():
    assert parse_shape("0,0 50,100 / 60,0 ; 10,20 30,40") == (
        ((0.0, 0.0), (0.5, 1.0), (0.5, 1.0), (0.6, 0.0)),
        ((0.1, 0.2), (0.3, 0.4)),
    )


def test_words_need_only_letters_that_there_are():
    assert set("".join(WORDS + NAMES)) <= set(LETTERS)


def test_a_spline_passes_through_its_points():
    points = ((0.0, 0.0), (0.5, 0.2), (0.7, 0.9), (0.1, 1.0))
    curve = smooth(points)
    for point in points:
        assert np.hypot(*(curve - point).T).min() < 1e-6


def test_a_corner_stays_sharp():
    right_angle = smooth(((0.0, 0.0), (1.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
    assert right_angle[:, 0].max() <= 1 + 1e-6 and right_angle[:, 1].min() >= -1e-6
    rounded = smooth(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
    assert rounded[:, 0].max() > 1.001 or rounded[:, 1].min() < -0.001


@pytest.mark.parametrize("digit", range(10))
def test_the_same_seed_writes_the_same_digit_and_another_seed_another(digit):
    def written(seed: int) -> np.ndarray:
        generator = rng(seed)
        return write_digit(generator, any_hand(generator), digit, 40.0)[0].points

    assert np.array_equal(written(3), written(3))
    assert not np.array_equal(written(3)[:8], written(4)[:8])


@pytest.mark.parametrize("digit", range(10))
def test_a_neat_digit_is_as_high_as_asked_for(digit):
    generator = rng(digit)
    for _ in range(20):
        points = np.concatenate(
            [line.points for line in write_digit(generator, neat_hand(generator), digit, 40.0)]
        )
        assert 34 < np.ptp(points[:, 1]) < 47


def test_neat_digits_follow_one_another_without_touching():
    for seed in range(30):
        generator = rng(seed)
        written = write_number(generator, neat_hand(generator), "0123456789", 30.0)
        ends = [extent(lines) for _, lines in written]
        assert all(after[0] > before[1] for before, after in itertools.pairwise(ends))


def test_a_thousands_space_has_no_ink_and_leaves_a_gap():
    written = write_number(rng(), neat_hand(rng()), "1 2", 30.0)
    assert [(character, bool(lines)) for character, lines in written] == [
        ("1", True),
        (" ", False),
        ("2", True),
    ]
    close = write_number(rng(), neat_hand(rng()), "12", 30.0)
    assert extent(written[2][1])[0] > extent(close[1][1])[0] + 5


def test_a_word_is_longer_than_one_of_its_letters():
    generator = rng(2)
    hand = neat_hand(generator)
    assert (
        extent(write_word(generator, hand, "mariage", 20.0))[1]
        > 4 * extent(write_word(generator, hand, "e", 20.0))[1]
    )


def test_ink_is_where_the_box_says_and_nowhere_else():
    layer = np.zeros((60, 80), np.uint8)
    box = put_lines(layer, [Line(np.array([[20, 10], [20, 40]], np.float32), np.array([4, 4], np.float32))])
    assert box is not None
    assert (box.x0, box.x1) == (18, 22)
    assert box.y0 in (7, 8, 9, 10) and box.y1 in (40, 41, 42, 43)
    assert (layer[12:38, 18:22] > 240).all()
    layer[int(box.y0) - 1 : int(box.y1) + 1, int(box.x0) - 1 : int(box.x1) + 1] = 0
    assert layer.max() == 0


def test_ink_off_the_layer_is_no_ink():
    layer = np.zeros((60, 80), np.uint8)
    line = Line(np.array([[200, 10], [220, 40]], np.float32), np.array([4, 4], np.float32))
    assert put_lines(layer, [line]) is None
    assert put_lines(layer, []) is None
    assert layer.max() == 0


@pytest.mark.parametrize("face", FACES)
def test_print_is_as_high_as_asked_for(face):
    layer = np.zeros((100, 100), np.uint8)
    box = put_print(layer, "7", np.array([[1.0, 0, 30], [0, 1.0, 80]]), 40.0, face=face)
    assert box is not None
    assert box.height == pytest.approx(40, abs=1.5)
    assert box.y1 == pytest.approx(80, abs=1)


@pytest.mark.parametrize("digit", [*range(10), None])
def test_a_crop_has_dark_ink_on_light_paper(digit):
    crops = [draw_digit(rng(seed), digit, 36) for seed in range(12)]
    assert all(crop.shape == (36, 36) and crop.dtype == np.uint8 for crop in crops)
    if digit is not None:
        assert all(np.median(crop) - crop[9:27, 9:27].min() > 40 for crop in crops)
    assert np.array_equal(crops[0], draw_digit(rng(0), digit, 36))


def test_every_mark_can_be_written():
    for mark in MARKS:
        ((_, lines),) = write_number(rng(), neat_hand(rng()), mark, 30.0)
        assert lines
