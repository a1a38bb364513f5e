"""Pages a second of one worker and of several, how busy the device is, and what its threads wait for.

    python benchmarks/throughput.py [FOLDER] [--workers 1,2] [--pages 40] [--repeat 3] [--device auto]

Queues pages (of a folder, over and over under other bytes; else drawn ones) on a real Redis and a real
PostgreSQL, and lets so many `archive worker` processes read them, by turns: 1, 2, 1, 2 …  The time runs from
the first page that is done to the last.  Prints machine and commit, then medians and their ratio; of each run
what the workers' own logs say.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg
from machine import describe_machine
from PIL import Image, PngImagePlugin
from servers import Postgres, Redis, end_in_order

from pipeline.drawn import draw_page
from pipeline.sources import find_files, probe, read_page

ARCHIVE = Path(sys.executable).with_name("archive")
MAX_PIXELS = 150_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scans", type=Path, nargs="?")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", default="0", help="pages in hand, of each worker; 0: as suits it")
    options = parser.parse_args()
    print(describe_machine())
    end_in_order()
    kinds = [int(n) for n in options.workers.split(",")]
    with tempfile.TemporaryDirectory(prefix="archive-throughput-") as place, ExitStack() as stack:
        bench = Throughput(Path(place), stack, options)
        speeds: dict[int, list[float]] = {n: [] for n in kinds}
        for _ in range(options.repeat):
            for n in kinds:
                speeds[n].append(bench.pages_per_s(n))
        first = statistics.median(speeds[kinds[0]])
        for n in kinds:
            median = statistics.median(speeds[n])
            each = ", ".join(f"{speed:.2f}" for speed in speeds[n])
            print(
                f"{n} workers: {median:.2f} pages/s (of {each}), {median / first:.2f} of {kinds[0]} worker's"
            )


class Throughput:
    """The servers, the scans, and one run after the other in a database of its own."""

    def __init__(self, folder: Path, stack: ExitStack, options: argparse.Namespace) -> None:
        folder.chmod(0o755)  # PostgreSQL runs as another user
        self.folder, self.options = folder, options
        for name in ("postgres", "broker"):
            (folder / name).mkdir()
        self.postgres, self.broker = Postgres(folder / "postgres"), Redis(folder / "broker")
        for server in (self.postgres, self.broker):
            stack.callback(server.stop)
            server.start()
        self.scans = folder / "scans"
        self.scans.mkdir()
        write_scans(self.scans, options.scans, options.pages)
        self.n_runs = 0

    def pages_per_s(self, n_workers: int) -> float:
        """Let so many workers read all pages; return how fast they were."""
        self.n_runs += 1
        url = self.postgres.url.replace("/archive", f"/run{self.n_runs}")
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE run{self.n_runs}")
        cores = len(psutil.Process().cpu_affinity())
        environment = os.environ | {
            "ARCHIVE_DATABASE_URL": url,
            "ARCHIVE_BROKER_URL": self.broker.url,
            "ARCHIVE_FILES_URL": str(self.folder / "files"),
            "ARCHIVE_SHARED_FOLDERS": str(self.scans),
            "ARCHIVE_DEVICE": self.options.device,
            "ARCHIVE_THREADS": self.options.threads,
        }
        log = self.folder / f"run{self.n_runs}.log"
        subprocess.run([ARCHIVE, "ingest", self.scans], env=environment, check=True, capture_output=True)
        busy = GpuUse()
        with log.open("ab") as out:
            workers = [
                subprocess.Popen([ARCHIVE, "worker"], env=environment, stdout=out, stderr=out)
                for _ in range(n_workers)
            ]
        try:
            seconds, n_done = wait_until_done(url, busy)
        finally:
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
            for worker in workers:
                worker.wait(60)
        speed = n_done / seconds
        print(f"{n_workers} workers, {cores} cores: {speed:.2f} pages/s{busy.told()}", flush=True)
        for line in re.findall(r"\d[\d.]* stages/s;.*", log.read_text()):
            print(f"    {line}")
        shutil.rmtree(self.folder / "files", ignore_errors=True)
        return speed


class GpuUse:
    """Samples of nvidia-smi's utilisation, where there is one."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self.there = shutil.which("nvidia-smi") is not None

    def look(self) -> None:
        """Take a sample."""
        if self.there:
            asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            answer = subprocess.run(asked, capture_output=True, text=True).stdout.split()
            self.samples += [float(word) for word in answer[:1]]

    def told(self) -> str:
        """Return their mean in words; nothing where there are none."""
        return f", GPU {statistics.mean(self.samples):.0f} % busy" if self.samples else ""


def write_scans(folder: Path, source: Path | None, n: int) -> None:
    """Write `n` pages, no two of the same bytes."""
    sources = [draw_page(seed, "ledger").pixels for seed in range(min(n, 8))] if source is None else []
    for path in find_files([source]) if source is not None else []:
        if isinstance(path, Path):
            document = probe(path, max_pixels=MAX_PIXELS)
            for page in document.pages:
                where = (path, document.format, page.member, page.frame)
                sources.append(read_page(*where, max_pixels=MAX_PIXELS, render_dpi=300))
    for k in range(n):
        info = PngImagePlugin.PngInfo()
        info.add_text("copy", str(k))
        file = folder / f"page{k:04d}.png"
        Image.fromarray(sources[k % len(sources)]).save(file, pnginfo=info, compress_level=1)


def wait_until_done(url: str, busy: GpuUse) -> tuple[float, int]:
    """Return the seconds from the first pages that were done to the last, and how many these were."""
    began: tuple[float, int] | None = None
    while True:
        with psycopg.connect(url) as connection:
            n_done, n_all = connection.execute(
                "SELECT count(*) FILTER (WHERE state = 'done'), count(*) FROM ledger"
            ).fetchone() or (0, 0)
        if n_done and began is None:
            began = time.perf_counter(), n_done
        if began is not None:
            busy.look()
            if n_done == n_all:
                return time.perf_counter() - began[0], n_done - began[1]
        time.sleep(0.1)


if __name__ == "__main__":
    main()
