"""The ledger: the states of a page, and the transactions in which a stage ends; SQL decides what is true.

    unsorted ── sort ─▶ waiting ── detect ─▶ detected ── classify ─▶ done
                  └──▶ skipped, person                                  failed: set aside; retry goes back

Pages begin as waiting where their run sorts nothing; how sorting ends is in pipeline/kinds.py.  Every
function is one transaction; `now` and leases are in seconds (since 1970).  How a page is taken in hand, and
what becomes of it when they die who have it: pipeline/claims.py and leases.py; their names are here too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Engine, bindparam, func, or_, select, update

from pipeline.claims import Claim, claim, give_back, let_go, move
from pipeline.database import reading, writing
from pipeline.frames import Frame
from pipeline.leases import (
    Due,
    InFlight,
    bury,
    expire,
    hand_back,
    in_flight,
    lost,
    take_due,
    take_suspects,
    void_leases,
)
from pipeline.matching import is_replaced
from pipeline.page import Number, PageDetections, Reading
from pipeline.record_store import write_frame
from pipeline.recording import record_page
from pipeline.results import write_detections, write_readings
from pipeline.shown import lock_runs, show
from pipeline.tables import (
    DETECTED,
    DONE,
    FAILED,
    OPEN,
    PERSON,
    SKIPPED,
    STATES,
    UNSORTED,
    WAITING,
    documents,
    ledger,
    pages,
)

__all__ = [
    "DETECTED",
    "DONE",
    "FAILED",
    "OPEN",
    "PERSON",
    "SKIPPED",
    "UNSORTED",
    "WAITING",
    "Claim",
    "Counts",
    "Due",
    "FailedId",
    "InFlight",
    "attempts",
    "blobs_in_use",
    "bury",
    "claim",
    "counts",
    "expire",
    "failed_ids",
    "finish_classify",
    "finish_detect",
    "give_back",
    "hand_back",
    "in_flight",
    "keep_detected",
    "lost",
    "retry",
    "set_aside",
    "still_failed",
    "take_due",
    "take_suspects",
    "void_leases",
]


# a page by the id of its row, or a document that gave none by its own
FailedId = tuple[int, None] | tuple[None, int]


@dataclass(frozen=True, slots=True)
class Counts:
    """Ledger rows by state (every run, so `n_open == 0` means nothing is left to do)."""

    n_unsorted: int
    n_waiting: int
    n_detected: int
    n_done: int
    n_skipped: int
    n_person: int
    n_failed: int
    n_digits: int
    n_numbers: int

    @property
    def n_open(self) -> int:
        """Rows that are still to be worked on."""
        return self.n_unsorted + self.n_waiting + self.n_detected

    @property
    def n_over(self) -> int:
        """Rows that nothing more will become of by itself."""
        return self.n_done + self.n_skipped + self.n_person + self.n_failed


# built once: building them takes longer than running them
_SIZE = (
    update(pages)
    .where(pages.c.id == bindparam("of_page"))
    .values(width=bindparam("new_width"), height=bindparam("new_height"))
)


def finish_detect(
    db: Engine,
    claim: Claim,
    found: PageDetections,
    *,
    width: int,
    height: int,
    blob: str | None,
    now: float,
    lease_s: float,
    frame: Frame | None = None,
) -> bool:
    """Write the detections and go on to detected, published at once (enqueue classify if True).

    `width` and `height` are the page's pixels, `frame` where its table stands, if records are to be made of
    it.  False: the claim is no longer ours; nothing was written
    (delete the blob).
    """
    free = {"blob": blob, "queued": True, "lease_until": now + lease_s, "suspect": False}
    return _detected(db, claim, found, (width, height), frame, free)


def keep_detected(
    db: Engine,
    claim: Claim,
    found: PageDetections,
    *,
    width: int,
    height: int,
    now: float,
    lease_s: float,
    worker_id: str | None = None,
    frame: Frame | None = None,
) -> Claim | None:
    """Write the detections and go on to detected, with the page still in hand; return the claim now.

    As `finish_detect`, for a process that reads the digits itself.  A suspect stays one, for it stays alone.
    None: the claim is no longer ours.
    """
    kept = {
        "attempt_token": claim.token,
        "worker_id": worker_id,
        "lease_until": now + lease_s,
        "suspect": claim.suspect,
    }
    if not _detected(db, claim, found, (width, height), frame, kept):
        return None
    return replace(claim, state=DETECTED, blob=None, width=width, height=height, found=found)


def _detected(
    db: Engine,
    claim: Claim,
    found: PageDetections,
    size: tuple[int, int],
    frame: Frame | None,
    values: dict[str, Any],
) -> bool:
    with writing(db) as conn:
        moved = move(
            conn,
            claim,
            state=DETECTED,
            scale=float(found.scale),
            turned=found.turned,
            attempts=0,
            reason=None,
            **values,
        )
        if moved:
            width, height = size
            conn.execute(_SIZE, {"of_page": claim.source.page_id, "new_width": width, "new_height": height})
            write_detections(conn, claim.ledger_id, found.detections)
            if frame is not None:
                write_frame(conn, claim.ledger_id, frame)
        return moved


def finish_classify(
    db: Engine, claim: Claim, readings: Sequence[Reading], numbers: Sequence[Number], *, now: float
) -> bool:
    """Write readings and numbers and go on to done; this run becomes the page's current one.

    A page that has a form gets its records by it, where its frame was found with its digits.

    `readings` are those of `claim.found.detections`, in order.  False: the claim is no longer ours.
    """
    assert claim.found is not None and len(readings) == len(claim.found.detections)
    with writing(db) as conn:
        page_id = claim.source.page_id
        of_page = lock_runs(conn, page_id)
        moved = move(
            conn,
            claim,
            state=DONE,
            blob=None,
            suspect=False,
            attempts=0,
            reason=None,
            lease_until=0.0,
            n_digits=sum(reading.digit is not None for reading in readings),
            n_numbers=len(numbers),
            finished_at=now,
        )
        if moved:
            write_readings(conn, claim.ledger_id, readings, numbers)
            record_page(conn, claim.ledger_id)
            show(conn, of_page, page_id, claim.ledger_id, claim.run_id)
        return moved


def set_aside(db: Engine, claim: Claim, reason: str, *, now: float) -> bool:
    """Mark the page failed in its stage, with a one-line reason; False: the claim is no longer ours."""
    words = " ".join(reason.replace("\0", " ").split())
    with writing(db) as conn:
        failed = {"state": FAILED, "failed_in": ledger.c.state, "reason": words, "lease_until": 0.0}
        return let_go(conn, [claim], **failed) == 1


def retry(
    db: Engine,
    *,
    ledger_ids: Sequence[int] = (),
    document_ids: Sequence[int] = (),
    everything: bool = False,
    now: float,
) -> int:
    """Put failed pages back to where they failed, and free failed documents for ingest; return how many.

    A freed document keeps its reason until it is looked at, so that none is lost if that never comes.
    `document_ids` means the failed pages of these documents, and the documents that gave no page.
    """
    theirs = select(pages.c.id).where(pages.c.document_id.in_(document_ids))
    wanted_pages = or_(ledger.c.id.in_(ledger_ids), ledger.c.page_id.in_(theirs))
    back = update(ledger).where(still_failed())
    freed = update(documents).where(documents.c.reason.is_not(None), ~documents.c.freed)
    if not everything:
        back = back.where(wanted_pages)
        freed = freed.where(documents.c.id.in_(document_ids))
    with writing(db) as conn:
        n_pages = conn.execute(
            back.values(
                state=ledger.c.failed_in,
                failed_in=None,
                reason=None,
                suspect=False,
                attempts=0,
                queued=False,
                lease_until=0.0,
            )
        ).rowcount
        return n_pages + conn.execute(freed.values(freed=True)).rowcount


def still_failed() -> ColumnElement[bool]:
    """Return the condition for failed rows that no later run made up for, of documents not replaced."""
    later = ledger.alias()
    made_up = select(later.c.id).where(
        later.c.page_id == ledger.c.page_id,
        later.c.run_id > ledger.c.run_id,
        later.c.state.in_((DONE, SKIPPED)),
    )
    replaced = select(pages.c.id).where(is_replaced(pages.c.document_id))
    return (ledger.c.state == FAILED) & ~made_up.exists() & ledger.c.page_id.not_in(replaced)


def failed_ids(db: Engine) -> set[FailedId]:
    """Return what failed, by id alone, for a million may have; a document that `retry` freed is left out."""
    failed_documents = select(documents.c.id).where(documents.c.reason.is_not(None), ~documents.c.freed)
    with reading(db) as conn:
        found: set[FailedId] = {
            (ledger_id, None) for ledger_id in conn.scalars(select(ledger.c.id).where(still_failed()))
        }
        return found | {(None, document_id) for document_id in conn.scalars(failed_documents)}


def counts(db: Engine) -> Counts:
    """Count the rows by state, from an index alone: about 0.1 s for a million rows."""
    by_state = select(
        ledger.c.state, func.count(), func.sum(ledger.c.n_digits), func.sum(ledger.c.n_numbers)
    ).group_by(ledger.c.state)
    with reading(db) as conn:
        rows = {state: (n, n_digits, n_numbers) for state, n, n_digits, n_numbers in conn.execute(by_state)}
    n = {state: rows[state][0] if state in rows else 0 for state in STATES}
    return Counts(
        n_unsorted=n[UNSORTED],
        n_waiting=n[WAITING],
        n_detected=n[DETECTED],
        n_done=n[DONE],
        n_skipped=n[SKIPPED],
        n_person=n[PERSON],
        n_failed=n[FAILED],
        n_digits=sum(int(row[1]) for row in rows.values()),
        n_numbers=sum(int(row[2]) for row in rows.values()),
    )


def attempts(db: Engine) -> list[tuple[int, str]]:
    """Return the pages that are in hand, each with the token of whoever has it."""
    with reading(db) as conn:
        held = select(ledger.c.id, ledger.c.attempt_token).where(
            ledger.c.state.in_(OPEN),
            ledger.c.suspect.in_((False, True)),  # spelt out so that the index is used
            ledger.c.lease_until > 0,
            ledger.c.attempt_token.is_not(None),
        )
        return [(row.id, row.attempt_token) for row in conn.execute(held)]


def blobs_in_use(db: Engine) -> set[str]:
    """Return the names of the crops that a page still needs: any other is left over from a killed process."""
    with reading(db) as conn:
        return set(conn.scalars(select(ledger.c.blob).where(ledger.c.blob.is_not(None))))
