"""Where a page's bytes are now: the first path that still holds what was registered."""

import hashlib
from pathlib import Path

from pipeline.catalogue import KnownPath, PageSource
from pipeline.errors import SourceGoneError


def where_is(source: PageSource) -> Path:
    """Return a path that holds the document's bytes.

    A file of the size and time that it had when it was registered is taken at its word; one of the
    same size and another time is hashed.  Raises SourceGoneError where none is left.
    """
    reasons = []
    for known in source.paths:
        try:
            if _unchanged(known, source.sha256):
                return known.path
            reasons.append("was changed since it was registered; run `archive ingest` on it again")
        except FileNotFoundError:
            reasons.append("is gone; put it back and retry, or leave it")
        except OSError as error:
            reasons.append(f"can't be opened: {error.strerror or error}")
    raise SourceGoneError(reasons[0] if reasons else "has no path")


def _unchanged(known: KnownPath, sha256: str) -> bool:
    now = known.path.stat()
    if now.st_size != known.size_bytes:
        return False
    if now.st_mtime == known.modified_at:
        return True
    with known.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
