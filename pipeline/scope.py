"""What is verified: which documents, how much there is of them, and what is said where something is wrong."""

from array import array
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, BigInteger, ColumnElement, Connection, Select, cast, func, literal, select, true

from pipeline.catalogue import parts_of_run
from pipeline.exports import STREAM
from pipeline.matching import documents_meant, is_replaced, is_shown
from pipeline.sorting import SORTING, networks_of, sorting_of
from pipeline.tables import DONE, SKIPPED, documents, ledger, pages, runs

ROWS = "rows"  # the kind of problem of all rows
_READ_AGAIN = "read it again: archive ingest --again"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, with which document and page (from 1), and what to do about it."""

    kind: str  # missing, moved, changed, unreadable (a scan), rows, network
    path: str | None  # as the catalogue writes it
    page: int | None
    found: str
    mend: str


@dataclass(frozen=True, slots=True)
class Scope:
    """Which documents are looked at: those of these ids, or all but those that were replaced."""

    ids: tuple[int, ...] | None = None

    def documents(self, conn: Connection, column: ColumnElement[int]) -> ColumnElement[bool]:
        """Return the condition that a column names one of them."""
        return ~is_replaced(column) if self.ids is None else among(conn, column, self.ids)

    def ledger_rows(self, conn: Connection, column: ColumnElement[int]) -> ColumnElement[bool]:
        """Return the condition that a column names a row of the ledger of one of them."""
        if self.ids is None:
            return true()
        theirs = select(ledger.c.id).join(pages, pages.c.id == ledger.c.page_id)
        return column.in_(theirs.where(self.documents(conn, pages.c.document_id)))


def scope_of(conn: Connection, specs: Sequence[str]) -> Scope:
    """Return the documents that people named, each as `documents_meant` takes it, or all if they named none.

    Raises UsageError where there is none of a name.
    """
    if not specs:
        return Scope()
    return Scope(tuple(sorted({id for spec in specs for id in conn.scalars(documents_meant(conn, spec))})))


def among(conn: Connection, column: ColumnElement[int], ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition that a column is one of these ids, of which there may be any number."""
    given = literal(list(ids), JSON)  # one variable: databases take some ten thousand
    unpacked = func.json_each if conn.dialect.name == "sqlite" else func.json_array_elements_text
    return column.in_(select(cast(unpacked(given).table_valued("value").c.value, BigInteger)))


def document_ids(conn: Connection, scope: Scope) -> Sequence[int]:
    """Return the ids of the documents in scope whose scans there should be, in their order."""
    have_scans = documents.c.n_pages > 0, documents.c.replaced_at.is_(None)
    found = select(documents.c.id).where(*have_scans, scope.documents(conn, documents.c.id))
    return array("q", conn.scalars(found.order_by(documents.c.id)))


def n_documents_and_pages(conn: Connection, scope: Scope) -> tuple[int, int]:
    """Return how many documents with pages are in scope, and how many pages."""
    of_pages = select(func.count(pages.c.document_id.distinct()), func.count()).select_from(pages)
    n_documents, n_pages = conn.execute(of_pages.where(scope.documents(conn, pages.c.document_id))).one()
    return n_documents, n_pages


def networks_that_read(conn: Connection, scope: Scope) -> dict[tuple[str, str], int]:
    """Return the networks of the runs that are shown, by kind and SHA-256, and how many pages each is of."""
    n_pages = (
        select(ledger.c.run_id, func.count())
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(is_shown(), ledger.c.state.in_((DONE, SKIPPED)), scope.documents(conn, pages.c.document_id))
        .group_by(ledger.c.run_id)
    )
    counts = {run_id: n for run_id, n in conn.execute(n_pages)}
    found: dict[tuple[str, str], int] = {}
    for row in conn.execute(select(runs).where(runs.c.id.in_(list(counts))).order_by(runs.c.id)):
        networks, settings = parts_of_run(row)
        named = set(networks.items())
        if SORTING in settings:
            named |= networks_of(sorting_of(settings[SORTING]))
        for network in sorted(named):
            found[network] = found.get(network, 0) + counts[row.id]
    return found


def of_page(row: Any, found: str, mend: str = _READ_AGAIN) -> Problem:
    """Return what is wrong with the rows of a page, whose path and index a row has."""
    return Problem(ROWS, row.path, row.page_index + 1, found, mend)


def streamed(conn: Connection, query: Select[Any]) -> Generator[Any, None, None]:
    """Yield rows as they come: a million need not be in memory."""
    with conn.execute(query, execution_options=STREAM) as rows:
        yield from rows
