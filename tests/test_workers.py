"""Workers over a real broker and a real PostgreSQL: what a user of many machines does."""

import re
import signal
import time
from pathlib import Path

import psycopg
import pytest
from mischief import drawn_scans, page, slow_jpeg
from rack import SHIPPED, Rack, on_redis, wait_for

from pipeline.owner import OwnerLock

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


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
    assert "queues    sort 0, detect 0, classify 0" in out
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
