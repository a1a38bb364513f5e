"""What a person says a value is: kept for the page, and shown in its record at once."""

import json
import re

from sqlalchemy import Connection, select

from pipeline.errors import UsageError
from pipeline.forms import Values, form_of
from pipeline.normalising import RULE_MARK, digits_of, normalised
from pipeline.provenance import origin_of
from pipeline.record_finding import parse_id
from pipeline.record_store import Correction, add_correction, read_frame
from pipeline.recording import apply_form
from pipeline.records import values_by_name
from pipeline.shown import lock_runs
from pipeline.tables import forms, records

_MOST_DIGITS = 40
_WRITTEN = re.compile(r"[0-9 .,/|-]*")
_DIGITS_ALONE = ("serial", "day", "code")


def correct_value(conn: Connection, id: str, text: str, who: str, *, now: float) -> str:
    """Keep that `id`, as `12.3.fee`, is `text`; return what it was.

    The page's records are made anew, for other values may follow from it by a rule.  Raises UsageError where
    there is no such value, or the text is none of its type.
    """
    ledger_id, position, name = parse_id(id)
    if name is None:
        raise UsageError(f"{id} is a whole record: say which field, as in {id}.fee")
    origin = origin_of(conn, id)
    if not origin.shown:
        raise UsageError(f"{id} is of an older run of its page; `archive query --record` shows today's ids")
    lock_runs(conn, origin.page_id)
    (value,) = origin.values
    form_id, source = conn.execute(
        select(forms.c.id, forms.c.form)
        .join(records, records.c.form_id == forms.c.id)
        .where(records.c.ledger_id == ledger_id, records.c.position == position)
    ).one()
    form = form_of(json.loads(source))
    _refuse_other(values_by_name(form)[name], text, name)
    add_correction(conn, origin.page_id, Correction(name, origin.place, text, value.text, who, now))
    frame = read_frame(conn, ledger_id)
    assert frame is not None, "records are made of a frame"
    apply_form(conn, ledger_id, form_id, form, frame)
    return value.text


def _refuse_other(values: Values, text: str, name: str) -> None:
    shown = text[:_MOST_DIGITS]
    cents = digits_of(text.partition(RULE_MARK)[2])
    if RULE_MARK in text and values.rule is None:
        raise UsageError(f"{name} has no rule between units and cents: {shown!r} has one")
    if not _WRITTEN.fullmatch(text) or len(text) > _MOST_DIGITS:
        raise UsageError(f"{shown!r} is no value of {name}: write {_as_written(values)}")
    if len(cents) > values.decimals:
        raise UsageError(f"{text!r} has {len(cents)} digits of cents; {name} has {values.decimals}")
    known = normalised(text, values)
    # marks are left out of what is digits alone, and nobody would see which
    if text and (not known or (values.type in _DIGITS_ALONE and not text.isdigit())):
        raise UsageError(f"{text!r} is no value of {name}: write {_as_written(values)}, or '' for none")


def _as_written(values: Values) -> str:
    """Return how a value of this type is written."""
    if values.type == "date":
        parts = {"d": "24", "m": "10", "y": "1929"}
        return f"a date such as {' '.join(parts[letter] for letter in values.order)}"
    if values.rule is not None:
        return f"digits, with {RULE_MARK} before the cents"
    if values.type == "amount" and values.decimals:
        return f"digits, with a mark before the {values.decimals} of cents"
    return "digits"
