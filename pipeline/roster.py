"""The roster: which workers are alive.  Each renews its beat; whoever watches sees it stand still.

A worker that is gone leaves its row behind, and what it had in hand: `leases.bury` takes both away.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, insert, select, update

from pipeline.database import reading, writing
from pipeline.tables import workers

ALIVE_S = 30.0  # heard of within this time


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that takes pages in hand, somewhere."""

    id: str
    host: str
    pid: int
    stages: tuple[str, ...]
    device: str
    threads: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker of the roster, since when it works and when it was last heard of, seconds since 1970.

    `n_beats` only grows while it lives.
    """

    worker: Worker
    started_at: float
    n_beats: int
    seen_at: float


def enrol(db: Engine, worker: Worker, *, now: float) -> None:
    """Put a worker on the roster, before it takes anything in hand."""
    row = {
        "id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "stages": " ".join(worker.stages),
        "device": worker.device,
        "threads": worker.threads,
        "started_at": now,
        "n_beats": 0,
        "seen_at": now,
    }
    with writing(db) as conn:
        conn.execute(delete(workers).where(workers.c.id == worker.id))
        conn.execute(insert(workers).values(row))


def beat(db: Engine, worker_id: str, *, now: float) -> bool:
    """Note that a worker lives; False: it was taken for dead, what it had in hand is no longer its own."""
    renewed = update(workers).where(workers.c.id == worker_id)
    with writing(db) as conn:
        return conn.execute(renewed.values(n_beats=workers.c.n_beats + 1, seen_at=now)).rowcount == 1


def strike(db: Engine, worker_id: str) -> None:
    """Take a worker that leaves, and has nothing in hand, off the roster."""
    with writing(db) as conn:
        conn.execute(delete(workers).where(workers.c.id == worker_id))


def roster(conn: Connection) -> Sequence[Seen]:
    """Return every worker on the roster, by machine and age."""
    rows = conn.execute(select(workers).order_by(workers.c.host, workers.c.started_at, workers.c.id))
    return [
        Seen(
            Worker(row.id, row.host, row.pid, tuple(row.stages.split()), row.device, row.threads),
            row.started_at,
            row.n_beats,
            row.seen_at,
        )
        for row in rows
    ]


def all_workers(db: Engine) -> Sequence[Seen]:
    """Return the roster in a transaction of its own."""
    with reading(db) as conn:
        return roster(conn)


def living(conn: Connection, *, now: float) -> Sequence[Seen]:
    """Return those workers of the roster that gave a sign of life lately; `now` is in seconds since 1970."""
    return [seen for seen in roster(conn) if now - seen.seen_at < ALIVE_S]
