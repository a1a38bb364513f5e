"""What people ask of an archive, timed: the query alone in this process, and the whole command."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from sqlalchemy import Engine

from pipeline.database import reading
from pipeline.queries import Filter, find_numbers
from pipeline.status import status

TIMES = 5
QUERIES: dict[str, tuple[Filter, list[str]]] = {
    "exactly 518204, an entry": (Filter(text="518204", limit=51), ["518204"]),
    "exactly 1890, a year": (Filter(text="1890", limit=51), ["1890"]),
    "exactly 12": (Filter(text="12", limit=51), ["12"]),
    "exactly 999999999, not there": (Filter(text="999999999", limit=51), ["999999999"]),
    "prefix 5182": (Filter(prefix="5182", limit=51), ["--prefix", "5182"]),
    "prefix 18": (Filter(prefix="18", limit=51), ["--prefix", "18"]),
    "1890 to 1899": (
        Filter(at_least="1890", at_most="1899", limit=51),
        ["--min", "1890", "--max", "1899"],
    ),
    "518000 to 519000": (
        Filter(at_least="518000", at_most="519000", limit=51),
        ["--min", "518000", "--max", "519000"],
    ),
    "pattern 18?0": (Filter(pattern="18?0", limit=51), ["--pattern", "18?0"]),
    "pattern ?8204": (Filter(pattern="?8204", limit=51), ["--pattern", "?8204"]),
    "most doubtful": (
        Filter(max_confidence=0.5, order="confidence", limit=51),
        ["--doubtful", "0.5"],
    ),
}


def ask(db: Engine) -> None:
    """Time the queries alone, each on a warm database: the first time is told, and left out of the median."""
    print(f"  in this process, median of {TIMES} (first time):")
    tell("status", lambda: count_all(db))
    for name, (wanted, _) in QUERIES.items():
        tell(name, lambda wanted=wanted: find_all(db, wanted))  # type: ignore[misc]


def count_all(db: Engine) -> str:
    with reading(db) as conn:
        found = status(conn, now=time.time())
    return f"{found.n_pages:,} pages, {found.n_digits:,} digits, {found.n_numbers:,} numbers"


def find_all(db: Engine, wanted: Filter) -> str:
    with reading(db) as conn:
        return f"{sum(1 for _ in find_numbers(conn, wanted)):,} rows"


def tell(name: str, job: Callable[[], str]) -> None:
    took_ms = []
    for _ in range(TIMES + 1):
        started = time.perf_counter()
        said = job()
        took_ms.append((time.perf_counter() - started) * 1000)
    print(f"    {name:30} {statistics.median(took_ms[1:]):8.1f} ms ({took_ms[0]:.1f})  {said}", flush=True)


def whole_commands(url: str) -> None:
    print(f"  whole commands, process and all, median of {TIMES} (first time):")
    command = [sys.executable, "-c", "from cli.main import main; main()", "--database", url]
    asked = [["status"], *(["query", *words] for _, words in QUERIES.values())]
    for words in asked:
        tell(" ".join(["archive", *words]), lambda words=words: run([*command, *words]))  # type: ignore[misc]


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"exit code {done.returncode}"
