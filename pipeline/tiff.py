"""The directories of a TIFF, walked without decoding: how many pages, and whether they are all there.

Follows TIFF 6.0 and BigTIFF.  Pillow walks them too, but reads every tag on the way and
says nothing of a chain that loops or breaks off.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.errors import SourceError

_SUBFILE, _WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 254, 256, 257, 322, 323
_OFFSETS, _LENGTHS = (273, 324), (279, 325)  # of strips, of tiles
_MAX_DIRECTORIES = 65_536
_MAX_PARTS = 1_000_000  # strips or tiles of a page; more are not checked
_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_REDUCED, _MASK = 1, 4


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag's type, how many values it has, and the bytes that hold them or their offset."""

    kind: int
    count: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """One image of the file; `frame` is its place in the chain, from 0, thumbnails and masks counted."""

    frame: int
    entries: dict[int, Entry]


@dataclass(frozen=True, slots=True)
class Chain:
    """The pages of a TIFF; `damage` says why the chain stops before its end, if it does.

    `n_frames` counts all directories that could be read.
    """

    pages: tuple[Directory, ...]
    n_frames: int
    damage: str | None
    order: str
    big: bool


def read_chain(file: BinaryIO) -> Chain:
    """Walk the directories of a TIFF.

    Thumbnails and transparency masks are no pages.  A chain that loops, leads out of the file or has no end
    keeps the pages before that point.
    Raises SourceError where the header is no TIFF's or no directory can be read.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    big = bool(order) and head[2:4] in {b"+\0", b"\0+"}
    if not order or len(head) < (16 if big else 8):
        raise SourceError("is cut short: not even the TIFF header is complete")
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
    seen: set[int] = set()
    pages: list[Directory] = []
    damage = None
    while offset:
        if offset in seen:
            damage = f"its directory loops: after {len(seen)} images it leads back to an earlier one"
        elif offset >= size:
            damage = f"is cut short: the directory of image {len(seen) + 1} lies behind the end of the file"
        elif len(seen) >= _MAX_DIRECTORIES:
            damage = f"says that it has more than {_MAX_DIRECTORIES} images"
        if damage:
            break
        seen.add(offset)
        try:
            entries, offset = _read_directory(file, offset, order, big)
        except struct.error:
            damage = f"is cut short: the directory of image {len(seen)} is not complete"
            seen.remove(offset)
            break
        pages.append(Directory(len(seen) - 1, entries))
    chain = Chain(tuple(pages), len(seen), damage, order, big)
    kept = tuple(page for page in pages if not _first(chain, page, _SUBFILE) & (_REDUCED | _MASK))
    if not pages:
        raise SourceError(damage or "has no image in it")
    return Chain(kept or chain.pages, len(seen), damage, order, big)


def check_frame(file: BinaryIO, frame: int, max_pixels: int) -> None:
    """Raise SourceError if a frame is out of reach, its strips are cut short or its tiles are a bomb."""
    chain = read_chain(file)
    if frame >= chain.n_frames:
        raise SourceError(chain.damage or f"has only {chain.n_frames} images now")
    page = next((page for page in chain.pages if page.frame == frame), None)
    if page is None:
        return
    tile_pixels = _first(chain, page, _TILE_WIDTH) * _first(chain, page, _TILE_HEIGHT)
    if tile_pixels > max_pixels:
        raise SourceError(f"has tiles of {tile_pixels / 1e6:,.0f} megapixels, over the limit; it is damaged")
    size = file.seek(0, 2)
    for offsets_tag, lengths_tag in zip(_OFFSETS, _LENGTHS, strict=True):
        try:
            offsets = _values(file, chain, page, offsets_tag)
            lengths = _values(file, chain, page, lengths_tag)
        except struct.error as error:
            raise SourceError("is cut short: the list of its strips is not complete") from error
        if any(offset + length > size for offset, length in zip(offsets, lengths, strict=False)):
            raise SourceError("is cut short: the file ends before the picture does; scan or copy it again")


def _read_directory(file: BinaryIO, offset: int, order: str, big: bool) -> tuple[dict[int, Entry], int]:
    file.seek(offset)
    count_form, entry_form, next_form = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    count_size, entry_size = struct.calcsize(order + count_form), struct.calcsize(order + entry_form)
    (n_entries,) = struct.unpack(order + count_form, file.read(count_size))
    if n_entries > 65_535:
        raise struct.error("too many entries")
    raw = file.read(n_entries * entry_size)
    if len(raw) < n_entries * entry_size:
        raise struct.error("entries are missing")
    entries = {
        tag: Entry(kind, count, value)
        for tag, kind, count, value in struct.iter_unpack(order + entry_form, raw)
    }
    after = file.read(struct.calcsize(order + next_form))
    return entries, struct.unpack(order + next_form, after)[0]


def _first(chain: Chain, page: Directory, tag: int) -> int:
    """Return a tag's value where it is a single one that lies in the directory itself, else 0."""
    entry = page.entries.get(tag)
    if entry is None or entry.count != 1 or entry.kind not in _TYPES:
        return 0
    form = chain.order + _TYPES[entry.kind]
    if struct.calcsize(form) > len(entry.value):
        return 0
    return int(struct.unpack_from(form, entry.value)[0])


def _values(file: BinaryIO, chain: Chain, page: Directory, tag: int) -> tuple[int, ...]:
    entry = page.entries.get(tag)
    if entry is None or entry.kind not in _TYPES or entry.count > _MAX_PARTS:
        return ()
    form = f"{chain.order}{entry.count}{_TYPES[entry.kind]}"
    size = struct.calcsize(form)
    if size <= len(entry.value):
        return struct.unpack_from(form, entry.value)
    (start,) = struct.unpack(chain.order + ("Q" if chain.big else "I"), entry.value)
    if start >= file.seek(0, 2):
        raise struct.error("the values lie behind the end of the file")
    file.seek(start)
    return struct.unpack(form, file.read(size))
