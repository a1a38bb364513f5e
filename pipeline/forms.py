"""Forms: which column of a printed table holds what, and which rules its values keep.

`pipeline/form_files.py` reads one as people write it; a run keeps it as JSON.
"""

import datetime
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

Type = Literal["number", "day", "date", "serial", "amount", "code"]
Bound = int | float | datetime.date
# what exports call the columns of a record, and what they put behind a field's name and a _
OF_RECORD = (
    "id",
    "confidence",
    "flagged",
    "document",
    "page",
    "row",
    "form",
    "kind",
    "document_id",
    "run_id",
)
OF_FIELD = ("text", "confidence", "flag", "made_by", "replaced")
# what may be said of values
RULES = (
    "min",
    "max",
    "codes",
    "step",
    "gaps",
    "ascending",
    "rule",
    "decimals",
    "order",
    "century",
)


@dataclass(frozen=True, slots=True)
class Values:
    """What values are: their type, and the rules for them.

    `min` and `max` are both included: dates for type date, else numbers, an amount's in whole units.  `codes`
    are all values there are, as text, since leading zeros matter.  `step` is what a serial number grows by
    from row to row, and `gaps` whether some may be left out; `ascending` values stay or grow from row to row,
    days until a new month.  `rule` is the x, as a share of the frame's width, between an amount's whole units
    and its cents, and `decimals` how many digits the cents have.  `order` is how dates are written, of the
    letters d, m and y; `century` is what years of two digits are added to.
    """

    type: Type = "number"
    min: Bound | None = None
    max: Bound | None = None
    codes: tuple[str, ...] = ()
    step: int = 1
    gaps: bool = False
    ascending: bool = False
    rule: float | None = None
    decimals: int = 0
    order: Literal["dmy", "mdy", "ymd"] = "dmy"
    century: int | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: it lies between two x that are shares of the frame's width.

    `at` is the end of a row's entry that its value stands at: the first line of it, or the last.
    """

    name: str
    left: float
    right: float
    values: Values
    at: Literal["top", "bottom"] = "top"


@dataclass(frozen=True, slots=True)
class Field:
    """A value that stands once on a page: its box (u0, v0, u1, v1) in shares of the frame."""

    name: str
    box: tuple[float, float, float, float]
    values: Values


@dataclass(frozen=True, slots=True)
class Sum:
    """A rule: the values of a column add up to a field."""

    name: str
    column: str
    field: str


@dataclass(frozen=True, slots=True)
class Form:
    """A form: columns from left to right, fields and sums by their names.

    Each number in the column `rows` starts a row; without columns it is empty.
    """

    name: str
    columns: tuple[Column, ...]
    fields: tuple[Field, ...]
    rows: str
    sums: tuple[Sum, ...] = ()

    def column(self, name: str) -> Column:
        """Return the column of a name; KeyError where there is none."""
        return {column.name: column for column in self.columns}[name]

    def edges(self, near: float = 0.005) -> list[float]:
        """Return where columns begin and end, ascending; those that stand nearer than `near` are one."""
        found: list[float] = []
        for edge in sorted(edge for column in self.columns for edge in (column.left, column.right)):
            if not found or edge - found[-1] > near:
                found.append(edge)
        return found


def as_json(form: Form) -> dict[str, Any]:
    """Return a form as a run keeps it; only what differs from the defaults is said of values."""
    return {
        "name": form.name,
        "rows": form.rows,
        "columns": [
            {"name": one.name, "from": one.left, "to": one.right, "at": one.at, **_values_as_json(one.values)}
            for one in form.columns
        ],
        "fields": [
            {"name": one.name, "box": list(one.box), **_values_as_json(one.values)} for one in form.fields
        ],
        "sums": [{"name": one.name, "column": one.column, "field": one.field} for one in form.sums],
    }


def form_of(value: dict[str, Any]) -> Form:
    """Return the form that `as_json` gave."""
    return Form(
        value["name"],
        tuple(Column(c["name"], c["from"], c["to"], _values_of(c), c["at"]) for c in value["columns"]),
        tuple(Field(f["name"], tuple(f["box"]), _values_of(f)) for f in value["fields"]),
        value["rows"],
        tuple(Sum(s["name"], s["column"], s["field"]) for s in value["sums"]),
    )


def form_hash(form: Form) -> str:
    """Return the SHA-256 of a form: comments and the order of its tables make no difference."""
    text = json.dumps(as_json(form), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _values_as_json(values: Values) -> dict[str, Any]:
    said: dict[str, Any] = {"type": values.type}
    for key in RULES:
        value = getattr(values, key)
        if value != getattr(Values(), key):
            said[key] = value.isoformat() if isinstance(value, datetime.date) else value
    return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}


def _values_of(value: dict[str, Any]) -> Values:
    said = {key: value[key] for key in ("type", *RULES) if key in value}
    if "codes" in said:
        said["codes"] = tuple(said["codes"])
    for key in ("min", "max"):
        if isinstance(said.get(key), str):
            said[key] = datetime.date.fromisoformat(said[key])
    return Values(**said)
