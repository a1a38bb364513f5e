"""Documents, paths, pages and runs: what ingest inserts; every function works in the caller's transaction.

Hold one `writing` transaction over many calls: that is what makes a million pages feasible.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from pipeline.sources import Document


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a document; `known`: its bytes were in the catalogue before."""

    document_id: int
    n_new_pages: int  # rows of the ledger that were not there before
    known: bool


@dataclass(frozen=True, slots=True)
class KnownPath:
    """A path that a document was seen under, with the size and time (seconds since 1970) it had then."""

    path: Path
    size_bytes: int
    modified_at: float


@dataclass(frozen=True, slots=True)
class PageSource:
    """Where a page's pixels come from: `paths` newest first, then what `sources.read_page` asks for."""

    document_id: int
    page_id: int
    page_index: int
    sha256: str
    format: str
    member: str | None
    frame: int
    paths: tuple[KnownPath, ...]


def current_run(
    conn: Connection, detector_sha256: str, classifier_sha256: str, settings_json: str, *, new: bool, now: float
) -> int:
    """Return the newest run with these weights and settings; a fresh one where there is none or `new` is set."""
    raise NotImplementedError


def known_file(conn: Connection, path: Path, size_bytes: int, modified_at: float) -> int | None:
    """Return the document that this path named when it had this size and time; None: it must be probed.

    Also None for a failed document that `ledger.retry` freed.
    """
    raise NotImplementedError


def add_document(conn: Connection, document: Document, run_id: int, *, again: bool, now: float) -> Added:
    """Insert a document, its path and pages, and a waiting ledger row for each page that has none.

    With `again` every page gets a row of `run_id` beside those it has.
    """
    raise NotImplementedError


def add_again(conn: Connection, document_id: int, run_id: int, *, now: float) -> int:
    """Give each page of a known document a ledger row of `run_id`; return how many were new."""
    raise NotImplementedError


def add_failed_document(
    conn: Connection,
    path: Path,
    reason: str,
    *,
    sha256: str | None,
    format: str | None,
    size_bytes: int | None,
    modified_at: float | None,
    now: float,
) -> Added:
    """Insert a document that gave no page, with its reason; seen again, it stays one row.

    What isn't known of the file (it could not be read at all) is None.
    """
    raise NotImplementedError


def page_source(conn: Connection, page_id: int) -> PageSource:
    """Return where the pixels of a page come from."""
    raise NotImplementedError
