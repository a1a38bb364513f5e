"""What failed, and all that the commands read but the counts of pipeline/status.py.

Numbers are found in pipeline/finding.py; what show reads of a page is in pipeline/exports.py, and what is
exported of whole pages in pipeline/exported_pages.py.  Their names are here too.
"""

import heapq
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import Connection, select

from pipeline.exported_pages import ArchivedPage, ExportedDigit, ExportedPage, exported_pages
from pipeline.exports import STREAM, PageResult, newest_path, page_of, page_result, pages_of
from pipeline.finding import Filter, NumberRow, Order, find_numbers
from pipeline.ledger import still_failed
from pipeline.results import sort_key
from pipeline.tables import documents, ledger, pages

__all__ = [
    "ArchivedPage",
    "ExportedDigit",
    "ExportedPage",
    "Failure",
    "Filter",
    "NumberRow",
    "Order",
    "PageResult",
    "exported_pages",
    "failures",
    "find_numbers",
    "page_of",
    "page_result",
    "pages_of",
    "sort_key",
]


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
