"""Runs, and the pages that two of them have done, with their digits: many pages at a time, never all.

Documents that were replaced are left out, as everywhere.
"""

from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, case, func, select

from pipeline.catalogue import PageSource, page_source, parts_of_run
from pipeline.comparison import Floats, PageDigits
from pipeline.exports import STREAM, newest_path
from pipeline.matching import is_replaced
from pipeline.sorting import SORTING, Sorting, networks_of, sorting_of
from pipeline.tables import DONE, detections, documents, ledger, numbers, pages, readings, runs


@dataclass(frozen=True, slots=True)
class Run:
    """A run: its networks by kind, with their SHA-256, and the other settings that change what is read."""

    run_id: int
    started_at: float  # seconds since 1970
    networks: dict[str, str]
    settings: dict[str, Any]
    n_pages: int
    n_done: int
    n_digits: int  # of pages that are done

    @property
    def every_network(self) -> frozenset[tuple[str, str]]:
        """All networks by kind and SHA-256: sorters, and those that read pages of some kinds, among them."""
        usual = frozenset(self.networks.items())
        return usual | networks_of(sorting_of(self.settings[SORTING])) if SORTING in self.settings else usual


@dataclass(frozen=True, slots=True)
class PagePair:
    """A page that one of two runs has done, or both: its row of the ledger in each, None where not done."""

    page_id: int
    is_pdf: bool
    ledger_a: int | None
    ledger_b: int | None
    n_digits: int  # of both


@dataclass(frozen=True, slots=True)
class NamedPage:
    """A page as people know it; `page` counts from 1."""

    path: str
    page: int


@dataclass(frozen=True, slots=True)
class Scan:
    """Where a page's pixels are, and how many there were when it was read."""

    source: PageSource
    n_pixels: int


def all_runs(conn: Connection) -> list[Run]:
    """Return every run, the oldest first: one look through the ledger."""
    done = ledger.c.state == DONE
    counted = (
        select(
            ledger.c.run_id,
            func.count().label("n_pages"),
            func.sum(case((done, 1), else_=0)).label("n_done"),
            func.sum(case((done, ledger.c.n_digits), else_=0)).label("n_digits"),
        )
        .where(_is_there())
        .group_by(ledger.c.run_id)
    )
    counts = {row.run_id: row for row in conn.execute(counted)}
    found = []
    for row in conn.execute(select(runs).order_by(runs.c.id)):
        networks, settings = parts_of_run(row)
        its = counts.get(row.id)
        found.append(
            Run(
                run_id=row.id,
                started_at=row.started_at,
                networks=networks,
                settings=settings,
                n_pages=int(its.n_pages) if its else 0,
                n_done=int(its.n_done) if its else 0,
                n_digits=int(its.n_digits) if its else 0,
            )
        )
    return found


def all_sortings(conn: Connection) -> list[Sorting]:
    """Return how pages were sorted, of every run that sorts; the ledger is not looked at."""
    settings = (parts_of_run(row)[1] for row in conn.execute(select(runs)))
    return [sorting_of(its[SORTING]) for its in settings if SORTING in its]


def n_pages_of_both(conn: Connection, run_a: int, run_b: int) -> int:
    """Count the pages that two runs have done."""
    other = ledger.alias()
    both = (
        select(func.count())
        .select_from(ledger.join(other, other.c.page_id == ledger.c.page_id))
        .where(ledger.c.run_id == run_a, other.c.run_id == run_b)
        .where(ledger.c.state == DONE, other.c.state == DONE, _is_there())
    )
    return int(conn.execute(both).scalar_one())


def page_pairs(conn: Connection, run_a: int, run_b: int) -> Generator[PagePair, None, None]:
    """Yield every page that either run has done, in the order in which pages were registered."""
    ids = (func.max(case((ledger.c.run_id == run, ledger.c.id))) for run in (run_a, run_b))
    either = (
        select(
            ledger.c.page_id,
            func.min(documents.c.format).label("format"),
            *(column.label(name) for column, name in zip(ids, ("ledger_a", "ledger_b"), strict=True)),
            func.sum(ledger.c.n_digits).label("n_digits"),
        )
        .join(pages, pages.c.id == ledger.c.page_id)
        .join(documents, documents.c.id == pages.c.document_id)
        .where(ledger.c.run_id.in_((run_a, run_b)), ledger.c.state == DONE, documents.c.replaced_at.is_(None))
        .group_by(ledger.c.page_id)
        .order_by(ledger.c.page_id)
    )
    # closed even where the caller stops halfway: PostgreSQL keeps a cursor open for it
    with conn.execute(either, execution_options=STREAM) as rows:
        for row in rows:
            yield PagePair(row.page_id, row.format == "pdf", row.ledger_a, row.ledger_b, int(row.n_digits))


def digits_of(conn: Connection, ledger_ids: Sequence[int]) -> dict[int, PageDigits]:
    """Return the digits of pages by their rows of the ledger, in two queries; rejected boxes are left out."""
    same = (readings.c.ledger_id == detections.c.ledger_id) & (readings.c.position == detections.c.position)
    of_digits = (
        select(
            detections.c.ledger_id,
            detections.c.x0,
            detections.c.y0,
            detections.c.x1,
            detections.c.y1,
            readings.c.digit,
            readings.c.confidence,
            func.coalesce(readings.c.number, -1),
        )
        .join(readings, same)
        .where(detections.c.ledger_id.in_(ledger_ids), readings.c.digit.is_not(None))
        .order_by(detections.c.ledger_id, detections.c.position)
    )
    of_numbers = (
        select(numbers.c.ledger_id, numbers.c.text)
        .where(numbers.c.ledger_id.in_(ledger_ids))
        .order_by(numbers.c.ledger_id, numbers.c.position)
    )
    texts: defaultdict[int, list[str]] = defaultdict(list)
    for ledger_id, text in conn.execute(of_numbers).all():
        texts[ledger_id].append(text)
    # ids and digits are whole numbers that a float holds exactly
    found = np.array([tuple(row) for row in conn.execute(of_digits).all()], np.float64).reshape(-1, 8)
    ends = np.searchsorted(found[:, 0], ledger_ids, side="right")
    starts = np.searchsorted(found[:, 0], ledger_ids, side="left")
    return {
        ledger_id: _page_digits(found[start:end], tuple(texts[ledger_id]))
        for ledger_id, start, end in zip(ledger_ids, starts, ends, strict=True)
    }


def named_pages(conn: Connection, page_ids: Sequence[int]) -> dict[int, NamedPage]:
    """Return how people know these pages: the newest path of their documents, and their number there."""
    query = select(pages.c.id, pages.c.page_index, newest_path(pages.c.document_id))
    rows = conn.execute(query.where(pages.c.id.in_(page_ids)))
    return {row.id: NamedPage(row.path, row.page_index + 1) for row in rows}


def scan_of(conn: Connection, page_id: int) -> Scan:
    """Return where the pixels of a page are."""
    size = conn.execute(select(pages.c.width, pages.c.height).where(pages.c.id == page_id)).one()
    return Scan(page_source(conn, page_id), (size.width or 0) * (size.height or 0))


def _page_digits(rows: Floats, texts: tuple[str, ...]) -> PageDigits:
    return PageDigits(
        boxes=rows[:, 1:5],
        digits=rows[:, 5].astype(np.int64),
        confidences=rows[:, 6],
        numbers=rows[:, 7].astype(np.int64),
        texts=texts,
    )


def _is_there() -> ColumnElement[bool]:
    """Return the condition for rows of the ledger whose documents were not replaced."""
    return ledger.c.page_id.not_in(select(pages.c.id).where(is_replaced(pages.c.document_id)))
