"""Which run of a page is shown: the newest one that came to an end."""

from collections.abc import Sequence

from sqlalchemy import Connection, Row, bindparam, select, update

from pipeline.tables import DONE, SKIPPED, ledger

Runs = Sequence[Row[int, int, str, bool]]
_ENDED = (DONE, SKIPPED)
# built once: building them takes longer than running them
_RUNS_OF_PAGE = (
    select(ledger.c.id, ledger.c.run_id, ledger.c.state, ledger.c.current)
    .where(ledger.c.page_id == bindparam("of_page"))
    .order_by(ledger.c.id)
    .with_for_update()
)


def lock_runs(conn: Connection, page_id: int) -> Runs:
    """Return every run of a page, locked, in order: before one of them is changed."""
    return conn.execute(_RUNS_OF_PAGE, {"of_page": page_id}).all()


def show(conn: Connection, runs: Runs, page_id: int, ledger_id: int, run_id: int) -> None:
    """Show what this run of a page came to, unless a later one did too; `runs` are from `lock_runs`.

    The index on `current` allows one at a time.
    """
    shown = [row.id for row in runs if row.current]
    later = any(row.state in _ENDED and row.run_id > run_id for row in runs if row.id != ledger_id)
    if shown == [ledger_id] or later:
        return
    same_page = ledger.c.page_id == page_id
    for current, which in ((False, ledger.c.id != ledger_id), (True, ledger.c.id == ledger_id)):
        conn.execute(
            update(ledger).where(same_page, which, ledger.c.current != current).values(current=current)
        )
