"""Whether what is stored is whole: rows that belong together, and networks that are named.

Each check is one statement over all pages, grouped in the order of the tables' keys, so that millions of
rows are counted as they come.  Of a page that was read several times the run is looked at that is shown:
reading it again mends it.
"""

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    text,
    true,
)

from pipeline.catalogue import parts_of_run
from pipeline.exports import STREAM, newest_path
from pipeline.forms import form_hash, form_of
from pipeline.matching import documents_meant, is_replaced, is_shown
from pipeline.paths import printable
from pipeline.records import PAGE
from pipeline.sorting import SORTING, networks_of, sorting_of
from pipeline.tables import (
    DETECTED,
    DONE,
    FAILED,
    SKIPPED,
    detections,
    documents,
    fields,
    forms,
    ledger,
    numbers,
    page_forms,
    pages,
    paths,
    readings,
    records,
    runs,
)

ROWS = "rows"  # the kind of problem that all of these are
_READ_AGAIN = "read it again: archive ingest --again"
_ANEW = "delete it and read it anew: archive delete, archive ingest"
_APPLY_AGAIN = "apply the form again: archive form apply"
_BACKUP = "restore the database from a backup"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, with which document and page (from 1), and what to do about it."""

    kind: str  # missing, moved, changed, unreadable (a scan), rows, network
    path: str | None  # as the catalogue writes it
    page: int | None
    found: str
    mend: str


@dataclass(frozen=True, slots=True)
class Scope:
    """Which documents are looked at: those that people named, or all but those that were replaced."""

    specs: tuple[str, ...] = ()

    def documents(self, conn: Connection, column: ColumnElement[int]) -> ColumnElement[bool]:
        """Return the condition that a column names one of them; UsageError where there is none."""
        if not self.specs:
            return ~is_replaced(column)
        return or_(*(column.in_(documents_meant(conn, spec)) for spec in self.specs))

    def ledger_rows(self, conn: Connection, column: ColumnElement[int]) -> ColumnElement[bool]:
        """Return the condition that a column names a row of the ledger of one of them."""
        if not self.specs:
            return true()
        theirs = select(ledger.c.id).join(pages, pages.c.id == ledger.c.page_id)
        return column.in_(theirs.where(self.documents(conn, pages.c.document_id)))


def n_documents_and_pages(conn: Connection, scope: Scope) -> tuple[int, int]:
    """Return how many documents with pages are in scope, and how many pages."""
    of_pages = select(func.count(pages.c.document_id.distinct()), func.count()).select_from(pages)
    n_documents, n_pages = conn.execute(of_pages.where(scope.documents(conn, pages.c.document_id))).one()
    return n_documents, n_pages


def broken_rows(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield what is wrong with the rows of documents in scope; all in one transaction that only reads."""
    yield from _documents(conn, scope)
    yield from _pages(conn, scope)
    yield from _done(conn, scope)
    yield from _not_done(conn, scope)
    yield from _records(conn, scope)
    yield from _page_forms(conn, scope)
    if not scope.specs:
        yield from _orphans(conn)


def networks_that_read(conn: Connection, scope: Scope) -> dict[tuple[str, str], int]:
    """Return the networks of the runs that are shown, by kind and SHA-256, and how many pages each is of."""
    n_pages = (
        select(ledger.c.run_id, func.count())
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(is_shown(), ledger.c.state.in_((DONE, SKIPPED)), scope.documents(conn, pages.c.document_id))
        .group_by(ledger.c.run_id)
    )
    counts = {run_id: n for run_id, n in conn.execute(n_pages)}
    found: dict[tuple[str, str], int] = {}
    for row in conn.execute(select(runs).where(runs.c.id.in_(list(counts))).order_by(runs.c.id)):
        networks, settings = parts_of_run(row)
        named = set(networks.items())
        if SORTING in settings:
            named |= networks_of(sorting_of(settings[SORTING]))
        for network in sorted(named):
            found[network] = found.get(network, 0) + counts[row.id]
    return found


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
    for row in _streamed(conn, wrong):
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
    for row in _streamed(conn, nowhere):
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
    for row in _streamed(conn, wrong):
        found = "has no run that is shown" if row.n == 0 else f"has {row.n} runs that are shown, and not one"
        yield _of_page(row, found)


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
    for row in _streamed(conn, wrong):
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
        yield _of_page(row, found)


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
    for row in _streamed(conn, wrong):
        there = ", ".join(name for name in early if getattr(row, name))
        yield _of_page(row, f"is {row.state} in run {row.run_id}, and has {there}", _ANEW)


def _records(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield records that lack fields of their form, and forms that are no longer what was applied."""
    of_forms = {row.id: (row.name, _form_sizes(row)) for row in conn.execute(select(forms))}
    for name, sizes in of_forms.values():
        if sizes is None:
            found = f"form {printable(name)} is no longer what was applied"
            yield Problem(ROWS, None, None, found, "apply it again from its file: archive form apply")
    n_fields = (
        select(fields.c.ledger_id, fields.c.record, func.count().label("n"))
        .where(scope.ledger_rows(conn, fields.c.ledger_id))
        .group_by(fields.c.ledger_id, fields.c.record)
        .subquery()
    )
    known = {form_id: sizes for form_id, (_, sizes) in of_forms.items() if sizes is not None}
    expected = (
        case(
            *(
                (
                    records.c.form_id == form_id,
                    case((records.c.position == PAGE, n_once), else_=n_columns),
                )
                for form_id, (n_columns, n_once) in known.items()
            ),
            else_=-1,
        )
        if known
        else literal(-1)
    )
    there = func.coalesce(n_fields.c.n, 0)
    is_known = records.c.form_id.in_(list(of_forms))
    lacking = and_(records.c.form_id.in_(list(known)), there != expected)
    wrong = (
        select(
            records.c.position,
            records.c.form_id,
            there.label("n"),
            case((is_known, expected), else_=-1).label("expected"),
            pages.c.page_index,
            newest_path(pages.c.document_id),
        )
        .select_from(
            records.join(ledger, ledger.c.id == records.c.ledger_id)
            .join(pages, pages.c.id == ledger.c.page_id)
            .outerjoin(
                n_fields,
                and_(n_fields.c.ledger_id == records.c.ledger_id, n_fields.c.record == records.c.position),
            )
        )
        .where(is_shown(), or_(~is_known, lacking), scope.documents(conn, pages.c.document_id))
        .order_by(pages.c.document_id, pages.c.page_index, records.c.position)
    )
    for row in _streamed(conn, wrong):
        what = "the record of the page" if row.position == PAGE else f"row {row.position + 1}"
        found = (
            f"the form of {what} is not there"
            if row.expected < 0
            else f"{what} has {row.n} of the {row.expected} fields of its form"
        )
        yield _of_page(row, found, _APPLY_AGAIN)


def _page_forms(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield pages whose records are to be made by a form that is not there."""
    wrong = (
        select(pages.c.page_index, newest_path(pages.c.document_id))
        .distinct()
        .join(page_forms, page_forms.c.page_id == pages.c.id)
        .where(page_forms.c.form_id.not_in(select(forms.c.id)), scope.documents(conn, pages.c.document_id))
    )
    for row in _streamed(conn, wrong):
        yield _of_page(row, "is to have records by a form that is not there", _APPLY_AGAIN)


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


def _form_sizes(row: Row[Any]) -> tuple[int, int] | None:
    """Return how many columns and fields a form has; None where it is not the form of its hash."""
    try:
        form = form_of(json.loads(row.form))
    except (ValueError, KeyError, TypeError):
        return None
    return (len(form.columns), len(form.fields)) if form_hash(form) == row.sha256 else None


def _of_page(row: Any, found: str, mend: str = _READ_AGAIN) -> Problem:
    return Problem(ROWS, row.path, row.page_index + 1, found, mend)


def _streamed(conn: Connection, query: Select[Any]) -> Generator[Any, None, None]:
    with conn.execute(query, execution_options=STREAM) as rows:
        yield from rows
