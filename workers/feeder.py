"""The feeder: takes rows that are due from the ledger and publishes their ids; never too many at a time.

It is outbox, sweeper and back-pressure in one.  A message that is lost only waits until the queue
is empty, or for its queue lease.
Suspects (pages that were in hand when a process died) come after the others, and no more of them at a time
than there are processes: each works on one alone.
"""

import logging
import math
import threading
import time
from collections.abc import Callable

from sqlalchemy import Engine

from pipeline import ledger
from pipeline.errors import StorageError
from pipeline.ledger import Due
from workers.in_hand import InHand
from workers.trouble import FEEDER, Trouble

log = logging.getLogger(__name__)

IDLE_S = 0.5
FOLLOW_S = 2.0  # between two looks whether the process that leads is gone
EXPIRE_EVERY_S = 5.0
LOST_AFTER_S = 15.0  # a queue that is empty for so long has no older message
SUSPECT_EVERY_S = 5.0  # how often to look for a suspect whose back-off is over


class Feeder:
    """Publishes what is due; `step` is one look at the ledger, `run` looks until told to stop.

    `publish` sends one message.  At most `limit` rows are in flight, and one suspect for each of
    `n_processes()`.  `n_waiting` asks the broker how many messages nobody has got yet, where it can lose
    some; `bury` takes back what dead workers had in hand.  `n_hands` tells how many pages workers hold at
    most.  `busy_s` is the time between two looks while something is in flight.
    """

    def __init__(
        self,
        db: Engine,
        publish: Callable[[Due], None],
        *,
        limit: int,
        queue_lease_s: float,
        max_deaths: int,
        bury: Callable[[], int] = lambda: 0,
        n_waiting: Callable[[], int] | None = None,
        n_processes: Callable[[], int] = lambda: 1,
        n_hands: Callable[[], int] = lambda: 0,
        busy_s: float = 0.05,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._publish = publish
        self._limit = limit
        self._queue_lease_s = queue_lease_s
        self._max_deaths = max_deaths
        self._bury = bury
        self._n_waiting = n_waiting
        self._n_processes = n_processes
        self._n_hands = n_hands
        self._busy_s = busy_s
        self._clock, self._timer = clock, timer
        self._empty_since: float | None = None
        self._expire_at = self._suspect_at = -math.inf

    def step(self) -> bool:
        """Publish what may be published now; True if anything is in flight after it.

        Raises StorageError where the ledger or the broker can't be reached.
        """
        now, at = (
            self._clock(),
            self._timer(),
        )  # what rows say, and how long we waited: clocks are set at times
        if at >= self._expire_at:
            self._expire_at = at + EXPIRE_EVERY_S
            if ledger.expire(self._db, now=now, max_deaths=self._max_deaths):
                log.warning("pages whose lease ran out are tried again alone")
            self._bury()
        n_waiting = self._look_at_broker(now, at)
        flying = ledger.in_flight(self._db, now=now)
        # messages come twice, too: those that wait need not be of rows that are in flight
        # a page that goes on has two messages for a moment: the new one, and the one not acknowledged yet
        limit = self._limit - min(self._n_hands(), self._limit // 10)
        due = self._take_due(now, limit - max(flying.n, n_waiting))
        nothing_else = not due and flying.n == 0
        room = self._n_processes() - flying.n_alone
        if room > 0 and (nothing_else or at >= self._suspect_at):
            self._suspect_at = at + SUSPECT_EVERY_S
            due += ledger.take_suspects(
                self._db, now=now, limit=room, lease_s=self._queue_lease_s, eager=nothing_else
            )
        for row in due:
            self._publish(row)
        return flying.n + flying.n_alone + len(due) > 0

    def _look_at_broker(self, now: float, at: float) -> int:
        """Return how many messages wait; where there are none for a while, those that should be are lost."""
        if self._n_waiting is None:
            return 0
        n = self._n_waiting()
        if n:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = at
        elif at - self._empty_since >= LOST_AFTER_S:
            self._empty_since = at
            n_lost = ledger.lost(self._db, published_before=now - LOST_AFTER_S, lease_s=self._queue_lease_s)
            if n_lost:
                log.warning("%d messages are lost, and sent again", n_lost)
        return n

    def _take_due(self, now: float, room: int) -> list[Due]:
        if room <= 0:
            return []
        return ledger.take_due(self._db, now=now, limit=room, lease_s=self._queue_lease_s)

    def run(
        self,
        stop: threading.Event,
        in_hand: InHand,
        trouble: Trouble,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """Look until `stop`, paying back what the process owes and pausing while there is trouble.

        Only while `leads()`: of many processes one feeds the queues.
        """
        while not stop.is_set():
            pause_s = trouble.pause_s()
            if not pause_s:
                try:
                    in_hand.pay_back(self._db)
                    pause_s = FOLLOW_S if not leads() else self._busy_s if self.step() else IDLE_S
                    trouble.over(FEEDER)
                except StorageError as error:
                    trouble.note(error, FEEDER)
                    continue
            stop.wait(pause_s)
