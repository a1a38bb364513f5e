"""Real processes that are killed, hang and crash: nothing is lost or done twice, only the guilty pay."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from mischief import drawn_scans, install, page, slow_jpeg
from small_networks import save_small_networks
from sqlalchemy import Engine as Database
from sqlalchemy import text

from models.checkpoint import Metadata, file_sha256, save_checkpoint
from models.classifier import ClassifierConfig, DigitClassifier
from pipeline import catalogue, ledger, sources
from pipeline.database import open_database, writing
from pipeline.errors import StorageError
from pipeline.settings import Settings
from workers.watch import run_until_done

ARCHIVE = Path(sys.executable).with_name("archive")
# The command in small: it runs the engine until nothing is left.
COMMAND = """
import json, sys
from pipeline.database import open_database
from pipeline.settings import Settings
from workers.watch import run_until_done
settings = Settings(**json.loads(sys.argv[1]))
db = open_database(settings.database_url, create=False)
run_until_done(db, settings, on_progress=lambda counts: None, on_news=lambda line: print(line, flush=True))
"""


class Yard:
    """A folder of pages with their database, networks of random weights and whatever runs on them."""

    def __init__(self, folder: Path, database_url: str = "", **settings: Any) -> None:
        self.folder = folder
        self.settings = Settings(
            database_url=database_url or f"sqlite:///{folder}/archive.db",
            detector=folder / "detector.safetensors",
            classifier=folder / "classifier.safetensors",
            device="cpu",
            threads=2,
            **settings,
        )
        save_small_networks(self.settings.detector, self.settings.classifier)
        self.db: Database = open_database(self.settings.database_url)
        if self.db.dialect.name == "sqlite":
            self._watch_ledger()
        self.processes: list[subprocess.Popen[str]] = []

    def _watch_ledger(self) -> None:
        """Let the database itself keep a record of every claim and every end, in order."""
        with writing(self.db) as conn:
            conn.execute(text("CREATE TABLE record (seq INTEGER PRIMARY KEY, ledger_id INTEGER, event TEXT)"))
            conn.execute(
                text(
                    "CREATE TRIGGER claimed AFTER UPDATE OF attempt_token ON ledger"
                    " WHEN NEW.attempt_token IS NOT NULL AND OLD.attempt_token IS NULL"
                    " BEGIN INSERT INTO record (ledger_id, event) VALUES (NEW.id, 'claimed'); END"
                )
            )
            conn.execute(
                text(
                    "CREATE TRIGGER ended AFTER UPDATE OF state ON ledger"
                    " WHEN NEW.state IN ('done', 'failed')"
                    " BEGIN INSERT INTO record (ledger_id, event) VALUES (NEW.id, NEW.state); END"
                )
            )

    def add(self, *paths: Path) -> None:
        now = time.time()
        with writing(self.db) as conn:
            run = catalogue.current_run(
                conn,
                file_sha256(self.settings.detector),
                file_sha256(self.settings.classifier),
                json.dumps({"render_dpi": 300}),
                new=False,
                now=now,
            )
            for path in paths:
                document = sources.probe(path, max_pixels=self.settings.max_pixels)
                catalogue.add_document(conn, document, run, again=False, now=now)

    def start(self, *command: str | Path, mischief: bool = False) -> subprocess.Popen[str]:
        """Start a command of ours; without one, what is above."""
        environment = {
            **os.environ,
            "ARCHIVE_DATABASE_URL": self.settings.database_url,
            "ARCHIVE_DETECTOR": str(self.settings.detector),
            "ARCHIVE_CLASSIFIER": str(self.settings.classifier),
            "ARCHIVE_DEVICE": "cpu",
            "ARCHIVE_THREADS": "2",
            "ARCHIVE_PAGE_DEADLINE_S": str(self.settings.page_deadline_s),
        }
        if mischief:
            environment["PYTHONPATH"] = install(self.folder / "site")
        process = subprocess.Popen(
            command or [sys.executable, "-c", COMMAND, self.settings.model_dump_json()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.processes.append(process)
        return process

    def finish(self, exit_code: int = 0, timeout_s: float = 300) -> str:
        """Let the last command come to its end; return what it said."""
        said, _ = self.processes[-1].communicate(timeout=timeout_s)
        log = Path(self.settings.files) / "engine.log"
        assert self.processes[-1].returncode == exit_code, said + log.read_text()
        return said

    def survive(self, kills: int, *command: str | Path) -> None:
        """Kill the engine and the command by turns, each at a random moment of its work."""
        rng = random.Random(1)
        running = self.start(*command)
        for turn in range(kills):
            self.wait_for_events(6)  # something was begun since the last kill
            time.sleep(rng.random() * 0.2)
            assert set(self.states()) & {"waiting", "detected"}, "nothing is left to kill"
            engine = engine_of(running.pid)
            if turn % 2 == 0 and engine is not None:
                engine.kill()
            else:
                running.kill()
                running.wait()
                running = self.start(*command)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.db.connect() as conn:
            return [tuple(row) for row in conn.execute(text(query))]

    @property
    def crops(self) -> Path:
        return Path(self.settings.files) / "crops"

    def states(self) -> dict[str, int]:
        return dict(self.rows("SELECT state, count(*) FROM ledger GROUP BY state"))

    def wait_for_events(self, n: int) -> None:
        """Wait until the record is `n` events longer."""
        count = "SELECT count(*) FROM record"
        until = self.rows(count)[0][0] + n
        wait_for(lambda: self.rows(count)[0][0] >= until)

    def failed(self) -> dict[str, str]:
        """Return the reason of each page that was set aside, by its file's name."""
        found = self.rows(
            "SELECT paths.path, ledger.reason FROM ledger JOIN pages ON pages.id = ledger.page_id"
            " JOIN paths ON paths.document_id = pages.document_id WHERE ledger.state = 'failed'"
        )
        return {Path(path).name: reason for path, reason in found}


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Callable[..., Yard]]:
    made: list[Yard] = []

    def make(**settings: Any) -> Yard:
        made.append(Yard(tmp_path, **settings))
        return made[-1]

    yield make
    for one in made:
        for process in one.processes:
            _kill(process)
            if process.stdout:
                process.stdout.close()
        one.db.dispose()


def _kill(process: subprocess.Popen[str]) -> None:
    for child in psutil.Process(process.pid).children() if process.poll() is None else []:
        child.kill()
    process.kill()
    process.wait()


def engine_of(command_pid: int) -> psutil.Process | None:
    """Return the living engine of a command."""
    for child in psutil.Process(command_pid).children() if psutil.pid_exists(command_pid) else []:
        with contextlib.suppress(psutil.NoSuchProcess):  # gone meanwhile, or a zombie
            if "workers.engine" in child.cmdline():
                return child
    return None


def wait_for(what: Callable[[], object], timeout_s: float = 60) -> None:
    """Wait until something is so; a test that never sees it fails."""
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def assert_all_well(yard: Yard, n_done: int) -> None:
    """Every page is done exactly once, nobody touched it afterwards, and it has its rows and no others."""
    assert yard.states().get("done", 0) == n_done
    assert yard.rows("SELECT count(*) FROM ledger WHERE state IN ('waiting', 'detected')") == [(0,)]
    ended = yard.rows("SELECT ledger_id FROM record WHERE event = 'done'")
    assert len(ended) == len(set(ended)) == n_done
    after = (
        "SELECT a.ledger_id FROM record a JOIN record b ON a.ledger_id = b.ledger_id"
        " AND b.event = 'done' AND a.seq > b.seq"
    )
    assert yard.rows(after) == []
    # as many readings as detections, and as many as the page says; none for a page that isn't done
    uneven = (
        "SELECT id FROM ledger WHERE state = 'done' AND ("
        " (SELECT count(*) FROM readings r WHERE r.ledger_id = ledger.id)"
        " <> (SELECT count(*) FROM detections d WHERE d.ledger_id = ledger.id)"
        " OR n_numbers <> (SELECT count(*) FROM numbers n WHERE n.ledger_id = ledger.id))"
    )
    assert yard.rows(uneven) == []
    assert yard.rows("SELECT count(*) FROM ledger GROUP BY page_id HAVING count(*) > 1") == []
    assert not yard.crops.exists() or list(yard.crops.iterdir()) == []


@pytest.mark.slow
def test_ten_kills_of_command_and_engine_lose_and_repeat_nothing(yard: Callable[..., Yard]) -> None:
    place = yard()
    # what a worker that was killed left, and what it had not written whole
    place.crops.mkdir(parents=True)
    for stray in ("7-0.npz", "8-0.npz.part"):
        (place.crops / stray).write_bytes(b"stray")
    scans = drawn_scans(place.folder, 200)
    place.survive(10, ARCHIVE, "ingest", scans)
    place.finish()
    assert place.failed() == {}
    assert_all_well(place, 200)


@pytest.mark.slow
def test_of_200_pages_one_that_hangs_and_one_that_crashes_are_set_aside(yard: Callable[..., Yard]) -> None:
    place = yard(page_deadline_s=4)
    scans = drawn_scans(place.folder, 198)
    (scans / "page50hangs.jpg").write_bytes(slow_jpeg(6000, 12_000))
    page(scans / "page100crashes.png", 99, mischief="crash")
    place.start(ARCHIVE, "ingest", scans, mischief=True)
    said = place.finish(exit_code=4)
    # the reasons say what happened
    failed = place.failed()
    assert set(failed) == {"page50hangs.jpg", "page100crashes.png"}
    assert failed["page50hangs.jpg"].endswith("3 times (took longer than 4 s)")
    assert failed["page100crashes.png"].endswith("3 times (SIGSEGV)")
    assert "the engine died (SIGSEGV) and is started again" in said
    assert_all_well(place, 198)


@pytest.mark.slow
def test_a_page_that_hangs_with_pythons_lock_held_is_set_aside(yard: Callable[..., Yard]) -> None:
    place = yard(page_deadline_s=1, max_deaths=1)
    place.add(
        page(place.folder / "a.png", 1),
        page(place.folder / "holds.png", 2, mischief="hold"),
        page(place.folder / "b.png", 3),
    )
    place.start(mischief=True)
    place.finish()
    assert place.failed() == {"holds.png": "the page crashed its worker once (hung)"}
    assert_all_well(place, 2)


@pytest.mark.slow
def test_an_engine_that_is_killed_is_started_again(
    yard: Callable[..., Yard], tmp_path: Path, database_url: str
) -> None:
    place = yard(database_url=database_url, files_url=str(tmp_path / "files"))
    place.add(*(page(place.folder / f"page{n}.png", n) for n in range(7)))
    (tmp_path / "slow.jpg").write_bytes(slow_jpeg(3000, 4_000))  # long enough in hand to be met there
    place.add(tmp_path / "slow.jpg")
    news: list[str] = []

    def kill_once(counts: ledger.Counts) -> None:
        in_hand = place.rows("SELECT id FROM ledger WHERE attempt_token IS NOT NULL")
        engine = engine_of(os.getpid())
        if in_hand and engine is not None and not news:
            engine.kill()

    counts = run_until_done(place.db, place.settings, on_progress=kill_once, on_news=news.append)
    assert (counts.n_done, counts.n_failed, counts.n_open) == (8, 0, 0)
    assert len(news) == 1 and "died (SIGKILL)" in news[0]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_blames_no_page(yard: Callable[..., Yard], tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        place = yard(database_url=f"sqlite:///{small}/archive.db", files_url=str(tmp_path / "files"))
        place.add(*drawn_scans(place.folder, 40).iterdir())

        def fill(counts: ledger.Counts) -> None:
            if counts.n_done and not (small / "filler").exists():
                with pytest.raises(OSError, match="No space left"), (small / "filler").open("wb") as filler:
                    while True:
                        filler.write(bytes(4096))

        with pytest.raises(StorageError, match="full"):
            run_until_done(place.db, place.settings, on_progress=fill)
        assert 0 < place.states()["done"] < 40
        assert place.rows("SELECT max(suspect), max(attempts), max(reason) FROM ledger") == [(0, 0, None)]
        (small / "filler").unlink()
        run_until_done(place.db, place.settings, on_progress=lambda counts: None)
        assert_all_well(place, 40)
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)  # its database is still open


def test_an_engine_whose_command_is_gone_leaves_and_gives_back(yard: Callable[..., Yard]) -> None:
    place = yard()
    hangs = place.folder / "busy.jpg"
    hangs.write_bytes(slow_jpeg(6000, 12_000))
    place.add(hangs)
    command = place.start()
    wait_for(lambda: place.rows("SELECT 1 FROM ledger WHERE attempt_token IS NOT NULL"))
    engine = engine_of(command.pid)
    assert engine is not None
    command.kill()
    command.wait()
    engine.wait(10)
    # nobody has it in hand, nobody blames it, and it is due
    assert place.rows("SELECT state, attempt_token, suspect, attempts FROM ledger") == [
        (ledger.WAITING, None, 0, 0)
    ]


def test_a_page_of_another_networks_run_says_so(yard: Callable[..., Yard]) -> None:
    place = yard()
    place.add(page(place.folder / "page.png", 1))
    old = file_sha256(place.settings.classifier)
    torch.manual_seed(9)
    place.settings.classifier.unlink()
    small = {"channels": [8, 8, 8, 8], "hidden": 8, "dropout": 0.0}
    classifier = DigitClassifier(ClassifierConfig(channels=(8, 8, 8, 8), hidden=8, dropout=0.0))
    save_checkpoint(place.settings.classifier, classifier.state_dict(), Metadata("digit-classifier", small))
    place.start()
    place.finish()
    assert f"registered for the classifier {old[:12]}" in place.failed()["page.png"]
