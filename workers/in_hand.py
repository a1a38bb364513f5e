"""What this process has in hand, since when, and what it owes back to the ledger.

A page in hand is a claim of ours in the ledger.  A suspect is taken alone: after all others are through, and
no other is taken before it is.  Each page has a deadline of our own, because Celery's
thread pools ignore task time limits.  When it passes, the process gives its other pages back and
leaves at once; the hung one stays claimed, so that it becomes a suspect and is tried alone.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Engine

from pipeline import ledger
from pipeline.errors import StorageError
from pipeline.ledger import Claim

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0


class InHand:
    """The claims of this process; safe to use from several threads.

    `deadline_s` is how long a page's clock may run.  `clock` gives seconds and never goes back.
    """

    def __init__(self, deadline_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.deadline_s = deadline_s
        self._clock = clock
        # held while a claim is made, or a suspect is in hand: never by whoever only looks
        self._gate = threading.RLock()
        self._lock = threading.Lock()
        self._emptied = threading.Condition(self._lock)
        self._claims: dict[str, Claim] = {}
        self._started: dict[str, float] = {}
        self._owed: dict[str, Claim] = {}
        self._closed = False
        self._asked_at = clock()

    def take(self, claim: Callable[[], Claim | None]) -> Claim | None:
        """Call `claim` and keep what it gives; None once closed, so that no page is taken while leaving."""
        with self._gate:
            taken = None if self._closed else claim()
            with self._lock:
                self._asked_at = self._clock()
                if taken is not None:
                    self._claims[taken.token] = taken
            return taken

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold nothing else: wait until nothing is in hand, and let nobody but the caller take a page."""
        with self._gate:
            with self._emptied:
                self._emptied.wait_for(lambda: not self._claims)
            yield

    def drop(self, claim: Claim) -> None:
        """Forget a claim whose page went on, was set aside or is owed back."""
        with self._lock:
            self._claims.pop(claim.token, None)
            self._started.pop(claim.token, None)
            self._asked_at = self._clock()
            if not self._claims:
                self._emptied.notify_all()

    @contextmanager
    def clock(self, claim: Claim) -> Iterator[None]:
        """Run the page's clock: around work that a page can hang in, not around waiting for a turn."""
        with self._lock:
            self._started[claim.token] = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._started.pop(claim.token, None)

    def overdue(self) -> list[Claim]:
        """Return the claims whose clock has run past the deadline."""
        limit = self._clock() - self.deadline_s
        with self._lock:
            late = [token for token, started in self._started.items() if started <= limit]
            return [self._claims[token] for token in late if token in self._claims]

    def idle_s(self) -> float:
        """Return for how long nothing was in hand, and nobody asked for a page."""
        with self._lock:
            return 0.0 if self._claims else self._clock() - self._asked_at

    def claims(self) -> list[Claim]:
        """Return every claim in hand."""
        with self._lock:
            return list(self._claims.values())

    def owe(self, claim: Claim) -> None:
        """Note a page that goes back without blame as soon as the ledger can be written again."""
        with self._lock:
            self._owed[claim.token] = claim

    def pay_back(self, db: Engine) -> None:
        """Give back what is owed; StorageError while the ledger still can't be written."""
        with self._lock:
            owed = list(self._owed.values())
        if owed:
            ledger.give_back(db, owed)
            with self._lock:
                for claim in owed:
                    self._owed.pop(claim.token, None)

    @property
    def closed(self) -> bool:
        """Whether no page is taken any more."""
        return self._closed

    def close(self) -> None:
        """Take no page from now on.

        Waits a little for a claim that is just being made, and no longer: whoever leaves because a
        page hangs must not hang here.
        """
        if self._closed:
            return
        locked = self._gate.acquire(timeout=CLOSE_TIMEOUT_S)
        self._closed = True
        if locked:
            self._gate.release()

    def leave(self, db: Engine, but: Sequence[Claim] = ()) -> None:
        """Close, and give back every page in hand or owed, except those in `but`."""
        self.close()
        kept = {claim.token for claim in but}
        with self._lock:
            every = {**self._claims, **self._owed}
        back = [claim for token, claim in every.items() if token not in kept]
        try:
            ledger.give_back(db, back)
        except StorageError as error:
            log.warning("%d pages could not be given back: %s", len(back), error)
