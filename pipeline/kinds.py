"""Kinds of pages: how sorting a page ends, what a person says it is, and which pages wait for that.

Every function that takes an Engine is one transaction; `now` and leases are in seconds (since 1970).
"""

import math
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, func, select, update

from pipeline.catalogue import parts_of_run
from pipeline.claims import FREE, Claim, move
from pipeline.database import reading, writing
from pipeline.errors import UsageError
from pipeline.exports import STREAM, newest_path
from pipeline.matching import is_replaced
from pipeline.page_forms import has_form
from pipeline.results import forget_results
from pipeline.shown import lock_runs, show
from pipeline.sorting import BETWEEN, SORTING, KindPath, Sorting, networks_by, sorting_of
from pipeline.tables import DETECTED, DONE, PERSON, SKIPPED, WAITING, ledger, pages, runs


@dataclass(frozen=True, slots=True)
class FoundKind:
    """What a page is: its kind, how sure sorters are (None: a person said it), the state it goes on in."""

    kind: str
    confidence: float | None
    state: str  # waiting, skipped, person


@dataclass(frozen=True, slots=True)
class PageForPerson:
    """A page whose kind a person is to say; `kind` is what the sorters take it for, `page` counts from 1."""

    ledger_id: int
    path: str
    page: int
    kind: str
    confidence: float
    kinds: tuple[str, ...]  # what it may be


def sort_page(sorting: Sorting, ask: Callable[[str], Mapping[str, float]]) -> FoundKind:
    """Ask a chain of sorters what a page is, each by its SHA-256; `ask` returns chances by kind.

    The confidence is the product of theirs.
    """
    names, confidence = [], 1.0
    path = KindPath(sorter=sorting.sorter, kinds=sorting.kinds)
    while path.sorter is not None:
        name, chance = max(ask(path.sorter).items(), key=lambda kind: kind[1])
        names.append(name)
        confidence *= chance
        path = path.kinds[name]
    kind = BETWEEN.join(names)
    if not math.isfinite(confidence):  # weights that are not numbers; and none is what a person says
        return FoundKind(kind, 0.0, PERSON)
    return FoundKind(kind, confidence, state_of(path) if confidence >= sorting.doubtful_below else PERSON)


def said_before(db: Engine, page_id: int, sorting: Sorting) -> FoundKind | None:
    """Return what a person said a page is, in whichever run, last; None where nobody did, or no such kind."""
    word = (
        select(ledger.c.kind)
        .where(ledger.c.page_id == page_id, ledger.c.kind.is_not(None), ledger.c.kind_confidence.is_(None))
        .order_by(ledger.c.run_id.desc())
        .limit(1)
    )
    with reading(db) as conn:
        kind = conn.scalar(word)
    if kind is None or kind not in sorting.final_kinds():
        return None
    path = sorting.path_of(kind)
    assert path is not None
    return FoundKind(kind, None, state_of(path))


def state_of(path: KindPath) -> str:
    """Return the state in which a page goes on that takes this path."""
    return {"skip": SKIPPED, "person": PERSON, None: WAITING}[path.end]


def finish_sort(db: Engine, claim: Claim, found: FoundKind, *, now: float, lease_s: float) -> bool:
    """Write the kind and go on to the state it asks for; waiting is published at once (enqueue detect).

    False: the claim is no longer ours; nothing was written.
    """
    goes_on = found.state == WAITING
    free = {"queued": goes_on, "lease_until": now + lease_s if goes_on else 0.0, "suspect": False}
    return _sorted(db, claim, found, free)


def keep_sorted(
    db: Engine, claim: Claim, found: FoundKind, *, now: float, lease_s: float, worker_id: str | None = None
) -> Claim | None:
    """Write the kind of a page that is to be read, and keep it in hand; return the claim now.

    As `finish_sort`, for a process that finds the digits itself.  A suspect stays one, for it stays alone.
    None: the claim is no longer ours.
    """
    assert found.state == WAITING
    kept = {
        "attempt_token": claim.token,
        "worker_id": worker_id,
        "lease_until": now + lease_s,
        "suspect": claim.suspect,
    }
    if not _sorted(db, claim, found, kept):
        return None
    networks = claim.networks | networks_by(claim.settings, found.kind)
    with reading(db) as conn:
        its_form = bool(conn.scalar(select(has_form(claim.source.page_id, found.kind))))
    return replace(claim, state=WAITING, networks=networks, has_form=its_form)


def _sorted(db: Engine, claim: Claim, found: FoundKind, values: dict[str, Any]) -> bool:
    with writing(db) as conn:
        page_id = claim.source.page_id
        of_page = lock_runs(conn, page_id) if found.state == SKIPPED else ()
        moved = move(
            conn,
            claim,
            state=found.state,
            kind=found.kind,
            kind_confidence=found.confidence,
            attempts=0,
            reason=None,
            **values,
        )
        if moved and found.state == SKIPPED:
            show(conn, of_page, page_id, claim.ledger_id, claim.run_id)
        return moved


def say_kinds(conn: Connection, page_ids: Collection[int], kind: str) -> int:
    """Take pages for this kind, as a person says, in the caller's transaction; return how many go on.

    What was read of them is forgotten, and whoever has one in hand loses it: they take the path of their kind
    anew.  Raises UsageError, with nothing changed, where a page's newest run sorts nothing or has no such
    kind.
    """
    n_on = 0
    for page_id, meant in {page_id: meant_by(conn, page_id, kind) for page_id in sorted(page_ids)}.items():
        ledger_id, run_id, state = meant.ledger_id, meant.run_id, state_of(meant.path)
        of_page = lock_runs(conn, page_id)
        if meant.is_on_it:  # it was right: now a person said so too
            conn.execute(update(ledger).where(ledger.c.id == ledger_id).values(kind_confidence=None))
            continue
        n_on += state == WAITING
        forget_results(conn, [ledger_id])
        anew = {"blob": None, "scale": None, "turned": 0, "n_digits": 0, "n_numbers": 0, "finished_at": None}
        well = {"failed_in": None, "reason": None, "suspect": False, "attempts": 0, "lease_until": 0.0}
        conn.execute(
            update(ledger)
            .where(ledger.c.id == ledger_id)
            .values(FREE | anew | well | {"state": state, "kind": kind, "kind_confidence": None})
        )
        if state == SKIPPED:
            show(conn, of_page, page_id, ledger_id, run_id)
    return n_on


def pages_for_person(conn: Connection) -> Generator[PageForPerson, None, None]:
    """Yield the pages whose kind a person is to say, in the order of their documents."""
    of_page = ledger.alias()
    newest = select(func.max(of_page.c.run_id)).where(of_page.c.page_id == ledger.c.page_id).scalar_subquery()
    query = (
        select(
            ledger.c.id.label("ledger_id"),
            ledger.c.kind,
            ledger.c.kind_confidence,
            pages.c.page_index,
            runs.c.detector_sha256,
            runs.c.classifier_sha256,
            runs.c.settings,
            newest_path(pages.c.document_id),
        )
        .join(pages, pages.c.id == ledger.c.page_id)
        .join(runs, runs.c.id == ledger.c.run_id)
        .where(
            ledger.c.state == PERSON,
            ledger.c.kind_confidence.is_not(None),  # nobody said yet what it is
            ledger.c.run_id == newest,
            ledger.c.page_id.not_in(select(pages.c.id).where(is_replaced(pages.c.document_id))),
        )
        .order_by(pages.c.document_id, pages.c.page_index, ledger.c.id)
    )
    with conn.execute(query, execution_options=STREAM) as rows:
        for row in rows:
            _, settings = parts_of_run(row)
            kinds = sorting_of(settings[SORTING]).final_kinds()
            page = row.page_index + 1
            yield PageForPerson(row.ledger_id, row.path, page, row.kind, row.kind_confidence, kinds)


@dataclass(frozen=True, slots=True)
class Meant:
    """A page in its newest run, and the path of a kind there; `is_on_it`: it takes that path already."""

    ledger_id: int
    run_id: int
    path: KindPath
    is_on_it: bool


def meant_by(conn: Connection, page_id: int, kind: str) -> Meant:
    """Return what saying that a page is of a kind means.

    Raises UsageError where its newest run sorts nothing or has no such kind.
    """
    newest = (
        select(ledger.c.id.label("ledger_id"), ledger.c.run_id, ledger.c.state, ledger.c.kind, runs)
        .join(runs, runs.c.id == ledger.c.run_id)
        .where(ledger.c.page_id == page_id)
        .order_by(ledger.c.run_id.desc())
        .limit(1)
    )
    row = conn.execute(newest).one()
    _, settings = parts_of_run(row)
    if SORTING not in settings:
        raise UsageError(
            "pages that no sorter has seen have no kinds: `archive ingest --again --sorter NAME` sorts them"
        )
    sorting = sorting_of(settings[SORTING])
    path = sorting.path_of(kind) if kind in sorting.final_kinds() else None
    if path is None:
        raise UsageError(f"there is no kind {kind}; kinds are {', '.join(sorting.final_kinds())}")
    state = state_of(path)
    on_it = {WAITING: (WAITING, DETECTED, DONE)}.get(state, (state,))
    return Meant(row.ledger_id, row.run_id, path, row.kind == kind and row.state in on_it)
