"""What a benchmark prints beside its figures: the machine, the server, times, sizes and what is logged."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import Engine, text

from pipeline.database import reading

TABLES = ("documents", "paths", "pages", "ledger", "detections", "readings", "numbers")
# what PostgreSQL's documentation advises for a machine of this memory; the rest is as initdb leaves it
SERVER = {"shared_buffers": "2GB", "max_wal_size": "8GB", "effective_cache_size": "8GB"}


def server_of(db: Engine) -> str:
    if db.dialect.name == "sqlite":
        return "SQLite"
    with reading(db) as conn:
        shown = [f"{name} {conn.scalar(text(f'SHOW {name}'))}" for name in ("server_version", *SERVER)]
    return "PostgreSQL " + ", ".join(shown)


@contextmanager
def timed(what: str, n: int = 0) -> Iterator[None]:
    started = time.perf_counter()
    yield
    took_s = time.perf_counter() - started
    rate = f", {n / took_s:,.0f} a second" if n else ""
    print(f"  {what}: {took_s:.2f} s{rate}", flush=True)


@dataclass(frozen=True, slots=True)
class Used:
    """What a process used."""

    wall_s: float
    cpu_s: float
    peak_bytes: int  # RSS
    code: int


def used_by(words: Sequence[str | Path], folder: Path, out: IO[bytes] | None = None) -> Used:
    """Run a command in a folder, what it says into a file if any, and return what it used."""
    started = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, stdout=out, stderr=out)
    _, code, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    wall_s = time.perf_counter() - started
    return Used(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, process.returncode)


@contextmanager
def logged(db: Engine, n_pages: int) -> Iterator[None]:
    """Print how many bytes of write-ahead log (WAL) PostgreSQL writes meanwhile."""
    before = _wal(db)
    yield
    if db.dialect.name == "postgresql":
        print(f"    write-ahead log: {(_wal(db) - before) / n_pages:,.0f} bytes a page", flush=True)


def _wal(db: Engine) -> float:
    if db.dialect.name != "postgresql":
        return 0.0
    with reading(db) as conn:
        return float(conn.execute(text("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")).scalar_one())


def print_sizes(db: Engine, n_pages: int) -> None:
    if db.dialect.name == "sqlite":
        assert db.url.database is not None
        file = Path(db.url.database)
        size = sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))  # its log too
        print(f"  {size / n_pages:,.0f} bytes a page")
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
