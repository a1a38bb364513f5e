"""Documents taken out of the archive, with all that hangs on them; the scans themselves are never touched.

Runs, forms, networks and workers stay: they belong to no document.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, delete, func, select

from pipeline.errors import BusyError, UsageError
from pipeline.exports import newest_path
from pipeline.matching import documents_meant
from pipeline.paths import printable
from pipeline.sharing import SCANS
from pipeline.storage import Files
from pipeline.tables import (
    corrections,
    detections,
    documents,
    fields,
    frames,
    ledger,
    numbers,
    page_forms,
    pages,
    paths,
    readings,
    records,
)

BATCH = 500  # documents in a statement
# in the order in which they can go: nothing that is left refers to what is gone
OF_LEDGER = (fields, records, frames, numbers, readings, detections)
OF_PAGES = (corrections, page_forms, ledger)
OF_DOCUMENTS = (paths, pages)
TABLES = (*OF_LEDGER, *OF_PAGES, *OF_DOCUMENTS, documents)


@dataclass(frozen=True, slots=True)
class Theirs:
    """All there is of documents: rows by their table, and the names of files at the files URL."""

    document_ids: tuple[int, ...]
    path: str  # of the first of them
    n_rows: Mapping[str, int]
    files: tuple[str, ...]  # crops that wait to be read, and copies of the scans


def documents_to_delete(conn: Connection, spec: str, *, several: bool) -> tuple[int, ...]:
    """Return the ids of the documents that `spec` means, in order.

    Raises UsageError where there is none, or more than one and not `several` are asked for.
    """
    found = conn.scalars(documents_meant(conn, spec).distinct().order_by(documents.c.id)).all()
    if len(found) > 1 and not several:
        raise UsageError(
            f"{printable(spec)!r} means {len(found):,} documents: give more of the path, or all of them go"
            " with --all"
        )
    return tuple(found)


def theirs(conn: Connection, files: Files, document_ids: Sequence[int]) -> Theirs:
    """Return what there is of documents, one at least; StorageError where the files can't be reached."""
    n_rows = dict.fromkeys((table.name for table in TABLES), 0)
    names: list[str] = []
    for some in _batches(document_ids):
        for table, condition in _rows(some):
            n_rows[table.name] += conn.scalar(select(func.count()).select_from(table).where(condition)) or 0
        names += _names(conn, some)
    found = tuple(name for name in names if files.size(name) is not None)
    first = select(newest_path(documents.c.id)).where(documents.c.id == document_ids[0])
    return Theirs(tuple(document_ids), conn.scalar(first) or "", n_rows, found)


def refuse_in_hand(conn: Connection, document_ids: Sequence[int], *, now: float) -> None:
    """Raise BusyError where somebody works on a page of theirs now (seconds since 1970).

    In a transaction that writes nobody takes one in hand before its end.
    """
    for some in _batches(document_ids):
        # whoever is about to take a page, or to add one, waits, and finds that it is gone
        conn.execute(select(documents.c.id).where(documents.c.id.in_(some)).with_for_update()).all()
        held = (
            select(
                ledger.c.attempt_token,
                ledger.c.lease_until,
                pages.c.page_index,
                newest_path(pages.c.document_id),
            )
            .join(pages, pages.c.id == ledger.c.page_id)
            .where(pages.c.document_id.in_(some))
            .with_for_update(of=ledger)
        )
        in_hand = [
            row for row in conn.execute(held) if row.attempt_token is not None and row.lease_until > now
        ]
        if in_hand:
            last = max(in_hand, key=lambda row: row.lease_until)
            raise BusyError(
                f"{printable(last.path)}: page {last.page_index + 1} is being read, and nothing was deleted:"
                " wait for it, or stop whoever reads; if that was killed, the page is free in"
                f" {_minutes(last.lease_until - now)}, or after the next `archive ingest`"
            )


def forget_documents(conn: Connection, document_ids: Sequence[int]) -> dict[str, int]:
    """Delete documents with all their rows; return how many went, by table."""
    n_gone = dict.fromkeys((table.name for table in TABLES), 0)
    for some in _batches(document_ids):
        for table, condition in _rows(some):
            n_gone[table.name] += conn.execute(delete(table).where(condition)).rowcount
    return n_gone


def _batches(document_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(document_ids), BATCH):
        yield document_ids[start : start + BATCH]


def _rows(document_ids: Collection[int]) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    """Yield each table with the condition for its rows of these documents, in the order in which they go."""
    of_documents = select(pages.c.id).where(pages.c.document_id.in_(document_ids))
    of_pages = select(ledger.c.id).where(ledger.c.page_id.in_(of_documents))
    for table in OF_LEDGER:
        yield table, table.c.ledger_id.in_(of_pages)
    for table in OF_PAGES:
        yield table, table.c.page_id.in_(of_documents)
    for table in OF_DOCUMENTS:
        yield table, table.c.document_id.in_(document_ids)
    yield documents, documents.c.id.in_(document_ids)


def _names(conn: Connection, document_ids: Collection[int]) -> Iterator[str]:
    """Yield what files of these documents may be called."""
    blobs = (
        select(ledger.c.blob)
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(pages.c.document_id.in_(document_ids), ledger.c.blob.is_not(None))
    )
    yield from conn.scalars(blobs)
    hashes = select(documents.c.sha256).where(documents.c.id.in_(document_ids))
    yield from (SCANS + sha256 for sha256 in conn.scalars(hashes))


def _minutes(seconds: float) -> str:
    n = max(1, round(seconds / 60))
    return "a minute" if n == 1 else f"{n} minutes"
