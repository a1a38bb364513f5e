"""How fast ten million digits are exported to Parquet, and how much memory that takes.

    python benchmarks/export_scale.py [--digits 10000000] [--formats parquet ...] [--folder /tmp]

Fills a SQLite database with made-up pages (`made_up.py`), about 20 digits and six numbers each, and exports
it with the commands that people use, each in a process of its own whose peak of memory (RSS) is printed.
Fails where that is 2 GB or more, or where rows are missing.  Takes 5 GB of disk for ten million digits, and
leaves nothing behind.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import made_up
import pyarrow.parquet as pq
from machine import describe_machine
from measures import print_sizes, used_by
from million_pages import register
from sqlalchemy import Engine

from pipeline.database import open_database, reading
from pipeline.status import status

DIGITS_OF_PAGE = 20.59  # of a made-up page, those that failed or wait among them
MOST_BYTES = 2_000_000_000
EXPORTS = {
    "parquet": ["parquet", "-o", "numbers.parquet"],
    "parquet --digits": ["parquet", "--digits", "-o", "digits.parquet"],
    "csv": ["csv", "-o", "numbers.csv"],
    "jsonl": ["jsonl", "-o", "numbers.jsonl"],
    "digits": ["digits", "-o", "digits.jsonl"],
    "coco": ["coco", "-o", "digits.json"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--digits", type=int, default=10_000_000)
    parser.add_argument("--formats", nargs="+", choices=EXPORTS, default=["parquet", "parquet --digits"])
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where there is room")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory(prefix="archive-exports-", dir=options.folder) as folder:
        n_pages = int(options.digits / DIGITS_OF_PAGE) + 1
        db = open_database(f"sqlite:///{folder}/archive.db")
        register(db, n_pages)
        made_up.fill(db, n_pages)
        n_numbers, n_digits = counted(db)
        print(f"  SQLite, {n_pages:,} pages, {n_numbers:,} numbers, {n_digits:,} digits")
        print_sizes(db, n_pages)
        db.dispose()
        for name in options.formats:
            export(Path(folder), name)
        rows = {"numbers.parquet": n_numbers, "digits.parquet": n_digits}
        for file in Path(folder).glob("*.parquet"):
            whole = pq.read_metadata(file)
            print(f"  {file.name}: {whole.num_rows:,} rows in {whole.num_row_groups} groups")
            assert whole.num_rows == rows[file.name]


def counted(db: Engine) -> tuple[int, int]:
    with reading(db) as conn:
        found = status(conn, now=time.time())
    return found.n_numbers, found.n_digits


def export(folder: Path, name: str) -> None:
    """Export in a process of its own, and print its time, the file's size and the most memory it had."""
    used = used_by([Path(sys.executable).with_name("archive"), "export", *EXPORTS[name]], folder)
    assert used.code == 0
    size = (folder / EXPORTS[name][-1]).stat().st_size
    print(
        f"  archive export {name}: {used.wall_s:.2f} s\n    {size / 1e6:,.0f} MB written,"
        f" {used.cpu_s:.0f} s of CPU, peak RSS {used.peak_bytes / 1e6:,.0f} MB",
        flush=True,
    )
    assert used.peak_bytes < MOST_BYTES


if __name__ == "__main__":
    main()
