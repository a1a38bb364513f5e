"""Lines and print put on a layer of ink, anti-aliased; each call says which pixels it covered."""

import functools
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.page import Box
from pipeline.pens import Line

Grey = NDArray[np.uint8]

_FINER = 4  # drawn this many times finer, then averaged
_BITS = 3  # fractional bits of OpenCV's coordinates
_GLYPH_PX = 120  # printed characters are kept at this size

# faces of print: "" is Pillow's own, the others come with Matplotlib
FACES = ("", "cmr10", "cmb10", "cmtt10", "STIXGeneral", "STIXGeneralBol", "DejaVuSerif", "DejaVuSansMono")


def put_lines(layer: Grey, lines: list[Line], strength: float = 1.0) -> Box | None:
    """Draw lines into a layer uint8 (H, W), 0 paper to 255 full ink; return the box of their ink.

    None where nothing of them is on the layer.  Darker ink stays where inks cross.
    """
    if not lines:
        return None
    points = np.concatenate([line.points for line in lines])
    reach = max(float(line.widths.max()) for line in lines) / 2 + 2
    window = _window(layer, points.min(axis=0) - reach, points.max(axis=0) + reach)
    if window is None:
        return None
    x0, y0, x1, y1 = window
    fine = np.zeros(((y1 - y0) * _FINER, (x1 - x0) * _FINER), dtype=np.uint8)
    for line in lines:
        # pixel (0, 0) of the page covers fine pixels 0 to 3: its centre is at 1.5
        at = np.rint(((line.points - (x0, y0)) * _FINER - 0.5) * (1 << _BITS)).astype(np.int32)
        thick = np.maximum(np.rint(line.widths * _FINER), 1).astype(int)
        if len(at) == 1:
            at, thick = np.repeat(at, 2, axis=0), np.repeat(thick, 2)
        for start in range(0, len(at) - 1, 3):
            cv2.polylines(
                fine,
                [at[start : start + 4]],
                False,
                255,
                int(thick[min(start + 1, len(thick) - 1)]),
                shift=_BITS,
            )
    return _put(layer, fine, x0, y0, strength)


def put_print(
    layer: Grey,
    text: str,
    matrix: NDArray[np.float64],
    height: float,
    *,
    face: str = "",
    bold: float = 0.0,
    strength: float = 1.0,
) -> Box | None:
    """Print one character with its capital height in pixels; return the box of its ink.

    `matrix` (2, 3) takes the character's own coordinates (pixels from its left on the
    baseline, y downwards) to the layer.  `face` is one of FACES; `bold` from 0 to 1 thickens it.
    """
    glyph, ascent, capital = _glyph(text, face)
    scale = height / capital
    own = np.array([[scale, 0, 0], [0, scale, -ascent * scale]])
    to_layer = matrix @ np.vstack([own, [0, 0, 1]])  # (2, 3)
    h, w = glyph.shape
    corners = np.array([[0, 0, 1], [w, 0, 1], [0, h, 1], [w, h, 1]]) @ to_layer.T
    window = _window(layer, corners.min(axis=0) - 1, corners.max(axis=0) + 1)
    if window is None:
        return None
    x0, y0, x1, y1 = window
    to_fine = (to_layer - [[0, 0, x0], [0, 0, y0]]) * _FINER
    fine = cv2.warpAffine(glyph, to_fine, ((x1 - x0) * _FINER, (y1 - y0) * _FINER), flags=cv2.INTER_AREA)
    grow = round(bold * 0.12 * height * _FINER)
    if grow:
        fine = cv2.dilate(fine, np.ones((max(grow // 2, 1), grow), np.uint8))
    return _put(layer, fine, x0, y0, strength)


def print_width(text: str, height: float, face: str = "") -> float:
    """Return how far a printed character moves the next one on, in pixels."""
    _, _, capital = _glyph(text, face)
    return float(_font(face).getlength(text)) * height / capital


@functools.cache
def _font(face: str) -> ImageFont.FreeTypeFont:
    if face:
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        return ImageFont.truetype(folder / f"{face}.ttf", _GLYPH_PX)
    font = ImageFont.load_default(_GLYPH_PX)
    assert isinstance(font, ImageFont.FreeTypeFont)  # else Pillow was built without FreeType
    return font


@functools.lru_cache(maxsize=512)
def _glyph(text: str, face: str) -> tuple[Grey, float, float]:
    """Return a printed character's mask, the baseline's distance from its top, the height of capitals."""
    font = _font(face)
    ascent, descent = font.getmetrics()
    mask = Image.new("L", (int(font.getlength(text)) + 2, ascent + descent))
    ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=font)
    _, top, _, bottom = font.getbbox("7")
    return np.asarray(mask), float(ascent), float(bottom - top)


def _window(
    layer: Grey, low: NDArray[np.floating], high: NDArray[np.floating]
) -> tuple[int, int, int, int] | None:
    x0, y0 = max(int(np.floor(low[0])), 0), max(int(np.floor(low[1])), 0)
    x1, y1 = min(int(np.ceil(high[0])), layer.shape[1]), min(int(np.ceil(high[1])), layer.shape[0])
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _put(layer: Grey, fine: cv2.typing.MatLike, x0: int, y0: int, strength: float) -> Box | None:
    """Average what was drawn `_FINER` times finer, and lay it on the layer at (x0, y0)."""
    h, w = fine.shape[0] // _FINER, fine.shape[1] // _FINER
    coverage = cv2.resize(fine, (w, h), interpolation=cv2.INTER_AREA)
    peak = int(coverage.max())
    if peak < 16:
        return None
    inked = cv2.convertScaleAbs(coverage, alpha=strength) if strength < 1 else coverage
    part = layer[y0 : y0 + h, x0 : x0 + w]
    cv2.max(part, inked, dst=part)
    seen = coverage >= 0.35 * peak
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    return Box(
        float(x0 + columns[0]), float(y0 + rows[0]), float(x0 + columns[-1] + 1), float(y0 + rows[-1] + 1)
    )
