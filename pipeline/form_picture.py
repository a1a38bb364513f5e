"""The picture of `archive form`: a page with its frame, and with the columns and fields of a form.

Columns differ in tint and carry their names, so that a grey print still tells them apart.
"""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.forms import Column, Form
from pipeline.frames import Frame

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

LARGEST_PX = 2000  # the longer side of the picture
FRAME: Colour = (0, 84, 180)
SHEET: Colour = (170, 0, 40)
FIELD: Colour = (170, 0, 40)
TINTS: tuple[Colour, ...] = ((226, 120, 0), (0, 130, 110))
WHITE: Colour = (255, 255, 255)
_TINTED = 36  # of 255: writing is to be read through it


def draw_form(page_rgb: Pixels, frame: Frame, form: Form) -> Pixels:
    """Return the page uint8 (H, W, 3), made smaller if it is large, with its frame and a form drawn in."""
    height, width = page_rgb.shape[:2]
    scale = min(1.0, LARGEST_PX / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    picture = Image.fromarray(page_rgb).resize(size, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(picture, "RGBA")
    line_px = max(round(max(size) / 600), 1)
    font = ImageFont.load_default(max(round(max(size) / 70), 10))

    def placed(shares: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(float(x) * scale, float(y) * scale) for x, y in frame.to_page(shares)]

    def outline(corners: list[tuple[float, float]], colour: Colour, thick: int) -> None:
        pen.line([*corners, corners[0]], fill=colour, width=thick, joint="curve")

    for column, tint in zip(form.columns, cycle(TINTS), strict=False):
        corners = placed([(column.left, 0), (column.right, 0), (column.right, 1), (column.left, 1)])
        pen.polygon(corners, fill=(*tint, _TINTED))
        outline(corners, tint, line_px)
        if column.values.rule is not None:
            pen.line(placed([(column.values.rule, 0), (column.values.rule, 1)]), fill=tint, width=line_px)
    corners = placed([(0, 0), (1, 0), (1, 1), (0, 1)])
    outline(corners, FRAME if frame.printed else SHEET, 2 * line_px)
    for field in form.fields:
        u0, v0, u1, v1 = field.box
        corners = placed([(u0, v0), (u1, v0), (u1, v1), (u0, v1)])
        outline(corners, FIELD, 2 * line_px)
        _label(pen, font, field.name, corners[0], FIELD, "ls")
    # the names last, and each a little lower than the one before: columns may be narrow
    step = 1.4 * max(round(max(size) / 70), 10) / max(_height(corners_of(frame, scale)), 1)
    for n, (column, tint) in enumerate(zip(form.columns, cycle(TINTS), strict=False)):
        at = placed([((column.left + column.right) / 2, 0.5 + step * (n % 4))])[0]
        _label(pen, font, _title(column), at, tint, "mm")
    return np.asarray(picture, dtype=np.uint8)


def corners_of(frame: Frame, scale: float) -> list[tuple[float, float]]:
    """Return the corners of a frame on the picture."""
    return [(x * scale, y * scale) for x, y in frame.corners]


def _height(corners: list[tuple[float, float]]) -> float:
    return corners[3][1] - corners[0][1]


def _title(column: Column) -> str:
    return f"{column.name}: {column.values.type}"


def _label(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    at: tuple[float, float],
    colour: Colour,
    anchor: str,
) -> None:
    pen.text(at, text, colour, font, anchor=anchor, stroke_width=3, stroke_fill=WHITE)
