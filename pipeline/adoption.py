"""Pages that were left by a run of other weights or settings: a new run takes them over.

An ingest that was stopped, then new weights, then the same command again: what was left can't be read
with the weights it was registered for, and needn't be, for nothing has come of it yet.
"""

from sqlalchemy import Engine, delete, exists, func, or_, select, update

from pipeline.database import writing
from pipeline.tables import OPEN, WAITING, detections, ledger, runs


def adopt(db: Engine, run_id: int) -> int:
    """Give the open pages of runs with other weights or settings to `run_id`, to start anew; return how many.

    For the owner of the lock, before its engine starts.  Suspects stay suspects.  A page that `run_id` has
    already is left alone.
    """
    with writing(db) as conn:
        mine = conn.execute(select(runs).where(runs.c.id == run_id)).one()
        others = conn.scalars(
            select(runs.c.id).where(
                or_(
                    runs.c.detector_sha256 != mine.detector_sha256,
                    runs.c.classifier_sha256 != mine.classifier_sha256,
                    runs.c.settings != mine.settings,  # the other networks are among them
                )
            )
        ).all()
        if not others:  # the usual case, which should not look through a million pages
            return 0
        taken = ledger.alias()
        left = (
            select(func.max(ledger.c.id))  # one a page: a page is in a run once
            .where(
                ledger.c.state.in_(OPEN),
                ledger.c.run_id.in_(others),
                ~exists().where(taken.c.page_id == ledger.c.page_id, taken.c.run_id == run_id),
            )
            .group_by(ledger.c.page_id)
        )
        ids = conn.scalars(left).all()
        for start in range(0, len(ids), _AT_A_TIME):
            some = ids[start : start + _AT_A_TIME]
            # boxes of the other detector; its blob of crops is swept with the strays
            conn.execute(delete(detections).where(detections.c.ledger_id.in_(some)))
            conn.execute(
                update(ledger)
                .where(ledger.c.id.in_(some))
                .values(run_id=run_id, state=WAITING, blob=None, scale=None, turned=0)
            )
        return len(ids)


_AT_A_TIME = 10_000  # values in one statement
