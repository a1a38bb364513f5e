"""`archive ingest` and `failed retry` as processes, with small networks of random weights."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from models.checkpoint import Metadata, save_checkpoint
from models.classifier import ClassifierConfig, DigitClassifier
from models.detector import DetectorConfig, DigitDetector
from pipeline.database import OwnerLock
from pipeline.paths import path_to_text

ARCHIVE = Path(sys.executable).with_name("archive")
PATIENCE_S = 120


class Yard:
    """A folder with scans, weights, and the archive command at work in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scans = folder / "scans"
        self.scans.mkdir(exist_ok=True)
        torch.manual_seed(0)
        small = DetectorConfig(channels=(8, 8, 16, 16), head=8)
        _save(folder / "detector.safetensors", DigitDetector(small), "digit-detector", small)
        _save(
            folder / "classifier.safetensors",
            DigitClassifier(ClassifierConfig()),
            "digit-classifier",
            ClassifierConfig(),
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ARCHIVE_")},
            "ARCHIVE_DETECTOR": "detector.safetensors",
            "ARCHIVE_CLASSIFIER": "classifier.safetensors",
            "ARCHIVE_DEVICE": "cpu",
        }

    def add(self, name: str, seed: int, size: tuple[int, int] = (120, 90)) -> Path:
        """Write a page of noise that no other seed gives."""
        path = self.scans / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, size[::-1], np.uint8)).save(path)
        return path

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ARCHIVE, *args],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *args: str, code: int = 0) -> tuple[str, str]:
        process = self.start(*args)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, err
        return out, err

    def json(self, *args: str, code: int = 0) -> dict[str, Any]:
        """Run a command with --json; its stdout must be that and nothing else."""
        found = json.loads(self.run(*args, "--json", code=code)[0])
        assert found["schema_version"] == 1
        return found  # type: ignore[no-any-return]

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(f"file:{self.folder}/archive.db?mode=ro", uri=True, timeout=30) as conn:
            rows = conn.execute(query).fetchall()
        conn.close()
        return rows

    def states(self) -> dict[str, int]:
        return dict(self.sql("SELECT state, count(*) FROM ledger GROUP BY state"))


def _save(file: Path, network: torch.nn.Module, kind: str, config: Any) -> None:
    save_checkpoint(file, network.state_dict(), Metadata(kind, asdict(config)))


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def test_a_folder_is_read_once_and_given_again_nothing_is_repeated(yard: Yard) -> None:
    pages = [yard.add(name, seed) for seed, name in enumerate(["2.png", "10.png", "deep/er/1.png"])]
    (yard.scans / "copy of 2.png").write_bytes(pages[0].read_bytes())
    (yard.scans / "notes.txt").write_text("no scan\n")
    (yard.scans / "empty.jpg").touch()
    first = yard.json("ingest", "scans", code=4)
    assert first["documents"] == {"new": 3, "known": 1, "failed": 1}
    assert first["pages"] == {"new": 3, "done": 3, "skipped": 0, "person": 0, "failed": 0, "left": 0}
    assert [Path(one["path"]).name for one in first["skipped_files"]] == ["notes.txt"]
    assert sum(first["skipped"].values()) == 1
    assert [Path(one["path"]).name for one in first["failed_files"]] == ["empty.jpg"]
    assert yard.states() == {"done": 3}
    finished = yard.sql("SELECT id, finished_at FROM ledger ORDER BY id")
    order = yard.sql(
        "SELECT path FROM paths JOIN documents ON id = document_id WHERE n_pages ORDER BY id, path"
    )
    assert [Path(path).name for (path,) in order] == ["2.png", "copy of 2.png", "10.png", "1.png"]

    # the bytes of a known file change but not its size and time: so it is not opened again
    before = pages[1].stat()
    pages[1].write_bytes(b"x" * before.st_size)
    os.utime(pages[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    again = yard.json("ingest", "scans")
    assert again["documents"] == {"new": 0, "known": 5, "failed": 0}
    assert again["pages"] == {"new": 0, "done": 0, "skipped": 0, "person": 0, "failed": 0, "left": 0}
    assert again["failed_before"] == 1
    assert yard.sql("SELECT id, finished_at FROM ledger ORDER BY id") == finished


def test_its_own_files_are_no_files_of_the_archive(yard: Yard) -> None:
    yard.add("1.png", 1)
    for _ in range(2):
        found = yard.json("ingest", ".", "--dry-run")
        skipped = {Path(one["path"]).name for one in found["skipped_files"]}
        assert skipped == {"detector.safetensors", "classifier.safetensors"}
        yard.run("ingest", "scans")
    names = {path.name for path in yard.folder.glob("archive*")}
    assert {"archive.db", "archive-files"} <= names
    assert yard.json("ingest", *names, "--dry-run")["skipped_files"] == []


def test_again_reads_beside_what_was_read(yard: Yard) -> None:
    for seed in range(2):
        yard.add(f"{seed}.png", seed)
    yard.run("ingest", "scans")
    status = yard.json("status")
    again = yard.json("ingest", "scans", "--again")
    assert again["documents"] == {"new": 0, "known": 2, "failed": 0}
    assert again["pages"] == {"new": 2, "done": 2, "skipped": 0, "person": 0, "failed": 0, "left": 0}
    assert yard.sql("SELECT count(*), count(DISTINCT run_id), count(DISTINCT page_id) FROM ledger") == [
        (4, 2, 2)
    ]
    same = ("n_documents", "n_pages", "n_done", "n_digits", "n_numbers")
    after = yard.json("status")
    assert [after[key] for key in same] == [status[key] for key in same]


def test_a_dry_run_writes_nothing(yard: Yard) -> None:
    yard.add("1.png", 1)
    (yard.scans / "2.png").write_bytes((yard.scans / "1.png").read_bytes())
    (yard.scans / "notes.txt").write_text("no scan\n")
    before = sorted(yard.folder.rglob("*"))
    out, err = yard.run("ingest", "scans", "--dry-run")
    assert out == "" and "would read 1 page of 1 document\n" in err and "notes.txt" not in err
    assert "notes.txt" in yard.run("ingest", "scans", "--dry-run", "-v")[1]
    assert sorted(yard.folder.rglob("*")) == before
    yard.run("ingest", "scans")
    yard.add("3.png", 3)
    (yard.scans / "torn.pdf").write_bytes(b"%PDF-1.4")
    (yard.scans / "4.png").write_bytes((yard.scans / "1.png").read_bytes())
    bytes_before = (yard.folder / "archive.db").read_bytes()
    again = yard.json("ingest", "scans", "--again", "--dry-run", code=4)
    assert again["pages"] == {"new": 2}, "1.png, which is known under three names, and 3.png"
    plan = yard.json("ingest", "scans", "--dry-run", code=4)
    assert plan["documents"] == {"new": 1, "known": 3, "failed": 1}
    assert plan["pages"] == {"new": 1}
    assert (yard.folder / "archive.db").read_bytes() == bytes_before


def test_another_command_on_the_same_database_is_refused(yard: Yard) -> None:
    yard.add("1.png", 1)
    with OwnerLock(f"sqlite:///{yard.folder}/archive.db"):
        out, err = yard.run("ingest", "scans", code=3)
    assert out == "" and err.count("\n") == 1 and f"process {os.getpid()}" in err


def test_retry_reads_what_could_not_be_read(yard: Yard) -> None:
    yard.add("small.png", 1)
    yard.add("large.png", 2, size=(400, 300))
    torn = yard.scans / "torn.pdf"
    torn.write_bytes(b"%PDF-1.4")
    (yard.scans / "lost.png").symlink_to("nothing.png")
    first = yard.json("ingest", "scans", "--max-pixels", "50000", code=4)
    assert first["pages"] == {"new": 2, "done": 1, "skipped": 0, "person": 0, "failed": 1, "left": 0}
    assert "--max-pixels" in first["failed_pages"][0]["reason"]
    failed = {Path(one["path"]).name: one for one in yard.json("failed", "list")["failed"]}
    assert failed.keys() == {"large.png", "torn.pdf", "lost.png"}

    # still too large, and nothing else is tried
    again = yard.json("failed", "retry", failed["large.png"]["id"], "--max-pixels", "50000", code=4)
    assert again["pages"] == {"new": 0, "done": 0, "skipped": 0, "person": 0, "failed": 1, "left": 0}
    assert len(yard.json("failed", "list")["failed"]) == 3

    # a page that is allowed now, a document that is still torn, one that was mended
    (yard.scans / "nothing.png").write_bytes(yard.add("spare.png", 3).read_bytes())
    (yard.scans / "spare.png").unlink()
    every = yard.json("failed", "retry", "--all", code=4)
    assert every["pages"] == {"new": 1, "done": 2, "skipped": 0, "person": 0, "failed": 0, "left": 0}
    assert [Path(one["path"]).name for one in yard.json("failed", "list")["failed"]] == ["torn.pdf"]

    torn.unlink()
    gone = yard.json("failed", "retry", "--all", code=4)
    assert [one["reason"] for one in gone["failed_files"]] == ["is gone"]
    assert [Path(one["path"]).name for one in yard.json("failed", "list")["failed"]] == ["torn.pdf"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_the_same_command_goes_on(yard: Yard, number: signal.Signals) -> None:
    n_pages = 30
    for seed in range(n_pages):
        yard.add(f"{seed}.png", seed, size=(1500, 2000))
    process = yard.start("ingest", "scans")
    deadline = time.monotonic() + PATIENCE_S
    while not (yard.folder / "archive.db").exists() or not _n_done(yard):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert out == ""
    assert re.search(r"^go on: +archive ingest scans$", err, re.MULTILINE)
    assert not psutil.wait_procs(children, timeout=20)[1], "the engine outlived its command"
    n_done = _n_done(yard)
    assert 0 < n_done < n_pages, "it was stopped in the middle"
    states = yard.states()
    assert states.keys() <= {"done", "waiting", "detected"}
    assert yard.sql("SELECT sum(attempts), sum(suspect) FROM ledger") == [(0, 0)]
    read = yard.sql("SELECT id, finished_at FROM ledger WHERE state = 'done' ORDER BY id")
    rest = yard.json("ingest", "scans")
    assert rest["pages"]["done"] == n_pages - n_done
    assert yard.states() == {"done": n_pages}
    ids = ",".join(str(ledger_id) for ledger_id, _ in read)
    assert yard.sql(f"SELECT id, finished_at FROM ledger WHERE id IN ({ids}) ORDER BY id") == read


def _n_done(yard: Yard) -> int:
    try:
        return yard.states().get("done", 0)
    except sqlite3.OperationalError:  # the tables are being made
        return 0


@pytest.mark.slow
def test_bad_files_give_one_reason_each_and_the_rest_is_read(
    bad_corpus: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, expected = bad_corpus
    yard = Yard(tmp_path)
    assert folder == yard.scans
    out = yard.json("ingest", "scans", code=4)

    def where(text: str) -> str:
        return text.removeprefix(path_to_text(folder) + "/")

    listed = yard.json("failed", "list")["failed"]
    failed = {(where(one["path"]), one["page"]): one["reason"] for one in listed}
    skipped = Counter(where(one["path"]).partition(": ")[0] for one in out["skipped_files"])
    reasons = {where(one["path"]): one["reason"] for one in out["skipped_files"]}
    done = Counter(
        where(path)
        for (path,) in yard.sql(
            "SELECT max(path) FROM ledger JOIN pages ON pages.id = page_id"
            " JOIN paths ON paths.document_id = pages.document_id WHERE state = 'done' GROUP BY ledger.id"
        )
    )
    for name, what in expected.items():
        text = path_to_text(Path(name))
        mine = [(page, reason) for (path, page), reason in failed.items() if path == text]
        if what.kind == "skipped":
            assert skipped[text] == 1 and re.search(what.reason, reasons[text]), name
        elif what.kind == "failed page":
            assert mine and all(page is not None for page, _ in mine), name
        elif what.kind in ("failed document", "failed file"):
            assert [page for page, _ in mine] == [None], name
        assert all(re.search(what.reason, reason) and "\n" not in reason for _, reason in mine), (name, mine)
        assert done[text] == what.n_good, name
    known = {path_to_text(Path(name)) for name in expected}
    assert {path for path, _ in failed} <= known, "nothing else failed"
    assert yard.states().keys() == {"done", "failed"}
    again = yard.json("ingest", "scans", code=4)  # the link to nothing is looked at again, and fails again
    assert again["pages"] == {"new": 0, "done": 0, "skipped": 0, "person": 0, "failed": 0, "left": 0}
    assert [Path(one["path"]).name for one in again["failed_files"]] == ["gone.jpg"]


def test_the_doctor_says_what_is_missing_and_how_to_mend_it(yard: Yard) -> None:
    assert yard.json("doctor")["ok"]
    assert list(yard.folder.glob("archive*")) == [], "it makes nothing"
    (yard.folder / "classifier.safetensors").write_bytes(b"no weights")
    found = yard.json("doctor", "--detector", "none.safetensors", code=3)
    checks = {check["name"]: check for check in found["checks"]}
    assert not found["ok"]
    assert [name for name, check in checks.items() if check["state"] == "fail"] == ["detector", "classifier"]
    assert all(checks[name]["mend"] for name in ("detector", "classifier"))
    assert "none.safetensors" in checks["detector"]["found"]
    out, err = yard.run("doctor", code=3)
    assert "fail  classifier" in out and err == "1 thing to mend\n"
    yard.environment["ARCHIVE_DATABASE_URL"] = "sqlite:////nowhere/at/all.db"
    wrong = {check["name"] for check in yard.json("doctor", code=3)["checks"] if check["state"] == "fail"}
    assert "database" in wrong


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_one_line_and_nothing_is_lost(yard: Yard) -> None:
    disk = yard.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mount is not allowed here")
    try:
        yard.add("first.png", 1000)
        yard.environment["ARCHIVE_DATABASE_URL"] = "sqlite:///disk/archive.db"
        yard.run("ingest", "scans")
        for seed in range(30):
            yard.add(f"{seed}.png", seed)
        filler = disk / "filler"
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        filler.write_bytes(b"\0" * (free - 50_000))
        _, err = yard.run("ingest", "scans", code=5)
        said = [line for line in err.splitlines() if line.startswith("archive: ")]
        assert len(said) == 1 and "full" in said[0] and "Traceback" not in err
        filler.unlink()
        yard.run("ingest", "scans")
        status = yard.json("status")
        assert (status["n_done"], status["n_pages"], status["n_failed"]) == (31, 31, 0)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
