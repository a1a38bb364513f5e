"""Trouble that is no page's fault: storage or a broker away, weights missing."""

import logging
import threading
import time
from collections.abc import Callable

from pipeline.errors import ArchiveError, StorageError

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
PAGES, FEEDER = "pages", "feeder"  # who meets trouble


class Trouble:
    """Remembers what is wrong and since when; safe to use from several threads.

    Storage gets `patience_s` to come back; anything else is `fatal` at once.  Pages and the feeder each
    have their own trouble, which lasts until something of theirs works: the feeder reads a ledger well
    whose disk is full, or whose pages lie on a share that is away.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._pause_s = FIRST_PAUSE_S
        self._paused_until = 0.0
        self._fatal: ArchiveError | None = None

    def note(self, error: ArchiveError, who: str = PAGES) -> None:
        """Something went wrong: pages wait a while, longer each time."""
        with self._lock:
            now = self._clock()
            if not isinstance(error, StorageError):
                self._fatal = self._fatal or error
                return
            since = self._since.setdefault(who, now)
            if now >= self._paused_until:  # several threads meet the same trouble at once
                log.warning("waiting %g s: %s", self._pause_s, error)
                self._paused_until = now + self._pause_s
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            if now - since >= self._patience_s:
                self._fatal = self._fatal or error

    def over(self, who: str = PAGES) -> None:
        """Note that a page went through, or a step of the feeder: its trouble is forgotten."""
        with self._lock:
            self._since.pop(who, None)
            if not self._since:
                self._pause_s = FIRST_PAUSE_S

    def lasting(self) -> bool:
        """Tell whether any trouble is not over yet."""
        with self._lock:
            return bool(self._since)

    def pause_s(self) -> float:
        """Return for how long to publish nothing."""
        with self._lock:
            return max(0.0, self._paused_until - self._clock())

    def fatal(self) -> ArchiveError | None:
        """Return the error to leave with; None while there is hope."""
        with self._lock:
            return self._fatal
