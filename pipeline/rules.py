"""Rules of a form: a value that breaks one is flagged, or another reading that keeps it is taken.

A rule chooses only among what networks read, and only where exactly one other reading keeps it; what was
read first stays beside it.  What a person said is never changed or flagged.
"""

import datetime
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import log

from pipeline.forms import Form, Sum, Values
from pipeline.page import Alternative
from pipeline.records import PERSON, RULE_MARK, Record, Value, normalised, values_by_name, with_choice

_FLOOR = 1e-4  # no reading is less likely
_GAP = 0.02  # how likely it is that numbers are left out between two rows
_WRONG = 0.01  # how likely it is that a row's number was read in no way
_SAID = 1e-12  # and that a person's word is
_LEAST, _LEAST_AT_END = 0.001, 0.05  # a reading that is chosen is so likely, also with a number on one side
_MOST_DIGITS = 18
_NO_ROW = 0.1  # and that then it is none


def apply_rules(records: Sequence[Record], form: Form) -> tuple[Record, ...]:
    """Return the records with the form's rules applied: to each value, to serials, then to sums."""
    of = values_by_name(form)
    after: dict[tuple[int, str], Value] = {}
    for name, values in of.items():
        rows = [record for record in records if record.has(name)]
        ruled = [_single(values, record[name]) for record in rows]
        if values.type == "serial":
            ruled = _serial(values, ruled)
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
    known = text if values.type == "code" else normalised(text, values)
    if values.codes and known not in values.codes and text not in values.codes:
        return f"{text} is none of its codes"
    cents = text.partition(RULE_MARK)[2]
    if len(cents) > values.decimals:
        return f"{text} has {len(cents)} digits of cents, not {values.decimals}"
    for bound, sign, word in ((values.min, 1, "below"), (values.max, -1, "above")):
        # a date is digits without marks here: what bounds it is for whoever writes dates out
        if bound is None or isinstance(bound, datetime.date):
            continue
        if (Decimal(normalised(text, values) or "0") - Decimal(str(bound))) * sign < 0:
            return f"{text} is {word} {bound:g}"
    return None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A reading of a row's serial number: its value, its chance, and which alternative it is (None: none)."""

    value: int
    chance: float
    alternative: Alternative | None


def _serial(values: Values, rows: Sequence[Value]) -> list[Value]:
    """Return serial numbers after their rule: each is the one before and a step, or more where gaps are.

    The likeliest chain of readings says which numbers hold; between two of them a row's number must fit.
    """
    candidates = [list(_candidates(values, value)) for value in rows]
    left_out = [log(_SAID if value.made_by == PERSON else _WRONG) for value in rows]
    chain = _likeliest_chain(values, candidates, left_out)
    after = []
    for row, value in enumerate(rows):
        before = max((k for k in chain if k < row), default=None)
        behind = min((k for k in chain if k > row), default=None)
        ends = [(k, chain[k].value) for k in (before, behind) if k is not None]
        kept = chain.get(row)
        holds = value.made_by == PERSON or (kept is not None and kept.alternative is None)
        if not value.text or not ends or holds:
            after.append(value)
            continue
        fitting = [
            one
            for one in candidates[row]
            if one.alternative is not None and _fits(values.step, row, one.value, ends)
        ]
        least = _LEAST_AT_END if len(ends) == 1 else _LEAST
        sure = len(fitting) == 1 and kept in (None, fitting[0]) and fitting[0].chance >= least
        chosen = fitting[0].alternative if sure else None
        if chosen is not None:
            after.append(with_choice(value, chosen, values))
        else:
            after.append(replace(value, flag=value.flag or _expected(values.step, row, ends)))
    return after


def _candidates(values: Values, value: Value) -> Iterator[_Candidate]:
    if value.text and len(value.text) <= _MOST_DIGITS:
        yield _Candidate(int(value.text), value.confidence, None)
    if value.made_by == PERSON:
        return
    for one in value.alternatives:
        fits = one.text and len(one.text) <= _MOST_DIGITS and _breaks(values, one.text) is None
        if fits and one.text != value.text:
            yield _Candidate(int(one.text), one.probability, one)


def _likeliest_chain(
    values: Values, candidates: Sequence[Sequence[_Candidate]], left_out: Sequence[float]
) -> dict[int, _Candidate]:
    """Return the row and reading of those that hold: the likeliest sequence that goes on as the rule says.

    Rows may be left out, at a price (a logarithm) each: of a number that was read in no way, or of a person's
    word.
    """
    price = [0.0, *itertools.accumulate(left_out)]  # of the rows before each
    best: dict[tuple[int, int], tuple[float, tuple[int, int] | None]] = {}
    for row, some in enumerate(candidates):
        reached_before = list(best.items())
        for k, one in enumerate(some):
            score, link = price[row], None
            for (i, n), (known, _) in reached_before:
                step = _step(values, row - i, one.value - candidates[i][n].value)
                if step is not None and (reached := known + step + price[row] - price[i + 1]) > score:
                    score, link = reached, (i, n)
            best[row, k] = score + log(max(one.chance, _FLOOR)), link
    if not best:
        return {}
    at: tuple[int, int] | None = max(best, key=lambda key: best[key][0] + price[-1] - price[key[0] + 1])
    chain = {}
    while at is not None:
        chain[at[0]] = candidates[at[0]][at[1]]
        at = best[at][1]
    return chain


def _step(values: Values, n_rows: int, grown: int) -> float | None:
    """Return how likely (a logarithm) it is to grow so much in so many rows; None where that is forbidden.

    Rows between the two may be none: a stain, or a number that belongs to something else.
    """
    n_steps, rest = divmod(grown, values.step)
    if rest or n_steps < 1:
        return None
    if n_steps > n_rows:
        return log(_GAP) if values.gaps else None
    return (n_rows - n_steps) * log(_NO_ROW)


def _fits(step: int, row: int, value: int, ends: Sequence[tuple[int, int]]) -> bool:
    """Whether a number stands between the one before and the one behind, and follows one without a gap."""
    ahead = [(value - of) * step * (1 if k < row else -1) for k, of in ends]
    return min(ahead) > 0 and any(value - of == step * (row - k) for k, of in ends)


def _expected(step: int, row: int, ends: Sequence[tuple[int, int]]) -> str:
    told = sorted({of + step * (row - k) for k, of in ends})
    return f"{' or '.join(map(str, told))} is expected here"


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
    is_whole = all(value.text for key, value in known.items() if key[1] == total.column)
    if len(mending) == 1 and is_whole:
        key, one = mending[0]
        return {key: with_choice(known[key], one, of[key[1]])}
    much = f"{total.column} adds up to {Decimal(known[field].value) - off}, not {known[field].text}"
    if known[field].made_by != PERSON:
        return {field: replace(known[field], flag=much)}
    return {key: replace(known[key], flag=much) for key in keys if known[key].made_by != PERSON}
