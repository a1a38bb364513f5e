"""What the command and its engine agree on: exit codes, the log, how many pages at a time."""

import os
import tempfile
from pathlib import Path

from pipeline.settings import Settings

# How the engine leaves, beside the exit codes of `pipeline/errors.py`.  With one of those, the line on
# its standard output is the error's message.
LEFT_WELL = 0
LEFT_BUG = 1  # also what faulthandler exits with, where a decoder hangs and holds Python's lock
LEFT_HUNG = 20  # a page ran past its deadline
LEFT_ORPHANED = 21  # the command that started it is gone


def n_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def n_threads(settings: Settings) -> int:
    """Return how many pages are worked on at a time."""
    return settings.threads or min(4, n_cores())


def log_path(settings: Settings) -> Path:
    """Return where the engine's log is: with the files where they are a folder, else in the temporary one."""
    if "://" in settings.files:
        return Path(tempfile.gettempdir()) / f"archive-engine-{os.getuid()}.log"
    return Path(settings.files) / "engine.log"
