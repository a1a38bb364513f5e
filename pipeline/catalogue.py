"""Documents, paths, pages and runs: what ingest inserts; every function works in the caller's transaction.

Hold one `writing` transaction over many calls: that is what makes a million pages feasible.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, bindparam, insert, or_, select, update

from pipeline import inserts
from pipeline.matching import documents_meant
from pipeline.paths import path_to_text, text_to_path
from pipeline.settings import NETWORKS
from pipeline.sorting import SORTING
from pipeline.tables import OPEN, UNSORTED, WAITING, documents, ledger, pages, paths, runs

if TYPE_CHECKING:  # it brings NumPy and Pillow, which `archive status` need not wait for
    from pipeline.sources import Document


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a document; `known`: its bytes gave pages, or failed, before."""

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


# what `source_of` reads of rows of pages with their document and its paths
SOURCE = (
    pages.c.id.label("page_id"),
    pages.c.document_id,
    pages.c.page_index,
    pages.c.member,
    pages.c.frame,
    documents.c.sha256,
    documents.c.format,
    paths.c.path,
    paths.c.seen_at,
    paths.c.size_bytes,
    paths.c.modified_at,
)
PAGES_SOURCES = pages.join(documents, documents.c.id == pages.c.document_id).outerjoin(
    paths, paths.c.document_id == documents.c.id
)
_PAGE_SOURCE = select(*SOURCE).select_from(PAGES_SOURCES).where(pages.c.id == bindparam("page_id"))


def current_run(
    conn: Connection,
    detector_sha256: str,
    classifier_sha256: str,
    settings_json: str,
    *,
    new: bool,
    now: float,
) -> int:
    """Return the newest run with these weights and settings; a fresh one if there is none, or for `new`.

    Even with `new` a run that was stopped while it read pages once more is gone on with.
    """
    wanted = {
        "detector_sha256": detector_sha256,
        "classifier_sha256": classifier_sha256,
        "settings": settings_json,
    }
    same = and_(*(runs.c[name] == value for name, value in wanted.items()))
    found = conn.scalar(select(runs.c.id).where(same).order_by(runs.c.id.desc()).limit(1))
    if found is not None and not (new and conn.scalar(_OPEN_AGAIN, {"run_id": found}) is None):
        return int(found)
    first = UNSORTED if SORTING in json.loads(settings_json) else WAITING
    made = conn.execute(insert(runs).values(wanted | {"started_at": now, "first_state": first}))
    return int(made.inserted_primary_key[0])  # type: ignore[index]


def parts_of_run(row: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the networks of a run, SHA-256 by kind, and its other settings, by its row of the table."""
    named = json.loads(row.settings)
    named |= {"detector": row.detector_sha256, "classifier": row.classifier_sha256}
    networks = {kind: named.pop(kind) for kind in NETWORKS if kind in named}
    return networks, named


def known_file(conn: Connection, path: Path, size_bytes: int, modified_at: float) -> int | None:
    """Return the document that this path named when it had this size and time; None: it must be probed.

    Also None for a failed document that `ledger.retry` freed.
    """
    newest = conn.execute(inserts.NEWEST_OF_PATH, {"of_path": path_to_text(path)}).one_or_none()
    if newest is None or newest.freed or (newest.size_bytes, newest.modified_at) != (size_bytes, modified_at):
        return None
    return int(newest.document_id) if newest.n_pages or newest.reason is not None else None


def add_document(conn: Connection, document: "Document", run_id: int, *, again: bool, now: float) -> Added:
    """Insert a document, its path and pages, and a waiting ledger row for each page that has none.

    With `again` every page gets a row of `run_id` beside those it has.
    """
    n_pages = len(document.pages)
    document_id, n_known = _document_row(conn, document_values(document, now))
    if n_known != _NEW and n_known < n_pages:  # it failed before
        conn.execute(
            inserts.PAGES_FOUND,
            {"of_document": document_id, "n_pages": n_pages, "format": document.format},
        )
    if n_known < n_pages:
        page_rows = [
            {
                "document_id": document_id,
                "page_index": page.page_index,
                "member": page.member,
                "frame": page.frame,
            }
            for page in document.pages
        ]
        conn.execute(inserts.insert_pages(conn.dialect.name), page_rows)
    _remember_path(
        conn,
        document_id,
        document.path,
        document.size_bytes,
        document.modified_at,
        now,
        n_known,
        replaces=True,
    )
    n_new = _add_ledger_rows(conn, document_id, run_id, only_new=not again)
    return Added(document_id, n_new, known=n_known > 0)


def document_values(document: "Document", now: float) -> dict[str, Any]:
    """Return the row of a document that gave pages."""
    return {
        "sha256": document.sha256,
        "format": document.format,
        "size_bytes": document.size_bytes,
        "n_pages": len(document.pages),
        "added_at": now,
        "reason": None,
        "freed": False,
    }


def add_again(conn: Connection, document_id: int, run_id: int) -> int:
    """Give each page of a known document a ledger row of `run_id`; return how many were new."""
    return _add_ledger_rows(conn, document_id, run_id, only_new=False)


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

    What isn't known of the file (it could not be read at all) is None: then its path stands for its bytes.
    A document that gave pages before keeps them and gets no reason.
    """
    row = {
        "sha256": sha256 or _stand_in(path),
        "format": format or "",
        "size_bytes": size_bytes or 0,
        "n_pages": 0,
        "added_at": now,
        "reason": reason.replace("\0", " "),  # PostgreSQL takes no NUL
        "freed": False,
    }
    document_id, n_known = _document_row(conn, row)
    gave_none = and_(documents.c.id == document_id, documents.c.n_pages == 0)
    freed = conn.scalar(select(documents.c.freed).where(documents.c.id == document_id))
    conn.execute(update(documents).where(gave_none).values(reason=row["reason"], freed=False))
    # without its bytes a file must be looked at again each time: no file has -1 bytes
    known_size = size_bytes if sha256 and size_bytes is not None else -1
    # a damaged file replaces no scan: what was read of that is all there is
    _remember_path(
        conn, document_id, path, known_size, modified_at or 0.0, now, n_known, replaces=n_known > 0
    )
    return Added(document_id, 0, known=n_known != _NEW and not freed)


def page_source(conn: Connection, page_id: int) -> PageSource:
    """Return where the pixels of a page come from."""
    return source_of(conn.execute(_PAGE_SOURCE, {"page_id": page_id}).all())


def scans_of(conn: Connection, names: Sequence[str]) -> list[tuple[Path, ...]]:
    """Return the paths of each document that is named, newest first; of all where none is.

    Raises UsageError for a name that no document has.
    """
    query = (
        select(paths.c.document_id, paths.c.path)
        .join(documents, documents.c.id == paths.c.document_id)
        .where(documents.c.replaced_at.is_(None))
        .order_by(paths.c.document_id, paths.c.seen_at.desc())
    )
    meant = [paths.c.document_id.in_(documents_meant(conn, name)) for name in names]
    found: dict[int, dict[Path, None]] = {}
    for row in conn.execute(query.where(or_(*meant)) if meant else query):
        found.setdefault(row.document_id, {})[text_to_path(row.path)] = None
    return [tuple(of_document) for of_document in found.values()]


def source_of(rows: Sequence[Any]) -> PageSource:
    """Return where the pixels of a page come from, by rows with `SOURCE`: one for each path, at least one."""
    first = rows[0]
    seen = sorted((row for row in rows if row.path is not None), key=lambda row: (-row.seen_at, row.path))
    known = tuple(KnownPath(text_to_path(row.path), row.size_bytes, row.modified_at) for row in seen)
    return PageSource(
        first.document_id,
        first.page_id,
        first.page_index,
        first.sha256,
        first.format,
        first.member,
        first.frame,
        known,
    )


# An open row that is not the one shown is of a page that is read once more.
_OPEN_AGAIN = (
    select(ledger.c.id)
    .where(~ledger.c.current, ledger.c.state.in_(OPEN), ledger.c.run_id == bindparam("run_id"))
    .limit(1)
)

_NEW = -1  # the number of pages of a document that was not there


def _document_row(conn: Connection, row: dict[str, Any]) -> tuple[int, int]:
    """Return the document with these bytes, and how many pages were known of it (_NEW: it was not there)."""
    known = {"of_sha256": row["sha256"]}
    found = conn.execute(inserts.DOCUMENT_OF_BYTES, known).one_or_none()
    if found is None:
        # on PostgreSQL another process may insert it between these two
        new_id = conn.scalar(inserts.insert_document(conn.dialect.name), row)
        if new_id is not None:
            return int(new_id), _NEW
        found = conn.execute(inserts.DOCUMENT_OF_BYTES, known).one()
    return int(found.id), int(found.n_pages)


def _add_ledger_rows(conn: Connection, document_id: int, run_id: int, *, only_new: bool) -> int:
    statement = inserts.insert_ledger_rows(conn.dialect.name, only_new=only_new)
    return int(conn.execute(statement, {"of_document": document_id, "run_id": run_id}).rowcount)


def _remember_path(
    conn: Connection,
    document_id: int,
    path: Path,
    size_bytes: int,
    modified_at: float,
    now: float,
    n_known: int,
    *,
    replaces: bool,
) -> None:
    """Note that `path` names this document now, and no other.

    `n_known` is the number of its pages that were known; `replaces`: one that has no other path is replaced.
    """
    text = path_to_text(path)
    row = {
        "document_id": document_id,
        "path": text,
        "seen_at": now,
        "size_bytes": size_bytes,
        "modified_at": modified_at,
    }
    conn.execute(inserts.upsert_path(conn.dialect.name), row)
    this = {"of_path": text, "of_document": document_id}
    if n_known > 0 and conn.execute(inserts.BACK, {"of_document": document_id}).rowcount:
        conn.execute(inserts.FORGET_OTHER_PATHS, this)
    for other in conn.scalars(inserts.OTHERS_OF_PATH, this).all():
        its = {"of_path": text, "of_document": other}
        conn.execute(inserts.FORGET_PATH, its)
        if replaces:
            conn.execute(inserts.REPLACED, its | {"replaced_at": now})
        conn.execute(inserts.FORGET_FAILURE, {"of_document": other})


def _stand_in(path: Path) -> str:
    return "path:" + hashlib.sha256(path_to_text(path).encode()).hexdigest()[:59]
