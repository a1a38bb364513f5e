"""Whether the scans are still what was read: each document's file, by its path."""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select

from pipeline.database import reading
from pipeline.paths import path_to_text, printable, text_to_path
from pipeline.tables import documents, paths
from pipeline.wholeness import Problem, Scope

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
    gone: list[tuple[_Original, _Looked]] = []
    with ThreadPoolExecutor(N_THREADS) as pool:
        for batch in _batches(db, scope):
            looked = pool.map(lambda original: _look_at_all(original, quick=quick), batch)
            for original, found in zip(batch, looked, strict=True):
                if all(look.kind == MISSING for look in found):
                    gone.append((original, found[0]))
                    continue
                for (path, _), look in zip(original.paths, found, strict=True):
                    if look.kind not in (None, MISSING):
                        yield Problem(look.kind or "", path, None, look.found, look.mend)
    yield from _moved_or_missing(gone, quick=quick)


def _batches(db: Engine, scope: Scope) -> Iterator[list[_Original]]:
    last = -1
    while True:
        with reading(db) as conn:
            some = (
                select(documents.c.id)
                .where(
                    documents.c.id > last,
                    documents.c.n_pages > 0,
                    documents.c.replaced_at.is_(None),
                    scope.documents(conn, documents.c.id),
                )
                .order_by(documents.c.id)
                .limit(BATCH)
                .subquery()
            )
            rows = conn.execute(
                select(
                    documents.c.id,
                    documents.c.sha256,
                    documents.c.size_bytes,
                    paths.c.path,
                    paths.c.modified_at,
                )
                .join(some, some.c.id == documents.c.id)
                .join(paths, paths.c.document_id == documents.c.id)
                .order_by(documents.c.id, paths.c.seen_at.desc(), paths.c.path)
            ).all()
            ids = conn.scalars(select(some.c.id).order_by(some.c.id)).all()
        if not ids:
            return
        last = ids[-1]
        of: dict[int, _Original] = {}
        for row in rows:
            one = of.get(row.id, _Original(row.id, row.sha256, row.size_bytes, ()))
            seen = (*one.paths, (row.path, row.modified_at))
            of[row.id] = _Original(row.id, row.sha256, row.size_bytes, seen)
        yield list(of.values())


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


def _moved_or_missing(gone: Sequence[tuple[_Original, _Looked]], *, quick: bool) -> Iterator[Problem]:
    """Yield documents that are at none of their paths, and where their bytes are now, if that is near."""
    elsewhere = _found_again([original for original, _ in gone], quick=quick)
    for original, look in gone:
        path, now = original.paths[0][0], elsewhere.get(original.document_id)
        if now is None:
            yield Problem(MISSING, path, None, look.found, look.mend)
        else:
            place = printable(path_to_text(now))
            yield Problem(MOVED, path, None, f"is {place} now", "archive ingest there names it anew")


def _found_again(gone: Sequence[_Original], *, quick: bool) -> dict[int, Path]:
    """Return files with the bytes of missing ones, in or below the folders where these were."""
    by_size: dict[int, list[_Original]] = {}
    for original in gone:
        by_size.setdefault(original.size_bytes, []).append(original)
    found: dict[int, Path] = {}
    for folder in _folders_near(gone):
        for where, _, names in os.walk(folder):
            for name in names:
                file = Path(where, name)
                with suppress(OSError):
                    now = file.lstat()
                    if now.st_size not in by_size or not stat.S_ISREG(now.st_mode):
                        continue
                    sha256 = None if quick else _sha256(file)
                    for original in by_size[now.st_size]:
                        times = {modified_at for _, modified_at in original.paths}
                        if (now.st_mtime in times) if quick else sha256 == original.sha256:
                            found.setdefault(original.document_id, file)
    return found


def _folders_near(gone: Sequence[_Original]) -> list[Path]:
    """Return the folders where missing files were, or that their folders were in; none within another."""
    near: set[Path] = set()
    for original in gone:
        parent = text_to_path(original.paths[0][0]).parent
        for folder in (parent, parent.parent):
            if folder.is_dir():
                if len(folder.parts) > 2:  # not all of a disk
                    near.add(folder)
                break
    return sorted(folder for folder in near if near.isdisjoint(folder.parents))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
