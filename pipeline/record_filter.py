"""Which records are asked for, and what of their fields."""

import re
from dataclasses import dataclass
from typing import Literal

Sign = Literal["=", "<", "<=", ">", ">="]
NUMBER = re.compile(r"\d+(\.\d+)?|\.\d+", re.ASCII)  # what a bound can be


@dataclass(frozen=True, slots=True)
class FieldWish:
    """What a field is to be: `no = 0042` as it is written or by its value, or a bound of its value.

    A date's value is as ISO 8601 has it.
    """

    name: str
    sign: Sign
    text: str


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records are asked for; what is None doesn't matter.

    `order` is `reading`, `confidence`, or the name of a field, after a `-` from high to low.
    """

    fields: tuple[FieldWish, ...] = ()
    document: str | None = None
    kind: str | None = None
    page: int | None = None  # from 1
    form: str | None = None
    flagged: bool = False
    min_confidence: float | None = None
    max_confidence: float | None = None
    order: str = "reading"
    limit: int | None = None
