"""The Celery tasks: each takes a page's ledger id, and what it did is in the ledger."""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext

from celery import Celery  # type: ignore[import-untyped]

from pipeline import ledger
from pipeline.errors import (
    BrokerError,
    DeviceError,
    MissingError,
    SourceError,
    StorageError,
    is_out_of_memory,
)
from pipeline.ledger import Claim, Due
from workers import stages
from workers.app import CLASSIFY, DETECT, SORT
from workers.broker import Broker
from workers.stages import Bench
from workers.times import LEDGER, QUEUE
from workers.trouble import Trouble

log = logging.getLogger(__name__)

Stage = Callable[[Bench, Claim], str | None]


def add_tasks(app: Celery, bench: Bench, trouble: Trouble, broker: Broker) -> None:
    """Give the application its tasks, which work on `bench` and report what isn't a page's fault.

    A stage takes its page through the next one too, where this process has that.
    """
    find = stages.detect_and_classify if CLASSIFY in bench.stages else stages.detect
    look = stages.sort_and(find) if DETECT in bench.stages else stages.sort

    @app.task(name=SORT)  # type: ignore[untyped-decorator]
    def sort(ledger_id: int, alone: bool = False) -> None:
        _through(Due(ledger_id, ledger.UNSORTED, alone), look)

    @app.task(name=DETECT)  # type: ignore[untyped-decorator]
    def detect(ledger_id: int, alone: bool = False) -> None:
        _through(Due(ledger_id, ledger.WAITING, alone), find)

    @app.task(name=CLASSIFY)  # type: ignore[untyped-decorator]
    def classify(ledger_id: int, alone: bool = False) -> None:
        _through(Due(ledger_id, ledger.DETECTED, alone), stages.classify)

    def _through(due: Due, stage: Stage) -> None:
        state = work_on(bench, trouble, due, stage)
        if state in ledger.OPEN:
            _go_on(bench, broker, Due(due.ledger_id, state))


def _go_on(bench: Bench, broker: Broker, due: Due) -> None:
    """Send a page on to its next stage; where the broker is away the feeder will, once it is back."""
    try:
        with bench.times.spent(QUEUE):
            broker.publish(due)
    except BrokerError as error:
        log.warning("page %d waits: %s", due.ledger_id, error)
        _hand_back(bench, due.ledger_id)


def work_on(bench: Bench, trouble: Trouble, due: Due, stage: Stage) -> str | None:
    """Take the page, if it is in that state and nobody has it, through `stage`; return its state then.

    None: it did not go on, or somebody else has it.  A suspect is worked on with nothing else in hand.  What
    is the page's fault sets it aside with the reason.  What is not (storage, weights) gives it back without
    blame and goes to `trouble`, which slows the feeder down or ends the process.
    """
    with bench.in_hand.alone() if due.alone else nullcontext():
        return _work_on(bench, trouble, due, stage)


def _work_on(bench: Bench, trouble: Trouble, due: Due, stage: Stage) -> str | None:
    claim = _take(bench, trouble, due)
    if claim is None:
        if bench.in_hand.closed:
            _hand_back(bench, due.ledger_id)  # this process leaves: another is to get the message
        return None
    try:
        state = stage(bench, claim)
        bench.times.page()
        trouble.over()
        return state
    except DeviceError as error:
        # not given back: this process leaves, and of the pages on the device one may be why it failed
        trouble.note(error)
    except (StorageError, MissingError) as error:
        bench.in_hand.owe(claim)
        trouble.note(error)
    except Exception as error:
        _set_aside(bench, trouble, claim, _reason(claim, error))
    finally:
        bench.in_hand.drop(claim)
    return None


def _take(bench: Bench, trouble: Trouble, due: Due) -> Claim | None:
    """Claim the page; while storage is away the message waits here, for else it would be lost."""
    while True:
        try:
            with bench.times.spent(LEDGER):
                return bench.in_hand.take(
                    lambda: ledger.claim(
                        bench.db,
                        due.ledger_id,
                        state=due.state,
                        alone=due.alone,
                        now=time.time(),
                        lease_s=bench.lease_s,
                        worker_id=bench.worker_id,
                    )
                )
        except StorageError as error:
            trouble.note(error)
            if trouble.fatal():
                return None
            time.sleep(trouble.pause_s())


def _hand_back(bench: Bench, ledger_id: int) -> None:
    try:
        ledger.hand_back(bench.db, ledger_id)
    except StorageError as error:  # then it is due when the lease of its message runs out
        log.warning("page %d waits for its lease: %s", ledger_id, error)


def _set_aside(bench: Bench, trouble: Trouble, claim: Claim, reason: str) -> None:
    log.warning("page %d is set aside: %s", claim.ledger_id, reason)
    try:
        ledger.set_aside(bench.db, claim, reason, now=time.time())
    except StorageError as error:
        bench.in_hand.owe(claim)
        trouble.note(error)


def _reason(claim: Claim, error: Exception) -> str:
    if isinstance(error, SourceError):
        return str(error)
    if is_out_of_memory(error):
        return "needs more memory than there is"
    log.error("page %d met a bug", claim.ledger_id, exc_info=error)
    first = str(error).strip().partition("\n")[0]
    return f"bug: {type(error).__name__}: {first}"
