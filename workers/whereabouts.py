"""Where a page's bytes are now: the first path that still holds what was registered."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pipeline.catalogue import KnownPath, PageSource
from pipeline.errors import SourceGoneError, StorageError
from pipeline.paths import path_to_text, printable


def where_is(source: PageSource, shared: Callable[[str], Path] | None = None) -> Path:
    """Return a path that holds the document's bytes.

    A file of the size and time that it had when it was registered is taken at its word; one of the
    same size and another time is hashed, once.  `shared` gives the copy of these bytes that all machines
    reach, and raises FileNotFoundError where there is none.  Raises SourceGoneError where none is left, and
    StorageError where the folder of one is away too.
    """
    reasons = []
    away: StorageError | None = None
    for known in source.paths:
        try:
            if _unchanged(known, source.sha256):
                return known.path
            reasons.append("was changed since it was registered; run `archive ingest` on it again")
        except OSError as error:
            away = away or folder_away(known.path)
            gone = isinstance(error, FileNotFoundError)
            can_not = f"can't be opened: {error.strerror or error}"
            reasons.append("is gone; put it back and retry, or leave it" if gone else can_not)
    if shared is not None:
        with suppress(FileNotFoundError):
            return shared(source.sha256)
    if away is not None:
        raise away
    raise SourceGoneError(reasons[0] if reasons else "has no path")


def folder_away(path: Path) -> StorageError | None:
    """Return the error about the folder of `path` where it can't be reached: a share or a disk is away.

    That is no fault of its pages.  A folder deleted for good looks the same: one made in its place,
    empty, lets its pages be set aside.
    """
    try:
        path.parent.stat()
    except PermissionError:
        return None
    except OSError as error:
        folder = printable(path_to_text(path.parent))
        return StorageError(
            f"the folder {folder} is away ({error.strerror or error}): connect its disk or share and give the"
            " command again; if it is gone for good, make an empty one in its place to set its pages aside"
        )
    return None


def _unchanged(known: KnownPath, sha256: str) -> bool:
    now = known.path.stat()
    if now.st_size != known.size_bytes:
        return False
    return now.st_mtime == known.modified_at or _sha256(known.path, now.st_size, now.st_mtime_ns) == sha256


@lru_cache(maxsize=1024)
def _sha256(path: Path, size_bytes: int, modified_ns: int) -> str:
    """Hash a file once for all its pages, as long as it keeps this size and time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
