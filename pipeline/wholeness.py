"""Whether what is stored is whole: rows that belong together.

Each check is one statement over all pages, grouped in the order of the tables' keys, so that millions of
rows are counted as they come.  Of a page that was read several times the run is looked at that is shown:
reading it again mends it.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    text,
)

from pipeline.exports import newest_path
from pipeline.matching import is_shown
from pipeline.record_wholeness import broken_records
from pipeline.scope import ROWS, Problem, Scope, of_page, streamed
from pipeline.tables import (
    DETECTED,
    DONE,
    FAILED,
    detections,
    documents,
    fields,
    ledger,
    numbers,
    pages,
    paths,
    readings,
    records,
)

_ANEW = "delete it and read it anew: archive delete, archive ingest"
_BACKUP = "restore the database from a backup"


def broken_rows(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield what is wrong with the rows of documents in scope; all in one transaction that only reads."""
    yield from _documents(conn, scope)
    yield from _pages(conn, scope)
    yield from _done(conn, scope)
    yield from _not_done(conn, scope)
    yield from broken_records(conn, scope)
    if scope.ids is None:
        yield from _orphans(conn)


def _documents(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield documents that lack pages, or any path."""
    count = select(pages.c.document_id, func.count().label("n"), func.max(pages.c.page_index).label("last"))
    of = count.group_by(pages.c.document_id).subquery()
    n = func.coalesce(of.c.n, 0)
    wrong = (
        select(documents.c.id, documents.c.n_pages, n.label("n"), newest_path(documents.c.id))
        .outerjoin(of, of.c.document_id == documents.c.id)
        .where(
            scope.documents(conn, documents.c.id),
            or_(documents.c.n_pages != n, and_(n > 0, of.c.last != n - 1)),
        )
        .order_by(documents.c.id)
    )
    for row in streamed(conn, wrong):
        yield Problem(
            ROWS, row.path, None, f"has {row.n_pages:,} pages, and {row.n:,} are in the database", _ANEW
        )
    nowhere = (
        select(documents.c.id, documents.c.sha256)
        .where(
            scope.documents(conn, documents.c.id),
            documents.c.n_pages > 0,
            documents.c.id.not_in(select(paths.c.document_id)),
        )
        .order_by(documents.c.id)
    )
    for row in streamed(conn, nowhere):
        found = f"document {row.id} ({row.sha256[:12]}) has no path"
        yield Problem(ROWS, None, None, found, "ingest its scan again, which names it: archive ingest")


def _pages(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield pages that have no run that is shown, or several."""
    shown = func.count(ledger.c.id)
    several = (
        select(pages.c.id, shown.label("n"))
        .outerjoin(ledger, and_(ledger.c.page_id == pages.c.id, is_shown()))
        .where(scope.documents(conn, pages.c.document_id))
        .group_by(pages.c.id)
        .having(shown != 1)
        .subquery()
    )
    wrong = (
        select(several.c.n, pages.c.page_index, newest_path(pages.c.document_id))
        .join(pages, pages.c.id == several.c.id)
        .order_by(pages.c.document_id, pages.c.page_index)
    )
    for row in streamed(conn, wrong):
        found = "has no run that is shown" if row.n == 0 else f"has {row.n} runs that are shown, and not one"
        yield of_page(row, found)


def _done(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield pages that are done whose digits, numbers and counts don't belong together.

    Positions count from 0 without gaps; a number has a reading for each of its digits.
    """
    boxes = _by_page(conn, scope, detections, func.max(detections.c.position).label("last"))
    read = _by_page(
        conn,
        scope,
        readings,
        func.max(readings.c.position).label("last"),
        func.count(readings.c.digit).label("n_digits"),
        func.count(readings.c.number).label("n_members"),
        func.count(readings.c.number.distinct()).label("n_numbers"),
        func.max(readings.c.number).label("last_number"),
        func.sum(readings.c.place).label("places"),
    )
    length = func.length(numbers.c.text)
    grouped = _by_page(
        conn,
        scope,
        numbers,
        func.max(numbers.c.position).label("last"),
        func.sum(length).label("n_members"),
        func.sum(length * (length - 1) / 2).label("places"),
    )
    zero = literal(0)

    def n(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.coalesce(column, zero)

    def gaps(table: Any) -> ColumnElement[bool]:
        return and_(table.c.n.is_not(None), table.c.last != table.c.n - 1)

    checks = {
        "readings": or_(n(boxes.c.n) != n(read.c.n), gaps(boxes), gaps(read)),
        "digits": ledger.c.n_digits != n(read.c.n_digits),
        "numbers": ledger.c.n_numbers != n(grouped.c.n),
        "members": or_(
            n(read.c.n_numbers) != n(grouped.c.n),
            and_(read.c.last_number.is_not(None), read.c.last_number != n(grouped.c.n) - 1),
            n(read.c.n_members) != n(grouped.c.n_members),
            n(read.c.places) != n(grouped.c.places),
            gaps(grouped),
        ),
    }
    wrong = (
        select(
            ledger.c.n_digits,
            ledger.c.n_numbers,
            n(boxes.c.n).label("boxes"),
            n(read.c.n).label("read"),
            n(read.c.n_digits).label("digits_there"),
            n(grouped.c.n).label("numbers_there"),
            *(case((condition, 1), else_=0).label(f"wrong_{name}") for name, condition in checks.items()),
            pages.c.page_index,
            newest_path(pages.c.document_id),
        )
        .select_from(
            ledger.join(pages, pages.c.id == ledger.c.page_id)
            .outerjoin(boxes, boxes.c.ledger_id == ledger.c.id)
            .outerjoin(read, read.c.ledger_id == ledger.c.id)
            .outerjoin(grouped, grouped.c.ledger_id == ledger.c.id)
        )
        .where(is_shown(), ledger.c.state == DONE, or_(*checks.values()))
        .where(scope.documents(conn, pages.c.document_id))
        .order_by(pages.c.document_id, pages.c.page_index)
    )
    for row in streamed(conn, wrong):
        if row.wrong_readings:
            found = f"has {row.boxes:,} digit boxes and {row.read:,} readings of them"
            if row.boxes == row.read:
                found += ", which are not of the same boxes"
        elif row.wrong_digits:
            found = f"is said to have {row.n_digits:,} digits, and {row.digits_there:,} are there"
        elif row.wrong_numbers:
            found = f"is said to have {row.n_numbers:,} numbers, and {row.numbers_there:,} are there"
        else:
            found = "has numbers whose digits are not all there"
        yield of_page(row, found)


def _not_done(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield pages that are not done and have rows as if they were: of any run."""
    has_boxes = (ledger.c.state == DETECTED) | (
        (ledger.c.state == FAILED) & (func.coalesce(ledger.c.failed_in, "") == DETECTED)
    )
    early = {table.name: _has(table) for table in (readings, numbers, records, fields)}
    early["detections"] = and_(~has_boxes, _has(detections))
    wrong = (
        select(
            ledger.c.state,
            ledger.c.run_id,
            *(case((condition, 1), else_=0).label(name) for name, condition in early.items()),
            pages.c.page_index,
            newest_path(pages.c.document_id),
        )
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(ledger.c.state != DONE, or_(*early.values()), scope.documents(conn, pages.c.document_id))
        .order_by(pages.c.document_id, pages.c.page_index)
    )
    for row in streamed(conn, wrong):
        there = ", ".join(name for name in early if getattr(row, name))
        yield of_page(row, f"is {row.state} in run {row.run_id}, and has {there}", _ANEW)


def _orphans(conn: Connection) -> Iterator[Problem]:
    """Yield tables with rows whose parents are gone, which PostgreSQL lets nobody do, and SQLite some."""
    if conn.dialect.name != "sqlite":
        return
    broken = text(
        'SELECT "table" AS child, parent, count(*) AS n FROM pragma_foreign_key_check GROUP BY 1, 2'
    )
    for row in conn.execute(broken).all():
        found = f"{row.n:,} rows of {row.child} belong to {row.parent} that are not there"
        yield Problem(ROWS, None, None, found, _BACKUP)


def _by_page(conn: Connection, scope: Scope, table: Table, *more: ColumnElement[Any]) -> Any:
    """Return how many rows of a table each row of the ledger has, as `n`, with more about them."""
    return (
        select(table.c.ledger_id, func.count().label("n"), *more)
        .where(scope.ledger_rows(conn, table.c.ledger_id))
        .group_by(table.c.ledger_id)
        .subquery()
    )


def _has(table: Table) -> ColumnElement[bool]:
    return select(table.c.ledger_id).where(table.c.ledger_id == ledger.c.id).exists()
