"""Records: the rows of a register, put together from what was read on its page by a form.

Everything is done in shares of the page's frame, so that size, shift and skew of a scan don't matter, and
from what is stored alone: the same digits, frame and form give the same records.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from pipeline.forms import Column, Field, Form, Values
from pipeline.frames import Frame
from pipeline.normalising import digits_of, has_marks, normalised, with_rule
from pipeline.numbers import as_written
from pipeline.page import Alternative, Box, Detection, Number, Reading

SAME_LINE = 0.7  # of a digit's height: pieces no further apart are on one line
ROW_ABOVE = 0.9  # of a digit's height above a row's own line, where what belongs to it begins
_OVER = 0.02  # digits of an outer column may reach over the side of the frame so far
_NEAR = 0.8  # of its width: a digit so near to the edge of a column goes with the digit beside it
_LAST_DAY = 31
_SIDE = 0.005  # a column that begins or ends so near to a side is an outer one

PAGE = -1  # the position of the record of what stands once on a page
NETWORK, RULE, PERSON = "network", "rule", "person"  # what a value was made by

Floats = npt.NDArray[np.float64]
Place = Callable[[float, float], str | None]  # the column or field at a place of the frame


@dataclass(frozen=True, slots=True)
class Value:
    """What stands in a field of a record, or that nothing was read there (`text` is empty).

    `text` is as it is written, leading zeros, marks and the rule of an amount included; `value` is what to
    compare and sort by, empty where the text has none for sure.  `confidence` is the chance that all of it
    is right.  `numbers` and `members` are positions of the page's numbers and detections that it comes
    from.  `alternatives` are other readings of the whole field.  `made_by` says what it is by: a network,
    or a rule that chose among the alternatives instead of `replaced`.  `flag` says which rule it breaks.
    """

    column: str
    text: str
    value: str
    confidence: float
    box: Box | None
    numbers: tuple[int, ...] = ()
    members: tuple[int, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    made_by: str = NETWORK
    replaced: str | None = None
    flag: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A row of the register: its values in the order of the form's columns, and where it stands.

    Rows count from 0; the values that stand once on a page are a record too, at `PAGE`.  `start` and `end`
    are shares of the frame's height: what stands between them belongs to the row.
    """

    position: int
    start: float
    end: float
    values: tuple[Value, ...]

    def __getitem__(self, column: str) -> Value:
        return next(value for value in self.values if value.column == column)

    def has(self, column: str) -> bool:
        """Whether it has a value of that name, be it empty."""
        return any(value.column == column for value in self.values)

    @property
    def confidence(self) -> float:
        """How sure its least sure value is; 0 where nothing was read at all."""
        return min((value.confidence for value in self.values if value.text), default=0.0)

    @property
    def flagged(self) -> bool:
        """Whether a rule flags a value of it."""
        return any(value.flag for value in self.values)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Digits of one number that stand in one column, from left to right."""

    column: str
    text: str
    confidence: float
    alternatives: tuple[Alternative, ...]
    number: int
    members: tuple[int, ...]
    u: tuple[float, ...]  # of each digit's centre
    v: float  # of their middle
    height: float  # of a digit, as a share of the frame


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read on a page, and where its frame is."""

    detections: Sequence[Detection]
    readings: Sequence[Reading]
    numbers: Sequence[Number]
    frame: Frame


def build_records(
    detections: Sequence[Detection],
    readings: Sequence[Reading],
    numbers: Sequence[Number],
    frame: Frame,
    form: Form,
) -> tuple[Record, ...]:
    """Return the records of a page, from the top, without rules applied.

    What stands once on a page comes first, where the form has such fields.

    A row begins at each line of the form's `rows` column, and has what stands in the other columns on the
    same line, or for columns whose values stand at the bottom of an entry, on the last line before the next
    row's.
    """
    read = _Read(detections, readings, numbers, frame)
    alone = _of_page(read, form)
    pieces = list(_pieces(read, lambda u, v: _column_at(form, u, v)))
    starts = _lines([piece for piece in pieces if piece.column == form.rows])
    if not starts:
        return alone
    tops = np.array([np.mean([piece.v for piece in line]) for line in starts])
    heights = np.array([np.mean([piece.height for piece in line]) for line in starts])
    usual = float(np.median([piece.height for piece in pieces]))
    begins = np.maximum.accumulate(tops - ROW_ABOVE * np.maximum(heights, usual))
    ends = np.append(begins[1:], max(1.0, float(tops[-1]) + usual))
    own = {column.name: _of_rows(column, pieces, tops, begins, ends, usual) for column in form.columns}
    own[form.rows] = starts
    return alone + tuple(
        Record(
            row,
            float(begins[row]),
            float(ends[row]),
            tuple(_value(column, own[column.name][row], detections) for column in form.columns),
        )
        for row in range(len(starts))
    )


def _of_page(read: _Read, form: Form) -> tuple[Record, ...]:
    """Return the record of what stands once on a page; none where the form has no such fields."""
    if not form.fields:
        return ()
    pieces = list(_pieces(read, lambda u, v: _field_at(form, u, v)))
    values = []
    for field in form.fields:
        lines = _lines([piece for piece in pieces if piece.column == field.name])
        values.append(_value(field, [piece for line in lines for piece in line], read.detections))
    return (Record(PAGE, 0.0, 0.0, tuple(values)),)


def _pieces(read: _Read, place: Place) -> Iterator[_Piece]:
    """Yield the numbers of a page by the column or field of their digits; one in several comes apart."""
    detections, readings, numbers, frame = read.detections, read.readings, read.numbers, read.frame
    corners = np.array([detection.box.corners for detection in detections], np.float64).reshape(-1, 4)
    centres = frame.to_shares((corners[:, :2] + corners[:, 2:]) / 2)
    middle = corners.reshape(-1, 2, 2).mean(axis=1)
    upper = frame.to_shares(np.column_stack([middle[:, 0], corners[:, 1]]))
    lower = frame.to_shares(np.column_stack([middle[:, 0], corners[:, 3]]))
    heights = np.abs(lower[:, 1] - upper[:, 1])
    beside = frame.to_shares(np.column_stack([corners[:, 2], middle[:, 1]]))
    widths = 2 * (beside[:, 0] - centres[:, 0])
    owner = {member: position for position, number in enumerate(numbers) for member in number.members}

    def is_of(one: Alternative, position: int, column: str) -> bool:
        """Whether a reading is of this number alone: none of its boxes is another's, or beyond the column."""
        return bool(one.text) and all(
            owner[member] == position if member in owner else place(*centres[member].tolist()) == column
            for member in one.members
        )

    for position, number in enumerate(numbers):
        columns = [place(*centres[member].tolist()) for member in number.members]
        if len(set(columns)) > 1:
            at = list(number.members)
            columns = _kept_together(columns, centres[at], widths[at], place)
        for column in dict.fromkeys(name for name in columns if name is not None):
            places = [k for k, name in enumerate(columns) if name == column]
            members = tuple(number.members[k] for k in places)
            whole = len(places) == len(columns)
            yield _Piece(
                column,
                number.text if whole else "".join(number.text[k] for k in places),
                number.confidence if whole else prod(readings[member].confidence for member in members),
                tuple(one for one in number.alternatives if is_of(one, position, column)) if whole else (),
                position,
                members,
                tuple(float(centres[member, 0]) for member in members),
                float(np.mean([centres[member, 1] for member in members])),
                float(np.mean(heights[list(members)])),
            )


def _kept_together(
    columns: Sequence[str | None], centres: Floats, widths: Floats, place: Place
) -> list[str | None]:
    """Return the columns of a number's digits; one that just reaches over an edge goes with its neighbour.

    Where digits on both sides of the edge are near to it, the one goes that has fewer on its side.
    """
    after = list(columns)
    for k in range(len(after) - 1):
        left, right = after[k], after[k + 1]
        if left == right:
            continue
        (u, v), (next_u, next_v) = centres[k].tolist(), centres[k + 1].tolist()
        from_left = place(u + _NEAR * float(widths[k]), v) == right
        from_right = place(next_u - _NEAR * float(widths[k + 1]), next_v) == left
        if from_right and (not from_left or after[k + 1 :].count(right) <= after[: k + 1].count(left)):
            after[k + 1] = left
        elif from_left:
            after[k] = right
    return after


def _column_at(form: Form, u: float, v: float) -> str | None:
    if not 0 <= v <= 1 + _OVER or _field_at(form, u, v) is not None:  # the total below is none of its rows
        return None
    for column in form.columns:
        left = column.left - _OVER if column.left < _SIDE else column.left
        right = column.right + _OVER if column.right > 1 - _SIDE else column.right
        if left <= u < right:
            return column.name
    return None


def _field_at(form: Form, u: float, v: float) -> str | None:
    for field in form.fields:
        u0, v0, u1, v1 = field.box
        if u0 <= u < u1 and v0 <= v < v1:
            return field.name
    return None


def _lines(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Return the lines of pieces of one column, from the top, each from the left."""
    lines: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: (piece.v, piece.u)):
        if lines and piece.v - lines[-1][-1].v <= SAME_LINE * max(piece.height, lines[-1][-1].height):
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [sorted(line, key=lambda piece: piece.u) for line in lines]


def _of_rows(
    column: Column, pieces: Sequence[_Piece], tops: Floats, begins: Floats, ends: Floats, usual: float
) -> list[list[_Piece]]:
    """Return for each row the line of a column that belongs to it; an empty one where there is none."""
    own: list[list[_Piece]] = [[] for _ in tops]
    for line in _lines([piece for piece in pieces if piece.column == column.name]):
        v = float(np.mean([piece.v for piece in line]))
        row = int(np.searchsorted(begins, v, side="right")) - 1
        if row < 0 or v >= ends[row]:
            continue
        if column.at == "bottom":
            own[row] = line  # the last one stays
        elif abs(v - tops[row]) < ROW_ABOVE * usual and not own[row]:
            own[row] = line
    return own


def _value(column: Column | Field, line: Sequence[_Piece], detections: Sequence[Detection]) -> Value:
    if not line:
        return Value(column.name, "", "", 0.0, None)
    if column.values.type == "day":
        line = _day(line)
    members = tuple(member for piece in line for member in piece.members)
    corners = np.array([detections[member].box.corners for member in members])
    x0, y0 = corners[:, :2].min(axis=0).tolist()
    x1, y1 = corners[:, 2:].max(axis=0).tolist()
    text = _text([(piece.text, piece.members) for piece in line], detections, column.values)
    if column.values.rule is not None:
        text = with_rule(text, sum(u < column.values.rule for piece in line for u in piece.u))
    return Value(
        column.name,
        text,
        normalised(text, column.values),
        prod(piece.confidence for piece in line),
        Box(x0, y0, x1, y1),
        tuple(piece.number for piece in line),
        members,
        _alternatives(column, line, detections),
    )


def _text(parts: Sequence[tuple[str, Sequence[int]]], detections: Sequence[Detection], values: Values) -> str:
    """Return the numbers of one line, each with its detections, as they are written.

    Where the type of a value may have marks they stand in it, and a blank between numbers that have none.
    """
    if not has_marks(values):
        return "".join(text for text, _ in parts)
    written = [as_written(text, members, detections) or text for text, members in parts]
    between = [detections[members[-1]].mark or " " for _, members in parts[:-1]]
    return "".join(map("".join, zip(written, [*between, ""], strict=True)))


def _day(line: Sequence[_Piece]) -> Sequence[_Piece]:
    """Return the pieces of a line that make a day: the month may be written behind it."""
    for n in range(len(line), 1, -1):
        text = digits_of("".join(piece.text for piece in line[:n])).lstrip("0")
        if len(text) <= len(str(_LAST_DAY)) and int(text or "0") <= _LAST_DAY:
            return line[:n]
    return line[:1]


def _alternatives(
    column: Column | Field, line: Sequence[_Piece], detections: Sequence[Detection]
) -> tuple[Alternative, ...]:
    """Return other readings of a line: one of its pieces read otherwise."""
    if column.values.rule is not None:
        return ()
    found: dict[str, Alternative] = {}
    for k, piece in enumerate(line):
        others = prod(other.confidence for other in (*line[:k], *line[k + 1 :]))
        for one in piece.alternatives:
            parts = [(p.text, p.members) for p in line]
            parts[k] = one.text, one.members
            text = _text(parts, detections, column.values)
            members = tuple(member for _, of_part in parts for member in of_part)
            known = found.get(text)
            if known is None or known.probability < one.probability * others:
                found[text] = Alternative(text, one.probability * others, members)
    return tuple(sorted(found.values(), key=lambda one: (-one.probability, one.text)))


def values_by_name(form: Form) -> dict[str, Values]:
    """Return what is said of the values of each column and field."""
    of = {column.name: column.values for column in form.columns}
    return of | {field.name: field.values for field in form.fields}


def with_choice(value: Value, one: Alternative, values: Values) -> Value:
    """Return a value that reads as one of its alternatives, because a rule says so."""
    return replace(
        value,
        text=one.text,
        value=normalised(one.text, values),
        confidence=one.probability,
        members=one.members,
        made_by=RULE,
        replaced=value.replaced if value.made_by == RULE else value.text,
        flag=None,
    )
