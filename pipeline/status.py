"""How far an archive is read, in a few counts; a module of its own, so that asking imports little."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from pipeline.matching import is_replaced, is_shown
from pipeline.tables import (
    DETECTED,
    DONE,
    FAILED,
    PERSON,
    SKIPPED,
    STATES,
    UNSORTED,
    WAITING,
    documents,
    ledger,
    pages,
)


@dataclass(frozen=True, slots=True)
class Status:
    """The whole archive in a few counts; pages are counted once, in their current run."""

    n_documents: int
    n_failed_documents: int  # gave no page
    n_pages: int
    n_unsorted: int
    n_waiting: int
    n_detected: int
    n_done: int
    n_skipped: int  # of a kind that is not read
    n_person: int  # a person is to say their kind
    n_failed: int
    n_digits: int
    n_numbers: int
    n_finished_lately: int  # pages done in the last `lately_s` seconds
    lately_s: float
    pages_per_s: float
    kinds: tuple["OfKind", ...]  # where pages were sorted, by name


@dataclass(frozen=True, slots=True)
class OfKind:
    """The pages of one kind, in their current run."""

    kind: str
    n_pages: int
    n_done: int
    n_skipped: int
    n_person: int
    n_failed: int
    n_digits: int
    n_numbers: int


def status(conn: Connection, *, now: float, lately_s: float = 60.0) -> Status:
    """Count documents, pages by state, digits and numbers; an index holds all of it, no result is read.

    `now` is in seconds since 1970.  Pages that failed under newer weights, or are being read again, count
    in the state of the run that is shown; documents that were replaced are left out.
    """
    by_state = (
        select(ledger.c.state, func.count(), func.sum(ledger.c.n_digits), func.sum(ledger.c.n_numbers))
        .select_from(ledger)
        .group_by(ledger.c.state)
    )
    of_replaced = by_state.join(pages, pages.c.id == ledger.c.page_id).where(
        is_shown(), is_replaced(pages.c.document_id)
    )
    found = {state: (0, 0, 0) for state in STATES}
    # taken off afterwards: to leave them out would mean to look up the document of every page
    for sign, query in ((1, by_state.where(ledger.c.current)), (-1, of_replaced)):
        for state, *sums in conn.execute(query):
            a, b, c = (before + sign * int(more) for before, more in zip(found[state], sums, strict=True))
            found[state] = (a, b, c)
    n = {state: sums[0] for state, sums in found.items()}
    lately = select(func.count(), func.min(ledger.c.finished_at)).where(ledger.c.finished_at > now - lately_s)
    n_lately, first = conn.execute(lately).one()
    # an ingest that began a moment ago is as fast as it is since then
    span_s = min(lately_s, max(1.0, now - first)) if n_lately else lately_s
    return Status(
        n_documents=conn.execute(select(func.count()).select_from(documents)).scalar_one()
        - conn.execute(
            select(func.count()).select_from(documents).where(documents.c.replaced_at.is_not(None))
        ).scalar_one(),
        n_failed_documents=conn.execute(
            select(func.count()).select_from(documents).where(documents.c.reason.is_not(None))
        ).scalar_one(),
        n_pages=sum(n.values()),
        n_unsorted=n[UNSORTED],
        n_waiting=n[WAITING],
        n_detected=n[DETECTED],
        n_done=n[DONE],
        n_skipped=n[SKIPPED],
        n_person=n[PERSON],
        n_failed=n[FAILED],
        n_digits=sum(row[1] for row in found.values()),
        n_numbers=sum(row[2] for row in found.values()),
        n_finished_lately=n_lately,
        lately_s=lately_s,
        pages_per_s=n_lately / span_s,
        kinds=_by_kind(conn),
    )


def _by_kind(conn: Connection) -> tuple[OfKind, ...]:
    """Count sorted pages by kind and state, from an index alone where there is no replaced document."""
    by_kind = (
        select(
            ledger.c.kind,
            ledger.c.state,
            func.count(),
            func.sum(ledger.c.n_digits),
            func.sum(ledger.c.n_numbers),
        )
        .select_from(ledger)
        .where(ledger.c.kind.is_not(None))
        .group_by(ledger.c.kind, ledger.c.state)
    )
    of_replaced = by_kind.join(pages, pages.c.id == ledger.c.page_id).where(
        is_shown(), is_replaced(pages.c.document_id)
    )
    n: dict[str, Counter[str]] = {}
    for sign, query in ((1, by_kind.where(ledger.c.current)), (-1, of_replaced)):
        for kind, state, n_pages, n_digits, n_numbers in conn.execute(query):
            of_kind = n.setdefault(kind, Counter())
            for name, count in ((state, n_pages), ("digits", n_digits), ("numbers", n_numbers)):
                of_kind[name] += sign * int(count)
    return tuple(
        OfKind(
            kind=kind,
            n_pages=n_pages,
            n_done=of_kind[DONE],
            n_skipped=of_kind[SKIPPED],
            n_person=of_kind[PERSON],
            n_failed=of_kind[FAILED],
            n_digits=of_kind["digits"],
            n_numbers=of_kind["numbers"],
        )
        for kind, of_kind in sorted(n.items())
        if (n_pages := sum(of_kind[state] for state in STATES))
    )
