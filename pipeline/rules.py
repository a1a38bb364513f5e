"""Rules of a form: a value that breaks one is flagged, or another reading that keeps it is taken.

A rule chooses only among what networks read, and only where exactly one other reading keeps it; what was
read first stays beside it.  What a person said is never changed or flagged.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from pipeline.chains import Ascending, Candidate, Order, Serial, follow
from pipeline.forms import Form, Sum, Values
from pipeline.normalising import RULE_MARK, digits_of, normalised
from pipeline.records import PERSON, Record, Value, values_by_name, with_choice

_MOST_DIGITS = 18


def apply_rules(records: Sequence[Record], form: Form) -> tuple[Record, ...]:
    """Return the records with the form's rules applied: to each value, to serials, then to sums."""
    of = values_by_name(form)
    after: dict[tuple[int, str], Value] = {}
    for name, values in of.items():
        rows = [record for record in records if record.has(name)]
        ruled = [_single(values, record[name]) for record in rows]
        if (order := _order_of(values)) is not None:
            ruled = follow(order, values, ruled, [list(_candidates(values, value)) for value in ruled])
        after |= {(record.position, name): value for record, value in zip(rows, ruled, strict=True)}
    for total in form.sums:
        after |= _added_up(total, after, of)
    return tuple(
        replace(record, values=tuple(after[record.position, value.column] for value in record.values))
        for record in records
    )


def _single(values: Values, value: Value) -> Value:
    """Return a value after the rules that it keeps or breaks alone."""
    if not value.text or value.made_by == PERSON or (wrong := _breaks(values, value.text)) is None:
        return value
    fitting = [one for one in value.alternatives if one.text and _breaks(values, one.text) is None]
    if len(fitting) == 1:
        return with_choice(value, fitting[0], values)
    return replace(value, flag=wrong)


def _breaks(values: Values, text: str) -> str | None:
    """Return what is wrong with a text by the rules for it; None where nothing is."""
    known = normalised(text, values)
    if values.codes and known not in values.codes and text not in values.codes:
        return f"{text} is none of its codes"
    cents = digits_of(text.partition(RULE_MARK)[2])
    if len(cents) > values.decimals:
        return f"{text} has {len(cents)} digits of cents, not {values.decimals}"
    if not known:
        return f"{text} is no {values.type}"
    for bound, sign, word in ((values.min, 1, "below"), (values.max, -1, "above")):
        if isinstance(bound, datetime.date):
            if (datetime.date.fromisoformat(known) - bound).days * sign < 0:
                return f"{known} is {word} {bound}"
        elif bound is not None and (Decimal(known) - Decimal(str(bound))) * sign < 0:
            return f"{text} is {word} {bound:.15g}"
    return None


def _order_of(values: Values) -> Order | None:
    """Return how values go on from row to row; None where nothing is said of it."""
    if values.type == "serial":
        return Serial(values.step, values.gaps)
    return Ascending(values.type) if values.ascending else None


def _candidates(values: Values, value: Value) -> Iterator[Candidate]:
    """Yield readings that a rule from row to row may hold to; of what a person said there is no other."""
    first = _counted(values, value.text)
    # what is no day at all says nothing of those beside it; a serial number beyond its bounds may still go on
    held = values.type == "serial" or value.made_by == PERSON or _breaks(values, value.text) is None
    if first is not None and held:
        yield Candidate(first, value.confidence, None)
    if value.made_by == PERSON:
        return
    for one in value.alternatives:
        number = _counted(values, one.text)
        if number is not None and one.text != value.text and _breaks(values, one.text) is None:
            yield Candidate(number, one.probability, one)


def _counted(values: Values, text: str) -> int | None:
    """Return a text's value as a whole number, a date's in days; None where there is none."""
    known = normalised(text, values)
    if not known or len(known) > _MOST_DIGITS:
        return None
    return datetime.date.fromisoformat(known).toordinal() if values.type == "date" else int(known)


def _added_up(
    total: Sum, known: Mapping[tuple[int, str], Value], of: Mapping[str, Values]
) -> dict[tuple[int, str], Value]:
    """Return what changes where a column must add up to a field: a choice that makes it so, or a flag."""
    keys = [key for key, value in known.items() if key[1] == total.column and value.value]
    field = next(key for key in known if key[1] == total.field)
    if not keys or not known[field].value:
        return {}
    off = Decimal(known[field].value) - sum((Decimal(known[key].value) for key in keys), Decimal())
    if off == 0:
        return {}
    mending = [
        (key, one)
        for key in (*keys, field)
        for one in known[key].alternatives
        if one.text
        and known[key].made_by != PERSON
        and _breaks(of[key[1]], one.text) is None
        and Decimal(normalised(one.text, of[key[1]])) - Decimal(known[key].value)
        == (-off if key == field else off)
    ]
    is_whole = all(value.value for key, value in known.items() if key[1] == total.column)
    if len(mending) == 1 and is_whole:
        key, one = mending[0]
        return {key: with_choice(known[key], one, of[key[1]])}
    much = f"{total.column} adds up to {Decimal(known[field].value) - off}, not {known[field].text}"
    if known[field].made_by != PERSON:
        return {field: replace(known[field], flag=much)}
    return {key: replace(known[key], flag=much) for key in keys if known[key].made_by != PERSON}
