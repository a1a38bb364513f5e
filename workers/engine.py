"""The engine: a Celery worker and the feeder of its queues, in one child process.

`python -P -m workers.engine` is started by `workers.child`.  Its standard input is one line of JSON (an
`Order`) and then stays open: its end means that the command is gone.  Its standard output is for two lines:
that it is ready, and why it left; standard error is the log.  SIGTERM: no new page, finish those in hand,
leave.  A second SIGTERM, the end of the command, or a page past its deadline: leave at once.

Everything that must not wait happens in the main thread, which looks after the others.
"""

import contextlib
import faulthandler
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.database import open_database
from pipeline.errors import ArchiveError, MissingError
from pipeline.ledger import Claim
from pipeline.settings import Settings
from pipeline.sharing import SCANS, WEIGHTS, Cache
from pipeline.storage import Files
from workers.agreed import LEFT_ANEW, LEFT_BUG, LEFT_HUNG, LEFT_ORPHANED, LEFT_WELL, READY, Order, n_threads
from workers.app import consumer, create_app
from workers.broker import Broker
from workers.duty import Duty, Share, Sole
from workers.in_hand import InHand
from workers.networks import Networks
from workers.stages import Bench
from workers.tasks import add_tasks
from workers.times import told
from workers.trouble import Trouble

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
GRACE_S = 10.0
TELL_EVERY_S = 60.0
TELL_S = 1.0  # for the last words about it
# a decoder that hangs while it holds Python's lock stops even the main thread: then C code ends the process
LAST_RESORT_S = 10.0


class Engine:
    """The engine's parts, and the rules by which it leaves."""

    def __init__(self, settings: Settings, duty: Duty, bench: Bench) -> None:
        self._settings = settings
        self._duty = duty
        self.bench = bench
        self._stop = threading.Event()
        self._terms: list[float] = []  # when each SIGTERM came
        self.trouble = Trouble(duty.patience_s)
        app = create_app(duty.broker_url)
        self._broker = Broker(app)
        add_tasks(app, bench, self.trouble, self._broker)
        self._worker = consumer(app, duty.queues, n_threads(settings), duty.worker_id)
        self._feeder = duty.feeder(bench.db, self._broker)
        self._teller = threading.Thread(target=self._tell_times, name="times", daemon=True)

    def start(self) -> None:
        """Load the networks, take over from a dead predecessor, start the threads.

        Raises MissingError where the weights can't be loaded: before any page is in hand.
        """
        self.bench.networks.load(self.bench.stages)
        self._duty.begin(self.bench)
        jobs = {
            "worker": self._worker.start,
            "feeder": lambda: self._feeder.run(
                self._stop, self.bench.in_hand, self.trouble, self._duty.leads
            ),
        } | self._duty.jobs(self.bench, self._broker, self._stop)
        self._threads = [threading.Thread(target=job, name=name, daemon=True) for name, job in jobs.items()]
        for thread in [*self._threads, self._teller]:
            thread.start()

    def terminate(self, *_: object) -> None:
        """Note a SIGTERM (or SIGINT); the main loop obeys."""
        self._terms.append(time.monotonic())

    def look(self) -> tuple[int, str] | None:
        """Return how to leave and the line about it, once it is time; gives back what is in hand."""
        hung = self.bench.in_hand.overdue()
        if hung:
            log.warning("hung: page %s", ", ".join(str(claim.ledger_id) for claim in hung))
            return self._leave(LEFT_HUNG, f"took longer than {self._settings.page_deadline_s:g} s", hung)
        trouble = self.trouble.fatal()
        fatal = self._duty.fatal() if trouble is None else (_exit_code(trouble), str(trouble))
        if fatal is not None:
            return self._leave(*fatal)
        if self._terms:
            self._stop.set()
            self.bench.in_hand.close()
            late = time.monotonic() - self._terms[0] > GRACE_S
            if late or len(self._terms) > 1 or not self.bench.in_hand.claims():
                return self._leave(LEFT_WELL, "")
        elif not all(thread.is_alive() for thread in self._threads):
            return self._leave(LEFT_BUG, "a thread of the engine ended; its log says why")
        return None

    def _tell_times(self) -> None:
        """Log now and then, and at the end, what the time goes to."""
        from models.device import pick_place  # torch takes seconds to import

        use = pick_place(self._settings.device, self._settings.batch).use
        goes_on, began = True, time.monotonic()
        while goes_on:
            goes_on = not self._stop.wait(TELL_EVERY_S)
            now = time.monotonic()
            n_pages, spent = self.bench.times.take()
            busy_s = use.take()
            if n_pages:
                log.info(told(n_pages, spent, n_threads(self._settings), now - began, busy_s))
            began = now

    def orphaned(self) -> tuple[int, str]:
        """Return how to leave when the command is gone."""
        return self._leave(LEFT_ORPHANED, "the command is gone")

    def _leave(self, code: int, words: str, but: Sequence[Claim] = ()) -> tuple[int, str]:
        self._stop.set()
        self._teller.join(TELL_S)
        self.bench.in_hand.leave(self.bench.db, but)
        if not but:
            self._duty.end(self.bench)
        return code, words


def make_engine(order: Order) -> Engine:
    """Return the engine that is asked for; raises as `open_database` does."""
    settings = order.settings
    # outlasts a page that waits for every other thread's PDF, then for their large pages and PDFs
    lease_s = settings.page_deadline_s * 3 * (n_threads(settings) + 1) + 60
    if order.worker is None:
        duty: Duty = Sole(settings, lease_s, order.cause)
        db = open_database(settings.database_url, create=False)
    else:
        duty = Share(settings, order.worker, order.before, order.cause, feeds=order.feeds)
        db = open_database(settings.database_url, upgrade=False)
    files = Files(settings.files)
    scan, weights = None, None
    if order.worker is not None:
        cache = Cache(settings.cache, settings.cache_bytes)
        scan = partial(_fetch, cache, files, SCANS)
        weights = partial(_fetch_network, cache, files)
    bench = Bench(
        db=db,
        files=files,
        networks=Networks(settings, weights),
        settings=settings,
        in_hand=InHand(settings.page_deadline_s),
        lease_s=lease_s,
        queue_lease_s=duty.queue_lease_s,
        stages=duty.queues,
        worker_id=duty.worker_id,
        shared_scan=scan,
    )
    return Engine(settings, duty, bench)


def _exit_code(error: ArchiveError) -> int:
    """Return how to leave for an error: what is missing may be there for the next process, or never."""
    return LEFT_ANEW if isinstance(error, MissingError) and error.retryable else error.exit_code


def _fetch(cache: Cache, files: Files, place: str, sha256: str) -> Path:
    return cache.fetch(files, place + sha256, sha256)


def _fetch_network(cache: Cache, files: Files, kind: str, sha256: str) -> Path:
    return _fetch(cache, files, WEIGHTS, sha256)


def look_after(engine: Engine, parent: int) -> tuple[int, str]:
    """Watch over the engine until it leaves; `parent` is a descriptor that ends with it."""
    deadline_s = engine.bench.in_hand.deadline_s
    rearm_at = 0.0
    while True:
        if time.monotonic() >= rearm_at:
            rearm_at = time.monotonic() + min(1.0, deadline_s)
            faulthandler.dump_traceback_later(deadline_s + LAST_RESORT_S, exit=True)
        readable, _, _ = select.select([parent], [], [], LOOK_EVERY_S)
        if readable and not os.read(parent, 4096):
            return engine.orphaned()
        end = engine.look()
        if end is not None:
            return end


def read_line(parent: int) -> bytes:
    """Return the line that the command sends first; empty if it is gone already."""
    line = b""
    while not line.endswith(b"\n"):
        block = os.read(parent, 65536)
        if not block:
            return b""
        line += block
    return line


def main() -> None:
    """Run the engine; never returns, for threads that hang must not keep the process."""
    words = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints goes to the log
    faulthandler.enable()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s [{os.getpid()}] %(levelname)s %(name)s: %(message)s",
    )
    for noisy in ("celery", "kombu"):  # kombu warns that memory:// has no host name
        logging.getLogger(noisy).setLevel(logging.ERROR)
    code, why = LEFT_ORPHANED, ""
    try:
        line = read_line(0)
        if line:
            engine = make_engine(Order.of_json(line))
            signal.signal(signal.SIGTERM, engine.terminate)
            signal.signal(signal.SIGINT, engine.terminate)
            engine.start()
            os.write(words, READY)
            code, why = look_after(engine, 0)
    except ArchiveError as error:
        code, why = _exit_code(error), str(error)
    except Exception as error:
        log.exception("the engine met a bug")
        code, why = LEFT_BUG, f"{type(error).__name__}: {error}"
    finally:
        # whatever else goes wrong: threads that hang must not keep the process
        with contextlib.suppress(BaseException):
            log.info("leaving (%d) %s", code, why)
            os.write(words, why.encode())
        os._exit(code)


if __name__ == "__main__":
    main()
