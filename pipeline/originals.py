"""Whether the scans are still what was read: each document's file, by its path."""

import hashlib
import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from sqlalchemy import Engine, select

from pipeline.database import reading
from pipeline.paths import path_to_text, printable, text_to_path
from pipeline.scope import Problem, Scope, among, document_ids
from pipeline.tables import documents, paths

MISSING, MOVED, CHANGED, UNREADABLE = "missing", "moved", "changed", "unreadable"
KINDS = (MISSING, MOVED, CHANGED, UNREADABLE)
N_THREADS = 4  # what a disk serves at a time; hashing lets go of Python's lock
BATCH = 1000  # documents looked at with nothing of the database held open
_RESTORE = "restore it from a backup"
_INGEST = "if that is meant, archive ingest reads it as another document"


@dataclass(frozen=True, slots=True)
class _Original:
    """A document with its paths, newest first: text, and size and time (seconds since 1970) as registered."""

    document_id: int
    sha256: str
    size_bytes: int
    paths: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class _Looked:
    """What there is at a path; `kind` is None where it is as it was."""

    kind: str | None
    found: str = ""
    mend: str = ""


def changed_originals(db: Engine, scope: Scope, *, quick: bool) -> Iterator[Problem]:
    """Yield the scans that are not where and what they were; `quick` compares sizes and times alone.

    One of several paths may be gone as long as the bytes are at another.  Documents that gave no page, or
    were replaced, are left out.
    """
    with reading(db) as conn:
        ids = document_ids(conn, scope)
    gone = array("q")  # there may be as many as there are documents: of a disk that is away
    with ThreadPoolExecutor(N_THREADS) as pool:
        for batch in _batches(db, ids):
            looked = pool.map(lambda original: _look_at_all(original, quick=quick), batch)
            for original, found in zip(batch, looked, strict=True):
                if all(look.kind == MISSING for look in found):
                    gone.append(original.document_id)
                    continue
                for (path, _), look in zip(original.paths, found, strict=True):
                    if look.kind not in (None, MISSING):
                        yield Problem(look.kind or "", path, None, look.found, look.mend)
    yield from _moved_or_missing(db, gone, quick=quick)


def _batches(db: Engine, ids: Sequence[int]) -> Iterator[list[_Original]]:
    for start in range(0, len(ids), BATCH):
        with reading(db) as conn:
            rows = conn.execute(
                select(
                    documents.c.id,
                    documents.c.sha256,
                    documents.c.size_bytes,
                    paths.c.path,
                    paths.c.modified_at,
                )
                .join(paths, paths.c.document_id == documents.c.id)
                .where(among(conn, documents.c.id, ids[start : start + BATCH]))
                .order_by(documents.c.id, paths.c.seen_at.desc(), paths.c.path)
            ).all()
        yield [
            _Original(*of, tuple((row.path, row.modified_at) for row in some))
            for of, some in groupby(rows, key=lambda row: (row.id, row.sha256, row.size_bytes))
        ]


def _look_at_all(original: _Original, *, quick: bool) -> list[_Looked]:
    return [_look(original, text_to_path(path), at, quick=quick) for path, at in original.paths]


def _look(original: _Original, path: Path, modified_at: float, *, quick: bool) -> _Looked:
    """Return what there is at a path of a document."""
    try:
        now = path.stat()
        if not stat.S_ISREG(now.st_mode):
            return _Looked(CHANGED, "is no file any more", _RESTORE)
        if now.st_size != original.size_bytes:
            sizes = f"{original.size_bytes:,} bytes were read, and {now.st_size:,} are there"
            return _Looked(CHANGED, f"is another file now: {sizes}", f"{_RESTORE}; {_INGEST}")
        same_time = now.st_mtime == modified_at
        if quick:
            told = "may be another file: it has the size, but not the time that it had"
            return _Looked(None) if same_time else _Looked(CHANGED, told, "archive verify compares its bytes")
        if _sha256(path) == original.sha256:
            return _Looked(None)
    except (FileNotFoundError, NotADirectoryError):
        return _gone(path)
    except OSError as error:
        return _Looked(
            UNREADABLE,
            f"can't be read: {error.strerror or error}",
            "see to its permissions, its disk or its share",
        )
    if same_time:
        found = "has other bytes, though size and time are what they were: its disk may be failing"
        return _Looked(CHANGED, found, _RESTORE)
    return _Looked(CHANGED, "is another file now: it has other bytes", f"{_RESTORE}; {_INGEST}")


def _gone(path: Path) -> _Looked:
    if path.parent.is_dir():
        return _Looked(MISSING, "is gone", "put it back, or restore it from a backup")
    folder = printable(path_to_text(path.parent))
    return _Looked(MISSING, f"is gone, with its folder {folder}", "connect its disk or share, or put it back")


def _moved_or_missing(db: Engine, gone: Sequence[int], *, quick: bool) -> Iterator[Problem]:
    """Yield documents that are at none of their paths, and where their bytes are now, if that is near."""
    elsewhere = _found_again(db, gone, quick=quick)
    for batch in _batches(db, gone):
        for original in batch:
            path, now = original.paths[0][0], elsewhere.get(original.document_id)
            if now is None:
                look = _gone(text_to_path(path))
                yield Problem(MISSING, path, None, look.found, look.mend)
            else:
                place = printable(path_to_text(now))
                yield Problem(MOVED, path, None, f"is {place} now", "archive ingest there names it anew")


def _found_again(db: Engine, gone: Sequence[int], *, quick: bool) -> dict[int, Path]:
    """Return files with the bytes of missing ones, in or below the folders where these were."""
    near: set[Path] = set()
    looked_for: dict[object, list[int]] = {}  # by what a file is known again by
    sizes: set[int] = set()
    for batch in _batches(db, gone):
        near |= _folders_near(batch)
        for original in batch:
            sizes.add(original.size_bytes)
            times = {(original.size_bytes, modified_at) for _, modified_at in original.paths}
            for known_by in times if quick else {bytes.fromhex(original.sha256)}:
                looked_for.setdefault(known_by, []).append(original.document_id)
    found: dict[int, Path] = {}
    for folder in sorted(folder for folder in near if near.isdisjoint(folder.parents)):
        for where, _, names in os.walk(folder):
            for name in names:
                file = Path(where, name)
                with suppress(OSError):
                    now = file.lstat()
                    if now.st_size not in sizes or not stat.S_ISREG(now.st_mode):
                        continue
                    known_by = (now.st_size, now.st_mtime) if quick else bytes.fromhex(_sha256(file))
                    for document_id in looked_for.get(known_by, ()):
                        found.setdefault(document_id, file)
    return found


def _folders_near(gone: Sequence[_Original]) -> set[Path]:
    """Return the folders where missing files were, or that their folders were in."""
    near: set[Path] = set()
    for original in gone:
        parent = text_to_path(original.paths[0][0]).parent
        for folder in (parent, parent.parent):
            if folder.is_dir():
                if len(folder.parts) > 2:  # not all of a disk
                    near.add(folder)
                break
    return near


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
