"""A form applied to pages that were read: their records made, corrected, ruled and kept."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from pipeline.errors import UsageError
from pipeline.finding import of_kind
from pipeline.forms import Form, form_of
from pipeline.frames import Frame
from pipeline.matching import documents_meant, is_replaced, is_shown
from pipeline.record_store import (
    corrections_of,
    page_of_ledger,
    read_frame,
    with_corrections,
    write_frame,
    write_records,
)
from pipeline.records import Record, build_records
from pipeline.results import read_detections, read_readings
from pipeline.rules import apply_rules
from pipeline.tables import DONE, documents, forms, ledger, pages, records, runs

_RENDERED = ("pdf", "zip")  # documents that may have pages which are drawn at a resolution


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page that was read, in the run that is shown."""

    ledger_id: int
    page_id: int
    run_id: int


def read_pages(conn: Connection, named: Sequence[tuple[str, int | None]], kind: str | None) -> list[ReadPage]:
    """Return the pages that were read, of documents and pages (from 1) that are named; all where none are.

    `kind` leaves only those of a kind.  Raises UsageError for a document, page or kind that is not there, and
    where none was read.
    """
    query = (
        select(ledger.c.id, ledger.c.page_id, ledger.c.run_id)
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(is_shown(), ledger.c.state == DONE, ~is_replaced(pages.c.document_id))
        .order_by(pages.c.document_id, pages.c.page_index)
    )
    if kind is not None:
        query = query.where(of_kind(conn, kind, ledger.c.kind))
    of = "" if kind is None else f" of kind {kind}"
    if not named:
        every = [ReadPage(*row) for row in conn.execute(query)]
        if not every:
            raise UsageError(f"no page{of} was read yet: archive ingest SCANS")
        return every
    found: dict[ReadPage, None] = {}
    for document, page in named:
        of_document = query.where(pages.c.document_id.in_(documents_meant(conn, document)))
        if page is not None:
            of_document = of_document.where(pages.c.page_index == page - 1)
        meant = [ReadPage(*row) for row in conn.execute(of_document)]
        if not meant:
            name = document if page is None else f"{document}:{page}"
            raise UsageError(f"{name} means no page{of} that was read")
        found |= dict.fromkeys(meant)
    return list(found)


def apply_form(
    conn: Connection, ledger_id: int, form_id: int, form: Form, frame: Frame
) -> tuple[Record, ...]:
    """Put a page's records by a form in the place of those that it had; return them.

    What people corrected stands before rules are applied, so that they hold to it.
    """
    readings, numbers = read_readings(conn, ledger_id)
    made = build_records(read_detections(conn, ledger_id), readings, numbers, frame, form)
    said = corrections_of(conn, page_of_ledger(conn, ledger_id))
    ruled = apply_rules(with_corrections(made, said, form), form)
    write_records(conn, ledger_id, form_id, ruled)
    return ruled


def record_again(conn: Connection, page_id: int, ledger_id: int) -> None:
    """Make records of a page that was just read once more, by the form of those that it had.

    A page that had none gets none, nor one whose pixels are others now (of a PDF, at another resolution).
    """
    before = conn.execute(
        select(records.c.ledger_id, forms.c.id, forms.c.form, runs.c.settings)
        .join(ledger, ledger.c.id == records.c.ledger_id)
        .join(forms, forms.c.id == records.c.form_id)
        .join(runs, runs.c.id == ledger.c.run_id)
        .where(ledger.c.page_id == page_id, ledger.c.id != ledger_id)
        .order_by(ledger.c.current.desc(), ledger.c.id.desc())
        .limit(1)
    ).first()
    if before is None or (frame := read_frame(conn, before.ledger_id)) is None:
        return
    now = conn.execute(
        select(runs.c.settings, documents.c.format)
        .join(ledger, ledger.c.run_id == runs.c.id)
        .join(pages, pages.c.id == ledger.c.page_id)
        .join(documents, documents.c.id == pages.c.document_id)
        .where(ledger.c.id == ledger_id)
    ).one()
    if now.format in _RENDERED and _dpi(now.settings) != _dpi(before.settings):
        return
    write_frame(conn, ledger_id, frame)
    apply_form(conn, ledger_id, before.id, form_of(json.loads(before.form)), frame)


def _dpi(settings: str) -> int | None:
    dpi: int | None = json.loads(settings).get("render_dpi")
    return dpi
