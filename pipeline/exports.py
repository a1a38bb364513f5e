"""A page with all that its current run found, as show needs it, and what queries of pages share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, select

from pipeline.catalogue import PageSource, page_source
from pipeline.errors import UsageError
from pipeline.matching import documents_meant, one_document
from pipeline.page import Detection, Number, Reading
from pipeline.results import read_detections, read_readings
from pipeline.tables import documents, ledger, pages, paths

# rows as they come, not all in memory first
STREAM = {"yield_per": 500}
# pages whose digits are read at once: as many as this, or fewer where they have many digits
BATCH_PAGES, BATCH_DIGITS = 200, 20_000
Page = TypeVar("Page")


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


def newest_path(document_id: ColumnElement[int]) -> ColumnElement[str]:
    """Return the newest path of the document of the row, as a column named path."""
    newest = select(paths.c.path).where(paths.c.document_id == document_id)
    return newest.order_by(paths.c.seen_at.desc(), paths.c.path).limit(1).scalar_subquery().label("path")


def in_batches(every: Iterable[Page], n_digits: Callable[[Page], int]) -> Iterator[list[Page]]:
    """Yield pages in lists whose digits may be in memory together, given how many each has."""
    batch: list[Page] = []
    n_held = 0
    for page in every:
        batch.append(page)
        n_held += n_digits(page)
        if len(batch) >= BATCH_PAGES or n_held >= BATCH_DIGITS:
            yield batch
            batch, n_held = [], 0
    if batch:
        yield batch
