"""A worker's parent: starts the engine, starts it again when it dies, and stops it in order."""

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence

from pipeline import errors
from pipeline.errors import ArchiveError
from pipeline.roster import Worker
from pipeline.settings import Settings
from workers.agreed import Order, n_threads
from workers.child import STOP_GRACE_S, Child, cause_of

log = logging.getLogger(__name__)

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 30.0
LIVED_S = 60.0  # an engine that lived so long is no vain start
STEP_S = 0.1

# an engine that leaves because of these would leave again
_FINAL: dict[int, type[ArchiveError]] = {
    kind.exit_code: kind for kind in (errors.MissingError, errors.SettingsError)
}


def supervise(
    settings: Settings, stages: Sequence[str], *, feeds: bool, should_stop: Callable[[], bool]
) -> None:
    """Keep one engine at work on these stages until `should_stop()`.

    Raises MissingError (weights, a device, tables of another version) and SettingsError where the engine left
    because of them: it would again.  Whatever else it dies of, it is started again.
    """
    child = Child()
    before: str | None = None
    cause, delay_s, start_at, started_at = "", FIRST_DELAY_S, time.monotonic(), 0.0
    try:
        while not should_stop():
            if child.pid is None and time.monotonic() >= start_at:
                worker = _worker(settings, stages)
                child.start(Order(settings, cause, worker, before, feeds))
                before, started_at = worker.id, time.monotonic()
            left = child.left()
            if left is not None:
                if left.code in _FINAL:
                    raise _FINAL[left.code](left.words or f"the engine left with exit code {left.code}")
                cause, why = cause_of(left.code, left.words)
                in_vain = not left.of_a_page and time.monotonic() - started_at < LIVED_S
                delay_s = min(2 * delay_s, LONGEST_DELAY_S) if in_vain else FIRST_DELAY_S
                start_at = time.monotonic() + delay_s
                log.warning("the engine %s and is started again in %g s", why, delay_s)
            time.sleep(STEP_S)
    finally:
        child.stop(STOP_GRACE_S)


def _worker(settings: Settings, stages: Sequence[str]) -> Worker:
    return Worker(
        id=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        stages=tuple(stages),
        device=settings.device,
        threads=n_threads(settings),
    )
