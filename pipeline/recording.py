"""A form applied to pages that were read: their records made, corrected, ruled and kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, func, select

from pipeline.errors import UsageError
from pipeline.finding import of_kind
from pipeline.forms import Form
from pipeline.frames import Frame
from pipeline.matching import documents_meant, is_replaced, is_shown
from pipeline.page_forms import form_id_of_row, form_of_row
from pipeline.record_store import (
    corrections_of,
    page_of_ledger,
    read_frame,
    with_corrections,
    write_records,
)
from pipeline.records import PAGE, Record, build_records
from pipeline.results import read_detections, read_readings
from pipeline.rules import apply_rules
from pipeline.shown import lock_runs
from pipeline.tables import DONE, ledger, pages, records

_MANY = 1000  # values in one condition: old SQLite takes no more


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page that was read, in the run that is shown."""

    ledger_id: int
    page_id: int
    run_id: int
    kind: str | None


def read_pages(conn: Connection, named: Sequence[tuple[str, int | None]], kind: str | None) -> list[ReadPage]:
    """Return the pages that were read, of documents and pages (from 1) that are named; all where none are.

    `kind` leaves only those of a kind.  Raises UsageError for a document, page or kind that is not there, and
    where none was read.
    """
    query = _read().where(~is_replaced(pages.c.document_id))
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


def pages_without_records(conn: Connection, document_ids: Sequence[int]) -> list[ReadPage]:
    """Return the pages of documents that were read and have a form, but no record that it made."""
    found: list[ReadPage] = []
    for start in range(0, len(document_ids), _MANY):
        some = document_ids[start : start + _MANY]
        form_id = form_id_of_row()
        made = select(records.c.ledger_id).where(
            records.c.ledger_id == ledger.c.id, records.c.form_id == form_id
        )
        query = _read().where(pages.c.document_id.in_(some), form_id.is_not(None), ~made.exists())
        found += [ReadPage(*row) for row in conn.execute(query)]
    return found


def n_records_since(conn: Connection, since: float) -> int:
    """Return how many rows became records of pages that were read since then (seconds since 1970)."""
    query = (
        select(func.count())
        .select_from(records.join(ledger, ledger.c.id == records.c.ledger_id))
        .where(ledger.c.finished_at >= since, records.c.position != PAGE)
    )
    return int(conn.execute(query).scalar_one())


def lock_shown(conn: Connection, page_id: int) -> ReadPage | None:
    """Return a page in the run that is shown, which nobody changes now; None where it is not read yet."""
    lock_runs(conn, page_id)
    row = conn.execute(_read().where(ledger.c.page_id == page_id)).one_or_none()
    return None if row is None else ReadPage(*row)


def _read() -> Select[int, int, int, str | None]:
    # nearly every row is done, but SQLite takes that for rare and begins with it: it may not use the index
    is_done = func.coalesce(ledger.c.state, "") == DONE
    return (
        select(ledger.c.id, ledger.c.page_id, ledger.c.run_id, ledger.c.kind)
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(is_shown(), is_done)
        .order_by(pages.c.document_id, pages.c.page_index)
    )


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


def record_page(conn: Connection, ledger_id: int) -> None:
    """Make the records of a page that was just read, by the form that it has.

    It gets none where it has no form, nor where that came when its pixels had been looked at already: then
    nobody has looked for its frame.
    """
    kept = form_of_row(conn, ledger_id)
    if kept is not None and (frame := read_frame(conn, ledger_id)) is not None:
        apply_form(conn, ledger_id, kept.form_id, kept.form, frame)
