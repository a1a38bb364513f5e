"""What stands beside the counts while an archive is read: who works, what has waited longest, what fails."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, false, func, select

from pipeline.ledger import still_failed
from pipeline.roster import Seen, living
from pipeline.tables import UNSORTED, WAITING, documents, ledger, pages

N_REASONS = 5


@dataclass(frozen=True, slots=True)
class Outlook:
    """Workers that gave a sign of life lately; when the page that waits longest came in; why pages failed.

    `waits_since` is in seconds since 1970, None where no page waits.  `reasons` are the commonest ones, each
    with its count; pages of older runs are left out where a later one made up for them.
    """

    workers: Sequence[Seen]
    waits_since: float | None
    reasons: Sequence[tuple[str, int]]


def outlook(conn: Connection, *, now: float) -> Outlook:
    """Return the outlook; `now` is in seconds since 1970."""
    n = func.count()
    reasons = (
        select(ledger.c.reason, n)
        .where(still_failed())
        .group_by(ledger.c.reason)
        .order_by(n.desc(), ledger.c.reason)
        .limit(N_REASONS)
    )
    came_in = [conn.scalar(_first_came_in(state)) for state in (UNSORTED, WAITING)]
    return Outlook(
        workers=living(conn, now=now),
        waits_since=min((at for at in came_in if at is not None), default=None),
        reasons=[(str(reason), int(count)) for reason, count in conn.execute(reasons)],
    )


def _first_came_in(state: str) -> Select[float]:
    """Return the query for when the page came in that waits longest in this state."""
    first = (  # the first row of an index
        select(ledger.c.page_id)
        .where(ledger.c.state == state, ledger.c.suspect == false())
        .order_by(ledger.c.lease_until, ledger.c.id)
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(documents.c.added_at)
        .join(pages, pages.c.document_id == documents.c.id)
        .where(pages.c.id == first)
    )
