"""Drawn pages as labelled pages: hands, papers and layouts without end, with every box known."""

from collections.abc import Iterator

import cv2
import numpy as np

from pipeline.drawn import DrawnNumber, DrawnPage, draw_page, draw_strip
from pipeline.ink import ink_map
from pipeline.labels import LabelledDigit, LabelledLine, LabelledPage
from pipeline.page import Box

# the median height of digits in labelled pages of registers lies between these, in ink map pixels
_DIGIT_PX = (17.0, 36.0)


def drawn_label_set(n_pages: int, seed: int) -> Iterator[LabelledPage]:
    """Yield labelled drawn pages of varied style; every fifth is a sheet of single-number strips."""
    rng = np.random.default_rng(seed)
    for k in range(n_pages):
        number = seed * 1_000_000 + k
        drawn = draw_strip(number) if k % 5 == 4 else draw_page(number, "varied")
        yield label_drawn(f"drawn-{number}", drawn, float(rng.uniform(*_DIGIT_PX)))


def label_drawn(name: str, drawn: DrawnPage, digit_px: float) -> LabelledPage:
    """Return a drawn page as a labelled page whose median digit is `digit_px` high."""
    pixels = drawn.pixels
    grey = pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    heights = [digit.box.height for digit in drawn.digits]
    scale = digit_px / float(np.median(heights)) if heights else 1.0
    ink = ink_map(grey, scale)
    digits = tuple(
        LabelledDigit(_scaled(digit.box, scale), digit.digit, printed=not digit.handwritten)
        for digit in drawn.digits
    )
    words = tuple(_scaled(word, scale) for word in drawn.words)
    lines = tuple(_line(number, digits, scale) for number in drawn.numbers)
    known = np.full(ink.shape, 2, np.uint8)
    return LabelledPage(name, ink, known, digits, len(digits), collection="drawn", words=words, lines=lines)


def _line(number: DrawnNumber, digits: tuple[LabelledDigit, ...], scale: float) -> LabelledLine:
    box = _scaled(number.box, scale)
    corners = [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)]
    polygon = np.round(corners).astype(np.int32)
    return LabelledLine(number.text, "number", polygon, tuple(digits[i] for i in number.members))


def _scaled(box: Box, scale: float) -> Box:
    return Box(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)
