"""`archive status --watch`: counts, who works on the pages and how long it takes, again and again."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from cli.progress import Pace
from cli.terminal import counted, duration, shorten, terminal_width
from pipeline.database import reading
from pipeline.errors import StorageError
from pipeline.outlook import Outlook, outlook
from pipeline.settings import Settings
from pipeline.status import Status, status

EVERY_S = 2.0
_NAMES = {"sort": "sorting", "detect": "finding digits", "classify": "reading them"}


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: counts, outlook, messages that wait by queue (None: no broker), pages/s by stage."""

    status: Status
    outlook: Outlook
    queued: dict[str, int] | None
    rates: dict[str, float | None]
    trouble: str


class Looks:
    """Looks at an archive again and again, and keeps how fast each stage was."""

    def __init__(self, db: Engine, settings: Settings) -> None:
        self._db = db
        self._paces = {stage: Pace() for stage in _NAMES}
        self._queues = _queues(settings)

    def look(self) -> Seen:
        """Return what is to be seen now."""
        with reading(self._db) as conn:
            counts = status(conn, now=time.time())
            out = outlook(conn, now=time.time())
        through = {
            "sort": sum(of_kind.n_pages for of_kind in counts.kinds),
            "detect": counts.n_detected + counts.n_done,
            "classify": counts.n_done,
        }
        now = time.monotonic()
        rates = {stage: self._paces[stage].at(now, n) for stage, n in through.items()}
        queued, trouble = None, ""
        if self._queues is not None:
            try:
                queued = self._queues()
            except StorageError as error:
                trouble = str(error)
        return Seen(counts, out, queued, rates, trouble)


def lines_of(seen: Seen, *, now: float) -> Iterator[str]:
    """Yield the lines that show a look, for people."""
    counts, out = seen.status, seen.outlook
    left = counts.n_unsorted + counts.n_waiting + counts.n_detected
    states = [
        *([f"{counts.n_unsorted:,} to sort"] if counts.n_unsorted else []),
        f"{counts.n_waiting:,} waiting",
        f"{counts.n_detected:,} found",
        f"{counts.n_done:,} done",
        *([f"{counts.n_skipped:,} skipped"] if counts.n_skipped else []),
        *([f"{counts.n_person:,} for a person"] if counts.n_person else []),
        f"{counts.n_failed:,} failed",
    ]
    yield f"pages     {counts.n_pages:,}: {', '.join(states)}"
    yield f"read      {counted(counts.n_digits, 'digit')}, {counted(counts.n_numbers, 'number')}"
    speeds = [f"{name} {rate:.1f} pages/s" for stage, name in _NAMES.items() if (rate := seen.rates[stage])]
    if left and speeds:
        pace = seen.rates["classify"]
        yield f"speed     {', '.join(speeds)}" + (f", {duration(left / pace)} left" if pace else "")
    if seen.queued is not None:
        yield "queues    " + ", ".join(f"{stage} {n:,}" for stage, n in seen.queued.items())
    if seen.trouble:
        yield f"broker    {seen.trouble}"
    if out.waits_since is not None:
        yield f"longest   a page has waited for {duration(now - out.waits_since)}"
    machines = len({one.worker.host for one in out.workers})
    yield f"workers   {len(out.workers):,}" + (f" on {counted(machines, 'machine')}" if out.workers else "")
    for one in out.workers:
        worker = one.worker
        what = "" if len(worker.stages) > 1 else f", {worker.stages[0]} only"
        hands, age = counted(worker.threads, "page"), duration(now - one.started_at)
        yield f"  {worker.host}  process {worker.pid}, {worker.device}, {hands} at a time{what}, since {age}"
    if out.reasons:
        yield "failures  " + ("" if counts.n_failed else "of documents")
    for reason, n in out.reasons:
        yield f"  {n:,} × {reason}"


def watch(db: Engine, settings: Settings, should_stop: Callable[[], bool]) -> None:
    """Show look after look until `should_stop()`: in one place on a terminal, one below another elsewhere."""
    looks = Looks(db, settings)
    with _screen() as show:
        while not should_stop():
            show([_fitting(line) for line in lines_of(looks.look(), now=time.time())])
            end = time.monotonic() + EVERY_S
            while not should_stop() and time.monotonic() < end:
                time.sleep(0.1)


@contextmanager
def _screen() -> Iterator[Callable[[Sequence[str]], None]]:
    """Give what shows lines."""
    if not sys.stdout.isatty():

        def below(lines: Sequence[str]) -> None:
            print("\n".join(lines) + "\n", flush=True)

        yield below
        return
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:

        def in_place(lines: Sequence[str]) -> None:
            live.update(Text("\n".join(lines)), refresh=True)

        yield in_place


def _fitting(line: str) -> str:
    room = terminal_width()
    return line if room is None else shorten(line, room)


def _queues(settings: Settings) -> Callable[[], dict[str, int]] | None:
    """Return what counts the messages of each queue; None where there is no broker."""
    if not settings.broker_url:
        return None
    from workers.app import QUEUES, create_app
    from workers.broker import Broker

    broker = Broker(create_app(settings.broker_url))
    return lambda: {queue: broker.n_waiting((queue,)) for queue in QUEUES}
