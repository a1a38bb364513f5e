"""What was found on a page, to rows and back; every function works in the caller's transaction."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, delete, select

from pipeline.inserts import insert_rows, many
from pipeline.page import Alternative, Box, Detection, Number, Reading
from pipeline.tables import detections, fields, frames, numbers, readings, records

_DIGITS = "0123456789"
_DETECTIONS = (
    select(detections).where(detections.c.ledger_id == bindparam("of_ledger")).order_by(detections.c.position)
)


def write_detections(conn: Connection, ledger_id: int, found: Sequence[Detection]) -> None:
    """Insert the detections of a page, in order."""
    rows = [
        {
            "ledger_id": ledger_id,
            "position": position,
            "score": float(detection.score),
            "mark": detection.mark,
            **_columns(detection.box),
        }
        for position, detection in enumerate(found)
    ]
    _write(conn, detections, rows)


def write_readings(
    conn: Connection, ledger_id: int, read: Sequence[Reading], grouped: Sequence[Number]
) -> None:
    """Insert the readings of a page's detections, in order, and the numbers that they make."""
    places = {
        member: (position, place)
        for position, number in enumerate(grouped)
        for place, member in enumerate(number.members)
    }
    reading_rows = [
        {
            "ledger_id": ledger_id,
            "position": position,
            "digit": None if reading.digit is None else int(reading.digit),
            "confidence": float(reading.confidence),
            "runners_up": json.dumps(
                [
                    [None if digit is None else int(digit), float(chance)]
                    for digit, chance in reading.runners_up
                ]
            ),
            "number": places.get(position, (None, None))[0],
            "place": places.get(position, (None, None))[1],
        }
        for position, reading in enumerate(read)
    ]
    number_rows = [
        {
            "ledger_id": ledger_id,
            "position": position,
            "text": number.text,
            "sort_key": sort_key(number.text),
            "confidence": float(number.confidence),
            "line": number.line,
            "alternatives": alternatives_as_text(number.alternatives),
            "written": number.written,
        }
        | _columns(number.box)
        for position, number in enumerate(grouped)
    ]
    _write(conn, readings, reading_rows)
    _write(conn, numbers, number_rows)


def forget_results(conn: Connection, ledger_ids: Sequence[int]) -> None:
    """Delete whatever was found and read on pages, by their rows of the ledger."""
    for table in (fields, records, frames, numbers, readings, detections):
        conn.execute(delete(table).where(table.c.ledger_id.in_(ledger_ids)))


def _write(conn: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:  # without rows SQLAlchemy would insert one of defaults
        dialect = conn.dialect.name
        conn.execute(insert_rows(dialect, table), many(dialect, rows))


def read_detections(conn: Connection, ledger_id: int) -> tuple[Detection, ...]:
    """Return a page's detections, in order."""
    rows = conn.execute(_DETECTIONS, {"of_ledger": ledger_id})
    return tuple(Detection(box_of(row), row.score, row.mark) for row in rows)


def read_readings(conn: Connection, ledger_id: int) -> tuple[tuple[Reading, ...], tuple[Number, ...]]:
    """Return a page's readings, one a detection, and its numbers in reading order; none before it is done."""
    rows = conn.execute(
        select(readings).where(readings.c.ledger_id == ledger_id).order_by(readings.c.position)
    ).all()
    read = tuple(
        Reading(
            row.digit,
            row.confidence,
            tuple((digit, chance) for digit, chance in json.loads(row.runners_up)),
        )
        for row in rows
    )
    members: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        if row.number is not None:
            members.setdefault(row.number, []).append((row.place, row.position))
    grouped = conn.execute(
        select(numbers).where(numbers.c.ledger_id == ledger_id).order_by(numbers.c.position)
    )
    return read, tuple(
        Number(
            row.text,
            row.confidence,
            box_of(row),
            row.line,
            tuple(position for _, position in sorted(members.get(row.position, []))),
            alternatives_of(row.alternatives),
            row.written,
        )
        for row in grouped
    )


def alternatives_as_text(alternatives: Sequence[Alternative]) -> str:
    """Return other readings of a number as they are stored.

    >>> alternatives_as_text([Alternative("2378", 0.25, (3, 0, 7))])
    '[["2378",0.25,[3,0,7]]]'
    """
    rows = [(one.text, float(one.probability), [int(i) for i in one.members]) for one in alternatives]
    return json.dumps(rows, separators=(",", ":"))


def alternatives_of(stored: str) -> tuple[Alternative, ...]:
    """Return the other readings of a number from what is stored."""
    return tuple(Alternative(text, chance, tuple(members)) for text, chance, members in json.loads(stored))


def sort_key(text: str) -> str:
    """Return the key that sorts as the number does: how many digits without leading zeros, then these.

    Decimals stand behind a point, without zeros at their end.

    >>> sort_key("0042"), sort_key("42.50")
    ('000242', '000242.5')
    """
    whole, _, decimals = text.partition(".")
    digits = "".join(char for char in whole if char in _DIGITS).lstrip("0")
    decimals = "".join(char for char in decimals if char in _DIGITS).rstrip("0")
    return f"{len(digits):04d}{digits}" + (f".{decimals}" if decimals else "")


def box_of(row: Row[Any]) -> Box:
    """Return the box of a row's four columns."""
    return Box(row.x0, row.y0, row.x1, row.y1)


def _columns(box: Box) -> dict[str, float]:
    return {"x0": float(box.x0), "y0": float(box.y0), "x1": float(box.x1), "y1": float(box.y1)}
