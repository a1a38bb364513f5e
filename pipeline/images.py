"""Raster images through Pillow: JPEG, PNG, WebP, BMP, JPEG 2000 and the pages of a TIFF.

Pillow's own opener is gone around: it guesses among sixty formats, and its limit on pixels is one
number for the whole process.  Ours is checked from the header, before anything is decoded.
"""

import errno
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from pipeline import tiff
from pipeline.errors import SourceError, SourceGoneError
from pipeline.paths import printable
from pipeline.pixels import Pixels, check_size, to_array, turned

_OPENERS: dict[str, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "jp2": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
_ORIENTATION, _BITS, _PHOTOMETRIC = 274, 258, 262
_STRANGE = re.compile(r"unknown|unsupported|not supported|cannot handle", re.IGNORECASE)
_quiet_lock = threading.Lock()


def read_image(
    file: BinaryIO, format: str, frame: int, *, max_pixels: int, colour: bool, at_least_px: int = 0
) -> Pixels:
    """Decode one page: uint8, (H, W) grey or (H, W, 3) RGB, as it is shown after EXIF orientation.

    `format` is one of `_OPENERS`; `frame` counts the directories of a TIFF and is 0 elsewhere: of an
    animation only the first frame is a page.  With `at_least_px` a JPEG may come smaller, with
    sides of at least that; `max_pixels` limits the size that its header tells.
    Raises SourceError with the reason on one line, and SourceGoneError if the file can't be reached.
    """
    with _explained(file, format):
        if format == "tiff":
            tiff.check_frame(file, frame, max_pixels)
            file.seek(0)
        with _quiet():
            image = _OPENERS[format](file)
            if format == "tiff":
                image.seek(frame)
        check_size(*image.size, max_pixels)
        if format == "jpeg":
            # as grey the decoder gives one byte a pixel, instead of Pillow's four
            size = (at_least_px, at_least_px) if at_least_px else None
            image.draft(None if colour else "L", size)
        bits, inverted = _depth(image)
        image.load()
        with _quiet():  # a PNG's EXIF may stand behind its pixels; Pillow obeys a TIFF's tag itself
            orientation = 1 if format == "tiff" else image.getexif().get(_ORIENTATION)
        pixels = to_array(turned(image, orientation), colour=colour, bits=bits)
        return 255 - pixels if inverted else pixels


def _depth(image: ImageFile.ImageFile) -> tuple[int, bool]:
    """Return how many of 16 bits are in use, and whether white is zero where Pillow leaves that to us."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 16, False
    tags = image.tag_v2
    bits = tags.get(_BITS, (1,))
    inverted = tags.get(_PHOTOMETRIC) == 0 and image.mode.startswith(("I", "F"))
    return max(bits) if isinstance(bits, tuple) else int(bits), inverted


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow's warnings and its limit on pixels out of the reading of headers.

    Both are state of the process, therefore the lock; headers take no time.
    """
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _explained(file: BinaryIO, format: str) -> Iterator[None]:
    """Turn whatever a decoder raises on bad bytes into a SourceError with one clear line."""
    try:
        yield
    except SourceError:
        raise
    except MemoryError as error:
        raise SourceError("needs more memory than there is; read fewer pages at a time") from error
    except Exception as error:
        # no EINVAL: that is a seek to where bad bytes point
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise SourceGoneError(f"can't be read now: {error.strerror}") from error
        what = printable(" ".join(str(error).split())) or type(error).__name__
        if _is_cut_short(file, format):
            reason = "is cut short: the file ends before the picture does; scan or copy it again"
        elif _STRANGE.search(what):
            reason = f"is a {format.upper()} of a kind that is not read ({what[:200]}); convert it to PNG"
        else:
            reason = f"is damaged: the {format.upper()} decoder says {what[:200]!r}"
        raise SourceError(reason) from error


def _is_cut_short(file: BinaryIO, format: str) -> bool:
    """Whether a file that can't be decoded lacks what every complete file of its format ends with."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    file.seek(max(size - 4096, 0))
    tail = file.read(4096)
    if format in {"jpeg", "jp2"}:
        return b"\xff\xd9" not in tail
    if format == "png":
        return b"IEND" not in tail
    if format == "webp":
        return size < int.from_bytes(head[4:8], "little") + 8
    if format == "bmp":
        return size < int.from_bytes(head[2:6], "little")
    return False
