"""The file of a form, checked when it is loaded: `docs/forms.md` has every key.

Each mistake is a SettingsError of one line with the line of the file it is on (`pipeline/toml_files.py`).
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from pipeline.forms import OF_FIELD, OF_RECORD, RULES, Bound, Column, Field, Form, Sum, Type, Values
from pipeline.toml_files import Keys, TomlFile, hint, read_toml

# what may be said of a value, by its type; `rule` and `decimals` part an amount, the others are rules for it
_RULES_OF: dict[str, Keys] = {
    "number": ("min", "max", "codes"),
    "day": ("min", "max"),
    "date": ("min", "max"),
    "serial": ("min", "max", "step", "gaps"),
    "amount": ("min", "max", "rule", "decimals"),
    "code": ("min", "max", "codes"),
}
_KEYS = ("name", "rows", "columns", "fields", "sums")
_ENDS = ("top", "bottom")
_TAKEN = (*OF_RECORD, "reading")  # the last one is an order of `archive query`
_FARTHEST = 0.5  # a field may lie this far outside of the frame: a page number above the table
_LAST_DAY = 31


@dataclass(frozen=True, slots=True)
class FormFile:
    """A form, and the text that it was read from."""

    form: Form
    source: str


def load_form(file: Path) -> FormFile:
    """Return the form of a TOML file with its text; raises as `read_form`."""
    return FormFile(read_form(file), file.read_text(encoding="utf-8"))


def read_form(file: Path) -> Form:
    """Return the form that a TOML file describes; SettingsError for the first mistake in it."""
    toml = read_toml(file)
    toml.refuse_unknown((), toml.values, _KEYS)
    name = toml.values.get("name", file.stem)
    if not isinstance(name, str) or not _is_name(name):
        raise toml.wrong(("name",), f"name is {name!r}, not a word or a few")
    columns = sorted(
        (_column(toml, word, value) for word, value in _tables(toml, "columns").items()),
        key=lambda column: (column.left, column.right),
    )
    fields = [_field(toml, word, value) for word, value in sorted(_tables(toml, "fields").items())]
    if not columns and not fields:
        raise toml.wrong((), "there is neither a column nor a field in it")
    _refuse_clashes(
        toml, [("columns", one.name) for one in columns] + [("fields", one.name) for one in fields]
    )
    for left, right in pairwise(columns):
        if right.left < left.right:
            raise toml.wrong(
                ("columns", right.name, "from"),
                f"{right.name} begins at {right.left:g}, before {left.name} ends at {left.right:g}",
            )
    rows = _rows(toml, [column.name for column in columns])
    sums = [_sum(toml, word, value, columns, fields) for word, value in sorted(_tables(toml, "sums").items())]
    return Form(name, tuple(columns), tuple(fields), rows, tuple(sums))


def _tables(toml: TomlFile, key: str) -> dict[str, Any]:
    """Return the tables below [key.NAME] by their names."""
    tables = toml.values.get(key, {})
    toml.refuse_other_than_table((key,), tables)
    for word, value in tables.items():
        if not _is_name(word):
            raise toml.wrong((key, word), f"{word!r} is no name for people")
        toml.refuse_other_than_table((key, word), value)
    return cast(dict[str, Any], tables)


def _refuse_clashes(toml: TomlFile, named: Sequence[Keys]) -> None:
    """Raise SettingsError for a name that exports or `archive query` could take for something else."""
    before: dict[str, str] = {}
    for keys in named:
        name = keys[-1]
        if name.casefold() in _TAKEN:
            raise toml.wrong(
                keys, f"{name} is what exports call a column of every record: give it another name"
            )
        for what in OF_FIELD:
            if name.casefold().endswith(f"_{what}"):
                raise toml.wrong(
                    keys,
                    f"{name} ends in _{what}, as exports call what is known of a value: give it another name",
                )
        if name != name.strip() or name.startswith("-") or set(name) & set("<>="):
            raise toml.wrong(
                keys, f"{name!r} can't be asked for: leave out < > = and a blank or - at its beginning or end"
            )
        other = before.get(name.casefold())
        if other is not None:  # DuckDB takes Fee and fee for one column
            same = "is a column too" if other == name else f"is {other} but for capitals"
            raise toml.wrong(keys, f"{name} {same}: give one another name")
        before[name.casefold()] = name


def _column(toml: TomlFile, name: str, given: dict[str, Any]) -> Column:
    keys = ("columns", name)
    values = _values(toml, keys, given, ("from", "to", "type", "at"))
    for key in ("from", "to"):
        if key not in given:
            raise toml.wrong(keys, f"{name} has no {key}: say where it lies, in shares of the frame's width")
    left, right = (_share(toml, (*keys, key), given[key], 0, 1) for key in ("from", "to"))
    if left >= right:
        raise toml.wrong((*keys, "to"), f"{name} ends at {right:g}, but begins at {left:g}")
    at = given.get("at", "top")
    if at not in _ENDS:
        raise toml.wrong((*keys, "at"), f"at is {at!r}, not top or bottom")
    _refuse_rule_outside(toml, keys, values, left, right)
    return Column(name, left, right, values, at)


def _field(toml: TomlFile, name: str, given: dict[str, Any]) -> Field:
    keys = ("fields", name)
    values = _values(toml, keys, given, ("box", "type"))
    if values.type == "serial":
        raise toml.wrong((*keys, "type"), "a serial goes on from row to row, and a field has no rows")
    box = given.get("box")
    if not isinstance(box, list) or len(box) != 4:
        place = (*keys, "box") if "box" in given else keys
        raise toml.wrong(place, f"{name} needs a box = [u0, v0, u1, v1] in shares of the frame")
    u0, v0, u1, v1 = (_share(toml, (*keys, "box"), one, -_FARTHEST, 1 + _FARTHEST) for one in box)
    if u0 >= u1 or v0 >= v1:
        raise toml.wrong((*keys, "box"), f"box of {name} ends before it begins: it is [u0, v0, u1, v1]")
    _refuse_rule_outside(toml, keys, values, u0, u1)
    return Field(name, (u0, v0, u1, v1), values)


def _values(toml: TomlFile, keys: Keys, given: dict[str, Any], others: Keys) -> Values:
    """Return what is said of the values of a column or field; `others` are its other keys."""
    toml.refuse_unknown(keys, given, (*others, *RULES))
    type = given.get("type", "number")
    if not isinstance(type, str) or type not in _RULES_OF:
        raise toml.wrong((*keys, "type"), f"unknown type {type!r}{hint(str(type), _RULES_OF)}")
    for key in given:
        if key in RULES and key not in _RULES_OF[type]:
            types = " and ".join(other for other in _RULES_OF if key in _RULES_OF[other])
            raise toml.wrong((*keys, key), f"{key} is for type {types}, but {keys[-1]} is of type {type}")
    low, high = (_bound(toml, (*keys, key), given.get(key), type) for key in ("min", "max"))
    if low is not None and high is not None and low > high:  # type: ignore[operator]  # two numbers or two dates
        raise toml.wrong((*keys, "max"), f"max of {keys[-1]} is {high}, and min is {low}")
    if type == "day":
        low, high = 1 if low is None else low, _LAST_DAY if high is None else high
    step = _whole(toml, (*keys, "step"), given.get("step", 1), "a whole number other than 0")
    if step == 0:
        raise toml.wrong((*keys, "step"), "step is 0: numbers that stay the same are no serial")
    gaps = given.get("gaps", False)
    if not isinstance(gaps, bool):
        raise toml.wrong((*keys, "gaps"), f"gaps is {gaps!r}, not true or false")
    rule = (
        _share(toml, (*keys, "rule"), given["rule"], -_FARTHEST, 1 + _FARTHEST) if "rule" in given else None
    )
    decimals = _whole(
        toml, (*keys, "decimals"), given.get("decimals", 2 if type == "amount" else 0), "0 to 6 digits"
    )
    if not 0 <= decimals <= 6:
        raise toml.wrong((*keys, "decimals"), f"decimals is {decimals}, not 0 to 6 digits")
    if rule is not None and decimals == 0:
        raise toml.wrong((*keys, "rule"), "a rule parts whole units from cents, but decimals is 0")
    codes = _codes(toml, (*keys, "codes"), given["codes"], low, high) if "codes" in given else ()
    return Values(cast(Type, type), low, high, codes, step, gaps, rule, decimals)


def _bound(toml: TomlFile, keys: Keys, value: Any, type: str) -> Bound | None:
    if value is None:
        return None
    if type == "date":
        if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
            raise toml.wrong(keys, f"{keys[-1]} is {value!r}, not a date such as 1903-07-24")
        return value
    fits = isinstance(value, int | float) if type == "amount" else isinstance(value, int)
    if isinstance(value, bool) or not fits or not math.isfinite(value) or value < 0:
        what = "an amount" if type == "amount" else "a whole number"
        raise toml.wrong(keys, f"{keys[-1]} is {value!r}, not {what} from 0 up")
    if type == "day" and not 1 <= value <= _LAST_DAY:
        raise toml.wrong(keys, f"{keys[-1]} is {value}: days are 1 to {_LAST_DAY}")
    return cast(Bound, value)


def _codes(toml: TomlFile, keys: Keys, value: Any, low: Bound | None, high: Bound | None) -> tuple[str, ...]:
    if not isinstance(value, list) or value == []:
        raise toml.wrong(keys, "codes is no list of values such as [1, 2, 9]")
    codes = []
    for code in value:
        text = str(code) if isinstance(code, int) and not isinstance(code, bool) else code
        if not isinstance(text, str) or not (text.isascii() and text.isdigit()):
            raise toml.wrong(keys, f"code {code!r} is no number; write 7, or '07' where zeros lead")
        for bound, key, outside in ((low, "min", -1), (high, "max", 1)):
            if isinstance(bound, int) and (int(text) - bound) * outside > 0:
                raise toml.wrong(keys, f"code {text} can't be: {key} is {bound}")
        if text in codes:
            raise toml.wrong(keys, f"code {text} stands there twice")
        codes.append(text)
    return tuple(codes)


def _rows(toml: TomlFile, columns: list[str]) -> str:
    rows = toml.values.get("rows")
    if not columns:
        if rows is not None:
            raise toml.wrong(("rows",), f"rows is {rows!r}, but there are no columns")
        return ""
    if rows is None:
        raise toml.wrong((), f"it lacks rows = {columns[0]!r} or another column: which one starts a row?")
    if rows not in columns:
        raise toml.wrong(("rows",), f"rows is {rows!r}, which is no column{hint(str(rows), columns)}")
    return str(rows)


def _sum(toml: TomlFile, name: str, given: Any, columns: list[Column], fields: list[Field]) -> Sum:
    keys = ("sums", name)
    toml.refuse_unknown(keys, given, ("column", "field"))
    types = {}
    for key, known in (("column", columns), ("field", fields)):
        word = given.get(key)
        if word is None:
            raise toml.wrong(keys, f"sum {name} has no {key}")
        found = {one.name: one.values.type for one in known}
        if word not in found:
            meant = hint(str(word), found) if found else ""
            raise toml.wrong((*keys, key), f"{key} is {word!r}, which is no {key} of this form{meant}")
        types[key] = found[word]
        if types[key] not in ("number", "amount"):
            raise toml.wrong((*keys, key), f"{word} is of type {types[key]}: only numbers and amounts add up")
    if types["column"] != types["field"]:
        raise toml.wrong(
            (*keys, "field"), f"a column of type {types['column']} adds up to a field of that type"
        )
    return Sum(name, given["column"], given["field"])


def _share(toml: TomlFile, keys: Keys, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise toml.wrong(keys, f"{keys[-1]} is {value!r}, not a share from {low:g} to {high:g}")
    return float(value)


def _whole(toml: TomlFile, keys: Keys, value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise toml.wrong(keys, f"{keys[-1]} is {value!r}, not {what}")
    return value


def _refuse_rule_outside(toml: TomlFile, keys: Keys, values: Values, left: float, right: float) -> None:
    if values.rule is not None and not left < values.rule < right:
        raise toml.wrong(
            (*keys, "rule"),
            f"rule is {values.rule:g}, outside of {keys[-1]}, which is from {left:g} to {right:g}",
        )


def _is_name(text: str) -> bool:
    return text.isprintable() and bool(text.strip())
