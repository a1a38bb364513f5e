"""The command's side of the embedded engine: start it, start it again when it dies, stop it.

A page that crashes the engine costs a restart, not the command.
"""

import contextlib
import time
from collections.abc import Callable

from sqlalchemy import Engine as Database
from sqlalchemy import func, select

from pipeline import errors, ledger, tables
from pipeline.database import OwnerLock, reading
from pipeline.errors import ArchiveError, MissingError, StorageError
from pipeline.ledger import Counts
from pipeline.settings import Settings
from workers.agreed import Order, log_path
from workers.child import Child, cause_of

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
MAX_VAIN_STARTS = 5
POLL_EVERY_S = 0.5
STEP_S = 0.25  # how soon a stop, or the engine's death, is seen between two counts
TAIL_LINES = 12

News = Callable[[str], None]


class Engine:
    """The engine as a child process; `start`, then `poll` now and then, and `stop` or `kill`.

    `lock_fd` is the owner's lock, which the child keeps as long as it lives.  `on_news` gets a line
    for people whenever the engine died and was started again.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        *,
        lock_fd: int | None = None,
        on_news: News = lambda line: None,
    ) -> None:
        self.log = log_path(settings)
        self._db = db
        self._settings = settings
        self._on_news = on_news
        self._child = Child(self.log, [] if lock_fd is None else [lock_fd])
        self._start_at: float | None = None
        self._delay_s = FIRST_DELAY_S
        self._n_vain = 0
        self._ledger_seen: object = None
        self._cause = ""

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return self._child.pid

    def start(self) -> None:
        """Start the child with a log of its own; the log of the start before is kept beside it."""
        with contextlib.suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".log.1"))
        self._spawn()

    def poll(self) -> None:
        """Look whether the child lives, and start it again if it died.

        Raises MissingError (weights; or it dies again and again, with the end of its log) and
        StorageError where the engine left because of them.
        """
        left = self._child.left()
        if left is not None:
            self._died(left.code, left.words)
        elif self._start_at is not None and time.monotonic() >= self._start_at:
            self._spawn()

    def stop(self) -> None:
        """Let the child finish the pages in hand, and leave."""
        self._start_at = None
        self._child.stop()

    def kill(self) -> None:
        """End the child at once; what it had in hand is voided by the next engine."""
        self._start_at = None
        self._child.kill()

    def _spawn(self) -> None:
        self._start_at = None
        self._child.start(Order(self._settings, self._cause))

    def _died(self, code: int, words: str) -> None:
        trouble = _ERRORS.get(code)
        if trouble is not None:
            raise trouble(words or f"the engine left with exit code {code}; see {self.log}")
        seen = _movement(self._db)
        self._n_vain = self._n_vain + 1 if seen == self._ledger_seen else 1
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S) if self._n_vain > 1 else FIRST_DELAY_S
        self._ledger_seen = seen
        self._cause, why = cause_of(code, words)
        if self._n_vain >= MAX_VAIN_STARTS:
            raise MissingError(
                f"the engine {why}, {MAX_VAIN_STARTS} times without moving a page;"
                f" its log {self.log} ends: {self.tail()}"
            )
        self._start_at = time.monotonic() + self._delay_s
        self._on_news(
            f"the engine {why} and is started again; the pages it had in hand are tried again one by one"
        )

    def tail(self) -> str:
        """Return the last lines of the log on one line."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            return f"(no log: {error})"
        return " | ".join(line.strip() for line in lines[-TAIL_LINES:])


_ERRORS: dict[int, type[ArchiveError]] = {
    kind.exit_code: kind for kind in (MissingError, StorageError, errors.SettingsError)
}


def _movement(db: Database) -> object:
    """Return what changes whenever a page gets anywhere: also when it is blamed."""
    row = tables.ledger.c
    query = select(row.state, row.suspect, func.count(), func.sum(row.attempts)).group_by(
        row.state, row.suspect
    )
    with reading(db) as conn:
        return sorted(tuple(found) for found in conn.execute(query))


def run_until_done(
    db: Database,
    settings: Settings,
    *,
    on_progress: Callable[[Counts], None],
    should_stop: Callable[[], bool] = lambda: False,
    registered: Callable[[], bool] = lambda: True,
    on_news: News = lambda line: None,
    lock: OwnerLock | None = None,
) -> Counts:
    """Run the engine until no page is left to do, and return the last counts.

    `on_progress` gets the counts twice a second.  Ends early, after the pages in hand, when
    `should_stop()`.  `registered()` tells that no more pages come.  `lock` is the owner's lock where
    the caller holds it already.  The engine is started only when there is something to do.
    Raises BusyError where another command is at work on the database, and as `Engine.poll`.
    """
    with contextlib.ExitStack() as stack:
        if lock is None:
            lock = stack.enter_context(OwnerLock(settings.database_url))
        engine = Engine(db, settings, lock_fd=lock.fd, on_news=on_news)
        started = False
        try:
            while True:
                complete = registered()  # before the counts: what is registered after them is not missed
                began = time.monotonic()
                counts = ledger.counts(db)
                took_s = time.monotonic() - began
                on_progress(counts)
                if should_stop() or (complete and not counts.n_open):
                    return counts
                if started:
                    engine.poll()
                elif counts.n_open:
                    engine.start()
                    started = True
                # counting takes a tenth of the time at most, at any size of the ledger
                count_at = time.monotonic() + max(POLL_EVERY_S, 10 * took_s)
                while not should_stop() and (left_s := count_at - time.monotonic()) > 0:
                    time.sleep(min(STEP_S, left_s))
                    if started:
                        engine.poll()
        finally:
            engine.stop()
