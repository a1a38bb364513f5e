"""The statement that finds records, so written that each database begins where few rows are.

SQLite has no statistics, and PostgreSQL takes what matches for spread over all pages, though the records of a
year lie together.  So a few thousand rows are counted first: where little matches, it is found by its index
and sorted; where much does, going page by page has the first of it at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Subquery,
    and_,
    exists,
    func,
    or_,
    select,
)

from pipeline.exports import newest_path
from pipeline.finding import of_kind
from pipeline.matching import documents_meant, is_replaced, is_shown
from pipeline.normalising import DATES, is_date, value_key
from pipeline.record_filter import NUMBER, FieldWish, RecordFilter
from pipeline.tables import fields, forms, ledger, pages, records

_OF_RECORD = tuple(records.c[name] for name in ("ledger_id", "position", "confidence", "flagged", "form_id"))
# until the transaction ends: PostgreSQL takes fields of a name and a range for many, and reads whole tables
_NESTED_LOOPS = select(
    *(
        func.set_config(name, "off", True)
        for name in ("enable_hashjoin", "enable_mergejoin", "enable_seqscan", "jit")
    )
)
_MANY, _MANY_BY_PAGES = 20_000, 10_000  # so many rows are not sorted, the latter where pages give the order
_MANY_PAGES = 1_000
_BY_RECORDS = -1  # the rows of records to begin with; fields count from 0


@dataclass(frozen=True, slots=True)
class Way:
    """Where to begin: a wished field by its place, `_BY_RECORDS`, or the pages in their order (None).

    `sorts`: all that match are found and sorted, for they are few; else the order is that of an index.
    """

    begin: int | None
    sorts: bool
    sqlite: bool


def way_to(conn: Connection, wanted: RecordFilter, *, lacking: bool = False) -> Way:
    """Return the way to records, as `records_query` goes it."""
    sqlite = conn.dialect.name == "sqlite"
    in_pages = Way(None, False, sqlite)
    by_pages = lacking or wanted.order == "reading"
    if wanted.document is not None:
        of_document = pages.c.document_id.in_(documents_meant(conn, wanted.document))
        if by_pages or _count(conn, select(pages.c.id).where(of_document), _MANY_PAGES) < _MANY_PAGES:
            return in_pages
    elif (fewest := _fewest(conn, wanted, _MANY_BY_PAGES if by_pages else _MANY)) is not None:
        return Way(fewest, True, sqlite)
    if by_pages:
        return in_pages
    name = wanted.order.removeprefix("-")
    names = list(_by_name(wanted, lacking=lacking))
    return Way(_BY_RECORDS if wanted.order == "confidence" else names.index(name), False, sqlite)


def records_query(
    conn: Connection,
    wanted: RecordFilter,
    way: Way,
    *,
    lacking: bool = False,
    of_pages: Sequence[int] | None = None,
) -> Select[Any]:
    """Return the query of records with their pages, in order.

    Where the order is a field's, they are those that have it, and with `lacking` those that don't.
    `of_pages` are rows of the ledger that `pages_to_look_at` gave: only records of these are looked at.
    """
    wishes = _by_name(wanted, lacking=lacking)
    name, descending = wanted.order.removeprefix("-"), wanted.order.startswith("-")
    by_field = wanted.order not in ("reading", "confidence")
    if of_pages is not None:
        way = Way(_BY_RECORDS, True, way.sqlite)
    # PostgreSQL does as it is told by what it must have first
    in_steps = way.sorts and not way.sqlite
    matching = select(*_OF_RECORD).where(*_of_records(wanted))
    if of_pages is not None:
        matching = matching.where(records.c.ledger_id.in_(of_pages))
    for k, (of_name, meant) in enumerate(wishes.items()):
        field: FromClause = fields.alias()
        if in_steps and way.begin == k:
            those = select(fields.c.ledger_id, fields.c.record, fields.c.name, fields.c.sort_key)
            those = those.where(fields.c.name == of_name, *_meet(fields.c, meant))
            field = those.cte().prefix_with("MATERIALIZED")
        else:
            matching = matching.where(*_meet(field.c, meant))
        matching = matching.join(field, and_(*_of_record(field.c, of_name, way, first=way.begin == k)))
        if by_field and of_name == name:
            matching = matching.add_columns(field.c.sort_key.label("sort_key"))
    if by_field and lacking:
        of_record = fields.c.ledger_id == records.c.ledger_id, fields.c.record == records.c.position
        matching = matching.where(~exists().where(*of_record, fields.c.name == name))
    found: CTE | Subquery = matching.subquery()
    if in_steps:
        found = matching.cte().prefix_with("MATERIALIZED")
        conn.execute(_NESTED_LOOPS)
    query = _with_pages(found, way).where(*_conditions(conn, wanted))
    sorted_by = "confidence" if wanted.order == "confidence" else "sort_key"

    def place(records_of: Any, pages_of: Any) -> Iterator[ColumnElement[Any]]:
        if sorted_by in records_of:
            yield records_of[sorted_by].desc() if descending else records_of[sorted_by]
        yield from (pages_of.document_id, pages_of.page_index, records_of.position)

    first = query.order_by(*place(found.c, pages.c)).limit(wanted.limit).subquery()
    return select(first, newest_path(first.c.document_id)).order_by(*place(first.c, first.c))


def pages_to_look_at(conn: Connection, wanted: RecordFilter, way: Way) -> Select[Any]:
    """Return the query of rows of the ledger, in order, whose page may have records that match.

    A page is asked by an index alone, one look a field: those before the first that matches cost little.
    """
    ledger_id = ledger.c.id
    asked = [
        select(fields.c.record).where(
            fields.c.ledger_id == ledger_id, fields.c.name == name, *_meet(fields.c, wishes)
        )
        for name, wishes in _by_name(wanted).items()
    ]
    asked.append(select(records.c.position).where(records.c.ledger_id == ledger_id, *_of_records(wanted)))
    if not way.sqlite:
        conn.execute(_NESTED_LOOPS)
    return (
        select(ledger_id)
        .join(pages, _looked_up(way, ledger.c.page_id, pages.c.id))
        .where(is_shown(), *_of_page(conn, wanted))
        .where(*(query.limit(1).scalar_subquery().is_not(None) for query in asked))
        .order_by(pages.c.document_id, pages.c.page_index)
    )


def _fewest(conn: Connection, wanted: RecordFilter, many: int) -> int | None:
    """Return what to begin with: the fewest rows, if they are fewer than `many`."""
    # each in the order of its index: PostgreSQL counts in that then, and reads no whole table
    found = {
        k: select(fields.c.record)
        .where(fields.c.name == name, *_meet(fields.c, wishes))
        .order_by(fields.c.sort_key if any(map(_is_value, wishes)) else fields.c.text)
        for k, (name, wishes) in enumerate(_by_name(wanted).items())
        if wishes
    }
    of_records = list(_of_records(wanted))
    if of_records:
        indexed = records.c.ledger_id if wanted.flagged else records.c.confidence
        found[_BY_RECORDS] = select(records.c.position).where(*of_records).order_by(indexed)
    counts = {k: _count(conn, query, many) for k, query in found.items()}
    best = min(counts, key=lambda k: counts[k], default=None)
    return None if best is None or counts[best] == many else best


def _count(conn: Connection, query: Select[Any], most: int) -> int:
    return conn.scalar(select(func.count()).select_from(query.limit(most).subquery())) or 0


def _with_pages(found: FromClause, way: Way) -> Select[Any]:
    where_it_is = ledger.c.run_id, ledger.c.kind, pages.c.document_id, pages.c.page_index
    of_ledger: list[ColumnElement[Any]] = [found.c.ledger_id, ledger.c.id]
    of_page: list[ColumnElement[Any]] = [ledger.c.page_id, pages.c.id]
    if way.begin is not None:
        of_ledger.reverse()
        of_page.reverse()
    return (
        select(*found.c, forms.c.name.label("form"))
        .add_columns(*where_it_is)
        .select_from(found)
        .join(forms, _looked_up(way, forms.c.id, found.c.form_id))
        .join(ledger, _looked_up(way, *of_ledger))
        .join(pages, _looked_up(way, *of_page))
        .where(is_shown())
    )


def _of_record(field: Any, name: str, way: Way, *, first: bool) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that a field is the record's; `first`: the record is found by it."""
    for of_field, of_record in ((field.ledger_id, records.c.ledger_id), (field.record, records.c.position)):
        yield _looked_up(way, of_record, of_field) if first else _looked_up(way, of_field, of_record)
    # SQLite is to take no index of names and values where it has the record
    yield (field.name.concat("") if way.sqlite and not first else field.name) == name


def _looked_up(way: Way, column: ColumnElement[Any], known: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that two columns are the same; on SQLite no index leads from the first back."""
    return column == (known + 0 if way.sqlite else known)


def _of_records(wanted: RecordFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.flagged:
        found.append(records.c.flagged)
    if wanted.min_confidence is not None:
        found.append(records.c.confidence >= wanted.min_confidence)
    if wanted.max_confidence is not None:
        found.append(records.c.confidence <= wanted.max_confidence)
    return found


def _conditions(conn: Connection, wanted: RecordFilter) -> list[ColumnElement[bool]]:
    found = _of_page(conn, wanted)
    if wanted.form is not None:
        found.append(forms.c.name == wanted.form)
    return found


def _of_page(conn: Connection, wanted: RecordFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.document is not None:
        found.append(pages.c.document_id.in_(documents_meant(conn, wanted.document)))
    else:
        found.append(~is_replaced(pages.c.document_id))
    if wanted.kind is not None:
        found.append(of_kind(conn, wanted.kind, ledger.c.kind))
    if wanted.page is not None:
        found.append(pages.c.page_index == wanted.page - 1)
    return found


def _by_name(wanted: RecordFilter, *, lacking: bool = False) -> dict[str, list[FieldWish]]:
    """Return the wishes of each field: those of one field are met by one value, in one walk of its index.

    The field of the order has an empty list if nothing is wished of it.
    """
    found: dict[str, list[FieldWish]] = {}
    for wish in wanted.fields:
        found.setdefault(wish.name, []).append(wish)
    if wanted.order not in ("reading", "confidence") and not lacking:
        found.setdefault(wanted.order.removeprefix("-"), [])
    return found


def _is_value(wish: FieldWish) -> bool:
    return NUMBER.fullmatch(wish.text) is not None or is_date(wish.text)


def _meet(field: Any, wishes: Iterable[FieldWish]) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that a field's value is as it is wished; they use an index of name and value.

    SQLite takes one bound on each side from the index, whichever is said first: so there is one.
    """
    lows, highs = [], []
    for wish in wishes:
        key = value_key(wish.text)
        if wish.sign == "=":
            yield _is(field, wish.text, key)
            continue
        if wish.sign.startswith(">"):
            lows.append((key, wish.sign == ">"))
        else:
            highs.append((key, wish.sign == "<="))
        if is_date(wish.text):  # dates stand behind all numbers
            lows.append((DATES, False))
        else:
            highs.append((DATES, False))
    if lows:
        key, is_more = max(lows)
        yield field.sort_key > key if is_more else field.sort_key >= key
    if highs:
        key, may_be = min(highs)
        yield field.sort_key <= key if may_be else field.sort_key < key
    if highs and (not lows or max(lows)[0] <= value_key("0")):
        yield field.value != ""  # what has no value sorts as 0 does


def _is(field: Any, text: str, key: str) -> ColumnElement[bool]:
    as_written = field.text == text
    if is_date(text):
        return cast(ColumnElement[bool], field.sort_key == key)
    if not NUMBER.fullmatch(text):
        return cast(ColumnElement[bool], as_written)
    # 22.5 finds 22|50, and 5 finds 05 where zeros say nothing: there the value has none in front
    zeros = and_(field.value.like("0%"), field.value.not_like("0.%"), field.value != "0")
    by_value = and_(field.sort_key == key, ~zeros)
    keys = {key, value_key(text.replace(".", ""))}  # a point may part thousands where it is written
    return and_(field.sort_key.in_(sorted(keys)), field.value != "", or_(as_written, by_value))
