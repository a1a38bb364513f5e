"""PDF pages through PDFium: a scan on its own pixels, any other page rendered at a set dpi.

A page is a scan if one image covers it and nothing shows beside it; the hidden text that OCR
leaves does not show.  Such a page is drawn with exactly one pixel for each pixel of its image, which
gives the image's own values (measured: no pixel differs), and leaves masks, colour spaces
and the page's rotation to PDFium.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]

from pipeline.errors import SourceError
from pipeline.pixels import Pixels, check_size

_lock = threading.Lock()  # PDFium is not thread-safe, not even across documents
_POINTS_PER_INCH = 72.0
_MARGIN = 0.02  # how far, of the page's side, an image may end from its edge and still cover it
_SQUARE = 1.1  # pixels less square than this are rendered: digits of a squeezed fax would not be digits
_MAX_OBJECTS = 20_000  # of a page are looked at; forms inside forms can be more than can be counted
_PLAIN_FILTERS = frozenset(["FlateDecode", "LZWDecode", "RunLengthDecode", "ASCII85Decode", "ASCIIHexDecode"])
_BITS_PER_PIXEL = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_MAX_REOPENED_BYTES = 500_000_000
_INSET_PX = 0.01  # keeps float errors from spilling the image over into one more row of pixels


@dataclass(frozen=True, slots=True)
class _Scan:
    """An image that covers its page: its size in pixels, and where it lies, in points from the top left.

    Both are as the page is shown, after its rotation.
    """

    width: int
    height: int
    left: float
    top: float
    right: float
    bottom: float

    @property
    def dpi(self) -> float:
        return self.width / (self.right - self.left) * _POINTS_PER_INCH

    @property
    def squeeze(self) -> float:
        ratio = self.width / self.height * (self.bottom - self.top) / (self.right - self.left)
        return max(ratio, 1 / ratio)


def count_pages(file: BinaryIO) -> int:
    """Return how many pages a PDF has; raises SourceError if it can't be opened or has none."""
    size = file.seek(0, 2)
    with _document(file) as document:
        n_pages = len(document)
    if n_pages > size:
        raise SourceError(f"is damaged: it says that it has {n_pages} pages, in {size} bytes")
    return n_pages


def read_pdf_page(file: BinaryIO, frame: int, *, max_pixels: int, render_dpi: int, colour: bool) -> Pixels:
    """Return a page as it is shown: uint8, (H, W) grey or (H, W, 3) RGB.

    Raises SourceError if it can't be loaded, is beyond `max_pixels`, or holds an image that is.
    """
    with _document(file) as document:
        if frame >= len(document):
            raise SourceError(f"has only {len(document)} pages now")
        page = document[frame]
        try:
            return _pixels(page, max_pixels, render_dpi, colour)
        finally:
            page.close()


@contextmanager
def _document(file: BinaryIO) -> Iterator[Any]:
    """Open a PDF, alone with PDFium until it is closed again."""
    size = file.seek(0, 2)
    file.seek(max(size - 65_536, 0))
    if b"%%EOF" not in file.read():
        # PDFium would mend it, with blank pages where the bytes are missing
        raise SourceError("is cut short: the end of the PDF is missing; scan or copy it again")
    file.seek(0)
    with _lock:
        document = None
        try:
            document = pypdfium2.PdfDocument(file)
            yield document
        except pypdfium2.PdfiumError as error:
            if document is not None:
                raise SourceError(f"is damaged: PDFium says {str(error)!r}") from error
            raise SourceError(_why_not_opened(file)) from error
        except MemoryError as error:
            raise SourceError("needs more memory than there is; lower --render-dpi") from error
        finally:
            if document is not None:
                document.close()


def _why_not_opened(file: BinaryIO) -> str:
    """Open the PDF once more: of an empty one PDFium's last error is that of some earlier file."""
    file.seek(0)
    data = file.read(_MAX_REOPENED_BYTES)
    opened = pdfium.FPDF_LoadMemDocument64(data, len(data), None)
    if opened:
        pdfium.FPDF_CloseDocument(opened)
        return "has no pages"
    code = pdfium.FPDF_GetLastError()
    if code == pdfium.FPDF_ERR_PASSWORD:
        return "is protected by a password; save it without one to read it"
    if code == pdfium.FPDF_ERR_SECURITY:
        return "is encrypted in a way that is not read; save it without encryption to read it"
    return "is damaged: the PDF can't be opened"


def _pixels(page: Any, max_pixels: int, render_dpi: int, colour: bool) -> Pixels:
    images = _images(page)
    for image in images:
        width, height = image.get_px_size()
        check_size(width, height, max_pixels)
    scan = _scan(page, render_dpi)
    if scan is not None:
        _refuse_cut_image(page, images[0])
        width, height = scan.width, scan.height
        across = (width - 2 * _INSET_PX) / (scan.right - scan.left)
        down = (height - 2 * _INSET_PX) / (scan.bottom - scan.top)
        matrix = (across, down, _INSET_PX - scan.left * across, _INSET_PX - scan.top * down)
    else:
        scale = render_dpi / _POINTS_PER_INCH
        width, height = (max(round(side * scale), 1) for side in page.get_size())
        if width * height > max_pixels:
            raise SourceError(
                f"has {width * height / 1e6:,.0f} megapixels ({width} × {height}) at {render_dpi} dpi, "
                f"over the limit of {max_pixels / 1e6:,.0f}; lower --render-dpi or raise --max-pixels"
            )
        matrix = (scale, scale, 0.0, 0.0)
    pixels = _drawn(page, width, height, matrix, colour=colour, annotations=scan is None)
    if images and pixels.min(initial=255) == 255:
        for image in images:  # PDFium leaves out what it can't decode, and says nothing
            _refuse_undecodable(image)
    return pixels


def _drawn(
    page: Any,
    width: int,
    height: int,
    matrix: tuple[float, float, float, float],
    *,
    colour: bool,
    annotations: bool,
) -> Pixels:
    """Draw the page on white; `matrix` is (across, down, left, top), from points to pixels."""
    form = pdfium.FPDFBitmap_BGR if colour else pdfium.FPDFBitmap_Gray
    flags = pdfium.FPDF_REVERSE_BYTE_ORDER if colour else pdfium.FPDF_GRAYSCALE
    if annotations:
        flags |= pdfium.FPDF_ANNOT
    pixels = np.full((height, width, 3) if colour else (height, width), 255, dtype=np.uint8)
    bitmap = pdfium.FPDFBitmap_CreateEx(
        width, height, form, pixels.ctypes.data_as(ctypes.c_void_p), pixels.strides[0]
    )
    if not bitmap:
        raise SourceError(f"can't be rendered: PDFium refuses an image of {width} × {height} pixels")
    across, down, left, top = matrix
    placed = pdfium.FS_MATRIX(across, 0, 0, down, left, top)
    pdfium.FPDF_RenderPageBitmapWithMatrix(bitmap, page, placed, pdfium.FS_RECTF(0, 0, width, height), flags)
    pdfium.FPDFBitmap_Destroy(bitmap)
    return pixels


def _images(page: Any) -> list[Any]:
    found = islice(page.get_objects(max_depth=5), _MAX_OBJECTS)
    return [item for item in found if item.type == pdfium.FPDF_PAGEOBJ_IMAGE]


def _scan(page: Any, render_dpi: int) -> _Scan | None:
    """Return the image that covers the page, if the page is nothing but a scan.

    Where something shows beside the image (a stamp, a number of the archive) the page still counts as a
    scan if the image is as fine as what would be rendered.
    """
    images, others = [], 0
    for item in islice(page.get_objects(max_depth=1), _MAX_OBJECTS):
        if item.type == pdfium.FPDF_PAGEOBJ_IMAGE:
            images.append(item)
        elif not _is_hidden(item):
            others += 1
    if len(images) != 1:
        return None
    scan = _placed(page, images[0])
    if scan is None or scan.squeeze > _SQUARE or (others and scan.dpi < render_dpi):
        return None
    return scan


def _is_hidden(item: Any) -> bool:
    return bool(
        item.type == pdfium.FPDF_PAGEOBJ_TEXT
        and pdfium.FPDFTextObj_GetTextRenderMode(item) == pdfium.FPDF_TEXTRENDERMODE_INVISIBLE
    )


def _placed(page: Any, image: Any) -> _Scan | None:
    """Return where the image lies on the page as shown; None if it is skewed or does not cover it."""
    width, height = image.get_px_size()
    a, b, c, d, _, _ = image.get_matrix().get()
    if abs(b) + abs(c) < 1e-3 * (abs(a) + abs(d)):
        pass
    elif abs(a) + abs(d) < 1e-3 * (abs(b) + abs(c)):
        width, height = height, width
    else:
        return None
    left, bottom, right, top = image.get_bounds()
    page_left, page_bottom, page_right, page_top = page.get_bbox()
    across, down = page_right - page_left, page_top - page_bottom
    x0, x1, y0, y1 = left - page_left, right - page_left, page_top - top, page_top - bottom
    beside = max(abs(x0), abs(x1 - across)) / max(across, 1e-6)
    above = max(abs(y0), abs(y1 - down)) / max(down, 1e-6)
    if max(beside, above) > _MARGIN or x1 <= x0 or y1 <= y0:
        return None
    rotation = page.get_rotation()
    if rotation in {90, 270}:
        width, height = height, width
    if rotation == 90:
        x0, y0, x1, y1 = down - y1, x0, down - y0, x1
    elif rotation == 180:
        x0, y0, x1, y1 = across - x1, down - y1, across - x0, down - y0
    elif rotation == 270:
        x0, y0, x1, y1 = y0, across - x1, y1, across - x0
    return _Scan(width, height, x0, y0, x1, y1)


def _refuse_cut_image(page: Any, image: Any) -> None:
    """Raise SourceError if the data of a scan ends early: PDFium would leave the rest grey or black."""
    filters = image.get_filters()
    if filters == ["DCTDecode"]:
        whole = b"\xff\xd9" in bytes(image.get_data())[-4096:]
    elif filters and _PLAIN_FILTERS.issuperset(filters):
        whole = _is_whole(page, image)
    else:
        whole = True
    if not whole:
        raise SourceError("is cut short: the image in the PDF ends before the picture does; scan it again")


def _is_whole(page: Any, image: Any) -> bool:
    width, height = image.get_px_size()
    facts = pdfium.FPDF_IMAGEOBJ_METADATA()
    pdfium.FPDFImageObj_GetImageMetadata(image, page, facts)
    size = pdfium.FPDFImageObj_GetImageDataDecoded(image, None, 0)
    # PDFium counts 2 and 4 bits as 8, and 16 bits of grey as 24: then the size fits other bits exactly
    fitting = {(width * bits + 7) // 8 * height for bits in _BITS_PER_PIXEL}
    return size >= (width * facts.bits_per_pixel + 7) // 8 * height or size in fitting


def _refuse_undecodable(image: Any) -> None:
    bitmap = pdfium.FPDFImageObj_GetBitmap(image)
    if not bitmap:
        raise SourceError("is damaged: an image in the PDF can't be decoded")
    pdfium.FPDFBitmap_Destroy(bitmap)
