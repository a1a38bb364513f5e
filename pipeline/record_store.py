"""Frames, forms, records and corrections, to rows and back; each works in the caller's transaction."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select

from pipeline.forms import Form, as_json, form_hash
from pipeline.frames import Frame
from pipeline.inserts import insert_new_form, insert_rows, many
from pipeline.normalising import normalised, value_key
from pipeline.page import Box
from pipeline.records import NETWORK, PAGE, PERSON, Record, Value, values_by_name
from pipeline.results import alternatives_as_text, alternatives_of
from pipeline.tables import corrections, fields, forms, frames, ledger, records

_SAME_PLACE = 0.02  # of the frame's height at most, and half a row: so far a row may begin elsewhere


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person said a field reads, in the row that begins about `place`, a share of the frame."""

    field: str
    place: float
    text: str
    was: str
    who: str
    made_at: float


def keep_form(conn: Connection, form: Form, source: str, *, now: float) -> int:
    """Return the id of a form, kept with the text of its file if it is new."""
    sha256 = form_hash(form)
    values = {
        "sha256": sha256,
        "name": form.name,
        "form": json.dumps(as_json(form), ensure_ascii=False),
        "source": source,
        "added_at": now,
    }
    # another command may keep the same one at this moment
    conn.execute(insert_new_form(conn.dialect.name), values)
    return int(conn.execute(select(forms.c.id).where(forms.c.sha256 == sha256)).scalar_one())


def write_frame(conn: Connection, ledger_id: int, frame: Frame) -> None:
    """Keep where the printed table of a page stands."""
    conn.execute(delete(frames).where(frames.c.ledger_id == ledger_id))
    values = {
        "ledger_id": ledger_id,
        "corners": json.dumps([[round(x, 2), round(y, 2)] for x, y in frame.corners]),
        "rules": json.dumps(list(frame.rules)),
        "printed": frame.printed,
    }
    conn.execute(insert(frames).values(values))


def read_frame(conn: Connection, ledger_id: int) -> Frame | None:
    """Return where the printed table of a page stands; None where nobody has looked yet."""
    row = conn.execute(select(frames).where(frames.c.ledger_id == ledger_id)).one_or_none()
    if row is None:
        return None
    a, b, c, d = ((float(x), float(y)) for x, y in json.loads(row.corners))
    return Frame((a, b, c, d), tuple(json.loads(row.rules)), row.printed)


def write_records(conn: Connection, ledger_id: int, form_id: int, made: Sequence[Record]) -> None:
    """Put records of a page in the place of those that it had."""
    forget_records(conn, [ledger_id])
    if not made:
        return
    dialect = conn.dialect.name
    rows = [
        {
            "ledger_id": ledger_id,
            "position": record.position,
            "form_id": form_id,
            "start": record.start,
            "end": record.end,
            "confidence": record.confidence,
            "flagged": record.flagged,
        }
        for record in made
    ]
    of_fields = [
        _field_row(ledger_id, record, place, value)
        for record in made
        for place, value in enumerate(record.values)
    ]
    conn.execute(insert_rows(dialect, records), many(dialect, rows))
    conn.execute(insert_rows(dialect, fields), many(dialect, of_fields))


def forget_records(conn: Connection, ledger_ids: Sequence[int]) -> None:
    """Delete the records of pages, by their rows of the ledger; corrections stay."""
    conn.execute(delete(fields).where(fields.c.ledger_id.in_(ledger_ids)))
    conn.execute(delete(records).where(records.c.ledger_id.in_(ledger_ids)))


def read_values(conn: Connection, condition: ColumnElement[bool]) -> Iterator[tuple[int, int, Value]]:
    """Yield the ledger row, the record's position and the value of fields that meet a condition."""
    query = select(fields).where(condition).order_by(fields.c.ledger_id, fields.c.record, fields.c.place)
    for row in conn.execute(query):
        yield row.ledger_id, row.record, _value(row)


def corrections_of(conn: Connection, page_id: int) -> tuple[Correction, ...]:
    """Return what people corrected on a page, the oldest first."""
    query = select(corrections).where(corrections.c.page_id == page_id).order_by(corrections.c.id)
    return tuple(
        Correction(row.field, row.place, row.text, row.was, row.who, row.made_at)
        for row in conn.execute(query)
    )


def add_correction(conn: Connection, page_id: int, correction: Correction) -> None:
    """Keep what a person said a field of a page reads."""
    values = {
        "page_id": page_id,
        "field": correction.field,
        "place": correction.place,
        "text": correction.text,
        "was": correction.was,
        "who": correction.who,
        "made_at": correction.made_at,
    }
    conn.execute(insert(corrections).values(values))


def with_corrections(made: Sequence[Record], said: Sequence[Correction], form: Form) -> tuple[Record, ...]:
    """Return records with what people said in its place, the newest of several."""
    of = values_by_name(form)
    after = list(made)
    for row, correction in zip(rows_meant(made, said), said, strict=True):
        if row is None:
            continue
        values = tuple(
            replace(
                value,
                text=correction.text,
                value=normalised(correction.text, of[value.column]),
                confidence=1.0,
                made_by=PERSON,
                replaced=value.replaced if value.made_by == PERSON else value.text,
                flag=None,
            )
            if value.column == correction.field
            else value
            for value in after[row].values
        )
        after[row] = replace(after[row], values=values)
    return tuple(after)


def rows_meant(made: Sequence[Record], said: Sequence[Correction]) -> list[int | None]:
    """Return which of a page's records each correction is of: the one that begins where it stood.

    None where there is none any more: a correction never moves to another row.
    """
    spans = [record.end - record.start for record in made if record.position != PAGE]
    near = min([_SAME_PLACE, *(span / 2 for span in spans)])
    found: list[int | None] = []
    for correction in said:
        apart = {
            k: abs(record.start - correction.place)
            for k, record in enumerate(made)
            if record.has(correction.field)
        }
        row = min(apart, key=lambda k: apart[k], default=None)
        found.append(row if row is not None and apart[row] <= near else None)
    return found


def read_records(conn: Connection, ledger_id: int) -> tuple[Record, ...]:
    """Return the records of a page, from the top."""
    rows = conn.execute(
        select(records).where(records.c.ledger_id == ledger_id).order_by(records.c.position)
    ).all()
    values: dict[int, list[Value]] = {row.position: [] for row in rows}
    for _, record, value in read_values(conn, fields.c.ledger_id == ledger_id):
        values[record].append(value)
    return tuple(Record(row.position, row.start, row.end, tuple(values[row.position])) for row in rows)


def page_of_ledger(conn: Connection, ledger_id: int) -> int:
    """Return the page of a row of the ledger."""
    return int(conn.execute(select(ledger.c.page_id).where(ledger.c.id == ledger_id)).scalar_one())


def _field_row(ledger_id: int, record: Record, place: int, value: Value) -> dict[str, Any]:
    x0, y0, x1, y1 = (None,) * 4 if value.box is None else astuple(value.box)
    return {
        "ledger_id": ledger_id,
        "record": record.position,
        "name": value.column,
        "place": place,
        "text": value.text,
        "value": value.value,
        "sort_key": value_key(value.value),
        "confidence": value.confidence,
        "made_by": value.made_by,
        "replaced": value.replaced,
        "flag": value.flag,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "numbers": json.dumps(list(value.numbers)),
        "members": json.dumps(list(value.members)),
        "alternatives": alternatives_as_text(value.alternatives),
    }


def _value(row: Row[Any]) -> Value:
    return Value(
        row.name,
        row.text,
        row.value,
        row.confidence,
        None if row.x0 is None else Box(row.x0, row.y0, row.x1, row.y1),
        tuple(json.loads(row.numbers)),
        tuple(json.loads(row.members)),
        alternatives_of(row.alternatives),
        row.made_by or NETWORK,
        row.replaced,
        row.flag,
    )
