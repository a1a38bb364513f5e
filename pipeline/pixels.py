"""A decoded image as the arrays that the stages take: 8 bits, grey or RGB, on white, upright."""

import numpy as np
from PIL import Image

from pipeline.errors import SourceError

# EXIF orientation → what turns the pixels as stored into the page as shown
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise SourceError if an image of this size, told by its header, is not to be decoded."""
    if width < 1 or height < 1:
        raise SourceError(f"is an image of {width} × {height} pixels: nothing is in it")
    if width * height > max_pixels:
        raise SourceError(
            f"has {width * height / 1e6:,.0f} megapixels ({width} × {height}), over the limit of "
            f"{max_pixels / 1e6:,.0f}; raise --max-pixels to read it"
        )


def turned(image: Image.Image, orientation: object) -> Image.Image:
    """Return the image as EXIF orientation 1 to 8 says that it is shown; anything else leaves it as it is."""
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def to_array(image: Image.Image, *, colour: bool, bits: int = 16) -> Pixels:
    """Return the pixels as uint8, (H, W) grey or (H, W, 3) RGB.

    What is transparent is laid on white.  Integers of 16 bits keep the upper 8 of the `bits` in use;
    integers of 32 bits and floats are scaled by the smallest usual range that holds them.
    """
    if image.mode.startswith("I;16"):
        return _shaped(_wide(np.asarray(image), bits), colour)
    if image.mode == "I":
        return _shaped(_long(np.asarray(image)), colour)
    if image.mode == "F":
        return _shaped(_float(np.asarray(image)), colour)
    if image.mode == "LAB":
        return _shaped(np.asarray(image.getchannel("L")), colour)
    mode = "RGB" if colour else "L"
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        return np.asarray(_on_white(image, mode))
    if image.mode == "P" or (image.mode == "CMYK" and not colour):
        image = image.convert("RGB")  # by way of RGB, the grey of a colour is its brightness
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    page = Image.new(mode, image.size, "white")
    page.paste(image.convert(mode), mask=image.getchannel("A"))
    return page


def _wide(values: np.ndarray[tuple[int, ...], np.dtype[np.uint16]], bits: int) -> Pixels:
    return (values >> max(bits - 8, 0)).astype(np.uint8)


def _long(values: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> Pixels:
    """Scale 32-bit integers: what fits 8 or 16 bits is taken to be of so many, since scanners write that."""
    top = int(values.max(initial=0))
    shift = 0 if top < 1 << 8 else 8 if top < 1 << 16 else 23
    return (np.clip(values, 0, None) >> shift).astype(np.uint8)


def _float(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Pixels:
    """Scale floats: 0 to 1 is the whole range, else 0 to 255 or to 65535 as they need; no number is white."""
    finite = np.nan_to_num(values, nan=np.inf, posinf=np.inf, neginf=0.0)
    top = float(np.max(finite, where=np.isfinite(finite), initial=0.0))
    full = 1.0 if top <= 1.0 else 255.0 if top <= 255.0 else 65535.0 if top <= 65535.0 else top
    return np.clip(np.minimum(finite, full) * (255.0 / full) + 0.5, 0, 255).astype(np.uint8)


def _shaped(grey: Pixels, colour: bool) -> Pixels:
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2) if colour else grey
