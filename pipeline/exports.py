"""Whole pages with what was read on them, as show and export need them: current runs only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import fsencode
from pathlib import PurePosixPath

from sqlalchemy import ColumnElement, Connection, select

from pipeline.catalogue import PageSource, page_source
from pipeline.errors import UsageError
from pipeline.matching import documents_meant, is_replaced, is_shown, one_document
from pipeline.page import Box, Detection, Number, Reading
from pipeline.paths import text_to_path
from pipeline.results import box_of, read_detections, read_readings
from pipeline.tables import DONE, detections, documents, ledger, pages, paths, readings

# rows as they come, not all in memory first
STREAM = {"yield_per": 500}


@dataclass(frozen=True, slots=True)
class PageResult:
    """All that is known of a page in its current run."""

    ledger_id: int
    run_id: int
    state: str
    reason: str | None
    width: int | None
    height: int | None
    turned: int
    detections: tuple[Detection, ...]
    readings: tuple[Reading, ...]  # one a detection once the page is done, else none
    numbers: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class ExportedDigit:
    """One digit of `export digits`; `number` is the position of its number on the page."""

    box: Box
    digit: int
    confidence: float
    score: float
    number: int | None


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """One page of `export digits`; rejected detections are left out."""

    image: str  # the file's name, or the member's in a ZIP
    path: str
    page_index: int  # from 0 in its image
    width: int
    height: int
    turned: int
    digits: tuple[ExportedDigit, ...]


def page_of(conn: Connection, document: str, page: int = 1) -> PageSource:
    """Return the page (from 1) of the one document meant by a path, its end, sha256 prefix or id.

    Raises UsageError where none or several match (naming them), or the document has no such page.
    """
    document_id, name = one_document(conn, document)
    found = conn.scalar(
        select(pages.c.id).where(pages.c.document_id == document_id, pages.c.page_index == page - 1)
    )
    if found is None:
        n_pages = conn.scalar(select(documents.c.n_pages).where(documents.c.id == document_id))
        has = "no page that can be read" if not n_pages else "1 page" if n_pages == 1 else f"{n_pages} pages"
        raise UsageError(f"{name} has no page {page}: it has {has}")
    return page_source(conn, found)


def pages_of(conn: Connection, document: str) -> Sequence[int]:
    """Return the ids of all pages of the documents that a path, a folder, a pattern or the like means.

    Raises UsageError where there is none.
    """
    meant = documents_meant(conn, document)
    return conn.scalars(
        select(pages.c.id)
        .where(pages.c.document_id.in_(meant))
        .order_by(pages.c.document_id, pages.c.page_index)
    ).all()


def page_result(conn: Connection, page_id: int) -> PageResult:
    """Return what the page's current run found."""
    row = conn.execute(
        select(ledger, pages.c.width, pages.c.height)
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(ledger.c.page_id == page_id, ledger.c.current)
    ).one()
    read, grouped = read_readings(conn, row.id)
    return PageResult(
        ledger_id=row.id,
        run_id=row.run_id,
        state=row.state,
        reason=row.reason,
        width=row.width,
        height=row.height,
        turned=row.turned,
        detections=read_detections(conn, row.id),
        readings=read,
        numbers=grouped,
    )


def exported_pages(conn: Connection) -> Iterator[ExportedPage]:
    """Yield every page that is done, in the order of documents and pages."""
    done = (
        select(
            ledger.c.id,
            ledger.c.turned,
            pages.c.page_index,
            pages.c.member,
            pages.c.frame,
            pages.c.width,
            pages.c.height,
            newest_path(pages.c.document_id),
        )
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(is_shown(), ledger.c.state == DONE, ~is_replaced(pages.c.document_id))
        .order_by(pages.c.document_id, pages.c.page_index)
    )
    with conn.execute(done, execution_options=STREAM) as rows:
        for row in rows:
            yield ExportedPage(
                image=_file_name(row.path) if row.member is None else PurePosixPath(row.member).name,
                path=row.path,
                page_index=row.page_index if row.member is None else row.frame,
                width=row.width,
                height=row.height,
                turned=row.turned,
                digits=_exported_digits(conn, row.id),
            )


def _exported_digits(conn: Connection, ledger_id: int) -> tuple[ExportedDigit, ...]:
    same = (readings.c.ledger_id == detections.c.ledger_id) & (readings.c.position == detections.c.position)
    rows = conn.execute(
        select(detections, readings.c.digit, readings.c.confidence, readings.c.number)
        .join(readings, same)
        .where(detections.c.ledger_id == ledger_id, readings.c.digit.is_not(None))
        .order_by(detections.c.position)
    )
    return tuple(ExportedDigit(box_of(row), row.digit, row.confidence, row.score, row.number) for row in rows)


def _file_name(path: str) -> str:
    r"""Return the name of the file at a path of the catalogue; what is no UTF-8 in it stays `\xNN`."""
    return fsencode(text_to_path(path).name).decode("utf-8", "backslashreplace")


def newest_path(document_id: ColumnElement[int]) -> ColumnElement[str]:
    """Return the newest path of the document of the row, as a column named path."""
    newest = select(paths.c.path).where(paths.c.document_id == document_id)
    return newest.order_by(paths.c.seen_at.desc(), paths.c.path).limit(1).scalar_subquery().label("path")
