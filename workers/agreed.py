"""What the command and its engine agree on: exit codes, the log, how many pages at a time."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.roster import Worker
from pipeline.settings import Settings

# How the engine leaves, beside the exit codes of `pipeline/errors.py`.  With one of those, the line on
# its standard output is the error's message.
LEFT_WELL = 0
LEFT_BUG = 1  # also what faulthandler exits with, where a decoder hangs and holds Python's lock
LEFT_HUNG = 20  # a page ran past its deadline
LEFT_ORPHANED = 21  # the command that started it is gone
LEFT_ANEW = 22  # it can't go on as it is, and another in its place can
READY = b"ready\n"  # its first line, once it may have pages in hand


@dataclass(frozen=True, slots=True)
class Order:
    """What an engine is told when it starts: settings, and what the one before died of.

    One of many is told who it is, which worker it takes the place of, and whether it may feed the queues.
    """

    settings: Settings
    cause: str = ""
    worker: Worker | None = None
    before: str | None = None
    feeds: bool = True

    def to_json(self) -> str:
        """Return the order as one line."""
        worker = None if self.worker is None else asdict(self.worker)
        words = {"cause": self.cause, "worker": worker, "before": self.before, "feeds": self.feeds}
        return json.dumps(words | {"settings": self.settings.model_dump(mode="json")})

    @classmethod
    def of_json(cls, line: bytes) -> "Order":
        """Return the order that a line says."""
        words = json.loads(line)
        worker = words["worker"]
        if worker is not None:
            worker = Worker(**worker | {"stages": tuple(worker["stages"])})
        return cls(Settings(**words["settings"]), words["cause"], worker, words["before"], words["feeds"])


def n_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def n_threads(settings: Settings) -> int:
    """Return how many pages are worked on at a time."""
    if settings.threads:
        return settings.threads
    return min(32, 2 * n_cores()) if _for_gpu(settings.device) else min(4, n_cores())


def _for_gpu(device: str) -> bool:
    """Tell whether pages are to be had ready for a GPU; without torch, which takes seconds to import."""
    return device.startswith("cuda") or (device == "auto" and Path("/dev/nvidiactl").exists())


def log_path(settings: Settings) -> Path:
    """Return where the engine's log is: with the files where they are a folder, else in the temporary one."""
    if "://" in settings.files:
        return Path(tempfile.gettempdir()) / f"archive-engine-{os.getuid()}.log"
    return Path(settings.files) / "engine.log"
