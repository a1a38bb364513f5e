"""Claims: a page is taken in hand, kept from stage to stage, and let go; nobody else can finish it then."""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, Update, bindparam, exists, false, func, select, true, update

from pipeline.catalogue import PAGES_SOURCES, SOURCE, PageSource, parts_of_run, source_of
from pipeline.database import writing
from pipeline.page import PageDetections
from pipeline.page_forms import ANY, has_form
from pipeline.results import read_detections
from pipeline.sorting import networks_by
from pipeline.tables import DETECTED, ledger, pages, runs, workers

FREE: dict[str, Any] = {"attempt_token": None, "worker_id": None, "queued": False}  # in nobody's hand
# built once: building them takes longer than running them
_CLAIMED = (
    select(
        ledger.c.state,
        ledger.c.suspect,
        ledger.c.run_id,
        ledger.c.blob,
        ledger.c.scale,
        ledger.c.turned,
        ledger.c.kind,
        runs.c.detector_sha256,
        runs.c.classifier_sha256,
        runs.c.settings,
        pages.c.width,
        pages.c.height,
        has_form(ledger.c.page_id, func.coalesce(ledger.c.kind, ANY)).label("has_form"),
        *SOURCE,
    )
    .select_from(PAGES_SOURCES.join(ledger, ledger.c.page_id == pages.c.id).join(runs))
    .where(ledger.c.id == bindparam("of_id"))
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A page in hand: nobody else can finish it while `token` is the row's."""

    ledger_id: int
    token: str
    state: str
    suspect: bool  # it was in hand when a process died: hold nothing else
    source: PageSource
    run_id: int
    networks: dict[str, str]  # those that read a page of its kind, SHA-256 by kind of network
    settings: dict[str, Any]  # of its run, which change what is read
    blob: str | None  # name of the crops, where another process detected
    width: int | None  # page pixels, where detect is done
    height: int | None
    found: PageDetections | None  # where detect is done
    has_form: bool  # for pages of its kind: records are to be made of it


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


def move(conn: Connection, claim: Claim, **values: Any) -> bool:
    """End the claim's stage with these values, in the caller's transaction; False: it is no longer ours.

    The page stays in hand where the values keep its `attempt_token` and `worker_id`.
    """
    new = {f"new_{name}": value for name, value in (FREE | values).items()}
    mine = {"of_id": claim.ledger_id, "of_state": claim.state, "of_token": claim.token}
    return conn.execute(_end(tuple(FREE | values)), new | mine).rowcount == 1


def let_go(conn: Connection, claims: Collection[Claim], **values: Any) -> int:
    """End claims with these values, in the caller's transaction; return how many were still ours.

    Their pages may have gone on to the next stage in the same hand.
    """
    ours = (
        ledger.c.id.in_([claim.ledger_id for claim in claims]),
        ledger.c.attempt_token.in_([claim.token for claim in claims]),
    )
    return conn.execute(update(ledger).where(*ours).values(FREE | values)).rowcount


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


def _claimed(conn: Connection, ledger_id: int, token: str) -> Claim:
    rows = conn.execute(_CLAIMED, {"of_id": ledger_id}).all()  # one for each path of its document
    row = rows[0]
    found = None
    if row.state == DETECTED:
        found = PageDetections(read_detections(conn, ledger_id), row.scale, row.turned)
    networks, settings = parts_of_run(row)
    if row.kind is not None:
        networks |= networks_by(settings, row.kind)
    return Claim(
        ledger_id=ledger_id,
        token=token,
        state=row.state,
        suspect=row.suspect,
        source=source_of(rows),
        run_id=row.run_id,
        networks=networks,
        settings=settings,
        blob=row.blob,
        width=row.width,
        height=row.height,
        found=found,
        has_form=bool(row.has_form),
    )
