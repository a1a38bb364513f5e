"""The embedded engine: feeder and Celery worker over `memory://` in one child process of the command.

`python -P -m workers.engine` is started by `workers.watch`.  Its standard input is one line of JSON (the
settings, and what the engine before died of) and then stays open: its end means that the command is gone.
Its standard output is for the one line that says why it left; standard error is the log.  SIGTERM: no new
page, finish those in hand, leave.  A second SIGTERM, the end of the command, or a page past its deadline:
leave at once.

Everything that must not wait happens in the main thread, which looks after the others.
"""

import contextlib
import faulthandler
import json
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence

from pipeline import ledger
from pipeline.database import open_database
from pipeline.errors import ArchiveError
from pipeline.ledger import Claim, Due
from pipeline.settings import Settings
from pipeline.storage import Files
from workers.agreed import LEFT_BUG, LEFT_HUNG, LEFT_ORPHANED, LEFT_WELL, n_threads
from workers.app import CLASSIFY, DETECT, QUEUES, create_app
from workers.feeder import Feeder
from workers.in_hand import InHand
from workers.networks import Networks
from workers.stages import CROPS, Bench
from workers.tasks import add_tasks
from workers.trouble import Trouble

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
GRACE_S = 10.0
PATIENCE_S = 15.0  # how long storage may be away
# a decoder that hangs while it holds Python's lock stops even the main thread: then C code ends the process
LAST_RESORT_S = 10.0
TASKS = {ledger.WAITING: DETECT, ledger.DETECTED: CLASSIFY}


class Embedded:
    """The engine's parts, and the rules by which it leaves.

    `cause` is what the engine before this one died of, where that is known.
    """

    def __init__(self, settings: Settings, cause: str) -> None:
        threads = n_threads(settings)
        # outlasts a page that waits for every other thread's PDF, then for their large pages and PDFs
        self._lease_s = settings.page_deadline_s * 3 * (threads + 1) + 60
        self._settings = settings
        self._cause = cause
        self._stop = threading.Event()
        self._terms: list[float] = []  # when each SIGTERM came
        self.trouble = Trouble(PATIENCE_S)
        self.bench = Bench(
            db=open_database(settings.database_url, create=False),
            files=Files(settings.files),
            networks=Networks(settings),
            settings=settings,
            in_hand=InHand(settings.page_deadline_s),
            lease_s=self._lease_s,
        )
        self._app = create_app("memory://")
        add_tasks(self._app, self.bench, self.trouble)
        self._worker = self._app.WorkController(
            app=self._app,
            pool="threads",
            concurrency=threads,
            queues=",".join(QUEUES),
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
        )
        self._feeder = Feeder(
            self.bench.db,
            self._publish,
            limit=4 * threads,
            queue_lease_s=self._lease_s,
            max_deaths=settings.max_deaths,
        )

    def _publish(self, due: Due) -> None:
        self._app.tasks[TASKS[due.state]].apply_async((due.ledger_id,), {"alone": due.alone})

    def start(self) -> None:
        """Load the networks, take over from a dead predecessor, start the threads.

        Raises MissingError where the weights can't be loaded: before any page is in hand.
        """
        self.bench.networks.load()
        now = time.time()
        n = ledger.void_leases(
            self.bench.db, now=now, max_deaths=self._settings.max_deaths, cause=self._cause
        )
        n_stray = self.bench.files.keep_only(CROPS, ledger.blobs_in_use(self.bench.db))
        log.info("ready; from the engine before: %d pages in hand, %d stray blobs", n, n_stray)
        self._threads = [
            threading.Thread(target=self._worker.start, name="worker", daemon=True),
            threading.Thread(
                target=self._feeder.run,
                args=(self._stop, self.bench.in_hand, self.trouble),
                name="feeder",
                daemon=True,
            ),
        ]
        for thread in self._threads:
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
        fatal = self.trouble.fatal()
        if fatal is not None:
            return self._leave(fatal.exit_code, str(fatal))
        if self._terms:
            self._stop.set()
            self.bench.in_hand.close()
            late = time.monotonic() - self._terms[0] > GRACE_S
            if late or len(self._terms) > 1 or not self.bench.in_hand.claims():
                return self._leave(LEFT_WELL, "")
        elif not all(thread.is_alive() for thread in self._threads):
            return self._leave(LEFT_BUG, "a thread of the engine ended; its log says why")
        return None

    def orphaned(self) -> tuple[int, str]:
        """Return how to leave when the command is gone."""
        return self._leave(LEFT_ORPHANED, "the command is gone")

    def _leave(self, code: int, words: str, but: Sequence[Claim] = ()) -> tuple[int, str]:
        self._stop.set()
        self.bench.in_hand.leave(self.bench.db, but)
        return code, words


def look_after(engine: Embedded, parent: int) -> tuple[int, str]:
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
            order = json.loads(line)
            engine = Embedded(Settings(**order["settings"]), order["cause"])
            signal.signal(signal.SIGTERM, engine.terminate)
            signal.signal(signal.SIGINT, engine.terminate)
            engine.start()
            code, why = look_after(engine, 0)
    except ArchiveError as error:
        code, why = error.exit_code, str(error)
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
