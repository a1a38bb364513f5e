"""Drawn pages: registers of our own making that know the box of each of their digits.

They serve the examples, tests, benchmarks and variety in training; they don't stand in for
real pages where reading is measured.  The same seed and style give the same page.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.glyphs import LOOK_ALIKES, NAMES, WORDS
from pipeline.inking import put_lines, put_print
from pipeline.layout import fill_in
from pipeline.page import Box
from pipeline.paper import Look, develop
from pipeline.pens import (
    Hand,
    Line,
    any_hand,
    extent,
    moved,
    neat_hand,
    write_digit,
    write_number,
    write_word,
)
from pipeline.sheet import DrawnDigit, DrawnNumber, Sheet
from pipeline.styles import PageStyle, any_look, clean_style, neat_look

__all__ = [
    "DrawnDigit",
    "DrawnNumber",
    "DrawnPage",
    "PageStyle",
    "clean_style",
    "draw_digit",
    "draw_page",
    "draw_strip",
]


@dataclass(frozen=True, slots=True)
class DrawnPage:
    """A drawn page: `pixels` uint8 (H, W) grey or (H, W, 3) RGB, its digits and its numbers.

    `words` are the boxes of what has letters: written words, and each printed letter.
    """

    pixels: NDArray[np.uint8]
    digits: tuple[DrawnDigit, ...]
    numbers: tuple[DrawnNumber, ...]
    words: tuple[Box, ...] = ()


def draw_page(seed: int, style: PageStyle | str = "ledger", **changes: object) -> DrawnPage:
    """Draw a page; `style` is a PageStyle or a name of `clean_style`, `changes` replace its fields."""
    if isinstance(style, str):
        style = clean_style(style, seed)
    style = replace(style, **changes)  # type: ignore[arg-type]
    rng = np.random.default_rng([seed, 2])
    sheet = Sheet(style.height, style.width, style.skew_deg)
    fill_in(rng, sheet, style)
    return _finish(rng, sheet, style.look)


def draw_strip(seed: int, *, text: str | None = None, neat: bool = False) -> DrawnPage:
    """Draw a small field image: one number in a strip 40 to 100 px high; `text` says which number."""
    rng = np.random.default_rng([seed, 3])
    hand = neat_hand(rng) if neat else any_hand(rng)
    height = int(rng.integers(40, 101))
    digit_px = height * rng.uniform(0.42, 0.62)
    if text is None:
        text = _digits(rng, int(rng.integers(1, 8)))
    written = write_number(rng, hand, text, digit_px)
    room = max(extent(lines)[1] for _, lines in written if lines)
    margin = digit_px * rng.uniform(0.4, 2.0, 2)
    sheet = Sheet(height, int(room + margin.sum()), float(rng.normal(0, 0.6)))
    baseline = (height + digit_px) / 2 - digit_px * 0.4 * hand.old_style
    if rng.uniform() < 0.5:
        sheet.rule((0, baseline + 2), (sheet.width, baseline + 2), rng.uniform(0.6, 2), rng.uniform(0.3, 0.9))
    sheet.place(written, float(margin[0]), baseline - digit_px)
    look = neat_look(rng) if neat else any_look(rng)
    return _finish(rng, sheet, replace(look, border=0.0, stains=0, specks=min(look.specks, 6)))


def draw_digit(rng: np.random.Generator, digit: int | None, size: int = 32) -> NDArray[np.uint8]:
    """Draw a crop uint8 (size, size) as it would be cut from a page: dark ink on light paper.

    The digit's height is about two thirds of the crop; neighbours and rules may reach in.
    Without a digit the crop shows something else: a letter, a blot, a mark, a rule, nothing.
    """
    hand = any_hand(rng)
    height = size * rng.uniform(0.55, 0.78)
    layer = np.zeros((size, size), np.uint8)
    if digit is None:
        lines = _no_digit(rng, hand, height)
    elif rng.uniform() < 0.12:
        lines = []
        _print_centred(rng, layer, str(digit), height)
    else:
        lines = write_digit(rng, hand, digit, height)
    if lines:
        points = np.concatenate([line.points for line in lines])
        low, high = points.min(axis=0), points.max(axis=0)
        shrink = min(1.0, 0.86 * size / float((high - low).max() + 1e-6)) if digit is not None else 1.0
        shift = size / 2 - (low + high) / 2 * shrink + rng.normal(0, 0.03 * size, 2)
        lines = [Line(line.points * np.float32(shrink), line.widths) for line in lines]
        put_lines(layer, moved(lines, float(shift[0]), float(shift[1])))
    if rng.uniform() < 0.5:  # a neighbour looks in from the side
        side = rng.choice([-1, 1])
        other = write_digit(rng, hand, int(rng.integers(10)), height)
        x = size / 2 - 0.3 * height + side * size * rng.uniform(0.58, 0.85)
        put_lines(layer, moved(other, x, size * 0.17))
    if rng.uniform() < 0.2:  # and a rule runs through
        y = float(rng.uniform(0.7, 1) * size)
        along = np.array([[-2, y], [size + 2, y + rng.normal(0, 1)]], np.float32)
        if rng.uniform() < 0.4:
            along = along[:, ::-1].copy()
        rule = Line(along, np.full(2, rng.uniform(0.7, 2), np.float32))
        put_lines(layer, [rule], strength=rng.uniform(0.3, 0.9))
    paper, ink = rng.uniform(150, 250), rng.uniform(10, 90)
    page = paper - layer.astype(np.float32) * ((paper - ink) / 255 * rng.uniform(0.6, 1))
    page += rng.standard_normal((size, size), dtype=np.float32) * rng.uniform(1, 8)
    return np.asarray(np.clip(page, 0, 255), np.uint8)


def _finish(rng: np.random.Generator, sheet: Sheet, look: Look) -> DrawnPage:
    pixels = develop(rng, look, sheet.ink, sheet.print, sheet.rules)
    return DrawnPage(pixels, tuple(sheet.digits), tuple(sheet.numbers), tuple(sheet.words))


def _print_centred(rng: np.random.Generator, layer: NDArray[np.uint8], character: str, height: float) -> None:
    size = layer.shape[0]
    wide, lean = rng.uniform(0.75, 1.2), rng.normal(0, 0.08)
    matrix = np.array([[wide, lean, size / 2 - 0.3 * height * wide], [0, 1, (size + height) / 2]])
    put_print(layer, character, matrix, height, bold=float(rng.uniform(0, 0.8)))


def _no_digit(rng: np.random.Generator, hand: Hand, height: float) -> list[Line]:
    kind = rng.integers(5)
    if kind == 0:
        return []
    if kind == 1:  # a blot
        return [Line(np.zeros((1, 2), np.float32), np.array([rng.uniform(2, height / 2)], np.float32))]
    if kind == 2:
        mark = str(rng.choice(list('.,-"={')))
        return write_number(rng, hand, mark, height)[0][1]
    word = str(rng.choice(WORDS + NAMES))
    start = int(rng.integers(len(word)))
    letters = word[start : start + int(rng.integers(1, 4))]
    if letters in LOOK_ALIKES:
        letters = "m"
    return write_word(rng, hand, letters, height * rng.uniform(0.4, 0.9))


def _digits(rng: np.random.Generator, n: int) -> str:
    return "".join(str(digit) for digit in rng.integers(0, 10, n))
