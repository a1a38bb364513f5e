"""The statement that finds records, so written that each database begins where few rows are.

SQLite has no statistics, and PostgreSQL takes what matches for spread over all pages, though the records of a
year lie together.  So a few thousand rows are counted first: where little matches, it is found by its index
and sorted; where much does, going page by page has the first of it at once.
"""

from collections.abc import Iterator
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
from pipeline.finding import MANY, of_kind
from pipeline.matching import documents_meant, is_replaced, is_shown
from pipeline.record_filter import NUMBER, FieldWish, RecordFilter
from pipeline.results import sort_key
from pipeline.tables import fields, forms, ledger, pages, records

_OF_RECORD = tuple(records.c[name] for name in ("ledger_id", "position", "confidence", "flagged", "form_id"))
# until the transaction ends: PostgreSQL takes fields of a name and a range for many, and reads whole tables
_NESTED_LOOPS = select(
    *(
        func.set_config(name, "off", True)
        for name in ("enable_hashjoin", "enable_mergejoin", "enable_seqscan")
    )
)
_BY_RECORDS = -1  # the rows of records to begin with; a wish counts from 0


@dataclass(frozen=True, slots=True)
class _Way:
    """Where to begin: a wish by its place, `_BY_RECORDS`, or the pages in their order (None)."""

    begin: int | None
    sqlite: bool


def records_query(conn: Connection, wanted: "RecordFilter", *, lacking: bool = False) -> Select[Any]:
    """Return the query of records with their pages, in order.

    Where the order is a field's, they are those that have it, and with `lacking` those that don't.
    """
    by_field = wanted.order not in ("reading", "confidence")
    name, descending = wanted.order.removeprefix("-"), wanted.order.startswith("-")
    ordered_by = next((k for k, wish in enumerate(wanted.fields) if by_field and wish.name == name), None)
    way = _Way(
        len(wanted.fields) if by_field and ordered_by is None else ordered_by, conn.dialect.name == "sqlite"
    )
    if not by_field or lacking:
        way = _Way(_fewest(conn, wanted), way.sqlite)
    # PostgreSQL does as it is told by what it must have first
    few = not way.sqlite and way.begin is not None and wanted.order == "reading"
    matching = select(*_OF_RECORD).where(*_of_records(wanted))
    key: ColumnElement[str] | None = None
    for k, wish in enumerate(wanted.fields):
        field: FromClause = fields.alias()
        if few and way.begin == k:
            those = select(fields.c.ledger_id, fields.c.record, fields.c.name, fields.c.sort_key)
            those = those.where(fields.c.name == wish.name, _meets(fields.c, wish))
            field = those.cte().prefix_with("MATERIALIZED")
        else:
            matching = matching.where(_meets(field.c, wish))
        matching = matching.join(field, and_(*_of_record(field.c, wish.name, way, first=way.begin == k)))
        key = field.c.sort_key if k == ordered_by else key
    if by_field and lacking:
        of_record = fields.c.ledger_id == records.c.ledger_id, fields.c.record == records.c.position
        matching, key = matching.where(~exists().where(*of_record, fields.c.name == name)), None
    elif by_field and key is None:
        field = fields.alias()
        matching = matching.join(field, and_(*_of_record(field.c, name, way, first=True)))
        key = field.c.sort_key
    if key is not None:
        matching = matching.add_columns(key.label("sort_key"))
    found: CTE | Subquery = matching.subquery()
    if few:
        found = matching.cte().prefix_with("MATERIALIZED")
        conn.execute(_NESTED_LOOPS)
    query = _with_pages(found, way).where(*_conditions(conn, wanted))
    sorted_by = "confidence" if wanted.order == "confidence" else "sort_key" if key is not None else None

    def place(records_of: Any, pages_of: Any) -> Iterator[ColumnElement[Any]]:
        if sorted_by is not None:
            yield records_of[sorted_by].desc() if descending else records_of[sorted_by]
        yield from (pages_of.document_id, pages_of.page_index, records_of.position)

    first = query.order_by(*place(found.c, pages.c)).limit(wanted.limit).subquery()
    return select(first, newest_path(first.c.document_id)).order_by(*place(first.c, first.c))


def _fewest(conn: Connection, wanted: "RecordFilter") -> int | None:
    """Return what to begin with: the fewest rows, if they are not many."""
    if wanted.document is not None:
        return None
    if wanted.order == "confidence":
        return _BY_RECORDS
    many = MANY[conn.dialect.name]
    found = {
        k: select(fields.c.record).where(fields.c.name == wish.name, _meets(fields.c, wish))
        for k, wish in enumerate(wanted.fields)
    }
    of_records = list(_of_records(wanted))
    if of_records:
        found[_BY_RECORDS] = select(records.c.position).where(*of_records)
    counts = {
        k: conn.scalar(select(func.count()).select_from(query.limit(many).subquery())) or 0
        for k, query in found.items()
    }
    best = min(counts, key=lambda k: counts[k], default=None)
    return None if best is None or counts[best] == many else best


def _with_pages(found: FromClause, way: _Way) -> Select[Any]:
    ledger_id: ColumnElement[int] = ledger.c.id
    page_id: ColumnElement[int] = pages.c.id
    if way.sqlite and way.begin is None:  # with `+ 0` no index leads from a record to its page
        ledger_id, page_id = ledger_id + 0, page_id + 0
    where_it_is = ledger.c.run_id, ledger.c.kind, pages.c.document_id, pages.c.page_index
    return (
        select(*found.c, forms.c.name.label("form"))
        .add_columns(*where_it_is)
        .select_from(found)
        .join(forms, (forms.c.id + 0 if way.sqlite else forms.c.id) == found.c.form_id)
        .join(ledger, ledger_id == found.c.ledger_id)
        .join(pages, page_id == ledger.c.page_id)
        .where(is_shown())
    )


def _of_record(field: Any, name: str, way: _Way, *, first: bool) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a field is the record's; on SQLite they say what leads where."""
    ledger_id, record, its_name = field.ledger_id, field.record, field.name
    if way.sqlite and first:  # from the field to its record, and not back
        ledger_id, record = ledger_id + 0, record + 0
    elif way.sqlite:  # from the record to its field
        its_name = its_name.concat("")
    return ledger_id == records.c.ledger_id, record == records.c.position, its_name == name


def _of_records(wanted: "RecordFilter") -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.flagged:
        found.append(records.c.flagged)
    if wanted.min_confidence is not None:
        found.append(records.c.confidence >= wanted.min_confidence)
    if wanted.max_confidence is not None:
        found.append(records.c.confidence <= wanted.max_confidence)
    return found


def _conditions(conn: Connection, wanted: "RecordFilter") -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.document is not None:
        found.append(pages.c.document_id.in_(documents_meant(conn, wanted.document)))
    else:
        found.append(~is_replaced(pages.c.document_id))
    if wanted.kind is not None:
        found.append(of_kind(conn, wanted.kind, ledger.c.kind))
    if wanted.page is not None:
        found.append(pages.c.page_index == wanted.page - 1)
    if wanted.form is not None:
        found.append(forms.c.name == wanted.form)
    return found


def _meets(field: Any, wish: "FieldWish") -> ColumnElement[bool]:
    """Return the condition that a field's value is as it is wished; each uses an index of name and value."""
    if wish.sign == "=":
        as_written = field.text == wish.text
        if not NUMBER.fullmatch(wish.text):
            return cast(ColumnElement[bool], as_written)
        # 22.5 finds 22|50, and 5 finds 05 where zeros say nothing: there the value has none in front
        zeros = and_(field.value.like("0%"), field.value.not_like("0.%"), field.value != "0")
        return and_(field.sort_key == sort_key(wish.text), field.text != "", or_(as_written, ~zeros))
    key = sort_key(wish.text)
    bound = {
        "<": field.sort_key < key,
        "<=": field.sort_key <= key,
        ">": field.sort_key > key,
        ">=": field.sort_key >= key,
    }[wish.sign]
    return and_(bound, field.text != "")
