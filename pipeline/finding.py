"""Numbers found by what is known of them: current runs only, streamed."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, func, select, true
from sqlalchemy.sql.base import ColumnCollection, ReadOnlyColumnCollection

from pipeline.errors import UsageError
from pipeline.exports import STREAM, newest_path
from pipeline.matching import documents_meant, glob, is_replaced, is_shown, starts_with
from pipeline.page import MARKS, Box
from pipeline.results import box_of, sort_key
from pipeline.sorting import BETWEEN
from pipeline.tables import ledger, numbers, pages

# this many matching numbers are many; PostgreSQL sorts so many in a twentieth of a second
MANY = {"sqlite": 5_000, "postgresql": 20_000}
# not its alternatives: who looks for numbers does not ask for them, and they are most of a row
_OF_NUMBER = [column for column in numbers.c if column is not numbers.c.alternatives]
_NO_MARKS = str.maketrans("", "", "".join(MARKS))
Found = ColumnCollection[str, ColumnElement[Any]]
Columns = ReadOnlyColumnCollection[str, Any]
Order = Literal["reading", "text", "number", "confidence"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which numbers are asked for; what is None doesn't matter, nor marks in text, prefix and pattern."""

    text: str | None = None  # exactly, leading zeros count
    prefix: str | None = None
    pattern: str | None = None  # * any run of characters, ? any one
    at_least: str | None = None  # as a number: leading zeros don't matter, any length
    at_most: str | None = None
    document: str | None = None  # path, its end, glob, sha256 prefix (8 or more) or id
    kind: str | None = None  # of the page; one that a further sorter divides means all its kinds
    page: int | None = None  # from 1
    min_confidence: float | None = None
    max_confidence: float | None = None
    order: Order = "reading"
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class PageFilter:
    """Which pages are asked for, as in `Filter`; what is None doesn't matter."""

    document: str | None = None
    kind: str | None = None


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
    kind: str | None  # of the page, where it was sorted
    ledger_id: int
    run_id: int
    written: str | None = None  # with the marks between its digits; None where there are none

    def values(self) -> dict[str, Any]:
        """Return what is told of a number, by the names of JSON and of exports, rounded to what counts."""
        return {
            "number": self.text,
            "confidence": round(self.confidence, 6),
            "document": self.path,
            "page": self.page,
            "line": self.line,
            "position": self.position,
            "box": [round(edge, 2) for edge in self.box.corners],
            "kind": self.kind,
            "document_id": self.document_id,
            "run_id": self.run_id,
            "written": self.written,
        }


def find_numbers(conn: Connection, wanted: Filter) -> Generator[NumberRow, None, None]:
    """Yield the numbers that match.

    Raises UsageError, before anything is asked of what it returns, for a bound that is no number, or a
    document or kind that is not there.
    """
    return _found(conn, _numbers_query(conn, wanted))


def _found(conn: Connection, query: Select[Any]) -> Generator[NumberRow, None, None]:
    # closed even where the caller stops halfway: PostgreSQL keeps a cursor open for it
    with conn.execute(query, execution_options=STREAM) as rows:
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
                kind=row.kind,
                ledger_id=row.ledger_id,
                run_id=row.run_id,
                written=row.written,
            )


def _numbers_query(conn: Connection, wanted: Filter) -> Select[Any]:
    of_number = list(_number_conditions(conn, wanted))
    found = _with_pages(conn, wanted, of_number)
    where = found.selected_columns
    document_id, page_index = where.document_id, where.page_index
    first = (
        found.where(*of_number, *_page_conditions(conn, wanted, where))
        .order_by(*_order(wanted.order, numbers.c, document_id, page_index))
        .limit(wanted.limit)
        .subquery()
    )
    # a path is looked up for the rows that are left, not for all that are sorted
    return select(first, newest_path(first.c.document_id)).order_by(
        *_order(wanted.order, first.c, first.c.document_id, first.c.page_index)
    )


def _with_pages(conn: Connection, wanted: Filter, of_number: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Return the query of numbers with their pages, so written that the database finds the better way.

    Where few numbers match it does well to find them by their index and sort them; where many match, going
    page by page has the first of them at once.
    """
    where_it_is = ledger.c.run_id, ledger.c.kind, pages.c.document_id, pages.c.page_index
    ledger_id: ColumnElement[int] = ledger.c.id
    page_id: ColumnElement[int] = pages.c.id
    if wanted.order == "reading":
        are_many = _are_many(conn, of_number)
        if conn.dialect.name == "sqlite" and are_many:
            # SQLite has no statistics; with `+ 0` no index leads from a number to its page
            ledger_id, page_id = ledger_id + 0, page_id + 0
        elif conn.dialect.name != "sqlite" and not are_many:
            # PostgreSQL takes numbers that match for spread over all pages, but those of a year lie together,
            # perhaps on the last.  A lateral query with a limit leaves it no other way.
            page = (
                select(*where_it_is)
                .join(pages, pages.c.id == ledger.c.page_id)
                .where(is_shown(), ledger.c.id == numbers.c.ledger_id)
                .limit(1)
                .lateral()
            )
            return select(numbers, *page.c).join(page, true())
    return (
        select(numbers, *where_it_is)
        .join(ledger, ledger_id == numbers.c.ledger_id)
        .join(pages, page_id == ledger.c.page_id)
        .where(is_shown())
    )


def _are_many(conn: Connection, of_number: Sequence[ColumnElement[bool]]) -> bool:
    many = MANY[conn.dialect.name]
    matching = select(numbers.c.ledger_id).where(*of_number).limit(many).subquery()
    return conn.scalar(select(func.count()).select_from(matching)) == many


def _order(
    order: Order, number: Columns, document_id: ColumnElement[int], page_index: ColumnElement[int]
) -> tuple[ColumnElement[Any], ...]:
    where_it_stands = (document_id, page_index, number.position)
    if order == "text":
        return (number.text, *where_it_stands)
    if order == "number":
        return (number.sort_key, number.text, *where_it_stands)
    if order == "confidence":
        return (number.confidence, *where_it_stands)
    return where_it_stands


def _number_conditions(conn: Connection, wanted: Filter) -> Iterator[ColumnElement[bool]]:
    text, prefix, pattern = map(_without_marks, (wanted.text, wanted.prefix, wanted.pattern))
    if text is not None:
        yield numbers.c.text == text
    if prefix:
        yield starts_with(numbers.c.text, prefix)
    if pattern is not None:
        yield glob(numbers.c.text, pattern, conn.dialect.name)
    if wanted.at_least is not None:
        yield numbers.c.sort_key >= _bound(wanted.at_least)
    if wanted.at_most is not None:
        yield numbers.c.sort_key <= _bound(wanted.at_most)
    if wanted.min_confidence is not None:
        yield numbers.c.confidence >= wanted.min_confidence
    if wanted.max_confidence is not None:
        yield numbers.c.confidence <= wanted.max_confidence


def _without_marks(asked: str | None) -> str | None:
    """Return what is asked of a number's digits: tables show numbers with the marks between these."""
    return None if asked is None else asked.translate(_NO_MARKS)


def _page_conditions(conn: Connection, wanted: Filter, where: Found) -> Iterator[ColumnElement[bool]]:
    yield from of_pages(conn, PageFilter(wanted.document, wanted.kind), where.document_id, where.kind)
    if wanted.page is not None:
        yield where.page_index == wanted.page - 1


def of_pages(
    conn: Connection, wanted: PageFilter, document_id: ColumnElement[int], kind: ColumnElement[str]
) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that a page with these columns is asked for; UsageError as `find_numbers`."""
    if wanted.document is not None:
        yield document_id.in_(documents_meant(conn, wanted.document))
    else:
        yield ~is_replaced(document_id)
    if wanted.kind is not None:
        yield of_kind(conn, wanted.kind, kind)


def of_kind(conn: Connection, kind: str, column: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a page is of a kind, or of one that a further sorter says it is."""
    of_any = (ledger.c.kind == kind) | starts_with(ledger.c.kind, kind + BETWEEN)
    if conn.execute(select(ledger.c.id).where(of_any).limit(1)).first() is None:
        kinds = conn.scalars(select(ledger.c.kind).where(ledger.c.kind.is_not(None)).distinct()).all()
        known = f"kinds are {', '.join(sorted(kinds))}" if kinds else "no page was sorted yet"
        raise UsageError(f"no page is of kind {kind!r}: {known}")
    return (column == kind) | starts_with(column, kind + BETWEEN)


def _bound(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{text!r} is no number: give digits only, as in 1900")
    return sort_key(text)
