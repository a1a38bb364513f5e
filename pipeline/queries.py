"""What status and failed read: current runs only.

Numbers are found in pipeline/finding.py, and what show and export read, whole pages, is in
pipeline/exports.py; their names are here too.
"""

import heapq
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from pipeline.exports import (
    STREAM,
    ExportedDigit,
    ExportedPage,
    PageResult,
    exported_pages,
    is_shown,
    newest_path,
    page_of,
    page_result,
)
from pipeline.finding import Filter, NumberRow, Order, find_numbers
from pipeline.ledger import DETECTED, DONE, FAILED, OPEN, WAITING, still_failed
from pipeline.matching import is_replaced
from pipeline.results import sort_key
from pipeline.tables import documents, ledger, pages

__all__ = [
    "ExportedDigit",
    "ExportedPage",
    "Failure",
    "Filter",
    "NumberRow",
    "Order",
    "PageResult",
    "Status",
    "exported_pages",
    "failures",
    "find_numbers",
    "page_of",
    "page_result",
    "sort_key",
    "status",
]


@dataclass(frozen=True, slots=True)
class Status:
    """The whole archive in a few counts; pages are counted once, in their current run."""

    n_documents: int
    n_failed_documents: int  # gave no page
    n_pages: int
    n_waiting: int
    n_detected: int
    n_done: int
    n_failed: int
    n_digits: int
    n_numbers: int
    n_finished_lately: int  # pages done in the last `lately_s` seconds
    lately_s: float
    pages_per_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A page that was set aside, or a document that gave no page (then `ledger_id` and `page` are None)."""

    ledger_id: int | None
    document_id: int
    path: str
    page: int | None  # from 1
    failed_in: str | None  # waiting: in detect; detected: in classify
    reason: str
    attempts: int


def status(conn: Connection, *, now: float, lately_s: float = 60.0) -> Status:
    """Count documents, pages by state, digits and numbers; an index holds all of it, no result is read.

    `now` is in seconds since 1970.  Pages that failed under newer weights, or are being read again, count
    in the state of the run that is shown; documents that were replaced are left out.
    """
    by_state = (
        select(ledger.c.state, func.count(), func.sum(ledger.c.n_digits), func.sum(ledger.c.n_numbers))
        .select_from(ledger)
        .group_by(ledger.c.state)
    )
    of_replaced = by_state.join(pages, pages.c.id == ledger.c.page_id).where(
        is_shown(), is_replaced(pages.c.document_id)
    )
    found = {state: (0, 0, 0) for state in (*OPEN, DONE, FAILED)}
    # taken off afterwards: to leave them out would mean to look up the document of every page
    for sign, query in ((1, by_state.where(ledger.c.current)), (-1, of_replaced)):
        for state, *sums in conn.execute(query):
            a, b, c = (before + sign * int(more) for before, more in zip(found[state], sums, strict=True))
            found[state] = (a, b, c)
    n = {state: sums[0] for state, sums in found.items()}
    lately = select(func.count(), func.min(ledger.c.finished_at)).where(ledger.c.finished_at > now - lately_s)
    n_lately, first = conn.execute(lately).one()
    # an ingest that began a moment ago is as fast as it is since then
    span_s = min(lately_s, max(1.0, now - first)) if n_lately else lately_s
    return Status(
        n_documents=conn.execute(select(func.count()).select_from(documents)).scalar_one()
        - conn.execute(
            select(func.count()).select_from(documents).where(documents.c.replaced_at.is_not(None))
        ).scalar_one(),
        n_failed_documents=conn.execute(
            select(func.count()).select_from(documents).where(documents.c.reason.is_not(None))
        ).scalar_one(),
        n_pages=sum(n.values()),
        n_waiting=n[WAITING],
        n_detected=n[DETECTED],
        n_done=n[DONE],
        n_failed=n[FAILED],
        n_digits=sum(row[1] for row in found.values()),
        n_numbers=sum(row[2] for row in found.values()),
        n_finished_lately=n_lately,
        lately_s=lately_s,
        pages_per_s=n_lately / span_s,
    )


def failures(conn: Connection) -> Iterator[Failure]:
    """Yield failed documents and failed pages, in the order of their documents."""
    # two streams, for a million pages may have failed
    with closing(_failed_documents(conn)) as whole, closing(_failed_pages(conn)) as single:
        yield from heapq.merge(whole, single, key=lambda failure: (failure.document_id, failure.page or 0))


def _failed_documents(conn: Connection) -> Generator[Failure, None, None]:
    query = (
        select(documents.c.id, documents.c.reason, newest_path(documents.c.id))
        .where(documents.c.reason.is_not(None))
        .order_by(documents.c.id)
    )
    with conn.execute(query, execution_options=STREAM) as rows:
        for row in rows:
            yield Failure(None, row.id, row.path, None, None, row.reason, 0)


def _failed_pages(conn: Connection) -> Generator[Failure, None, None]:
    query = (
        select(
            ledger.c.id,
            pages.c.document_id,
            pages.c.page_index,
            ledger.c.failed_in,
            ledger.c.reason,
            ledger.c.attempts,
            newest_path(pages.c.document_id),
        )
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(still_failed())
        .order_by(pages.c.document_id, pages.c.page_index, ledger.c.id)
    )
    with conn.execute(query, execution_options=STREAM) as rows:
        for row in rows:
            yield Failure(
                ledger_id=row.id,
                document_id=row.document_id,
                path=row.path,
                page=row.page_index + 1,
                failed_in=row.failed_in,
                reason=row.reason,
                attempts=row.attempts,
            )
