"""Files → documents with their pages, and a page → its pixels.

    find_files    files and folders → files, in natural order          (pipeline/folders.py)
    probe         a file → a Document: what it is, its hash, its pages; no pixel is decoded
    read_page     one page of it → uint8 pixels

A reason (the text of a SourceError) says what is wrong with "the file" or "the page" and names neither: it is
shown beside them.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pipeline import tiff
from pipeline.errors import NotAScanError, SourceError, SourceGoneError
from pipeline.folders import Unreadable, find_files
from pipeline.formats import HEAD_BYTES, ONE_PAGE, format_of
from pipeline.pixels import Pixels

__all__ = [
    "Document",
    "DocumentError",
    "PageRef",
    "Skipped",
    "Unreadable",
    "fill_pages",
    "find_files",
    "fingerprint",
    "probe",
    "read_page",
]
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PageRef:
    """Where a page is: its index in the document, its member of a ZIP (else None), its frame there."""

    page_index: int
    member: str | None
    frame: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A member of a ZIP that is no scan, and why."""

    member: str
    reason: str


@dataclass(frozen=True, slots=True)
class Document:
    """A file that came in; `modified_at` is in seconds since 1970, `pages` are in reading order."""

    path: Path
    sha256: str
    format: str
    size_bytes: int
    modified_at: float
    pages: tuple[PageRef, ...] = ()
    skipped: tuple[Skipped, ...] = ()


class DocumentError(SourceError):
    """No page can be had of a file; `document` (without pages) is what the catalogue keeps of it."""

    def __init__(self, reason: str, document: Document) -> None:
        super().__init__(reason)
        self.document = document


def probe(path: Path, *, max_pixels: int) -> Document:
    """Hash a file and count its pages, without decoding a pixel.

    What is wrong with a single page is found when it is read, so that its neighbours are read too; an image
    that is too large is such a page.  `max_pixels` bounds the memory that a ZIP's members take.
    Raises NotAScanError for what is no scan, DocumentError for a scan no page of which can be had, and
    SourceGoneError for what can't be reached now or is being written to.
    """
    document = fingerprint(path)
    return document if document.pages else fill_pages(document, max_pixels=max_pixels)


def fingerprint(path: Path) -> Document:
    """Return the document with hash and format; its pages too where the format has only one.

    Raises as `probe` does.  No decoder sees the file.
    """
    with _opened(path) as file:
        before = os.fstat(file.fileno())
        head = file.read(HEAD_BYTES)
        digest = hashlib.sha256(head)
        left = before.st_size - len(head)  # no further: a file may grow faster than it is read
        while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise SourceGoneError("is still being written to; try again when it is complete")
    document = Document(path, digest.hexdigest(), "none", after.st_size, after.st_mtime)
    try:
        format = format_of(head, path.name)
    except NotAScanError:
        raise
    except SourceError as error:
        raise DocumentError(str(error), document) from error
    pages = (PageRef(0, None, 0),) if format in ONE_PAGE else ()
    return replace(document, format=format, pages=pages)


def fill_pages(document: Document, *, max_pixels: int) -> Document:
    """Return the document with the pages of its TIFF, PDF or ZIP.

    Raises as `probe` does.  `pipeline/probing.py` calls this in a process of its own.
    """
    try:
        with _opened(document.path) as file:
            return _count(file, document, max_pixels)
    except (NotAScanError, SourceGoneError):
        raise
    except SourceError as error:
        raise DocumentError(str(error), document) from error


def read_page(
    path: Path,
    format: str,
    member: str | None,
    frame: int,
    *,
    max_pixels: int,
    render_dpi: int,
    colour: bool = False,
    at_least_px: int = 0,
) -> Pixels:
    """Return the pixels of one page: uint8, (H, W) grey or with `colour` (H, W, 3) RGB, upright by EXIF.

    `format`, `member` and `frame` are those that `probe` gave.  A page of more than `max_pixels` is refused
    from its header; a PDF page that is no plain scan is rendered at `render_dpi`.
    With `at_least_px` a JPEG may come at a half, a quarter or an eighth of its size, in a fraction of the
    time, but never with a side shorter than that.  May be called from several threads.
    Raises SourceError with the page's reason, SourceGoneError if the file can't be reached now.
    """
    with _opened(path) as file:
        if format == "zip":
            from pipeline import zips

            file, format = zips.open_member(file, member or "", max_pixels=max_pixels)
        return _decoder(format, at_least_px)(file, frame, max_pixels, render_dpi, colour)


def _count(file: BinaryIO, document: Document, max_pixels: int) -> Document:
    if document.format == "zip":
        from pipeline import zips

        found, skipped = zips.list_members(file, count_frames, max_pixels=max_pixels)
        pages = tuple(PageRef(index, member, frame) for index, (member, frame) in enumerate(found))
        return replace(document, pages=pages, skipped=tuple(Skipped(*pair) for pair in skipped))
    frames = count_frames(file, document.format)
    return replace(document, pages=tuple(PageRef(index, None, frame) for index, frame in enumerate(frames)))


def count_frames(file: BinaryIO, format: str) -> list[int]:
    """Return the frames of a file that are pages; raises SourceError if there is none.

    A TIFF whose directory breaks off or loops keeps the pages before that point, and one more that
    can't be read and says so.
    """
    if format in ONE_PAGE:
        return [0]
    if format == "tiff":
        chain = tiff.read_chain(file)
        return [page.frame for page in chain.pages] + ([chain.n_frames] if chain.damage else [])
    from pipeline import pdf

    return list(range(pdf.count_pages(file)))


def _decoder(format: str, at_least_px: int) -> Callable[[BinaryIO, int, int, int, bool], Pixels]:
    # decoders are imported when they are needed: `archive --dry-run` on a folder of JPEGs loads none
    if format == "pdf":
        from pipeline import pdf

        return lambda file, frame, max_pixels, dpi, colour: pdf.read_pdf_page(
            file, frame, max_pixels=max_pixels, render_dpi=dpi, colour=colour
        )
    from pipeline import images

    return lambda file, frame, max_pixels, dpi, colour: images.read_image(
        file, format, frame, max_pixels=max_pixels, colour=colour, at_least_px=at_least_px
    )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file; anything else (a pipe would block) is no scan.

    Raises SourceGoneError too where reading fails while it is open: a share that goes away, a bad disk.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise SourceGoneError("is gone: it was moved or deleted") from error
    except PermissionError as error:
        raise SourceGoneError("can't be opened: no permission") from error
    except OSError as error:
        raise SourceGoneError(f"can't be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise NotAScanError("is no file")
    with os.fdopen(number, "rb") as file:
        try:
            yield file
        except OSError as error:
            raise SourceGoneError(f"can't be read now: {error.strerror or error}") from error
