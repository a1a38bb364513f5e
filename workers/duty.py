"""What an engine is there for: all the work of one command, or a share in that of many machines."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Engine as Database

from pipeline import ledger, roster
from pipeline.database import refuse_other_tables
from pipeline.errors import ArchiveError, BusyError, StorageError
from pipeline.leadership import Leadership
from pipeline.owner import refuse_owned
from pipeline.roster import Worker
from pipeline.settings import Settings
from workers.agreed import LEFT_ANEW, n_threads
from workers.app import EMBEDDED, QUEUES
from workers.broker import Broker
from workers.deaths import BEAT_EVERY_S
from workers.feeder import Feeder
from workers.feeding import QUEUE_LEASE_S, queue_feeder, sweep_now_and_then
from workers.stages import Bench, sweep

log = logging.getLogger(__name__)

COMMAND_PATIENCE_S = 15.0  # how long a command waits for storage that is away
STUCK_S = 60.0  # nothing was taken for so long though messages wait: Celery lost its connection for good

Jobs = dict[str, Callable[[], None]]


class Duty(Protocol):
    """What differs between the two."""

    patience_s: float  # how long storage may be away
    queue_lease_s: float  # of a message
    broker_url: str
    queues: tuple[str, ...]
    worker_id: str | None

    def feeder(self, db: Database, broker: Broker) -> Feeder:
        """Return the feeder of the queues."""

    def leads(self) -> bool:
        """Tell whether this engine feeds the queues now."""

    def begin(self, bench: Bench) -> None:
        """Take over from a dead predecessor, before the first page is taken."""

    def jobs(self, bench: Bench, broker: Broker, stop: threading.Event) -> Jobs:
        """Return what else runs in threads of its own, by name."""

    def fatal(self) -> tuple[int, str] | None:
        """Return how to leave where it can't go on, and why."""

    def end(self, bench: Bench) -> None:
        """Leave in order, with nothing in hand."""


class Sole:
    """The engine of a command that holds the owner's lock: nobody else works on the database.

    `cause` is what the engine before it died of.
    """

    patience_s = COMMAND_PATIENCE_S
    broker_url = EMBEDDED
    queues: tuple[str, ...] = QUEUES
    worker_id: str | None = None

    def __init__(self, settings: Settings, lease_s: float, cause: str) -> None:
        self._settings, self._cause = settings, cause
        self.queue_lease_s = lease_s  # no message is lost while the process lives

    def feeder(self, db: Database, broker: Broker) -> Feeder:
        """Return a feeder that keeps a few pages for each thread in flight."""
        limit = 4 * n_threads(self._settings)
        return Feeder(
            db,
            broker.publish,
            limit=limit,
            queue_lease_s=self.queue_lease_s,
            max_deaths=self._settings.max_deaths,
        )

    def leads(self) -> bool:
        """Tell that it does: there is no other."""
        return True

    def begin(self, bench: Bench) -> None:
        """Void every lease: whoever held one is dead."""
        n = ledger.void_leases(
            bench.db, now=time.time(), max_deaths=self._settings.max_deaths, cause=self._cause
        )
        n_stray = sweep(bench.db, bench.files, alone=True)
        log.info("ready; from the engine before: %d pages in hand, %d stray blobs", n, n_stray)

    def jobs(self, bench: Bench, broker: Broker, stop: threading.Event) -> Jobs:
        """Return none."""
        return {}

    def fatal(self) -> tuple[int, str] | None:
        """Return None: nothing but trouble ends it."""
        return None

    def end(self, bench: Bench) -> None:
        """Leave the rest to the command."""


class Share:
    """One worker of many: on the roster, with a beat, and the feeder where it leads.

    `before` names the worker that this process takes the place of, which died of `cause`.
    """

    patience_s = math.inf
    queue_lease_s = QUEUE_LEASE_S
    worker_id: str | None

    def __init__(
        self, settings: Settings, worker: Worker, before: str | None, cause: str, *, feeds: bool
    ) -> None:
        self.broker_url = settings.broker_url
        self.worker_id = worker.id
        self.queues = worker.stages
        self._settings, self._worker = settings, worker
        self._before, self._cause = before, cause
        self._leadership = Leadership(settings.database_url) if feeds else None
        self._fatal: tuple[int, str] | None = None

    def feeder(self, db: Database, broker: Broker) -> Feeder:
        """Return a feeder that keeps no more messages in the broker than the settings allow."""
        return queue_feeder(self._settings, db, broker)

    def leads(self) -> bool:
        """Ask the database whether this is the one."""
        return self._leadership is not None and self._leadership.leads()

    def begin(self, bench: Bench) -> None:
        """Get on the roster, and take back what the process before had in hand.

        Raises BusyError while a command reads pages by itself: it takes back whatever others have in hand.
        """
        roster.enrol(bench.db, self._worker, now=time.time())
        try:
            refuse_owned(self._settings.database_url)
        except BusyError:
            roster.strike(bench.db, self._worker.id)
            raise
        n = 0
        if self._before is not None:
            n = ledger.bury(
                bench.db,
                [self._before],
                now=time.time(),
                max_deaths=self._settings.max_deaths,
                cause=self._cause,
            )
        log.info("worker %s is ready; from the process before: %d pages in hand", self._worker.id[:12], n)

    def jobs(self, bench: Bench, broker: Broker, stop: threading.Event) -> Jobs:
        """Return the beat, and the sweep of blobs that nobody needs."""
        jobs: Jobs = {"beat": lambda: self._beat(bench, broker, stop)}
        if (leadership := self._leadership) is not None:
            jobs["sweep"] = lambda: sweep_now_and_then(bench.db, bench.files, leadership, stop)
        return jobs

    def fatal(self) -> tuple[int, str] | None:
        """Return why the beat ended."""
        return self._fatal

    def end(self, bench: Bench) -> None:
        """Get off the roster."""
        try:
            roster.strike(bench.db, self._worker.id)
        except StorageError as error:
            log.warning("still on the roster: %s", error)

    def _beat(self, bench: Bench, broker: Broker, stop: threading.Event) -> None:
        """Give a sign of life every few seconds, as long as there is one."""
        waiting_since: float | None = None
        while not stop.wait(BEAT_EVERY_S):
            try:
                refuse_other_tables(bench.db)
                if not roster.beat(bench.db, self._worker.id, now=time.time()):
                    self._fatal = LEFT_ANEW, "was taken for dead, and begins anew"
                    return
                stuck = bench.in_hand.idle_s() > STUCK_S and broker.n_waiting(self.queues) > 0
            except StorageError as error:
                log.warning("no beat: %s", error)
                continue
            except ArchiveError as error:
                self._fatal = error.exit_code, str(error)
                return
            waiting_since = (waiting_since or time.monotonic()) if stuck else None
            if waiting_since is not None and time.monotonic() - waiting_since > STUCK_S:
                self._fatal = LEFT_ANEW, "got no message though some wait, and begins anew"
                return
