"""The picture of `archive form`: a page with its frame, and with the columns and fields of a form.

Columns differ in tint and carry their names, so that a grey print still tells them apart.
"""

from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.forms import Form
from pipeline.frames import Frame

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

LARGEST_PX = 2000  # the longer side of the picture
FRAME: Colour = (0, 84, 180)
SHEET: Colour = (170, 0, 40)
FIELD: Colour = (170, 0, 40)
TINTS: tuple[Colour, ...] = ((226, 120, 0), (0, 130, 110))
WHITE: Colour = (255, 255, 255)
_N_ROWS = 4  # of names, so that those of narrow columns stand below one another
_TINTED = 36  # of 255: writing is to be read through it


def draw_form(page_rgb: Pixels, frame: Frame, form: Form) -> Pixels:
    """Return the page uint8 (H, W, 3), made smaller if it is large, with its frame and a form drawn in.

    A strip above it has the names of the columns.
    """
    height, width = page_rgb.shape[:2]
    scale = min(1.0, LARGEST_PX / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    font_px = max(round(max(size) / 80), 10)
    font = ImageFont.load_default(font_px)
    line_px = max(round(max(size) / 700), 1)
    row_px = round(1.4 * font_px)
    strip_px = (_N_ROWS * row_px + font_px) if form.columns else 0
    picture = Image.new("RGB", (size[0], size[1] + strip_px), WHITE)
    picture.paste(Image.fromarray(page_rgb).resize(size, Image.Resampling.LANCZOS), (0, strip_px))
    pen = ImageDraw.Draw(picture, "RGBA")

    def placed(*shares: tuple[float, float]) -> list[tuple[float, float]]:
        return [(float(x) * scale, float(y) * scale + strip_px) for x, y in frame.to_page(shares)]

    def outlined(u0: float, v0: float, u1: float, v1: float, colour: Colour, thick: int) -> None:
        corners = placed((u0, v0), (u1, v0), (u1, v1), (u0, v1))
        pen.line([*corners, corners[0]], fill=colour, width=thick, joint="curve")

    for n, (column, tint) in enumerate(zip(form.columns, cycle(TINTS), strict=False)):
        left, right = column.left, column.right
        pen.polygon(placed((left, 0), (right, 0), (right, 1), (left, 1)), fill=(*tint, _TINTED))
        outlined(left, 0, right, 1, tint, line_px)
        if column.values.rule is not None:
            pen.line(placed((column.values.rule, 0), (column.values.rule, 1)), fill=tint, width=line_px)
        x, y = placed(((left + right) / 2, 0))[0]
        text = f"{column.name}: {column.values.type}"
        room = font.getlength(text) / 2 + 4
        text_y = (n % _N_ROWS + 0.8) * row_px
        pen.line((x, text_y, x, y), fill=tint, width=line_px)
        _label(pen, font, text, (min(max(x, room), size[0] - room), text_y), tint, "mm")
    outlined(0, 0, 1, 1, FRAME if frame.printed else SHEET, 2 * line_px)
    for field in form.fields:
        outlined(*field.box, FIELD, 2 * line_px)
        at = placed((field.box[0], field.box[1]))[0]
        _label(pen, font, f"{field.name}: {field.values.type}", (at[0], at[1] - line_px), FIELD, "ld")
    return np.asarray(picture, dtype=np.uint8)


def _label(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    at: tuple[float, float],
    colour: Colour,
    anchor: str,
) -> None:
    pen.text(at, text, colour, font, anchor=anchor, stroke_width=3, stroke_fill=WHITE)
