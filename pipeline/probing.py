"""Probing in a process of its own, so that a file that hangs or crashes a decoder is one failed document.

The process is a plain Python that imports this module and nothing of the command that started it; it is
started at the first file that needs it, and again after a crash or a hang.  It stands in a session of
its own (a terminal's Ctrl-C reaches only the parent), leaves when the parent's end of the socket
closes, and an alarm ends it should it outlive its parent in the middle of a file.
"""

import contextlib
import json
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.errors import NotAScanError, SourceError, SourceGoneError
from pipeline.paths import path_to_text, printable, text_to_path
from pipeline.sources import Document, DocumentError, PageRef, Skipped, fill_pages, fingerprint

_START_S = 60.0  # how long a new process may take to be ready on a busy machine
_BYTES_PER_S = 5_000_000  # a large file may take a second longer for each of these
_GRACE_S = 5  # how long after its deadline an orphan leaves by itself
_MEMORY_BYTES = 8 << 30  # address space; reading of directories needs far less
_KINDS = {"skipped": NotAScanError, "gone": SourceGoneError, "failed": SourceError}


class Prober:
    """Probes files as `sources.probe` does, within `deadline_s` a file; use it as a context manager.

    A large file gets a second more for each 5 MB.  The hash is taken here, however long a large file on a
    slow share takes; the deadline is for what decoders do.  May be called from several threads, one file at
    a time.
    """

    def __init__(self, *, max_pixels: int, deadline_s: float = 60.0) -> None:
        self._max_pixels = max_pixels
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None

    def __enter__(self) -> "Prober":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._stop()

    def probe(self, path: Path) -> Document:
        """Return the document with its pages; raises as `sources.probe` does, DocumentError for a crash."""
        document = fingerprint(path)
        if document.pages:
            return document
        with self._lock:
            return self._ask(document)

    def _ask(self, document: Document) -> Document:
        deadline_s = self._deadline_s + document.size_bytes // _BYTES_PER_S
        question = {
            "path": path_to_text(document.path),
            "format": document.format,
            "max_pixels": self._max_pixels,
            "deadline_s": deadline_s,
        }
        connection = self._started()
        try:
            connection.send_bytes(json.dumps(question).encode())
            if not connection.poll(deadline_s):
                self._stop()
                raise DocumentError(f"took longer than {deadline_s:g} s to open", document)
            answer = json.loads(connection.recv_bytes())
        except (EOFError, OSError) as error:
            code = self._stop()
            died = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise DocumentError(f"crashed the decoder that opened it ({died})", document) from error
        except BaseException:  # Ctrl-C between question and answer: the next answer would be the wrong one
            self._stop()
            raise
        return _answered(document, answer)

    def _started(self) -> "Connection[Any, Any]":
        if self._connection is not None and self._process is not None and self._process.poll() is None:
            return self._connection
        self._stop()
        ours, theirs = Pipe()
        # the same modules are found as here, and nothing is looked for in the current folder
        code = f"import sys; sys.path[:] = {[entry for entry in sys.path if entry]!r}"
        code += f"; from pipeline.probing import serve; serve({theirs.fileno()})"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # decoders write what they think of a file there
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._connection = ours
        try:
            ready = ours.poll(_START_S) and ours.recv_bytes() == b"ready"
        except (EOFError, OSError):
            ready = False
        if not ready:
            self._stop()
            raise RuntimeError("the process that opens files does not start")
        return ours

    def _stop(self) -> int:
        """End the process and return its exit code, negative for a signal; 0 where there was none."""
        if self._connection is not None:
            self._connection.close()
        code = 0
        if self._process is not None:
            try:
                code = self._process.wait(0.5)  # it leaves when the connection closes, unless it hangs
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
        self._process = self._connection = None
        return code


def _answered(document: Document, answer: dict[str, Any]) -> Document:
    if answer["kind"] == "failed":
        raise DocumentError(answer["reason"], document)
    if answer["kind"] != "pages":
        raise _KINDS[answer["kind"]](answer["reason"])
    pages = tuple(PageRef(index, member, frame) for index, (member, frame) in enumerate(answer["pages"]))
    return replace(document, pages=pages, skipped=tuple(Skipped(*pair) for pair in answer["skipped"]))


def serve(number: int) -> None:
    """Answer questions on file descriptor `number` until its other end closes; runs in the child."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # a lower limit may stand already
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    connection: Connection[Any, Any] = Connection(number)
    connection.send_bytes(b"ready")
    while True:
        try:
            question = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        signal.alarm(int(question["deadline_s"]) + _GRACE_S)
        answer = _answer(question)
        signal.alarm(0)
        with contextlib.suppress(OSError):  # the parent is gone; the next read says so
            connection.send_bytes(json.dumps(answer).encode())


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    document = Document(text_to_path(question["path"]), "", question["format"], 0, 0.0)
    try:
        full = fill_pages(document, max_pixels=question["max_pixels"])
    except NotAScanError as error:
        return {"kind": "skipped", "reason": str(error)}
    except SourceGoneError as error:
        return {"kind": "gone", "reason": str(error)}
    except SourceError as error:
        return {"kind": "failed", "reason": str(error)}
    except MemoryError:
        return {"kind": "failed", "reason": "needs more memory to open than there is"}
    except Exception as error:  # ours, and yet no reason to stop at this file
        return {"kind": "failed", "reason": f"bug: {type(error).__name__}: {printable(str(error))}"}
    pages = [(page.member, page.frame) for page in full.pages]
    return {"kind": "pages", "pages": pages, "skipped": [(item.member, item.reason) for item in full.skipped]}
