"""Records found by what stands in their fields: current runs only, streamed."""

import json
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, exists, func, select, tuple_

from pipeline.errors import UsageError
from pipeline.exports import STREAM
from pipeline.finding import PageFilter, of_pages
from pipeline.forms import form_of
from pipeline.matching import is_shown
from pipeline.normalising import is_date
from pipeline.record_filter import NUMBER, FieldWish, RecordFilter, Sign
from pipeline.record_query import pages_to_look_at, records_query, way_to
from pipeline.record_store import read_values
from pipeline.records import Value
from pipeline.tables import DONE, fields, forms, ledger, pages, records

_PAGES_AT_A_TIME = 100  # pages whose records are looked at at once
_AT_A_TIME = 200  # records whose fields are fetched at once
_WISH = re.compile(r"\s*([^<>=]+?)\s*(<=|>=|=|<|>)\s*([^<>=].*?)?\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record with where it stands; `page` and `row` count from 1, the page's own record is row 0."""

    id: str  # of the ledger and the row, as `archive why` takes it
    path: str
    document_id: int
    page: int
    row: int
    form: str
    kind: str | None
    confidence: float
    flagged: bool
    values: tuple[Value, ...]
    run_id: int


def parse_wish(text: str) -> FieldWish:
    """Return what `no=1899`, `fee>=3.75` or `date<1903-07-24` asks of a field; UsageError for anything else.

    >>> parse_wish("fee>=3.75")
    FieldWish(name='fee', sign='>=', text='3.75')
    """
    found = _WISH.fullmatch(text)
    if found is None or not found[3]:
        raise UsageError(f"{text!r} asks nothing of a field: write no=1899 or 'fee>=3.75'")
    name, sign, value = found.groups()
    if sign != "=" and not NUMBER.fullmatch(value) and not is_date(value):
        raise UsageError(f"{text!r}: {value!r} is no number to compare with, nor a date such as 1903-07-24")
    return FieldWish(name, cast(Sign, sign), value)


def find_records(conn: Connection, wanted: RecordFilter) -> Generator[RecordRow, None, None]:
    """Yield the records that match.

    Raises UsageError, before anything is asked of what it returns, where no form was applied yet, or for a
    field, form, kind or document that is not there.
    """
    _refuse_unknown(conn, wanted)
    return _all_found(conn, wanted)


def field_names(conn: Connection, wanted: RecordFilter) -> tuple[str, ...]:
    """Return the names of the fields that matching records have, in the order of forms and of each form.

    Raises UsageError as `find_records` does.
    """
    _refuse_unknown(conn, wanted)
    every = replace(wanted, order="reading", limit=None)
    found = records_query(conn, every, way_to(conn, every)).subquery()
    used = select(found.c.form_id).distinct()
    sources = conn.scalars(select(forms.c.form).where(forms.c.id.in_(used)).order_by(forms.c.id)).all()
    used_forms = [form_of(json.loads(source)) for source in sources]
    names = ([one.name for one in form.fields] + [one.name for one in form.columns] for form in used_forms)
    return tuple(dict.fromkeys(name for of_form in names for name in of_form))


def n_forms(conn: Connection, wanted: RecordFilter) -> int:
    """Count the forms, by their names, that made the records that match."""
    found = records_query(conn, wanted, way_to(conn, wanted)).subquery()
    return int(conn.scalar(select(func.count(found.c.form.distinct()))) or 0)


def n_without_records(conn: Connection, wanted: PageFilter) -> int:
    """Count the pages asked for that were read and have no record: no form was applied, or it found none."""
    query = (
        select(func.count())
        .select_from(ledger.join(pages, pages.c.id == ledger.c.page_id))
        .where(is_shown(), ledger.c.state == DONE, ~exists().where(records.c.ledger_id == ledger.c.id))
        .where(*of_pages(conn, wanted, pages.c.document_id, ledger.c.kind))
    )
    return int(conn.execute(query).scalar_one())


def _all_found(conn: Connection, wanted: RecordFilter) -> Generator[RecordRow, None, None]:
    n_found = 0
    for record in _first_found(conn, wanted):
        n_found += 1
        yield record
    if wanted.order not in ("reading", "confidence") and (wanted.limit is None or n_found < wanted.limit):
        left = None if wanted.limit is None else wanted.limit - n_found
        others = replace(wanted, limit=left)
        way = way_to(conn, others, lacking=True)
        yield from _found(conn, records_query(conn, others, way, lacking=True))


def _first_found(conn: Connection, wanted: RecordFilter) -> Generator[RecordRow, None, None]:
    """Yield the records that match, in order, but those that lack the field of the order."""
    way = way_to(conn, wanted)
    if wanted.limit is None or wanted.order != "reading" or way.begin is not None:
        yield from _found(conn, records_query(conn, wanted, way))
        return
    left = wanted.limit
    to_look_at = pages_to_look_at(conn, wanted, way)
    with conn.execute(to_look_at, execution_options={"yield_per": _PAGES_AT_A_TIME}) as rows:
        for some in rows.partitions(_PAGES_AT_A_TIME):
            of_pages = [row.id for row in some]
            query = records_query(conn, replace(wanted, limit=left), way, of_pages=of_pages)
            for record in _found(conn, query):
                left -= 1
                yield record
            if left == 0:
                return


def _found(conn: Connection, query: Select[Any]) -> Generator[RecordRow, None, None]:
    # closed even where the caller stops halfway: PostgreSQL keeps a cursor open for it
    with conn.execute(query, execution_options=STREAM) as rows:
        for some in rows.partitions(_AT_A_TIME):
            keys = [(row.ledger_id, row.position) for row in some]
            values: dict[tuple[int, int], list[Value]] = {key: [] for key in keys}
            for ledger_id, record, value in read_values(conn, _among(conn, keys)):
                values[ledger_id, record].append(value)
            for row, key in zip(some, keys, strict=True):
                yield RecordRow(
                    record_id(*key),
                    row.path,
                    row.document_id,
                    row.page_index + 1,
                    row.position + 1,
                    row.form,
                    row.kind,
                    row.confidence,
                    row.flagged,
                    tuple(values[key]),
                    row.run_id,
                )


def record_id(ledger_id: int, position: int) -> str:
    """Return what a record is called: its page's row of the ledger, and its row on the page from 1."""
    return f"{ledger_id}.{position + 1}"


def parse_id(text: str) -> tuple[int, int, str | None]:
    """Return the ledger row, the position and the field (None: all) of `12.3` or `12.3.fee`; UsageError."""
    ledger_id, _, rest = text.partition(".")
    row, _, name = rest.partition(".")
    if not (_is_count(ledger_id) and _is_count(row)):
        raise UsageError(f"{text!r} is no record: ids look like 12.3 or 12.3.fee (`archive query --record`)")
    return int(ledger_id), int(row) - 1, name or None


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _among(conn: Connection, keys: Sequence[tuple[int, int]]) -> ColumnElement[bool]:
    # SQLite has no index for a list of pairs: pages lead it to them
    of_pages = fields.c.ledger_id.in_({ledger_id for ledger_id, _ in keys})
    return of_pages & tuple_(fields.c.ledger_id, fields.c.record).in_(keys)


def _refuse_unknown(conn: Connection, wanted: RecordFilter) -> None:
    if conn.execute(select(forms.c.id).limit(1)).first() is None:
        raise UsageError("no form was applied yet, so there are no records: archive form apply FORM.toml")
    named = [wish.name for wish in wanted.fields]
    if wanted.order not in ("reading", "confidence"):
        named.append(wanted.order.removeprefix("-"))
    for name in named:
        if conn.execute(select(fields.c.name).where(fields.c.name == name).limit(1)).first() is None:
            known = sorted(conn.scalars(select(fields.c.name).distinct()).all())
            have = f"there are {', '.join(known)}" if known else "there are none yet"
            raise UsageError(f"no record has a field {name!r}: {have}")
    if wanted.form is not None and conn.scalar(select(forms.c.id).where(forms.c.name == wanted.form)) is None:
        known = sorted(set(conn.scalars(select(forms.c.name)).all()))
        raise UsageError(f"no form is called {wanted.form!r}: there are {', '.join(known) or 'none yet'}")
