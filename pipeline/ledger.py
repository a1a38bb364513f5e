"""The ledger: which page is in which state, in whose hands, until when.  SQL decides, messages are hints.

    waiting ── detect ─▶ detected ── classify ─▶ done         failed: set aside, with a reason; retry goes back

Every function is one transaction.  `now` and leases are seconds (since 1970).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from pipeline.catalogue import PageSource
from pipeline.page import Number, PageDetections, Reading

WAITING, DETECTED, DONE, FAILED = "waiting", "detected", "done", "failed"


@dataclass(frozen=True, slots=True)
class Due:
    """A row whose stage can start now: publish its id to the stage that takes `state`."""

    ledger_id: int
    state: str


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
    blob: str | None  # name of the crops, where detect is done
    width: int | None  # page pixels, where detect is done
    height: int | None
    found: PageDetections | None  # where detect is done


@dataclass(frozen=True, slots=True)
class Counts:
    """Ledger rows by state (every run, so `n_open == 0` means nothing is left to do)."""

    n_waiting: int
    n_detected: int
    n_done: int
    n_failed: int
    n_digits: int
    n_numbers: int

    @property
    def n_open(self) -> int:
        """Rows that are still to be worked on."""
        return self.n_waiting + self.n_detected


def take_due(db: Engine, *, now: float, limit: int, lease_s: float) -> list[Due]:
    """Mark up to `limit` due rows as published and return them: detected before waiting, then by id.

    Suspects are left to `take_suspect`.  A row whose message is lost is due again after `lease_s`.
    """
    raise NotImplementedError


def take_suspect(db: Engine, *, now: float, lease_s: float, eager: bool) -> Due | None:
    """Mark one suspect as published and return it; the one with the fewest deaths first.

    Suspects back off 30 s × 2^deaths; `eager` ignores that (nothing else is left to do).  Only call it with
    nothing in flight, and hold nothing else until it is through.
    """
    raise NotImplementedError


def n_in_flight(db: Engine, *, now: float) -> int:
    """Return how many rows are published or in hand (suspects included)."""
    raise NotImplementedError


def claim(db: Engine, ledger_id: int, *, state: str, now: float, lease_s: float) -> Claim | None:
    """Take a page in hand; None: another has it, it went on already, or it is a suspect nobody published."""
    raise NotImplementedError


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
) -> bool:
    """Write the detections and go on to detected, published at once (enqueue classify if True).

    False: the claim is no longer ours; nothing was written (delete the blob).
    """
    raise NotImplementedError


def finish_classify(
    db: Engine, claim: Claim, readings: Sequence[Reading], numbers: Sequence[Number], *, now: float
) -> bool:
    """Write readings and numbers and go on to done; this run becomes the page's current one.

    `readings` are those of `claim.found.detections`, in order.  False: the claim is no longer ours.
    """
    raise NotImplementedError


def set_aside(db: Engine, claim: Claim, reason: str, *, now: float) -> bool:
    """Mark the page failed with a one-line reason; False: the claim is no longer ours."""
    raise NotImplementedError


def give_back(db: Engine, claims: Iterable[Claim]) -> int:
    """Put pages back, due at once and without blame; return how many were still ours."""
    raise NotImplementedError


def expire(db: Engine, *, now: float, max_deaths: int) -> int:
    """Take back pages whose lease lapsed in somebody's hands; return how many.

    They become suspects; one that already was (so it was alone) has died once more, and at `max_deaths` it is
    set aside.
    """
    raise NotImplementedError


def void_leases(db: Engine, *, now: float, max_deaths: int) -> int:
    """For a new owner of the lock: expire every page in hand, and make due what was published; return how many."""
    raise NotImplementedError


def retry(
    db: Engine,
    *,
    ledger_ids: Sequence[int] = (),
    document_ids: Sequence[int] = (),
    everything: bool = False,
    now: float,
) -> int:
    """Put failed pages back to the state they failed in, and free failed documents for ingest; return how many.

    `document_ids` means the failed pages of these documents, and the documents themselves if they gave no page.
    """
    raise NotImplementedError


def counts(db: Engine) -> Counts:
    """Count the rows by state; cheap enough to call twice a second."""
    raise NotImplementedError
