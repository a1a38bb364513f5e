"""Pages that were left by a run of other weights or settings: a new run takes them over.

An ingest that was stopped, then new weights, then the same command again: what was left can't be read
with the weights it was registered for, and needn't be, for nothing has come of it yet.

How pages are sorted is not among these: a command that names no sorter leaves it to pages as it was.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, exists, func, select, update

from pipeline.catalogue import current_run
from pipeline.database import writing
from pipeline.results import forget_results
from pipeline.sorting import SORTING
from pipeline.tables import OPEN, UNSORTED, WAITING, ledger, runs


def adopt(db: Engine, run_id: int, *, now: float) -> int:
    """Give the open pages of runs with other weights or settings to `run_id`, to start anew; return how many.

    For the owner of the lock, before its engine starts; `now` is in seconds since 1970.  Suspects stay
    suspects.  A page that `run_id` has already is left alone.  Where `run_id` sorts nothing, pages of a run
    that does go to one which sorts as theirs, and keep their kinds.
    """
    with writing(db) as conn:
        mine = conn.execute(select(runs).where(runs.c.id == run_id)).one()
        others = [row for row in conn.execute(select(runs)) if _differ(row, mine)]
        n = 0
        for sorting, some in _by_sorting(others, mine).items():
            heir = mine if sorting is None else _sorting_run(conn, mine, sorting, now)
            n += _hand_over(
                conn, [row.id for row in some if _differ(row, heir)], heir, keeps_kinds=sorting is not None
            )
        return n


def _differ(a: Row[Any], b: Row[Any]) -> bool:
    parts = ("detector_sha256", "classifier_sha256", "settings")  # the other networks are among these
    return any(getattr(a, part) != getattr(b, part) for part in parts)


def _by_sorting(others: Sequence[Row[Any]], mine: Row[Any]) -> dict[str | None, list[Row[Any]]]:
    """Return runs by the sorting (JSON) that they leave to their pages; None: the one of `mine`, or none."""
    found: dict[str | None, list[Row[Any]]] = {}
    for row in others:
        theirs = json.loads(row.settings).get(SORTING)
        left = None if theirs is None or SORTING in json.loads(mine.settings) else _as_text(theirs)
        found.setdefault(left, []).append(row)
    return found


def _sorting_run(conn: Connection, mine: Row[Any], sorting: str, now: float) -> Row[Any]:
    """Return the run with the weights and settings of `mine` that sorts in this way."""
    settings = json.loads(mine.settings) | {SORTING: json.loads(sorting)}
    weights = mine.detector_sha256, mine.classifier_sha256
    run_id = current_run(conn, *weights, _as_text(settings), new=False, now=now)
    return conn.execute(select(runs).where(runs.c.id == run_id)).one()


def _hand_over(conn: Connection, others: Sequence[int], heir: Row[Any], *, keeps_kinds: bool) -> int:
    if not others:  # the usual case, which should not look through a million pages
        return 0
    taken = ledger.alias()
    left = (
        select(func.max(ledger.c.id))  # one a page: a page is in a run once
        .where(
            ledger.c.state.in_(OPEN),
            ledger.c.run_id.in_(others),
            ~exists().where(taken.c.page_id == ledger.c.page_id, taken.c.run_id == heir.id),
        )
        .group_by(ledger.c.page_id)
    )
    ids = conn.scalars(left).all()
    anew = {"run_id": heir.id, "blob": None, "scale": None, "turned": 0}
    for start in range(0, len(ids), _AT_A_TIME):
        some = ids[start : start + _AT_A_TIME]
        # boxes of the other detector; its blob of crops is swept with the strays
        forget_results(conn, some)
        of_some = update(ledger).where(ledger.c.id.in_(some))
        if keeps_kinds:
            # a page that is sorted is to be read, one that is not stays so
            conn.execute(of_some.where(ledger.c.state != UNSORTED).values(anew | {"state": WAITING}))
            conn.execute(of_some.where(ledger.c.state == UNSORTED).values(anew))
        else:
            conn.execute(of_some.values(anew | {"state": heir.first_state}))
            # what a person said stays: no sorter is asked then, if it is a kind of the heir's
            asked = of_some.where(ledger.c.kind_confidence.is_not(None))
            conn.execute(asked.values({"kind": None, "kind_confidence": None}))
    return len(ids)


def _as_text(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)  # as runs have it


_AT_A_TIME = 10_000  # values in one statement
