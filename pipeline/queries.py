"""What query, status and failed read: current runs only, streamed.

What show and export read, whole pages, is in pipeline/exports.py; its names are here too.
"""

import heapq
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, func, select

from pipeline.errors import UsageError
from pipeline.exports import (
    STREAM,
    ExportedDigit,
    ExportedPage,
    PageResult,
    exported_pages,
    newest_path,
    page_of,
    page_result,
)
from pipeline.ledger import DETECTED, DONE, FAILED, OPEN, WAITING, still_failed
from pipeline.matching import documents_meant, glob, starts_with
from pipeline.page import Box
from pipeline.results import box_of, sort_key
from pipeline.tables import documents, ledger, numbers, pages

__all__ = [
    "ExportedDigit",
    "ExportedPage",
    "Failure",
    "Filter",
    "NumberRow",
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

Order = Literal["reading", "text", "number", "confidence"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which numbers are asked for; what is None doesn't matter."""

    text: str | None = None  # exactly, leading zeros count
    prefix: str | None = None
    pattern: str | None = None  # * any run of characters, ? any one
    at_least: str | None = None  # as a number: leading zeros don't matter, any length
    at_most: str | None = None
    document: str | None = None  # path, its end, glob, sha256 prefix (8 or more) or id
    page: int | None = None  # from 1
    min_confidence: float | None = None
    max_confidence: float | None = None
    order: Order = "reading"
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A number with where it stands; `page` and `line` count from 1 for people."""

    path: str  # as the catalogue writes it; `paths.printable` for a terminal
    document_id: int
    page: int
    line: int
    position: int  # in reading order on the page, from 0
    text: str
    confidence: float
    box: Box
    ledger_id: int
    run_id: int


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


def find_numbers(conn: Connection, wanted: Filter) -> Generator[NumberRow, None, None]:
    """Yield the numbers that match; UsageError for a bound that is no number or an unknown document."""
    # closed even where the caller stops halfway: PostgreSQL keeps a cursor open for it
    with conn.execute(_numbers_query(conn, wanted), execution_options=STREAM) as rows:
        for row in rows:
            yield NumberRow(
                path=row.path,
                document_id=row.document_id,
                page=row.page_index + 1,
                line=row.line + 1,
                position=row.position,
                text=row.text,
                confidence=row.confidence,
                box=box_of(row),
                ledger_id=row.ledger_id,
                run_id=row.run_id,
            )


def status(conn: Connection, *, now: float, lately_s: float = 60.0) -> Status:
    """Count documents, pages by state, digits and numbers; an index holds all of it, no result is read.

    `now` is in seconds since 1970.  Pages that failed under newer weights, or are being read again, count
    in the state of the run that is shown.
    """
    by_state = (
        select(ledger.c.state, func.count(), func.sum(ledger.c.n_digits), func.sum(ledger.c.n_numbers))
        .where(ledger.c.current)
        .group_by(ledger.c.state)
    )
    found = {
        state: (n, int(n_digits), int(n_numbers)) for state, n, n_digits, n_numbers in conn.execute(by_state)
    }
    n = {state: found[state][0] if state in found else 0 for state in (*OPEN, DONE, FAILED)}
    lately = select(func.count(), func.min(ledger.c.finished_at)).where(ledger.c.finished_at > now - lately_s)
    n_lately, first = conn.execute(lately).one()
    # an ingest that began a moment ago is as fast as it is since then
    span_s = min(lately_s, max(1.0, now - first)) if n_lately else lately_s
    return Status(
        n_documents=conn.execute(select(func.count()).select_from(documents)).scalar_one(),
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
        select(documents.c.id, documents.c.reason, newest_path().label("path"))
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
            newest_path().label("path"),
        )
        .join(pages, pages.c.id == ledger.c.page_id)
        .join(documents, documents.c.id == pages.c.document_id)
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


def _numbers_query(conn: Connection, wanted: Filter) -> Select[Any]:
    query = (
        select(
            numbers,
            pages.c.document_id,
            pages.c.page_index,
            ledger.c.run_id,
            newest_path().label("path"),
        )
        .join(ledger, ledger.c.id == numbers.c.ledger_id)
        .join(pages, pages.c.id == ledger.c.page_id)
        .join(documents, documents.c.id == pages.c.document_id)
        .where(ledger.c.current, *_conditions(conn, wanted))
    )
    where_it_stands = (pages.c.document_id, pages.c.page_index, numbers.c.position)
    first: dict[str, tuple[ColumnElement[Any], ...]] = {
        "reading": (),
        "text": (numbers.c.text,),
        "number": (numbers.c.sort_key, numbers.c.text),
        "confidence": (numbers.c.confidence,),
    }
    return query.order_by(*first[wanted.order], *where_it_stands).limit(wanted.limit)


def _conditions(conn: Connection, wanted: Filter) -> Iterator[ColumnElement[bool]]:
    dialect = conn.dialect.name
    if wanted.text is not None:
        yield numbers.c.text == wanted.text
    if wanted.prefix:
        yield starts_with(numbers.c.text, wanted.prefix)
    if wanted.pattern is not None:
        yield glob(numbers.c.text, wanted.pattern, dialect)
    if wanted.at_least is not None:
        yield numbers.c.sort_key >= _bound(wanted.at_least)
    if wanted.at_most is not None:
        yield numbers.c.sort_key <= _bound(wanted.at_most)
    if wanted.document is not None:
        yield pages.c.document_id.in_(documents_meant(conn, wanted.document))
    if wanted.page is not None:
        yield pages.c.page_index == wanted.page - 1
    if wanted.min_confidence is not None:
        yield numbers.c.confidence >= wanted.min_confidence
    if wanted.max_confidence is not None:
        yield numbers.c.confidence <= wanted.max_confidence


def _bound(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{text!r} is no number: give digits only, as in 1900")
    return sort_key(text)
