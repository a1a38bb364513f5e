"""What a person says a value is: kept for the page, and shown in its record at once."""

import json
import re

from sqlalchemy import Connection, select, update

from pipeline.errors import UsageError
from pipeline.forms import Values, form_of
from pipeline.provenance import origin_of
from pipeline.record_finding import parse_id
from pipeline.record_store import Correction, add_correction
from pipeline.records import PERSON, RULE_MARK, normalised, values_by_name
from pipeline.results import sort_key
from pipeline.tables import fields, forms, records

_WRITTEN = re.compile(r"[0-9]*")


def correct_value(conn: Connection, id: str, text: str, who: str, *, now: float) -> str:
    """Keep that `id`, as `12.3.fee`, is `text`; return what it was.

    Raises UsageError where there is no such value, or the text is none of its type.
    """
    ledger_id, position, name = parse_id(id)
    if name is None:
        raise UsageError(f"{id} is a whole record: say which field, as in {id}.fee")
    origin = origin_of(conn, id)
    (value,) = origin.values
    source = conn.scalar(
        select(forms.c.form)
        .join(records, records.c.form_id == forms.c.id)
        .where(records.c.ledger_id == ledger_id, records.c.position == position)
    )
    of = values_by_name(form_of(json.loads(source or "{}")))[name]
    _refuse_other(of, text, name)
    made = normalised(text, of)
    add_correction(conn, origin.page_id, Correction(name, origin.place, text, value.text, who, now))
    is_it = (fields.c.ledger_id == ledger_id) & (fields.c.record == position) & (fields.c.name == name)
    conn.execute(
        update(fields)
        .where(is_it)
        .values(
            text=text,
            value=made,
            sort_key=sort_key(made),
            confidence=1.0,
            made_by=PERSON,
            replaced=value.replaced if value.made_by == PERSON else value.text,
            flag=None,
        )
    )
    rest = conn.execute(
        select(fields.c.text, fields.c.confidence, fields.c.flag).where(
            fields.c.ledger_id == ledger_id, fields.c.record == position
        )
    ).all()
    conn.execute(
        update(records)
        .where(records.c.ledger_id == ledger_id, records.c.position == position)
        .values(
            confidence=min((row.confidence for row in rest if row.text), default=0.0),
            flagged=any(row.flag is not None for row in rest),
        )
    )
    return value.text


def _refuse_other(values: Values, text: str, name: str) -> None:
    whole, mark, cents = text.partition(RULE_MARK)
    if mark and values.rule is None:
        raise UsageError(f"{name} has no rule between units and cents: {text!r} has one")
    if not (_WRITTEN.fullmatch(whole) and _WRITTEN.fullmatch(cents)):
        what = f"digits, with {RULE_MARK} before the cents" if values.rule is not None else "digits"
        raise UsageError(f"{text!r} is no value of {name}: write {what}")
    if len(cents) > values.decimals:
        raise UsageError(f"{text!r} has {len(cents)} digits of cents; {name} has {values.decimals}")
