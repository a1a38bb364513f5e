"""A rack of workers over a real broker and a real PostgreSQL, for the tests of many machines."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from mischief import install
from servers import Redis
from small_networks import save_small_networks

ARCHIVE = Path(sys.executable).with_name("archive")
WEIGHTS = Path(__file__).parent.parent / "models" / "weights"
SHIPPED = {
    "ARCHIVE_DETECTOR": str(WEIGHTS / "digit_detector.safetensors"),
    "ARCHIVE_CLASSIFIER": str(WEIGHTS / "digit_classifier.safetensors"),
}
# for what is the same whichever broker it is
on_redis = pytest.mark.parametrize(
    "shared_broker", [pytest.param(Redis, marks=pytest.mark.redis, id="redis")], indirect=True
)


class Rack:
    """A database, a broker, a folder that all machines share, and whatever runs on them."""

    def __init__(self, folder: Path, database_url: str, broker_url: str) -> None:
        self.folder, self.database_url, self.broker_url = folder, database_url, broker_url
        self.detector, self.classifier = folder / "detector.safetensors", folder / "classifier.safetensors"
        save_small_networks(self.detector, self.classifier)
        self.processes: list[subprocess.Popen[str]] = []

    def environment(self, **other: str) -> dict[str, str]:
        return {
            **os.environ,
            "ARCHIVE_DATABASE_URL": self.database_url,
            "ARCHIVE_BROKER_URL": self.broker_url,
            "ARCHIVE_FILES_URL": str(self.folder / "files"),
            "ARCHIVE_CACHE": str(self.folder / "cache"),
            "ARCHIVE_DETECTOR": str(self.detector),
            "ARCHIVE_CLASSIFIER": str(self.classifier),
            "ARCHIVE_DEVICE": "auto",  # a GPU where there is one
            "ARCHIVE_THREADS": "2",
            "PYTHONPATH": install(self.folder / "site"),
            **other,
        }

    def archive(self, *words: str | Path, code: int = 0, **other: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [ARCHIVE, *words],
            env=self.environment(**other),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        return done

    def worker(self, *words: str, **other: str) -> subprocess.Popen[str]:
        return self.start("worker", *words, **other)

    def start(self, *words: str, **other: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [ARCHIVE, *words],
            env=self.environment(**other),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query).fetchall()

    def rows_of_sqlite(self, name: str, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / name)) as connection:
            return connection.execute(query).fetchall()

    def states(self) -> dict[str, int]:
        return dict(self.rows("SELECT state, count(*) FROM ledger GROUP BY state"))

    def close(self) -> None:
        """End whatever still runs."""
        for process in self.processes:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children():
                    child.kill()
                process.kill()
            process.communicate()


def wait_for(what: Callable[[], object], timeout_s: float = 90) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def engine_of(worker: subprocess.Popen[str]) -> psutil.Process:
    def found() -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(worker.pid).children()
        return []

    wait_for(found)
    return found()[0]
