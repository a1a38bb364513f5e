"""How an archive of a million pages fills and answers.

    python benchmarks/million_pages.py [--pages 1000000] [--sqlite] [--database URL [--filled]]

Starts a PostgreSQL of its own (or takes a new SQLite file, or the empty database at URL), registers one-page
documents as ingest does once their files are hashed, lets the feeder publish to a Redis of its own while
threads work as workers do, and counts the messages in it.  Then results are made up in bulk, about 20 digits
and six numbers a page, and the commands are timed.  Prints machine, commit, settings of the server and sizes;
takes about 10 GB of disk for a million pages and leaves nothing behind.
"""

import argparse
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asking
import made_up
import through_broker
from servers import Postgres
from sqlalchemy import Engine, text

from cli.registering import BATCH_FILES
from pipeline.bulk import add_documents
from pipeline.catalogue import current_run
from pipeline.database import open_database, reading, writing

TABLES = ("documents", "paths", "pages", "ledger", "detections", "readings", "numbers")
# what PostgreSQL's documentation advises for a machine of this memory; the rest is as initdb leaves it
SERVER = {"shared_buffers": "2GB", "max_wal_size": "8GB", "effective_cache_size": "8GB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=1_000_000)
    parser.add_argument("--fed", type=int, default=5_000, help="pages that go through the broker")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--database", default="", help="an empty database, in place of one of its own")
    parser.add_argument("--filled", action="store_true", help="the database is full already: only ask")
    options = parser.parse_args()
    describe_machine()
    with database(options.database, sqlite=options.sqlite) as url:
        db = open_database(url)
        print(f"{server_of(db)}, {options.pages:,} pages")
        if not options.filled:
            register(db, options.pages)
            if db.dialect.name == "postgresql":
                through_broker.feed(db, min(options.fed, options.pages))
            made_up.fill(db, options.pages)
            print_sizes(db, options.pages)
        asking.ask(db)
        asking.whole_commands(url)
        db.dispose()


@contextmanager
def database(url: str, *, sqlite: bool) -> Iterator[str]:
    """Give the URL of an empty database."""
    if url:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="archive-million-") as folder:
        Path(folder).chmod(0o755)  # as root PostgreSQL runs as another user
        if sqlite:
            yield f"sqlite:///{folder}/archive.db"
            return
        server = Postgres(Path(folder))
        server.start()
        try:
            set_up(server)
            yield server.url
        finally:
            server.stop()


def set_up(server: Postgres) -> None:
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        for name, value in SERVER.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    server.restart()


def describe_machine() -> None:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(
        f"{os.cpu_count()} cores of {model}, {memory_gb:.0f} GB, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, {commit}, {time.strftime('%Y-%m-%d')},"
        f" load {os.getloadavg()[0]:.1f} before"
    )


def server_of(db: Engine) -> str:
    if db.dialect.name == "sqlite":
        return "SQLite"
    with reading(db) as conn:
        shown = [f"{name} {conn.scalar(text(f'SHOW {name}'))}" for name in ("server_version", *SERVER)]
    return "PostgreSQL " + ", ".join(shown)


def register(db: Engine, n_pages: int) -> None:
    """Time what ingest does with files whose hashes are known: one transaction a batch."""
    took_s, every_s = 0.0, []
    for start in range(0, n_pages, BATCH_FILES):
        found = list(made_up.documents(start, min(start + BATCH_FILES, n_pages)))
        started = time.perf_counter()
        with writing(db) as conn:
            run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=time.time())
            add_documents(conn, found, run_id, again=False, now=time.time())
        took_s += (every := time.perf_counter() - started)
        every_s.append(every)
    tenth = max(1, len(every_s) // 10)
    first, last = (BATCH_FILES * len(some) / sum(some) for some in (every_s[:tenth], every_s[-tenth:]))
    print(
        f"  register, one connection, {BATCH_FILES} documents a transaction: {took_s:.1f} s,"
        f" {n_pages / took_s:,.0f} pages a second (first tenth {first:,.0f}, last tenth {last:,.0f})",
        flush=True,
    )


def print_sizes(db: Engine, n_pages: int) -> None:
    if db.dialect.name == "sqlite":
        assert db.url.database is not None
        print(f"  {Path(db.url.database).stat().st_size / n_pages:,.0f} bytes a page")
        return
    with reading(db) as conn:
        print(f"  {'':34} {'MB':>9} {'bytes a page':>13} {'bytes a row':>12}")
        for table in TABLES:
            n = conn.scalar(text(f"SELECT count(*) FROM {table}")) or 1
            sizes = conn.execute(
                text(
                    "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE oid = CAST(:name AS regclass)"
                    " UNION ALL SELECT relname, pg_relation_size(indexrelid) FROM pg_index"
                    " JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = CAST(:name AS regclass)"
                ),
                {"name": table},
            )
            print(f"  {table}, {n:,} rows")
            for name, size in sizes:
                print(f"    {name:32} {size / 1e6:9,.1f} {size / n_pages:13,.1f} {size / n:12,.1f}")
        whole = conn.scalar(text("SELECT pg_database_size(current_database())")) or 0
        print(f"  {'the database':34} {whole / 1e6:9,.1f} {whole / n_pages:13,.1f}", flush=True)


if __name__ == "__main__":
    main()
