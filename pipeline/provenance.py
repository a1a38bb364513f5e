"""Where a value comes from: page, boxes, networks, settings, run, form, rule, correction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from pipeline.catalogue import parts_of_run
from pipeline.errors import UsageError
from pipeline.exports import newest_path
from pipeline.page import Box
from pipeline.record_finding import parse_id, record_id
from pipeline.record_store import Correction, corrections_of, read_records, rows_meant
from pipeline.records import Value
from pipeline.results import box_of
from pipeline.tables import detections, documents, forms, ledger, pages, readings, records, runs


@dataclass(frozen=True, slots=True)
class DigitRead:
    """A digit that a value is made of: its box, what was read in it, how sure, and what else it may be."""

    box: Box
    score: float
    digit: int | None
    confidence: float
    runners_up: tuple[tuple[int | None, float], ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """All that is known of how a record came about; `page` and `row` count from 1."""

    id: str
    path: str
    sha256: str
    page: int
    row: int
    kind: str | None
    form: str
    form_sha256: str
    run_id: int
    started_at: float
    finished_at: float | None
    networks: dict[str, str]
    settings: dict[str, Any]
    page_id: int
    place: float  # where its row begins, a share of the frame's height
    values: tuple[Value, ...]
    corrections: tuple[Correction, ...]
    shown: bool  # not of an older run


def origin_of(conn: Connection, text: str) -> Origin:
    """Return where `12.3`, or a value of it, `12.3.fee`, comes from; UsageError where there is none."""
    ledger_id, position, name = parse_id(text)
    row = conn.execute(
        select(
            records.c.start,
            forms.c.name.label("form"),
            forms.c.sha256.label("form_sha256"),
            ledger.c.run_id,
            ledger.c.current,
            ledger.c.kind,
            ledger.c.page_id,
            ledger.c.finished_at,
            pages.c.document_id,
            pages.c.page_index,
            documents.c.sha256,
            newest_path(pages.c.document_id),
        )
        .join(forms, forms.c.id == records.c.form_id)
        .join(ledger, ledger.c.id == records.c.ledger_id)
        .join(pages, pages.c.id == ledger.c.page_id)
        .join(documents, documents.c.id == pages.c.document_id)
        .where(records.c.ledger_id == ledger_id, records.c.position == position)
    ).one_or_none()
    if row is None:
        raise UsageError(f"there is no record {text}: `archive query --record` shows their ids")
    of_page = read_records(conn, ledger_id)
    values = next(record.values for record in of_page if record.position == position)
    if name is not None:
        named = tuple(value for value in values if value.column == name)
        if not named:
            known = ", ".join(value.column for value in values)
            raise UsageError(f"record {record_id(ledger_id, position)} has no field {name!r}: it has {known}")
        values = named
    run = conn.execute(select(runs).where(runs.c.id == row.run_id)).one()
    networks, settings = parts_of_run(run)
    every = corrections_of(conn, row.page_id)
    said = tuple(
        one
        for one, meant in zip(every, rows_meant(of_page, every), strict=True)
        if meant is not None
        and of_page[meant].position == position
        and any(value.column == one.field for value in values)
    )
    return Origin(
        record_id(ledger_id, position),
        row.path,
        row.sha256,
        row.page_index + 1,
        position + 1,
        row.kind,
        row.form,
        row.form_sha256,
        row.run_id,
        run.started_at,
        row.finished_at,
        networks,
        settings,
        row.page_id,
        row.start,
        values,
        said,
        bool(row.current),
    )


def digits_of(conn: Connection, ledger_id: int, members: Sequence[int]) -> tuple[DigitRead, ...]:
    """Return the digits at these positions of a page, in their order."""
    rows = conn.execute(
        select(detections, readings.c.digit, readings.c.confidence, readings.c.runners_up)
        .join(
            readings,
            (readings.c.ledger_id == detections.c.ledger_id) & (readings.c.position == detections.c.position),
        )
        .where(detections.c.ledger_id == ledger_id, detections.c.position.in_(members))
    )
    found = {
        row.position: DigitRead(
            box_of(row),
            row.score,
            row.digit,
            row.confidence,
            tuple((digit, chance) for digit, chance in json.loads(row.runners_up)),
        )
        for row in rows
    }
    return tuple(found[member] for member in members if member in found)
