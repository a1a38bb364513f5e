"""An engine as a child process: start it, see how it left, stop it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from workers.agreed import LEFT_BUG, LEFT_HUNG, READY, Order, n_cores, n_threads

STOP_GRACE_S = 12.0  # a little longer than what the engine gives the pages in hand


class Left(NamedTuple):
    """How a child left: its exit code, its last words, and whether it was ready before."""

    code: int
    words: str
    was_ready: bool

    @property
    def of_a_page(self) -> bool:
        """Whether a page it had in hand may be why: it crashed, or hung."""
        hung = self.code == LEFT_HUNG or (self.code == LEFT_BUG and not self.words)
        return self.was_ready and (self.code < 0 or hung)


class Child:
    """One process at a time; `log` is the file that its standard error goes to, None: ours.

    `keep` are descriptors that it keeps open as long as it lives.
    """

    def __init__(self, log: Path | None = None, keep: Sequence[int] = ()) -> None:
        self._log = log
        self._keep = tuple(keep)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return self._process.pid if self._process else None

    def start(self, order: Order) -> None:
        """Start it."""
        # one thread of arithmetic for each core, shared out between the pages worked on at a time
        n_each = max(1, n_cores() // n_threads(order.settings))
        environment = {"OMP_NUM_THREADS": str(n_each), **os.environ}
        with contextlib.ExitStack() as stack:
            log = None
            if self._log is not None:
                self._log.parent.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context(self._log.open("ab"))
            self._process = subprocess.Popen(
                # -P: a folder of the user's called `workers` must not be taken for ours
                [sys.executable, "-P", "-m", "workers.engine"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                pass_fds=self._keep,
                start_new_session=True,  # Ctrl-C in the terminal is for the command, which stops the engine
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # dead already: `left` says so
            self._process.stdin.write(order.to_json().encode() + b"\n")
            self._process.stdin.flush()

    def left(self) -> Left | None:
        """Return how a child left that ended; None if it lives or is not there."""
        if self._process is None or self._process.poll() is None:
            return None
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        words = said.removeprefix(READY).decode(errors="replace").strip()
        left = Left(self._process.returncode, words, was_ready=said.startswith(READY))
        self._forget()
        return left

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Let it finish the pages in hand, and make it leave when `grace_s` are over."""
        for wait_s in (grace_s, 2.0):
            if self._process is None:
                return
            self._process.send_signal(signal.SIGTERM)  # the second one: leave at once
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
                self._forget()
        self.kill()

    def kill(self) -> None:
        """End it at once; what it had in hand is taken back by the next one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def _forget(self) -> None:
        process, self._process = self._process, None
        for pipe in (process.stdin, process.stdout) if process else ():
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def cause_of(code: int, words: str) -> tuple[str, str]:
    """Return what an engine died of, in short for the page's reason, and as the end of a sentence."""
    if code == LEFT_HUNG:
        return words, f"left a page that {words}"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return name, f"died ({name})"
    if code == LEFT_BUG:  # without a word: ended by faulthandler, for nothing else could run any more
        return words or "hung", f"died ({words or 'it no longer answered'})"
    return words or f"exit code {code}", f"left ({words or f'exit code {code}'})"
