"""ZIP files: their members are pages, read in memory and never written anywhere.

A member is known by its label: its name, which may be anything and is no path to us.
"""

import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pipeline.errors import NotAScanError, SourceError, SourceGoneError
from pipeline.folders import is_litter, natural_key
from pipeline.formats import HEAD_BYTES, ONE_PAGE, format_of
from pipeline.paths import printable

_BYTES_PER_PIXEL = 4  # a member may take as much memory as the largest page would with 4 bytes a pixel
_DEFLATE_RATIO = 1032  # no deflated byte can unpack to more
_MAX_DIRECTORY_BYTES = 64_000_000  # about half a million members
_BLOCK_BYTES = 1 << 20
_ENCRYPTED = 0x1
_PACKERS = {9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
CountFrames = Callable[[BinaryIO, str], list[int]]
_OFFICE = frozenset({"[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF"})


def list_members(
    file: BinaryIO, count_frames: CountFrames, *, max_pixels: int
) -> tuple[list[tuple[str, int]], list[tuple[str, str]]]:
    """Return the pages of a ZIP as (member, frame) in natural order, and its other members as (name, reason).

    `count_frames` says which frames of a TIFF or PDF, opened in memory, are pages (`sources.count_frames`).
    A member that looks like a scan and can't be opened is one page, which fails when it is read.
    Raises NotAScanError if nothing in it is a scan, SourceError if it can't be opened or is a bomb.
    """
    with _archive(file) as archive:
        members = _labelled(archive)
        if _OFFICE & {label for label, _ in members}:
            raise NotAScanError("is no ZIP of scans but an office document, a book or a program")
        _refuse_overlap(file, [info for _, info in members])
        pages: list[tuple[str, int]] = []
        skipped: list[tuple[str, str]] = []
        for label, info in sorted(members, key=lambda member: natural_key(member[0])):
            if info.is_dir() or any(is_litter(part) for part in label.split("/") if part not in {".", ".."}):
                continue
            try:
                pages += [(label, frame) for frame in _frames(archive, info, count_frames, max_pixels)]
            except NotAScanError as error:
                skipped.append((label, str(error)))
            except SourceError:
                pages.append((label, 0))
    if not pages:
        raise NotAScanError(f"holds no scan: {_summary(skipped)}")
    return pages, skipped


def open_member(file: BinaryIO, label: str, *, max_pixels: int) -> tuple[BinaryIO, str]:
    """Return a member's bytes as a file in memory, and its format.

    Raises SourceError if it is gone, encrypted, damaged or beyond what `max_pixels` allows.
    """
    with _archive(file) as archive:
        info = dict(_labelled(archive)).get(label)
        if info is None:
            raise SourceError("is no longer in the ZIP")
        data = _read(archive, info, max_pixels)
    return io.BytesIO(data), format_of(data[:HEAD_BYTES], info.filename)


def _frames(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, count_frames: CountFrames, max_pixels: int
) -> list[int]:
    with _opened(archive, info) as stream:
        head = stream.read(HEAD_BYTES)
    format = format_of(head, info.filename)
    if format == "zip":
        raise NotAScanError("is a ZIP inside a ZIP; unpack it to read it")
    if format in ONE_PAGE:
        return [0]
    return count_frames(io.BytesIO(_read(archive, info, max_pixels)), format)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_pixels: int) -> bytes:
    limit = max_pixels * _BYTES_PER_PIXEL
    if info.file_size > limit:
        raise SourceError(
            f"unpacks to {info.file_size / 1e6:,.0f} MB, over the limit of {limit / 1e6:,.0f}; "
            "unpack the ZIP or raise --max-pixels to read it"
        )
    data = bytearray()
    with _opened(archive, info) as stream:
        # in blocks: asked for all at once, zipfile inflates without regard to the size that was declared
        while block := stream.read(_BLOCK_BYTES):
            data += block
    return bytes(data)


@contextmanager
def _opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[zipfile.ZipExtFile]:
    if info.flag_bits & _ENCRYPTED:
        raise SourceError("is protected by a password; save it without one to read it")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        packer = _PACKERS.get(info.compress_type, f"method {info.compress_type}")
        raise SourceError(f"is compressed by {packer}; pack the ZIP again with deflate to read it")
    with _explained("is damaged in the ZIP"), archive.open(info) as stream:
        yield stream  # type: ignore[misc]  # IO[bytes] to typeshed


@contextmanager
def _archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    _refuse_long_directory(file)
    file.seek(0)
    with _explained("is damaged or cut short: the ZIP's directory can't be read"):
        archive = zipfile.ZipFile(file)
    with archive:
        yield archive


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, NotImplementedError) as error:
        # UnicodeDecodeError, of a name that is not in the encoding it says, is a ValueError
        raise SourceError(f"{what} ({printable(str(error))[:200]})") from error
    except OSError as error:
        if error.errno is None or error.errno == 22:  # a seek to before the file's start
            raise SourceError(f"{what} ({printable(str(error))[:200]})") from error
        raise SourceGoneError(f"can't be read now: {error.strerror}") from error


def _labelled(archive: zipfile.ZipFile) -> list[tuple[str, zipfile.ZipInfo]]:
    """Return the members with their labels; a name that comes again gets a count behind it."""
    labelled: dict[str, zipfile.ZipInfo] = {}
    times: Counter[str] = Counter()
    for info in archive.infolist():
        label = info.filename
        while label in labelled:
            times[info.filename] += 1
            label = f"{info.filename} ({times[info.filename] + 1})"
        labelled[label] = info
    return list(labelled.items())


def _refuse_long_directory(file: BinaryIO) -> None:
    """Raise SourceError if the ZIP's directory is so long that reading it would fill the memory."""
    size = file.seek(0, 2)
    start = max(size - 65_600, 0)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        raise SourceError("is cut short: the end of the ZIP is missing; copy it again")
    (length,) = struct.unpack_from("<I", tail, at + 12)
    if length == 0xFFFFFFFF:
        at = tail.rfind(b"PK\6\6")
        length = struct.unpack_from("<Q", tail, at + 40)[0] if 0 <= at <= len(tail) - 48 else size
    if length > _MAX_DIRECTORY_BYTES:
        raise SourceError("has too many members for one ZIP; split it to read it")


def _refuse_overlap(file: BinaryIO, members: list[zipfile.ZipInfo]) -> None:
    """Raise SourceError if the members say that they unpack to more than any ZIP of this size can hold.

    A high ratio alone is no crime, blank pages have one; members that share their bytes are.
    """
    total = sum(info.file_size for info in members if info.compress_type <= zipfile.ZIP_DEFLATED)
    size = file.seek(0, 2)
    if total > size * _DEFLATE_RATIO:
        raise SourceError(
            f"says that it unpacks to {total / 1e9:,.1f} GB, which {size:,} bytes can't: it is a ZIP bomb"
        )


def _summary(skipped: list[tuple[str, str]]) -> str:
    if not skipped:
        return "it is empty"
    label, reason = skipped[0]
    others = f" and {len(skipped) - 1} more are none" if len(skipped) > 1 else ""
    return f"{printable(label)[:80]} {reason}{others}"
