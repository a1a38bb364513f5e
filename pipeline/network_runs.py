"""Which networks read what: the runs of a database, each with the hashes of its networks and what it read."""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from pipeline.settings import NETWORKS
from pipeline.tables import DONE, ledger, runs


@dataclass(frozen=True, slots=True)
class NetworkRun:
    """A run, its networks by kind, and what it read; a page that a later run read again counts in both."""

    run_id: int
    started_at: float
    networks: dict[str, str]
    n_pages: int
    n_digits: int


def network_runs(conn: Connection) -> list[NetworkRun]:
    """Return every run, the oldest first."""
    read = (
        select(ledger.c.run_id, func.count().label("n_pages"), func.sum(ledger.c.n_digits).label("n_digits"))
        .where(ledger.c.state == DONE)
        .group_by(ledger.c.run_id)
        .subquery()
    )
    rows = conn.execute(
        select(runs, read.c.n_pages, read.c.n_digits)
        .outerjoin(read, read.c.run_id == runs.c.id)
        .order_by(runs.c.id)
    )
    found = []
    for row in rows:
        others = json.loads(row.settings)
        networks = {
            **{kind: others[kind] for kind in NETWORKS if kind in others},
            "detector": row.detector_sha256,
            "classifier": row.classifier_sha256,
        }
        found.append(NetworkRun(row.id, row.started_at, networks, row.n_pages or 0, int(row.n_digits or 0)))
    return found
