"""What the threads of a worker spend their time on, so that people can see what it waits for."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SCANS, NETWORKS, BLOBS, LEDGER, QUEUE = "scans", "networks", "crops", "ledger", "queue"


class Times:
    """Adds up seconds by what they were spent on; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._spent: dict[str, float] = {}
        self._n_pages = 0

    @contextmanager
    def spent(self, what: str) -> Iterator[None]:
        """Count the time of a block."""
        began = self._clock()
        try:
            yield
        finally:
            took_s = self._clock() - began
            with self._lock:
                self._spent[what] = self._spent.get(what, 0.0) + took_s

    def page(self) -> None:
        """Count a page that went through a stage."""
        with self._lock:
            self._n_pages += 1

    def take(self) -> tuple[int, dict[str, float]]:
        """Return how many stages of pages ended and the seconds by what they were spent on; begin anew."""
        with self._lock:
            taken = self._n_pages, self._spent
            self._n_pages, self._spent = 0, {}
        return taken


def told(n_pages: int, spent: dict[str, float], n_threads: int, seconds: float, busy_s: float) -> str:
    """Return what became of `seconds` of so many threads, in a line; `busy_s` the device was at work."""
    total = n_threads * seconds
    most_first = sorted(spent.items(), key=lambda one: -one[1])
    shares = [f"{what} {took_s / total:.0%}" for what, took_s in most_first]
    idle = max(0.0, 1 - sum(spent.values()) / total)
    return (
        f"{n_pages / seconds:.2f} stages/s; {n_threads} threads: {', '.join(shares)}, no page {idle:.0%};"
        f" device at work {busy_s / seconds:.0%}"
    )
