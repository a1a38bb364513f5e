"""Leases: what is due, published or in hand, how long, and what becomes of it when they die who have it.

A row of the ledger that is open (unsorted, waiting, detected) is in one of these, told by three columns:

    due         no token, not queued      its stage can start (at once, or from `lease_until` for a suspect)
    queued      no token, queued          its id was published; due again at `lease_until` (lost message)
    in hand     token                     somebody works on it; expires at `lease_until`
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    delete,
    false,
    func,
    or_,
    select,
    true,
    update,
)

from pipeline.claims import FREE
from pipeline.database import reading, writing
from pipeline.tables import FAILED, OPEN, ledger, workers

BACK_OFF_S = 30.0
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


def take_due(db: Engine, *, now: float, limit: int, lease_s: float) -> list[Due]:
    """Mark up to `limit` due rows as published and return them: those that are furthest first, then by id.

    Suspects are left to `take_suspects`.  A row whose message is lost is due again after `lease_s`.
    """
    due: list[Due] = []
    for state in reversed(OPEN):  # pages finish before others start
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


def _take_back(conn: Connection, held: Select[Any], now: float, max_deaths: int, cause: str = "") -> int:
    # skip_locked: whoever holds the row is just finishing a stage
    rows = conn.execute(held.with_for_update(skip_locked=True)).all()
    for row in rows:
        free = FREE | _after_death(row, now, max_deaths, cause)
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
