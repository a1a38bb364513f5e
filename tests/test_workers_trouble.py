"""Workers that are killed, and pages, brokers and databases that make trouble."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from mischief import drawn_scans, page, slow_jpeg
from rack import Rack, engine_of, on_redis, wait_for
from servers import Postgres, Server

from pipeline.ledger import Due
from workers.app import create_app
from workers.broker import Broker

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


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
def test_of_two_feeders_the_other_goes_on_when_one_is_killed(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 12)
    feeders = [rack.start("feeder", "--max-in-flight", "2") for _ in range(2)]
    rack.worker("--no-feeder")
    rack.archive("ingest", scans)
    wait_for(lambda: rack.states().get("done", 0) >= 2)
    feeders[0].kill()
    wait_for(lambda: rack.states() == {"done": 12})


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
