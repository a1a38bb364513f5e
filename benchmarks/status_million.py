"""How fast a database of a million pages answers, and how fast it fills.

    python benchmarks/status_million.py [--pages 1000000] [--database URL]

Fills a new database (a SQLite file in a temporary folder, or the empty database at URL) through the
catalogue as ingest does, gives each page its state, readings and numbers in bulk, and times the queries
behind the commands.  Prints machine and commit.
"""

import argparse
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine, insert, text

from pipeline import ledger, queries
from pipeline.bulk import add_documents
from pipeline.catalogue import current_run
from pipeline.database import open_database, reading, writing
from pipeline.queries import Filter, sort_key
from pipeline.sources import Document, PageRef
from pipeline.status import status
from pipeline.tables import numbers

PAGES_PER_DOCUMENT = 1
NUMBERS_PER_PAGE = 3
BATCH = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=1_000_000)
    parser.add_argument("--database", default="")
    options = parser.parse_args()
    describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database or f"sqlite:///{folder}/archive.db"
        db = open_database(url)
        print(f"{db.dialect.name}, {options.pages:,} pages")
        with timed("register (catalogue)", options.pages):
            register(db, options.pages)
        with timed("give them states and numbers (bulk)", options.pages):
            fill(db, options.pages)
        if db.url.database and db.dialect.name == "sqlite":
            print(f"  {Path(db.url.database).stat().st_size / 1e6:,.0f} MB")
        ask(db)
        print("  archive status, the whole command:")
        command = [Path(sys.executable).with_name("archive"), "--database", url, "status"]
        for _ in range(3):
            started = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            print(f"    {time.perf_counter() - started:.3f} s (exit code {done.returncode})")
        db.dispose()


def describe_machine() -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    print(f"{model}, {platform.system()} {platform.release()}, Python {platform.python_version()}, {commit}")


@contextmanager
def timed(what: str, n: int = 0) -> Iterator[None]:
    started = time.perf_counter()
    yield
    took_s = time.perf_counter() - started
    rate = f", {n / took_s:,.0f} a second" if n else ""
    print(f"  {what}: {took_s:.3f} s{rate}", flush=True)


def register(db: Engine, n_pages: int) -> None:
    pages = tuple(PageRef(index, None, index) for index in range(PAGES_PER_DOCUMENT))
    ids = iter(range(n_pages // PAGES_PER_DOCUMENT))
    while batch := list(islice(ids, BATCH // PAGES_PER_DOCUMENT)):
        with writing(db) as conn:
            run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=time.time())
            found = [
                Document(
                    Path(f"/scans/box {number // 1000:03d}/book {number:06d}.tif"),
                    f"{number:064x}",
                    "tiff",
                    1_000_000,
                    1.5e9,
                    pages,
                )
                for number in batch
            ]
            add_documents(conn, found, run_id, again=False, now=time.time())


def fill(db: Engine, n_pages: int) -> None:
    """Nine in ten are done, one in a hundred failed, the rest waits."""
    draw = random.Random(1)
    now = time.time()
    with writing(db) as conn:
        conn.execute(
            text(
                "UPDATE ledger SET n_digits = id % 400, n_numbers = :each,"
                " finished_at = :now - (id % 1000000) * 0.1,"
                " state = CASE WHEN id % 100 = 0 THEN 'failed'"
                " WHEN id % 10 = 1 THEN 'waiting' ELSE 'done' END,"
                " failed_in = CASE WHEN id % 100 = 0 THEN 'waiting' END,"
                " reason = CASE WHEN id % 100 = 0 THEN 'is cut short' END"
            ),
            {"each": NUMBERS_PER_PAGE, "now": now},
        )
    done = (id_ for id_ in range(1, n_pages + 1) if id_ % 100 and id_ % 10 != 1)
    while batch := list(islice(done, BATCH)):
        rows = []
        for ledger_id in batch:
            for position in range(NUMBERS_PER_PAGE):
                digits = str(draw.randrange(10 ** draw.randrange(1, 7)))
                rows.append(
                    {
                        "ledger_id": ledger_id,
                        "position": position,
                        "text": digits,
                        "sort_key": sort_key(digits),
                        "confidence": draw.random(),
                        "line": position,
                        "x0": 1.0,
                        "y0": 1.0,
                        "x1": 2.0,
                        "y1": 2.0,
                    }
                )
        with writing(db) as conn:
            conn.execute(insert(numbers), rows)
    if db.dialect.name == "postgresql":
        with db.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.execute(text("VACUUM ANALYZE"))  # as the server does by itself after a while


def ask(db: Engine) -> None:
    now = time.time()
    wanted: dict[str, Filter] = {
        "exactly 1890": Filter(text="1890", limit=50),
        "prefix 189": Filter(prefix="189", limit=50),
        "pattern 18?0": Filter(pattern="18?0", limit=50),
        "1890 to 1899": Filter(at_least="1890", at_most="1899", limit=50),
        "one document": Filter(document="book 000123.tif", limit=50),
        "a folder": Filter(document="/scans/box 000", limit=50),
        "the most doubtful": Filter(order="confidence", limit=50),
        "the smallest": Filter(order="number", limit=50),
        "anything": Filter(limit=50),
        "everything": Filter(),
    }
    jobs: dict[str, Callable[[], object]] = {
        "ledger.counts": lambda: ledger.counts(db),
        "ledger.in_flight": lambda: ledger.in_flight(db, now=now),
        "ledger.take_due": lambda: ledger.take_due(db, now=now, limit=16, lease_s=9),
        "ledger.take_suspects": lambda: ledger.take_suspects(db, now=now, limit=1, lease_s=9, eager=True),
        "ledger.expire": lambda: ledger.expire(db, now=now, max_deaths=3),
        "ledger.void_leases": lambda: ledger.void_leases(db, now=now, max_deaths=3),
    }
    with timed("queries.status, first"), reading(db) as conn:
        status(conn, now=now)
    with timed("queries.status, again"), reading(db) as conn:
        status(conn, now=now)
    with timed("queries.failures, all"), reading(db) as conn:
        n = sum(1 for _ in queries.failures(conn))
    print(f"    {n:,} failures")
    for name, job in jobs.items():
        with timed(name):
            job()
    for name, filter_ in wanted.items():
        with timed(f"query: {name}"), reading(db) as conn:
            n = sum(1 for _ in queries.find_numbers(conn, filter_))
        print(f"    {n:,} rows")


if __name__ == "__main__":
    main()
