"""How long `archive verify` takes among a million digits, and how much memory.

    python benchmarks/verify_scale.py [--digits 1000000] [--sparse] [--folder /tmp]

Fills a SQLite database with made-up register pages (`records_scale.py`), 376 digits, 25 records and 100
fields each, or with `--sparse` with 20 digits each and no records (`made_up.py`), which is 18 times as many
pages.  Each page is a document, for which a file of 1 kB is written; all have one size, as scans that are not
compressed do.  Then the command runs in a process of its own: where all is well, of a folder, of many files
by name, and where everything is wrong.  Fails where that takes more CPU than 10 s and 5 s a million digits,
or more memory than 1 GB, or where another number of things is said than there are.  Leaves nothing behind.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

import made_up
import records_scale
from export_scale import DIGITS_OF_PAGE
from machine import describe_machine
from measures import timed, used_by
from million_pages import register
from sqlalchemy import Engine, text

from pipeline.database import open_database, reading, writing
from pipeline.network_store import file_hash
from pipeline.settings import Settings

MOST_BYTES = 1_000_000_000
START_S, MILLION_S = 10.0, 5.0
N_NAMED = 1000
SIZE = 1000  # bytes of a scan


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--digits", type=int, default=1_000_000)
    parser.add_argument("--sparse", action="store_true", help="pages of 20 digits, and no records")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where there is room")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory(prefix="archive-verify-", dir=options.folder) as name:
        folder = Path(name)
        db = open_database(f"sqlite:///{folder}/archive.db")
        if options.sparse:
            n_pages = int(options.digits / DIGITS_OF_PAGE) + 1
            register(db, n_pages)
            made_up.fill(db, n_pages)
        else:
            n_pages = options.digits // records_scale.DIGITS_OF_PAGE + 1
            records_scale.fill(db, n_pages)
        with timed("write scans", n_pages):
            write_scans(db, folder / "scans")
        with reading(db) as conn:
            n_digits = conn.scalar(text("SELECT sum(n_digits) FROM ledger")) or 0
            n_done = conn.scalar(text("SELECT count(*) FROM ledger WHERE state = 'done'")) or 0
        print(f"  SQLite, {n_pages:,} documents of a page, {n_digits:,} digits")
        most_s = START_S + MILLION_S * n_digits / 1e6
        verify_all(db, folder, n_pages, n_done, most_s)
        db.dispose()


def write_scans(db: Engine, folder: Path) -> None:
    """Write a file for each document and let the rows say so, and that the shipped networks read them."""
    with writing(db) as conn:
        rows = conn.execute(text("SELECT document_id, path FROM paths")).all()
        written = []
        for row in rows:
            file = folder / Path(row.path).relative_to("/srv/scans")
            file.parent.mkdir(parents=True, exist_ok=True)
            data = f"scan {row.document_id}".encode().ljust(SIZE)
            file.write_bytes(data)
            seen = {"path": str(file), "size": SIZE, "at": file.stat().st_mtime}
            written.append({"id": row.document_id, "sha256": hashlib.sha256(data).hexdigest(), **seen})
        for statement in (
            "UPDATE documents SET sha256 = :sha256, size_bytes = :size WHERE id = :id",
            "UPDATE paths SET path = :path, size_bytes = :size, modified_at = :at WHERE document_id = :id",
        ):
            conn.execute(text(statement), written)
        networks = {
            kind: file_hash(Settings.model_fields[kind].default) for kind in ("detector", "classifier")
        }
        conn.execute(
            text("UPDATE runs SET detector_sha256 = :detector, classifier_sha256 = :classifier"), networks
        )


def verify_all(db: Engine, folder: Path, n_pages: int, n_done: int, most_s: float) -> None:
    """Time the command where all is well, and then where ever more is wrong."""
    scans = folder / "scans"
    some = sorted(str(file.relative_to(folder)) for file in scans.rglob("*.jpg"))[:N_NAMED]
    verify(folder, "all is well", 0, most_s)
    verify(folder, "all is well", 0, most_s, "--quick")
    verify(folder, "of a folder, all is well", 0, most_s, "--quick", "scans/box 0000")
    verify(folder, f"of {len(some):,} files by name, all is well", 0, most_s, "--quick", *some)
    scans.rename(folder / "elsewhere")
    scans.mkdir()
    (folder / "elsewhere").rename(scans / "moved")
    verify(folder, "every scan is in another folder", n_pages, most_s)
    verify(folder, "every scan is in another folder, as JSON", n_pages, most_s, "--json")
    shutil.rmtree(scans)
    verify(folder, "every scan is gone", n_pages, most_s, "--quick")
    with writing(db) as conn:
        conn.execute(text("DELETE FROM readings WHERE position = 0"))
    verify(folder, "every scan is gone, every page lacks a digit", n_pages + n_done, most_s, "--quick")


def verify(folder: Path, what: str, n_wrong: int, most_s: float, *words: str) -> None:
    """Run the command; `n_wrong` things are to be found wrong."""
    with (folder / "said").open("w+b") as said:
        used = used_by([Path(sys.executable).with_name("archive"), "verify", *words], folder, said)
        said.seek(0)
        n_lines = sum(1 for line in said if b"\xe2\x86\x92" in line or b'"mend"' in line)
    shown = " ".join(["archive verify", *(word for word in words if word.startswith("--"))])
    print(
        f"  {shown}, {what}: {used.wall_s:.2f} s, {used.cpu_s:.2f} s of CPU,"
        f" peak RSS {used.peak_bytes / 1e6:,.0f} MB",
        flush=True,
    )
    assert used.code == (5 if n_wrong else 0), used
    assert n_lines == n_wrong, (n_lines, n_wrong)
    assert used.cpu_s < most_s and used.peak_bytes < MOST_BYTES, used


if __name__ == "__main__":
    main()
