import numpy as np
import pytest

from pipeline.drawn import DrawnPage, PageStyle, clean_style, draw_page, draw_strip
from pipeline.inking import FACES
from pipeline.styles import COLUMNS


def same(a: DrawnPage, b: DrawnPage) -> bool:
    return np.array_equal(a.pixels, b.pixels) and a.digits == b.digits and a.numbers == b.numbers


def check_truth(page: DrawnPage) -> None:
    height, width = page.pixels.shape[:2]
    for digit in page.digits:
        box = digit.box
        assert 0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height
        assert 0 <= digit.digit <= 9
    seen: list[int] = []
    for index, number in enumerate(page.numbers):
        members = [page.digits[i] for i in number.members]
        seen += number.members
        assert number.text == "".join(str(digit.digit) for digit in members)
        assert all(digit.number_index == index for digit in members)
        assert number.box.x0 == min(digit.box.x0 for digit in members)
        assert number.box.y1 == max(digit.box.y1 for digit in members)
    assert seen == list(range(len(page.digits)))


def test_the_same_seed_gives_the_same_page():
    style = {"width": 500, "height": 400}
    assert same(draw_page(5, **style), draw_page(5, **style))
    assert not same(draw_page(5, **style), draw_page(6, **style))


@pytest.mark.parametrize("seed", range(8))
def test_varied_pages_know_their_digits(seed):
    page = draw_page(seed, "varied")
    check_truth(page)
    assert page.pixels.dtype == np.uint8
    assert page.pixels.ndim == (2 if clean_style("varied", seed).look.grey else 3)


def test_a_ledger_has_colour_and_many_numbers():
    page = draw_page(0)
    check_truth(page)
    assert page.pixels.shape == (1754, 1240, 3)
    assert len(page.numbers) > 80


@pytest.mark.parametrize("skew_deg", [0.0, 1.5, -1.5])
def test_boxes_hold_the_ink_of_their_digits_after_skew(skew_deg):
    style = PageStyle(
        columns=("count", "year"), rules="none", row_rules=False, header=False, skew_deg=skew_deg
    )
    page = draw_page(1, style, width=700, height=700)
    grey = page.pixels.mean(axis=2)
    dark = grey < 130
    inside = np.zeros_like(dark)
    for digit in page.digits:
        x0, y0, x1, y1 = (int(v) for v in (digit.box.x0, digit.box.y0, digit.box.x1, digit.box.y1))
        window = dark[y0:y1, x0:x1]
        # ink reaches (nearly) every side of its box
        assert window[:4].any() and window[-4:].any() and window[:, :4].any() and window[:, -4:].any()
        inside[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = True
    # what is dark outside of them is a decimal point or a comma: little
    assert (dark & ~inside).sum() < 0.03 * dark.sum()


def test_digits_are_as_high_as_the_style_says():
    for digit_px in (15.0, 30.0, 60.0):
        page = draw_page(2, digit_px=digit_px, columns=("count",), header=False)
        heights = [digit.box.height for digit in page.digits]
        assert np.median(heights) == pytest.approx(digit_px * 1.08, rel=0.12)  # and the width of the pen


def test_every_kind_of_column_can_be_drawn():
    for kind in COLUMNS:
        page = draw_page(4, columns=(kind,), numbers_in_text=0.5, width=500, height=500, header=False)
        check_truth(page)
        assert page.numbers
        assert all(digit.handwritten != (kind in ("printed", "figures")) for digit in page.digits)


@pytest.mark.parametrize("seed", range(6))
def test_printed_tables_set_their_figures_close_and_alike(seed: int) -> None:
    style = PageStyle(columns=("figures",) * 5, face=FACES[seed], row_pitch=1.5, header=False)
    page = draw_page(seed, style)
    check_truth(page)
    assert len({len(number.text) for number in page.numbers}) == 1
    assert len(page.numbers) > 60
    gaps = [
        page.digits[b].box.x0 - page.digits[a].box.x1
        for number in page.numbers
        for a, b in zip(number.members, number.members[1:], strict=False)
    ]
    assert max(gaps, default=0.0) < style.digit_px * 0.8


def test_running_numbers_can_have_leading_zeros():
    texts = [
        number.text
        for seed in range(8)
        for number in draw_page(seed, columns=("running",), width=400, height=400, header=False).numbers
    ]
    assert any(text.startswith("0") for text in texts)


def test_numbers_side_by_side_stand_further_apart_than_the_digits_of_one():
    page = draw_page(7)
    rows = sorted(page.numbers, key=lambda number: number.box.y1)
    for a in rows:
        for b in rows:
            if a.box.x1 < b.box.x0 and abs(a.box.y1 - b.box.y1) < 12:
                assert b.box.x0 - a.box.x1 > 0.9 * 28


def test_strips_are_small_and_hold_one_number():
    for seed in range(20):
        page = draw_strip(seed)
        check_truth(page)
        assert 40 <= page.pixels.shape[0] <= 100
        assert len(page.numbers) == 1
    assert draw_strip(3, text="00127").numbers[0].text == "00127"


def test_a_style_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no style 'torn'"):
        draw_page(1, "torn")
