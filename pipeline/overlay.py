"""The picture of `archive show`: a page with what was read drawn in, doubts more loudly than certainties.

Kinds differ in colour (safe for the colour-blind: blue, orange, dark red, grey) and in line
style, so that a grey print still tells them apart.
"""

import functools
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.page import Box, Detection, Number, Reading

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]
Corners = tuple[float, float, float, float]

SURE, DOUBTFUL = 0.95, 0.5
LEGIBLE_PX = 26  # digits smaller than this are shown enlarged,
MAX_PIXELS = 40_000_000  # but pictures no larger than this
MIN_WIDTH_PX = 340  # room for the legend below a narrow strip
WHITE: Colour = (255, 255, 255)
DARK: Colour = (30, 30, 30)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How boxes of a kind look: `dash` is (on, off) in line widths, None for a line in one piece."""

    name: str
    colour: Colour
    weight: float
    dash: tuple[float, float] | None
    crossed: bool = False


SURE_KIND = _Kind("sure (95 % or more)", (0, 84, 180), 1.0, None)
DOUBTFUL_KIND = _Kind("doubtful (50 to 95 %)", (226, 120, 0), 1.8, (3.2, 2.0))
GUESS_KIND = _Kind("guess (under 50 %)", (170, 0, 40), 2.2, (1.2, 1.6))
NONE_KIND = _Kind("no digit", (110, 110, 110), 1.0, (1.2, 2.4), crossed=True)
KINDS = (SURE_KIND, DOUBTFUL_KIND, GUESS_KIND, NONE_KIND)
_LOUDNESS = (NONE_KIND, SURE_KIND, DOUBTFUL_KIND, GUESS_KIND)


def kind_of(reading: Reading) -> _Kind:
    """Return how a reading is shown."""
    if reading.digit is None:
        return NONE_KIND
    if reading.confidence >= SURE:
        return SURE_KIND
    return DOUBTFUL_KIND if reading.confidence >= DOUBTFUL else GUESS_KIND


def draw_overlay(
    page_rgb: Pixels, detections: Sequence[Detection], readings: Sequence[Reading], numbers: Sequence[Number]
) -> Pixels:
    """Return the page uint8 (H, W, 3) with boxes, digits and numbers, above a legend with their counts.

    It is a picture for people: what comes back is higher than the page by the legend, and
    larger by a whole factor where the digits are too small to be told apart.  `readings` are
    those of `detections`, position by position.  Raises ValueError where the lengths differ.
    """
    if len(detections) != len(readings):
        raise ValueError(f"{len(detections)} detections but {len(readings)} readings")
    zoom = _zoom(page_rgb, detections)
    boxes = [_moved(detection.box, zoom) for detection in detections]
    kinds = [kind_of(reading) for reading in readings]
    # a margin above for the labels of the topmost boxes: strips are cut close
    margin = max((math.ceil(_font_px(box.height) * 1.3 - box.y0) for box in boxes), default=0)
    picture = _canvas(page_rgb, zoom, max(margin, 0))
    boxes = [_moved(box, 1, max(margin, 0)) for box in boxes]
    line_px = max(1.0, statistics.median(box.height for box in boxes) / 20) if boxes else 1.0
    pen = ImageDraw.Draw(picture)
    # the loud ones last, so that nothing hides them
    order = sorted(range(len(kinds)), key=lambda i: _LOUDNESS.index(kinds[i]))
    for i in order:
        _frame(pen, boxes[i], kinds[i], line_px)
    for number in numbers:
        worst = max((kinds[i] for i in number.members), key=_LOUDNESS.index, default=SURE_KIND)
        _underline(pen, _moved(number.box, zoom, max(margin, 0)), worst, line_px)
    for i in order:
        _label(pen, boxes[i], readings[i], kinds[i])
    return _with_legend(picture, Counter(kind.name for kind in kinds), len(numbers))


def _zoom(page: Pixels, detections: Sequence[Detection]) -> int:
    """Return how many times to enlarge a page so that its digits are large enough for labels."""
    if not detections:
        return 1
    wanted = math.ceil(LEGIBLE_PX / max(statistics.median(d.box.height for d in detections), 1.0))
    affordable = math.isqrt(max(MAX_PIXELS // max(page.shape[0] * page.shape[1], 1), 1))
    return max(min(wanted, affordable, 4), 1)


def _moved(box: Box, zoom: int, down: int = 0) -> Box:
    return Box(box.x0 * zoom, box.y0 * zoom + down, box.x1 * zoom, box.y1 * zoom + down)


def _canvas(page: Pixels, zoom: int, margin: int) -> Image.Image:
    picture = Image.fromarray(page)
    if zoom > 1:
        size = (picture.width * zoom, picture.height * zoom)
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    if not margin:
        return picture
    whole = Image.new("RGB", (picture.width, picture.height + margin), WHITE)
    whole.paste(picture, (0, margin))
    return whole


def _frame(pen: ImageDraw.ImageDraw, box: Box, kind: _Kind, line_px: float) -> None:
    width = max(round(line_px * kind.weight), 1)
    # outside of the ink: a frame over a thin stroke would hide it
    x0, y0, x1, y1 = box.x0 - width, box.y0 - width, box.x1 + width - 1, box.y1 + width - 1
    for ends in ((x0, y0, x1, y0), (x1, y0, x1, y1), (x1, y1, x0, y1), (x0, y1, x0, y0)):
        _line(pen, ends, kind.colour, width, kind.dash)
    if kind.crossed:
        _line(pen, (x0, y1, x1, y0), kind.colour, width, kind.dash)


def _line(
    pen: ImageDraw.ImageDraw, ends: Corners, colour: Colour, width: int, dash: tuple[float, float] | None
) -> None:
    if dash is None:
        pen.line(ends, fill=colour, width=width)
        return
    start, end = np.array(ends[:2]), np.array(ends[2:])
    length = float(np.hypot(*(end - start)))
    # whole dashes from corner to corner, so that corners are always drawn
    on, off = dash[0] * width, dash[1] * width
    n = max(round((length + off) / (on + off)), 1)
    share = on / (on + off) if n > 1 else 1.0
    for k in range(n):
        a, b = k / (n - 1 + share), (k + share) / (n - 1 + share)
        piece = [*(start + a * (end - start)).tolist(), *(start + min(b, 1.0) * (end - start)).tolist()]
        pen.line(piece, fill=colour, width=width)


def _underline(pen: ImageDraw.ImageDraw, box: Box, kind: _Kind, line_px: float) -> None:
    """Draw a bracket below a number's digits, in the colour of its worst: they belong together."""
    width = max(round(1.6 * line_px), 1)
    y = box.y1 + 3.4 * line_px
    pen.line((box.x0, y, box.x1, y), fill=WHITE, width=width + 2)
    pen.line((box.x0, y, box.x1, y), fill=kind.colour, width=width)
    for x in (box.x0, box.x1):
        pen.line((x, y, x, y - 2.2 * line_px), fill=kind.colour, width=width)


def _label(pen: ImageDraw.ImageDraw, box: Box, reading: Reading, kind: _Kind) -> None:
    """Write what was read above its box, with a light rim so that it stands out from any paper."""
    if reading.digit is None:
        return
    font_px = _font_px(box.height)
    at = ((box.x0 + box.x1) / 2, box.y0 - 0.2 * font_px)
    rim = max(font_px // 7, 1)
    pen.text(
        at, str(reading.digit), kind.colour, _font(font_px), anchor="ms", stroke_width=rim, stroke_fill=WHITE
    )


def _font_px(box_height: float) -> int:
    return int(np.clip(0.62 * box_height, 10, 60))


@functools.lru_cache(maxsize=64)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def _with_legend(picture: Image.Image, counts: Counter[str], n_numbers: int) -> Pixels:
    """Return the picture with a strip below it that says what the kinds mean and how many there are."""
    width = max(picture.width, MIN_WIDTH_PX)
    font_px = int(np.clip(width / 64, 13, 48))
    font = _font(font_px)
    n_digits = sum(counts.values()) - counts[NONE_KIND.name]
    entries: list[tuple[str, _Kind | None]] = [
        (f"{_many(n_digits, 'digit')} in {_many(n_numbers, 'number')}:", None),
        *((f"{counts[kind.name]:,} {kind.name}", kind) for kind in KINDS),
    ]
    pad, swatch = 0.7 * font_px, 1.1 * font_px
    placed: list[tuple[float, float, str, _Kind | None]] = []
    x, y = pad, pad
    for text, kind in entries:
        room = (1.5 * swatch if kind else 0) + font.getlength(text)
        if x + room > width - pad and x > pad:
            x, y = pad, y + 1.9 * font_px
        placed.append((x, y, text, kind))
        x += room + 1.6 * font_px
    strip_px = round(y + font_px + 1.3 * pad)
    whole = Image.new("RGB", (width, picture.height + strip_px), WHITE)
    whole.paste(picture, (0, 0))
    pen = ImageDraw.Draw(whole)
    top = picture.height
    pen.line((0, top, width, top), fill=DARK, width=max(font_px // 14, 1))
    for x, y, text, kind in placed:
        if kind is not None:
            _frame(pen, Box(x, top + y, x + swatch, top + y + swatch), kind, font_px / 13)
            x += 1.5 * swatch
        pen.text(
            (x, top + y + 0.55 * font_px), text, DARK if kind is None else kind.colour, font, anchor="lm"
        )
    return np.asarray(whole, dtype=np.uint8)


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
