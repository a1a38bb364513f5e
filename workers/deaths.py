"""Deaths: workers whose beat stands still are taken off the roster, and what they had in hand back."""

import logging
import time
from collections.abc import Callable

from sqlalchemy import Engine

from pipeline import ledger
from pipeline.roster import all_workers

log = logging.getLogger(__name__)

BEAT_EVERY_S = 5.0
SILENCE_S = 30.0  # a worker that gives no sign for so long is dead
_GAP_S = 15.0  # between two looks: beyond it they too may have met a database that was away


class Deaths:
    """Watches the beats of all workers, by a clock of its own: those of their machines need not agree.

    Silence counts only while looks follow each other closely: where the database was away for a while, nobody
    could renew a beat.  `clock` gives seconds and never goes back.
    """

    def __init__(self, db: Engine, max_deaths: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._max_deaths = max_deaths
        self._clock = clock
        self._heard: dict[str, tuple[int, float]] = {}  # of each worker: beats, and when they were new
        self._looked_at = clock()
        self.n_alive = 0  # when they were last looked at
        self.n_hands = 0  # how many pages they hold at most

    def look(self) -> int:
        """Bury those who died; return how many pages they had in hand.  Raises StorageError."""
        roster = all_workers(self._db)
        now = self._clock()
        before = self._heard if now - self._looked_at <= _GAP_S else {}
        self._looked_at = now
        self._heard = {}
        dead = {}
        for seen in roster:
            n_beats, since = before.get(seen.worker.id, (-1, now))
            self._heard[seen.worker.id] = (seen.n_beats, since if n_beats == seen.n_beats else now)
            if n_beats == seen.n_beats and now - since >= SILENCE_S:
                dead[seen.worker.id] = f"{seen.worker.host} process {seen.worker.pid}"
        alive = [seen.worker for seen in roster if seen.worker.id not in dead]
        self.n_alive, self.n_hands = len(alive), sum(worker.threads for worker in alive)
        for name in dead.values():
            log.warning("worker %s gives no sign of life; its pages are tried again alone", name)
        return ledger.bury(
            self._db,
            dead,
            now=time.time(),
            max_deaths=self._max_deaths,
            cause=f"its worker gave no sign of life for {SILENCE_S:g} s",
        )
