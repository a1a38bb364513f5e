"""The file of a form, checked when it is loaded: `docs/forms.md` has every key.

Each mistake is a SettingsError of one line with the line of the file it is on (`pipeline/toml_files.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, cast

from pipeline.form_values import FARTHEST, read_share, read_value_rules, refuse_rule_outside
from pipeline.forms import OF_FIELD, OF_RECORD, Column, Field, Form, Sum
from pipeline.toml_files import Keys, TomlFile, hint, read_toml

_KEYS = ("name", "rows", "columns", "fields", "sums")
_ENDS = ("top", "bottom")
_TAKEN = (*OF_RECORD, "reading")  # the last one is an order of `archive query`


@dataclass(frozen=True, slots=True)
class FormFile:
    """A form, and the text that it was read from."""

    form: Form
    source: str


def load_form(file: Path) -> FormFile:
    """Return the form of a TOML file with its text; raises as `read_form`."""
    toml = read_toml(file)
    return FormFile(_form(toml), toml.text)


def read_form(file: Path) -> Form:
    """Return the form that a TOML file describes; SettingsError for the first mistake in it."""
    return load_form(file).form


def _form(toml: TomlFile) -> Form:
    toml.refuse_unknown((), toml.values, _KEYS)
    name = toml.values.get("name", toml.file.stem)
    if not isinstance(name, str) or not _is_name(name):
        raise toml.wrong(("name",), f"name is {name!r}, not a word or a few")
    columns = sorted(
        (_column(toml, word, value) for word, value in _tables(toml, "columns").items()),
        key=lambda column: (column.left, column.right),
    )
    fields = [_field(toml, word, value) for word, value in sorted(_tables(toml, "fields").items())]
    _refuse_overlaps(toml, fields)
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
    values = read_value_rules(toml, keys, given, ("from", "to", "type", "at"))
    for key in ("from", "to"):
        if key not in given:
            raise toml.wrong(keys, f"{name} has no {key}: say where it lies, in shares of the frame's width")
    left, right = (read_share(toml, (*keys, key), given[key], 0, 1) for key in ("from", "to"))
    if left >= right:
        raise toml.wrong((*keys, "to"), f"{name} ends at {right:g}, but begins at {left:g}")
    at = given.get("at", "top")
    if at not in _ENDS:
        raise toml.wrong((*keys, "at"), f"at is {at!r}, not top or bottom")
    refuse_rule_outside(toml, keys, values, left, right)
    return Column(name, left, right, values, at)


def _field(toml: TomlFile, name: str, given: dict[str, Any]) -> Field:
    keys = ("fields", name)
    values = read_value_rules(toml, keys, given, ("box", "type"))
    if values.type == "serial":
        raise toml.wrong((*keys, "type"), "a serial goes on from row to row, and a field has no rows")
    if "ascending" in given:
        raise toml.wrong((*keys, "ascending"), "values ascend from row to row, and a field has no rows")
    box = given.get("box")
    if not isinstance(box, list) or len(box) != 4:
        place = (*keys, "box") if "box" in given else keys
        raise toml.wrong(place, f"{name} needs a box = [u0, v0, u1, v1] in shares of the frame")
    u0, v0, u1, v1 = (read_share(toml, (*keys, "box"), one, -FARTHEST, 1 + FARTHEST) for one in box)
    if u0 >= u1 or v0 >= v1:
        raise toml.wrong((*keys, "box"), f"box of {name} ends before it begins: it is [u0, v0, u1, v1]")
    refuse_rule_outside(toml, keys, values, u0, u1)
    return Field(name, (u0, v0, u1, v1), values)


def _refuse_overlaps(toml: TomlFile, fields: Sequence[Field]) -> None:
    """Raise SettingsError for two fields that share a place: a digit there can be of one of them only."""
    for one, other in combinations(fields, 2):
        (u0, v0, u1, v1), (x0, y0, x1, y1) = one.box, other.box
        if max(u0, x0) < min(u1, x1) and max(v0, y0) < min(v1, y1):
            raise toml.wrong(
                ("fields", other.name, "box"),
                f"{other.name} overlaps {one.name}: a digit is of one field only",
            )


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


def _is_name(text: str) -> bool:
    return text.isprintable() and bool(text.strip())
