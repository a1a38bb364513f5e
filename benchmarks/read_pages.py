"""How long a page takes and how much memory, through `archive ingest` as a user runs it.

    python benchmarks/read_pages.py FOLDER [--repeat 3]     pages of a folder
    python benchmarks/read_pages.py --a3                    one drawn A3 page at 600 dpi (7016 × 9921)

Prints machine and commit, then for each run the seconds a page (start of the engine included and
taken out by a run on one page of its own) and the largest resident memory of any process of ours.
"""

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
from machine import describe_machine
from PIL import Image

from pipeline.drawn import draw_page


def ingest(scans: Path, folder: Path) -> tuple[float, int, float]:
    """Return the seconds, the pages, and the largest peak of any process (MB), of one ingest."""
    command = [sys.executable, "-c", "from cli.main import main; main()", "ingest", str(scans), "--json"]
    began = time.perf_counter()
    peak_mb = 0.0
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak_mb = max(peak_mb, *map(peak_of, [process.pid, *descendants(process.pid)]))
            time.sleep(0.02)
        took_s = time.perf_counter() - began
        assert process.stdout is not None
        summary = json.loads(process.stdout.read())
    return took_s, int(summary["pages"]["done"]), peak_mb


def descendants(pid: int) -> list[int]:
    """Return the processes below one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def peak_of(pid: int) -> float:
    """Return the largest resident memory a process ever had, in MB; 0 if it is gone."""
    with contextlib.suppress(OSError):
        # not ru_maxrss: that counts the process which started this one too
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def a3_page(folder: Path) -> Path:
    """Draw a page and bring it to A3 at 600 dpi."""
    page = draw_page(1, "ledger").pixels
    grown = np.asarray(cv2.resize(page, (7016, 9921), interpolation=cv2.INTER_CUBIC), np.uint8)
    scans = folder / "a3"
    scans.mkdir()
    Image.fromarray(grown).save(scans / "a3.jpg", quality=85)
    return scans


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path, nargs="?")
    parser.add_argument("--a3", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    if bool(args.scans) == args.a3:
        parser.error("give either a folder or --a3")
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        blank = folder / "blank"
        blank.mkdir()
        Image.fromarray(np.full((400, 300), 240, np.uint8)).save(blank / "blank.png")
        scans = a3_page(folder) if args.a3 else args.scans.resolve()
        seconds, peaks = [], []
        for k in range(args.repeat):
            (folder / f"start-{k}").mkdir()
            (folder / f"run-{k}").mkdir()
            start_s, _, _ = ingest(blank, folder / f"start-{k}")
            took_s, n_pages, peak_mb = ingest(scans, folder / f"run-{k}")
            peaks.append(peak_mb)
            seconds.append((took_s - start_s) / n_pages)
            print(f"run {k + 1}: {n_pages} pages in {took_s:.1f} s, start {start_s:.1f} s", end=", ")
            print(f"{seconds[-1]:.2f} s a page")
        print(f"median {statistics.median(seconds):.2f} s a page, peak {max(peaks):,.0f} MB")


if __name__ == "__main__":
    main()
