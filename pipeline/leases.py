"""Leases: who takes a page in hand, for how long, and what becomes of it when they die.

A row of the ledger that is open (waiting, detected) is in one of these, told apart by three columns:

    due         no token, not queued      its stage can start (at once, or from `lease_until` for a suspect)
    queued      no token, queued          its id was published; due again at `lease_until` (lost message)
    in hand     token                     somebody works on it; expires at `lease_until`
"""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Update,
    bindparam,
    delete,
    exists,
    false,
    func,
    or_,
    select,
    true,
    update,
)

from pipeline.catalogue import PAGES_SOURCES, SOURCE, PageSource, source_of
from pipeline.database import reading, writing
from pipeline.page import PageDetections
from pipeline.results import read_detections
from pipeline.tables import DETECTED, FAILED, OPEN, WAITING, ledger, pages, runs, workers

BACK_OFF_S = 30.0
_FREE: dict[str, Any] = {"attempt_token": None, "worker_id": None, "queued": False}  # in nobody's hand
# built once: building them takes longer than running them
_CLAIMED = (
    select(
        ledger.c.state,
        ledger.c.suspect,
        ledger.c.run_id,
        ledger.c.blob,
        ledger.c.scale,
        ledger.c.turned,
        runs.c.detector_sha256,
        runs.c.classifier_sha256,
        runs.c.settings,
        pages.c.width,
        pages.c.height,
        *SOURCE,
    )
    .select_from(PAGES_SOURCES.join(ledger, ledger.c.page_id == pages.c.id).join(runs))
    .where(ledger.c.id == bindparam("of_id"))
)
SUSPECTED = "its process died, or hung, with this page in hand; it is tried again alone"


@dataclass(frozen=True, slots=True)
class Due:
    """A row whose stage can start now: publish its id to the stage that takes `state`.

    A suspect is to be worked on `alone`, in a process that holds nothing else.
    """

    ledger_id: int
    state: str
    alone: bool = False


@dataclass(frozen=True, slots=True)
class InFlight:
    """How many rows are published or in hand: ordinary ones, and suspects."""

    n: int
    n_alone: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A page in hand: nobody else can finish it while `token` is the row's."""

    ledger_id: int
    token: str
    state: str
    suspect: bool  # it was in hand when a process died: hold nothing else
    source: PageSource
    run_id: int
    detector_sha256: str
    classifier_sha256: str
    settings: str  # the run's, JSON
    blob: str | None  # name of the crops, where another process detected
    width: int | None  # page pixels, where detect is done
    height: int | None
    found: PageDetections | None  # where detect is done


def take_due(db: Engine, *, now: float, limit: int, lease_s: float) -> list[Due]:
    """Mark up to `limit` due rows as published and return them: detected before waiting, then by id.

    Suspects are left to `take_suspects`.  A row whose message is lost is due again after `lease_s`.
    """
    due: list[Due] = []
    for state in (DETECTED, WAITING):  # pages finish before others start
        chosen = (
            _unclaimed()
            .where(ledger.c.state == state, ledger.c.suspect == false(), ledger.c.lease_until <= now)
            .order_by(ledger.c.lease_until, ledger.c.id)  # the index's order: nothing is sorted
        )
        due += _publish(db, chosen.limit(limit - len(due)), now + lease_s)
        if len(due) >= limit:
            break
    return due


def take_suspects(db: Engine, *, now: float, limit: int, lease_s: float, eager: bool) -> list[Due]:
    """Mark up to `limit` suspects as published and return them; those with the fewest deaths first.

    Suspects back off 30 s × 2^deaths; `eager` ignores that (nothing else is left to do).
    """
    is_due = ledger.c.lease_until <= now
    if eager:
        is_due = or_(is_due, ledger.c.queued == false())
    chosen = (
        _unclaimed()
        .where(ledger.c.state.in_(OPEN), ledger.c.suspect == true(), is_due)
        .order_by(ledger.c.attempts, ledger.c.lease_until, ledger.c.id)
    )
    return _publish(db, chosen.limit(limit), now + lease_s)


def in_flight(db: Engine, *, now: float) -> InFlight:
    """Return how many rows are published or in hand."""
    counted = (
        select(ledger.c.suspect, func.count())
        .where(
            *_open_with_lease(),
            ledger.c.lease_until > now,
            or_(ledger.c.queued, ledger.c.attempt_token.is_not(None)),
        )
        .group_by(ledger.c.suspect)
    )
    with reading(db) as conn:
        n = {bool(suspect): count for suspect, count in conn.execute(counted)}
    return InFlight(n.get(False, 0), n.get(True, 0))


def claim(
    db: Engine,
    ledger_id: int,
    *,
    state: str,
    now: float,
    lease_s: float,
    alone: bool = False,
    worker_id: str | None = None,
) -> Claim | None:
    """Take a page in hand; None: another has it, or it went on already.

    `worker_id` is who takes it, where workers are on a roster: nobody who was taken for dead.  Suspects are
    taken by a process that works on them `alone`, once they were published, and nothing else is.
    """
    token = uuid.uuid4().hex
    taking = {
        "of_id": ledger_id,
        "of_state": state,
        "new_token": token,
        "new_worker": worker_id,
        "new_lease": now + lease_s,
    }
    # a claim that a server's power cut forgets costs a page another claim, and no result
    with writing(db, durable=False) as conn:
        taken = conn.execute(_take(alone=alone, on_roster=worker_id is not None), taking)
        return _claimed(conn, ledger_id, token) if taken.rowcount else None


@cache
def _take(*, alone: bool, on_roster: bool) -> Update:
    """Return the UPDATE that takes a page in hand; `on_roster`: by a worker who is not taken for dead."""
    taken = (
        update(ledger)
        .where(
            ledger.c.id == bindparam("of_id"),
            ledger.c.state == bindparam("of_state"),
            ledger.c.attempt_token.is_(None),
            # an old message must not bring a suspect among other pages
            *((ledger.c.suspect == true(), ledger.c.queued) if alone else (ledger.c.suspect == false(),)),
        )
        .values(
            attempt_token=bindparam("new_token"),
            worker_id=bindparam("new_worker"),
            lease_until=bindparam("new_lease"),
            queued=False,
        )
    )
    return taken.where(exists().where(workers.c.id == bindparam("new_worker"))) if on_roster else taken


def give_back(db: Engine, claims: Iterable[Claim]) -> int:
    """Put pages back, due at once and without blame; return how many were still ours."""
    held = list(claims)
    if not held:
        return 0
    with writing(db) as conn:
        return let_go(conn, held, lease_until=0.0)


def hand_back(db: Engine, ledger_id: int) -> None:
    """Make a row due whose message somebody got who works on nothing any more."""
    with writing(db) as conn:
        conn.execute(
            update(ledger)
            .where(ledger.c.id == ledger_id, ledger.c.attempt_token.is_(None), ledger.c.queued)
            .values(queued=False, lease_until=0.0)
        )


def lost(db: Engine, *, published_before: float, lease_s: float) -> int:
    """Make rows due whose messages, sent before then, are known to be lost; return how many.

    `lease_s` is the lease that they were published with.
    """
    gone = (
        *_open_with_lease(),
        ledger.c.lease_until <= published_before + lease_s,
        ledger.c.attempt_token.is_(None),
        ledger.c.queued,
    )
    with reading(db) as conn:
        if conn.execute(select(ledger.c.id).where(*gone).limit(1)).first() is None:
            return 0
    with writing(db) as conn:
        return conn.execute(update(ledger).where(*gone).values(queued=False, lease_until=0.0)).rowcount


def expire(db: Engine, *, now: float, max_deaths: int) -> int:
    """Take back pages whose lease lapsed in somebody's hands; return how many.

    They become suspects; one that already was (so it was alone) has died once more, and at `max_deaths` it is
    set aside.
    """
    lapsed = _in_hand().where(ledger.c.lease_until <= now)
    with reading(db) as conn:
        if conn.execute(lapsed.limit(1)).first() is None:
            return 0
    with writing(db) as conn:
        return _take_back(conn, lapsed, now, max_deaths)


def void_leases(db: Engine, *, now: float, max_deaths: int, cause: str = "") -> int:
    """For a new owner of the lock: take back every page in hand as `expire` does; return how many.

    What was published is due again: its message died with the owner before.  `cause` is what is known of
    that death (SIGSEGV, took longer than 300 s): it goes into the reason of a page that is set aside for it.
    """
    with writing(db) as conn:
        conn.execute(
            update(ledger)
            .where(*_open_with_lease(), ledger.c.attempt_token.is_(None), ledger.c.queued)
            .values(queued=False, lease_until=0.0)
        )
        return _take_back(conn, _in_hand(), now, max_deaths, cause)


def bury(db: Engine, worker_ids: Collection[str], *, now: float, max_deaths: int, cause: str = "") -> int:
    """Take dead workers off the roster, and back what they had in hand as `expire` does; return how many.

    So is what is in the hand of a worker that is on no roster: whoever took it off did not come to the rest.
    `cause` is as for `void_leases`.
    """
    theirs = _in_hand().where(
        ledger.c.worker_id.is_not(None), ledger.c.worker_id.not_in(select(workers.c.id))
    )
    with reading(db) as conn:
        if not worker_ids and conn.execute(theirs.limit(1)).first() is None:
            return 0
    with writing(db) as conn:
        conn.execute(delete(workers).where(workers.c.id.in_(worker_ids)))
        return _take_back(conn, theirs, now, max_deaths, cause)


def move(conn: Connection, claim: Claim, **values: Any) -> bool:
    """End the claim's stage with these values, in the caller's transaction; False: it is no longer ours.

    The page stays in hand where the values keep its `attempt_token` and `worker_id`.
    """
    new = {f"new_{name}": value for name, value in (_FREE | values).items()}
    mine = {"of_id": claim.ledger_id, "of_state": claim.state, "of_token": claim.token}
    return conn.execute(_end(tuple(_FREE | values)), new | mine).rowcount == 1


def let_go(conn: Connection, claims: Collection[Claim], **values: Any) -> int:
    """End claims with these values, in the caller's transaction; return how many were still ours.

    Their pages may have gone on to the next stage in the same hand.
    """
    ours = (
        ledger.c.id.in_([claim.ledger_id for claim in claims]),
        ledger.c.attempt_token.in_([claim.token for claim in claims]),
    )
    return conn.execute(update(ledger).where(*ours).values(_FREE | values)).rowcount


@cache
def _end(names: tuple[str, ...]) -> Update:
    """Return the UPDATE that ends a claim and sets these columns."""
    return (
        update(ledger)
        .where(
            ledger.c.id == bindparam("of_id"),
            ledger.c.state == bindparam("of_state"),
            ledger.c.attempt_token == bindparam("of_token"),
        )
        .values({name: bindparam(f"new_{name}") for name in names})
    )


def _unclaimed() -> Select[int, str, bool]:
    return select(ledger.c.id, ledger.c.state, ledger.c.suspect).where(ledger.c.attempt_token.is_(None))


def _open_with_lease() -> tuple[ColumnElement[bool], ...]:
    """Return conditions for the few open rows with a lease; the million that wait have 0.

    Both values of `suspect` are spelt out so that the index is used up to the lease.
    """
    return (
        ledger.c.state.in_(OPEN),
        ledger.c.suspect.in_((False, True)),
        ledger.c.lease_until > 0,
    )


def _in_hand() -> Select[Any]:
    columns = (ledger.c.id, ledger.c.state, ledger.c.suspect, ledger.c.attempts)
    return select(*columns).where(*_open_with_lease(), ledger.c.attempt_token.is_not(None))


def _publish(db: Engine, chosen: Select[int, str, bool], lease_until: float) -> list[Due]:
    with reading(db) as conn:  # an idle feeder must not wait for the write lock
        if conn.execute(chosen.limit(1)).first() is None:
            return []
    with writing(db, durable=False) as conn:  # as good as a message that is lost
        rows = conn.execute(chosen.with_for_update(skip_locked=True)).all()
        taken = ledger.c.id.in_([row.id for row in rows])
        conn.execute(update(ledger).where(taken).values(queued=True, lease_until=lease_until))
    return [Due(row.id, row.state, alone=row.suspect) for row in rows]


def _claimed(conn: Connection, ledger_id: int, token: str) -> Claim:
    rows = conn.execute(_CLAIMED, {"of_id": ledger_id}).all()  # one for each path of its document
    row = rows[0]
    found = None
    if row.state == DETECTED:
        found = PageDetections(read_detections(conn, ledger_id), row.scale, row.turned)
    return Claim(
        ledger_id=ledger_id,
        token=token,
        state=row.state,
        suspect=row.suspect,
        source=source_of(rows),
        run_id=row.run_id,
        detector_sha256=row.detector_sha256,
        classifier_sha256=row.classifier_sha256,
        settings=row.settings,
        blob=row.blob,
        width=row.width,
        height=row.height,
        found=found,
    )


def _take_back(conn: Connection, held: Select[Any], now: float, max_deaths: int, cause: str = "") -> int:
    # skip_locked: whoever holds the row is just finishing a stage
    rows = conn.execute(held.with_for_update(skip_locked=True)).all()
    for row in rows:
        free = _FREE | _after_death(row, now, max_deaths, cause)
        conn.execute(update(ledger).where(ledger.c.id == row.id).values(free))
    return len(rows)


def _after_death(row: Row[Any], now: float, max_deaths: int, cause: str) -> dict[str, Any]:
    """Return what changes in a row whose process died with it in hand."""
    # Only a suspect was alone: of the others most are innocent.
    deaths = row.attempts + 1 if row.suspect else row.attempts
    if row.suspect and deaths >= max_deaths:
        times = "once" if deaths == 1 else f"{deaths} times"
        return {
            "state": FAILED,
            "failed_in": row.state,
            "attempts": deaths,
            "lease_until": 0.0,
            "reason": f"the page crashed its worker {times}" + (f" ({cause})" if cause else ""),
        }
    return {
        "suspect": True,
        "attempts": deaths,
        "lease_until": now + BACK_OFF_S * 2.0**deaths,
        "reason": SUSPECTED,
    }
