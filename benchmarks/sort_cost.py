"""What the sort stage costs a page: scans of a folder through the stage itself, ledger and all.

python benchmarks/sort_cost.py FOLDER SORTER [--threads 2] [--repeat 3]

Every kind is skipped, so that a page ends with the stage; SORTER is a checkpoint of `archive train sorter`.
"""

import argparse
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from machine import describe_machine
from sqlalchemy import select

from models.sorting import load_sorter
from pipeline import catalogue, ledger
from pipeline.database import open_database, reading, writing
from pipeline.folders import find_files
from pipeline.network_store import add, file_hash
from pipeline.settings import Settings
from pipeline.sorting import SORTER, SORTING, KindPath, Sorting, as_json
from pipeline.sources import probe
from pipeline.storage import Files
from pipeline.tables import ledger as rows
from workers import stages
from workers.in_hand import InHand
from workers.networks import Networks
from workers.stages import Bench
from workers.tasks import work_on
from workers.trouble import Trouble


def main() -> None:
    """Sort the pages again and again, and print what a page costs."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("folder", type=Path)
    asked.add_argument("sorter", type=Path)
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--repeat", type=int, default=3)
    options = asked.parse_args()
    print(describe_machine())
    per_page = []
    for _ in range(options.repeat):
        with tempfile.TemporaryDirectory() as folder:
            n, seconds, alone_ms = sort_all(Path(folder), options)
        per_page.append(1000 * seconds / n)
        print(
            f"{n} pages, {options.threads} threads: {per_page[-1]:.1f} ms a page, {n / seconds:.1f} pages/s;"
            f" one page in its thread {alone_ms:.1f} ms (median)"
        )
    print(f"median of {options.repeat}: {statistics.median(per_page):.1f} ms a page")


def sort_all(folder: Path, options: argparse.Namespace) -> tuple[int, float, float]:
    """Return how many pages there are, the seconds for all of them, and the median of one's ms."""
    settings = Settings(database_url=f"sqlite:///{folder}/archive.db", threads=options.threads)
    sha256 = file_hash(options.sorter)
    assert sha256 is not None, f"{options.sorter} can't be read"
    add(settings.networks, options.sorter, SORTER, sha256, name="measured", note="")
    classes = load_sorter(options.sorter, "cpu").classes
    sorting = Sorting(sha256, 0.0, {kind: KindPath(end="skip") for kind in classes})
    db = open_database(settings.database_url)
    with writing(db) as conn:
        words = json.dumps({SORTING: as_json(sorting)})
        run_id = catalogue.current_run(conn, "d" * 64, "c" * 64, words, new=False, now=time.time())
        for file in find_files([options.folder]):
            if isinstance(file, Path) and file.suffix in {".jpg", ".jpeg", ".png", ".tif"}:
                document = probe(file, max_pixels=settings.max_pixels)
                catalogue.add_document(conn, document, run_id, again=False, now=time.time())
    with reading(db) as conn:
        ids = conn.scalars(select(rows.c.id)).all()
    bench = Bench(db, Files(settings.files), Networks(settings), settings, InHand(60), 600.0, 600.0)
    bench.networks.sorter(sha256)

    def sort(ledger_id: int) -> float:
        began = time.perf_counter()
        state = work_on(bench, Trouble(60), ledger.Due(ledger_id, ledger.UNSORTED), stages.sort)
        assert state == ledger.SKIPPED, state
        return 1000 * (time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(options.threads) as pool:
        each = list(pool.map(sort, ids))
    seconds = time.perf_counter() - began
    db.dispose()
    return len(ids), seconds, statistics.median(each)


if __name__ == "__main__":
    main()
