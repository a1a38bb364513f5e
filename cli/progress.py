"""How far a command is: a bar on a terminal, a plain line now and then elsewhere; always on stderr."""

import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

from cli.terminal import counted, duration, say

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

PLAIN_EVERY_S = 5.0
RATE_OVER_S = 30.0
LEAST_PAGES = 3  # the first pages say little: networks load, a bad page is over at once


class Pace:
    """Pages a second over the last half minute, or longer where pages are slow, from the counts for `at`."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now_s: float, n_pages: int) -> float | None:
        """Note a count and return the rate; None until a few pages were done."""
        self._seen.append((now_s, n_pages))
        # what is old goes, unless too few pages would be left
        while self._seen[0][0] < now_s - RATE_OVER_S and n_pages - self._seen[1][1] >= LEAST_PAGES:
            self._seen.popleft()
        (start_s, n_start), (end_s, n_end) = self._seen[0], self._seen[-1]
        return (n_end - n_start) / (end_s - start_s) if n_end - n_start >= LEAST_PAGES else None


def progress_line(n_done: int, n_total: int, rate: float | None, *, complete: bool) -> str:
    """Return how far it is, in words; without `complete` more pages may come.

    >>> progress_line(120, 340, 1.4, complete=True)
    '120 of 340 pages, 1.4 pages/s, 2 min 37 s left'
    """
    parts = [f"{n_done:,} of {counted(n_total, 'page')}" + ("" if complete else " so far")]
    if rate:
        parts.append(_rate(rate))
        if complete and n_total > n_done:
            parts.append(f"{duration((n_total - n_done) / rate)} left")
    return ", ".join(parts)


class PlainProgress:
    """A line every few seconds, where it says something new."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._said_at = time.monotonic()
        self._said = ""

    def __enter__(self) -> "PlainProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, n_done: int, n_total: int, *, complete: bool) -> None:
        """Take the counts in; they are said when it is time."""
        now = time.monotonic()
        rate = self._pace.at(now, n_done)
        if now - self._said_at >= PLAIN_EVERY_S and n_total:
            self._said_at = now
            line = progress_line(n_done, n_total, rate, complete=complete)
            if line != self._said:
                say(line)
                self._said = line

    def tell(self, line: str) -> None:
        """Say a line in between."""
        say(line)


class BarProgress:
    """A bar that is drawn again in its place."""

    def __init__(self) -> None:
        # here and not at the top: only a terminal needs it
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._pace = Pace()
        self._bar: Bar = Progress(
            BarColumn(bar_width=18),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,  # the summary takes its place
        )
        self._task: TaskID = self._bar.add_task("looking for pages …", total=None)

    def __enter__(self) -> "BarProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, n_done: int, n_total: int, *, complete: bool) -> None:
        """Draw the counts."""
        if n_total:
            rate = self._pace.at(time.monotonic(), n_done)
            line = progress_line(n_done, n_total, rate, complete=complete)
            self._bar.update(self._task, completed=n_done, total=n_total, description=line)

    def tell(self, line: str) -> None:
        """Say a line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


Progress = PlainProgress | BarProgress


def make_progress() -> Progress:
    """Return the progress that suits stderr."""
    return BarProgress() if sys.stderr.isatty() else PlainProgress()


def _rate(rate: float) -> str:
    return f"{rate:.1f} pages/s" if rate >= 0.1 else f"{rate * 60:.1f} pages/min"
