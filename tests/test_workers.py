"""Workers over a real broker and a real PostgreSQL: what a user of many machines does."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from mischief import drawn_scans, install, page, slow_jpeg
from servers import Postgres, Redis, Server
from small_networks import save_small_networks

from pipeline.ledger import Due
from pipeline.owner import OwnerLock
from workers.app import create_app
from workers.broker import Broker

ARCHIVE = Path(sys.executable).with_name("archive")
pytestmark = [pytest.mark.postgres, pytest.mark.slow]
WEIGHTS = Path(__file__).parent.parent / "models" / "weights"
SHIPPED = {
    "ARCHIVE_DETECTOR": str(WEIGHTS / "digit_detector.safetensors"),
    "ARCHIVE_CLASSIFIER": str(WEIGHTS / "digit_classifier.safetensors"),
}
# what is the same whichever broker it is
on_redis = pytest.mark.parametrize(
    "shared_broker", [pytest.param(Redis, marks=pytest.mark.redis, id="redis")], indirect=True
)


class Rack:
    """A database, a broker, a folder that all machines share, and whatever runs on them."""

    def __init__(self, folder: Path, database_url: str, broker_url: str) -> None:
        self.folder, self.database_url, self.broker_url = folder, database_url, broker_url
        self.detector, self.classifier = folder / "detector.safetensors", folder / "classifier.safetensors"
        save_small_networks(self.detector, self.classifier)
        self.processes: list[subprocess.Popen[str]] = []

    def environment(self, **other: str) -> dict[str, str]:
        return {
            **os.environ,
            "ARCHIVE_DATABASE_URL": self.database_url,
            "ARCHIVE_BROKER_URL": self.broker_url,
            "ARCHIVE_FILES_URL": str(self.folder / "files"),
            "ARCHIVE_CACHE": str(self.folder / "cache"),
            "ARCHIVE_DETECTOR": str(self.detector),
            "ARCHIVE_CLASSIFIER": str(self.classifier),
            "ARCHIVE_DEVICE": "auto",  # a GPU where there is one
            "ARCHIVE_THREADS": "2",
            "PYTHONPATH": install(self.folder / "site"),
            **other,
        }

    def archive(self, *words: str | Path, code: int = 0, **other: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [ARCHIVE, *words],
            env=self.environment(**other),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        return done

    def worker(self, *words: str, **other: str) -> subprocess.Popen[str]:
        return self.start("worker", *words, **other)

    def start(self, *words: str, **other: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [ARCHIVE, *words],
            env=self.environment(**other),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query).fetchall()

    def states(self) -> dict[str, int]:
        return dict(self.rows("SELECT state, count(*) FROM ledger GROUP BY state"))


@pytest.fixture
def rack(tmp_path: Path, postgres_url: str, broker: Server) -> Iterator[Rack]:
    made = Rack(tmp_path, postgres_url, broker.url)
    yield made
    for process in made.processes:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children():
                child.kill()
            process.kill()
        process.communicate()


def wait_for(what: Callable[[], object], timeout_s: float = 90) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def engine_of(worker: subprocess.Popen[str]) -> psutil.Process:
    def found() -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(worker.pid).children()
        return []

    wait_for(found)
    return found()[0]


def test_pages_are_queued_by_one_command_and_read_by_workers(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 6)
    done = rack.archive("ingest", scans)
    assert "6 pages wait for workers" in done.stderr
    assert rack.states() == {"waiting": 6}
    detects, classifies = rack.worker("--stage", "detect"), rack.worker("--stage", "classify")
    wait_for(lambda: rack.states() == {"done": 6})
    watched = rack.archive("status")
    assert re.search(r"^  done +6$", watched.stdout, re.M)
    for worker in (detects, classifies):
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    assert rack.rows("SELECT * FROM workers") == []
    assert not list((rack.folder / "files" / "crops").iterdir())


@on_redis
def test_a_worker_of_both_stages_keeps_its_pages_and_reads_what_two_workers_read(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 4)
    rack.archive("ingest", scans, **SHIPPED)
    for stage in ("detect", "classify"):
        rack.worker("--stage", stage, **SHIPPED)
    wait_for(lambda: rack.states() == {"done": 4})
    for process in rack.processes:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    crops = rack.folder / "files" / "crops"
    touched = crops.stat().st_mtime_ns
    rack.archive("ingest", scans, "--again", **SHIPPED)
    rack.worker(**SHIPPED)
    wait_for(lambda: rack.states() == {"done": 8})
    assert crops.stat().st_mtime_ns == touched
    for table in ("detections", "readings", "numbers"):
        rows = rack.rows(
            "SELECT run_id, page_id, to_jsonb(t) - 'ledger_id'"
            f" FROM {table} t JOIN ledger ON ledger.id = ledger_id ORDER BY run_id, page_id, position"
        )
        half = len(rows) // 2
        assert half >= 4
        assert [row[1:] for row in rows[:half]] == [row[1:] for row in rows[half:]]


@on_redis
def test_scans_and_networks_that_only_the_first_machine_has_reach_the_others(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 2)
    rack.archive("ingest", scans)
    for scan in scans.iterdir():
        scan.unlink()
    scans.rmdir()
    # another machine has other networks
    others = rack.folder / "others"
    others.mkdir()
    rack.worker(**SHIPPED)
    wait_for(lambda: rack.states() == {"done": 2})


def test_a_worker_that_is_killed_loses_nothing_and_blames_nobody(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 30)
    rack.archive("ingest", scans)
    workers = [rack.worker(), rack.worker()]
    wait_for(lambda: rack.states().get("done", 0) > 3)
    engine_of(workers[0]).kill()
    wait_for(lambda: rack.states().get("done", 0) > 12)
    workers[1].kill()  # and its parent, as in a power cut; its engine sees that and leaves
    wait_for(lambda: rack.states() == {"done": 30})
    assert rack.rows("SELECT sum(attempts) FROM ledger") == [(0,)]


@on_redis
def test_of_pages_that_crash_or_hang_only_these_are_set_aside(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 12)
    page(scans / "crashes.png", 99, mischief="crash")
    (scans / "hangs.jpg").write_bytes(slow_jpeg(6000, 12_000))
    rack.archive("ingest", scans)
    worker = rack.worker(ARCHIVE_PAGE_DEADLINE_S="4")
    wait_for(lambda: rack.states() == {"done": 12, "failed": 2}, 200)
    worker.send_signal(signal.SIGTERM)
    # it starts again at once, however often a page kills it: those that had no part in it need not wait
    delays = re.findall(r"is started again in (\S+) s", worker.communicate()[1])
    assert len(delays) >= 6 and set(delays) == {"0.2"}
    found = rack.rows(
        "SELECT path, reason FROM ledger JOIN pages ON pages.id = page_id"
        " JOIN paths ON paths.document_id = pages.document_id WHERE state = 'failed' ORDER BY path"
    )
    assert [(Path(path).name, reason) for path, reason in found] == [
        ("crashes.png", "the page crashed its worker 3 times (SIGSEGV)"),
        ("hangs.jpg", "the page crashed its worker 3 times (took longer than 4 s)"),
    ]


def test_a_broker_that_is_away_and_forgets_everything_costs_no_page(rack: Rack, broker: Server) -> None:
    scans = drawn_scans(rack.folder, 20)
    rack.archive("ingest", scans)
    rack.worker()
    wait_for(lambda: rack.states().get("done", 0) > 2)
    broker.kill()
    time.sleep(2)
    broker.start()
    wait_for(lambda: rack.states() == {"done": 20})
    assert rack.rows("SELECT sum(attempts), bool_or(suspect) FROM ledger") == [(0, False)]


def test_a_message_that_comes_again_and_again_changes_nothing(
    rack: Rack, request: pytest.FixtureRequest
) -> None:
    scans = drawn_scans(rack.folder, 4)
    rack.archive("ingest", scans)
    sender = Broker(create_app(rack.broker_url))
    request.addfinalizer(sender.close)
    ids = [row[0] for row in rack.rows("SELECT id FROM ledger")]
    for _ in range(10):
        for ledger_id in ids:
            for state in ("waiting", "detected"):
                sender.publish(Due(ledger_id, state))
    rack.worker()
    wait_for(lambda: rack.states() == {"done": 4})
    wait_for(lambda: sender.n_waiting() == 0)
    assert rack.states() == {"done": 4}


@on_redis
def test_a_worker_that_is_stopped_hands_back_what_it_had(rack: Rack) -> None:
    (rack.folder / "scans").mkdir()
    (rack.folder / "scans" / "slow.jpg").write_bytes(slow_jpeg(6000, 12_000))
    rack.archive("ingest", rack.folder / "scans")
    worker = rack.worker()
    wait_for(lambda: rack.rows("SELECT 1 FROM ledger WHERE attempt_token IS NOT NULL"))
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.5)  # two that come together are one
    worker.send_signal(signal.SIGTERM)  # at once
    assert worker.wait(5) == 143
    wait_for(lambda: rack.rows("SELECT attempt_token, suspect, attempts FROM ledger") == [(None, False, 0)])


@pytest.mark.parametrize(
    ("words", "other", "code", "said"),
    [
        (["worker"], {"ARCHIVE_BROKER_URL": ""}, 9, "the broker that pages are queued on is not named"),
        (["feeder"], {"ARCHIVE_BROKER_URL": ""}, 9, "the broker that pages are queued on is not named"),
        (["worker"], {"ARCHIVE_FILES_URL": ""}, 9, "files must be where every worker reaches them"),
        (["worker"], {"ARCHIVE_DATABASE_URL": "here.db"}, 9, "with a broker the database is PostgreSQL"),
        (["ingest", "."], {"ARCHIVE_DATABASE_URL": "here.db"}, 9, "with a broker the database is PostgreSQL"),
        (["ingest", ".", "--wait"], {"ARCHIVE_BROKER_URL": ""}, 2, "--wait is for pages that workers read"),
    ],
)
@on_redis
def test_what_no_other_machine_reaches_is_refused(
    rack: Rack, words: list[str], other: dict[str, str], code: int, said: str
) -> None:
    assert said in rack.archive(*words, code=code, **other).stderr


@on_redis
def test_a_worker_of_another_version_is_refused(rack: Rack) -> None:
    rack.archive("ingest", drawn_scans(rack.folder, 1))
    with psycopg.connect(rack.database_url, autocommit=True) as connection:
        connection.execute("UPDATE archive_version SET version_num = '0001'")
    worker = rack.worker()
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 3
    assert "tables of version 0001" in said and "all machines need one version" in said


@on_redis
def test_a_feeder_alone_feeds_workers_that_do_not(rack: Rack) -> None:
    rack.archive("ingest", drawn_scans(rack.folder, 4))
    worker = rack.worker("--no-feeder")
    wait_for(lambda: rack.rows("SELECT 1 FROM workers"))
    time.sleep(2)
    assert rack.states() == {"waiting": 4}
    feeder = rack.start("feeder")
    wait_for(lambda: rack.states() == {"done": 4})
    for process in (feeder, worker):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@on_redis
def test_of_two_feeders_the_other_goes_on_when_one_is_killed(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 12)
    feeders = [rack.start("feeder", "--max-in-flight", "2") for _ in range(2)]
    rack.worker("--no-feeder")
    rack.archive("ingest", scans)
    wait_for(lambda: rack.states().get("done", 0) >= 2)
    feeders[0].kill()
    wait_for(lambda: rack.states() == {"done": 12})


@on_redis
def test_a_worker_says_whether_it_is_alive(rack: Rack) -> None:
    rack.archive("ingest", drawn_scans(rack.folder, 1))
    assert "no worker of this machine" in rack.archive("worker", "--healthy", code=3).stderr
    worker = rack.worker()
    wait_for(lambda: rack.rows("SELECT 1 FROM workers"))
    assert f"process {worker.pid}, " in rack.archive("worker", "--healthy").stdout
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    rack.archive("worker", "--healthy", code=3)


@on_redis
def test_a_command_without_broker_and_workers_keep_out_of_each_others_way(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 1)
    with OwnerLock(rack.database_url):
        worker = rack.worker()
        assert worker.stderr is not None
        said = next(line for line in worker.stderr if "without a broker" in line)
        assert "workers wait until it is over" in said
    wait_for(lambda: rack.rows("SELECT 1 FROM workers"))
    refused = rack.archive("ingest", scans, code=3, ARCHIVE_BROKER_URL="")
    assert "1 worker of other commands read pages of this database" in refused.stderr
    assert rack.states() == {}


@on_redis
def test_pages_that_a_command_left_are_brought_to_workers(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 2)
    refused = rack.archive("ingest", scans, "--max-pixels", "1000", code=4, ARCHIVE_BROKER_URL="")
    assert "2 pages failed" in refused.stderr
    shared = rack.folder / "files" / "scans"
    assert not shared.exists()
    rack.archive("failed", "retry", "--all")
    assert len(list(shared.iterdir())) == 2
    for copy in shared.iterdir():
        copy.unlink()
    rack.archive("ingest", scans)  # known, and left to read
    assert len(list(shared.iterdir())) == 2
    found = rack.archive("ingest", rack.folder, "--dry-run")
    assert "would read 0 pages" in found.stderr  # the copies are no scans of their own


@on_redis
def test_failed_pages_are_tried_again_by_workers(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 2)
    rack.archive("ingest", scans)
    worker = rack.worker("--max-pixels", "1000")
    wait_for(lambda: rack.states() == {"failed": 2})
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    assert "2 pages wait for workers" in rack.archive("failed", "retry", "--all").stderr
    rack.worker()
    wait_for(lambda: rack.states() == {"done": 2})


@on_redis
def test_ingest_waits_for_workers_where_it_is_asked_to(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 3)
    page(scans / "torn.png", 9)
    torn = (scans / "torn.png").read_bytes()
    (scans / "torn.png").write_bytes(torn[: len(torn) // 2])
    rack.worker()
    done = rack.archive("ingest", scans, "--wait", code=4)
    assert "3 pages read" in done.stderr and "torn.png, page 1: is cut short" in done.stderr


@on_redis
def test_status_shows_workers_and_queues_while_it_watches(rack: Rack) -> None:
    rack.archive("ingest", drawn_scans(rack.folder, 5))
    assert "`archive worker` reads on" in rack.archive("status").stdout
    worker = rack.worker()
    wait_for(lambda: rack.states() == {"done": 5})
    watch = rack.start("status", "--watch")
    time.sleep(4)
    watch.send_signal(signal.SIGINT)
    out, _ = watch.communicate(timeout=30)
    assert "pages     5: 0 waiting, 0 found, 5 done, 0 failed" in out
    assert "queues    detect 0, classify 0" in out
    assert re.search(rf"^  \S+  process {worker.pid}, auto, 2 pages at a time, since ", out, re.M)


@on_redis
def test_the_commands_for_many_machines_in_the_readme_work(rack: Rack) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    use = re.search(r"^## Use$.*?^## ", readme, re.M | re.S)
    assert use is not None
    block = re.findall(r"^```sh$\n(.*?)^```$", use[0], re.M | re.S)[1]
    commands = [line.partition("#")[0].split() for line in block.splitlines()]
    assert commands == [["archive", "worker"], ["archive", "status", "--watch"]]
    rack.archive("ingest", drawn_scans(rack.folder, 2))
    running = [rack.start(*words[1:]) for words in commands]
    wait_for(lambda: rack.states() == {"done": 2})
    for process in running:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_doctor_looks_at_broker_and_workers(rack: Rack) -> None:
    rack.archive("ingest", drawn_scans(rack.folder, 1))
    found = rack.archive("doctor").stdout
    assert re.search(r"^ok +queue +\S+: answers, 0 messages waiting$", found, re.M)
    assert re.search(r"^warn +workers +none is alive", found, re.M)


@on_redis
def test_a_worker_waits_for_a_database_that_is_not_there_yet(rack: Rack) -> None:
    place = Path(tempfile.mkdtemp(prefix="archive-server-"))  # where PostgreSQL's user may enter
    place.chmod(0o755)
    server = Postgres(place)
    worker = rack.worker(ARCHIVE_DATABASE_URL=server.url)
    assert worker.stderr is not None
    said = next(line for line in worker.stderr if "WARNING" in line)
    assert "can't be reached" in said and "started again" in said
    server.start()
    try:
        rack.database_url = server.url
        rack.archive("ingest", drawn_scans(rack.folder, 2))
        wait_for(lambda: rack.states() == {"done": 2})
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
        server.stop()
        shutil.rmtree(place)


@on_redis
def test_storage_that_is_away_costs_no_page(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 6)
    rack.archive("ingest", scans)
    for scan in scans.iterdir():
        scan.unlink()  # from now on they are in the shared files alone
    files, away = rack.folder / "files", rack.folder / "away"
    files.rename(away)  # a share that is not mounted
    worker = rack.worker()
    assert worker.stderr is not None
    said = next(line for line in worker.stderr if "waiting" in line)
    assert "scans is away (No such file or directory)" in said
    time.sleep(3)
    assert rack.states() == {"waiting": 6}
    away.rename(files)
    wait_for(lambda: rack.states() == {"done": 6})
    assert rack.rows("SELECT sum(attempts), bool_or(suspect) FROM ledger") == [(0, False)]


def test_chaos_in_small_ends_with_every_page_done_once(broker: Server) -> None:
    name = "redis" if broker.url.startswith("redis") else "rabbitmq"
    asked = ["--broker", name, "--pages", "30", "--kills", "2", "--broker-kills", "1", "--duplicates", "30"]
    asked += ["--crash", "1", "--hang", "0", "--workers", "3", "--limit-s", "500"]
    script = Path(__file__).parent.parent / "benchmarks" / "chaos.py"
    done = subprocess.run([sys.executable, script, *asked], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("as it must be")
