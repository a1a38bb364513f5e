"""Sorting over a real broker: workers for that stage alone, killed in the middle of it."""

import hashlib
import shutil
import signal
from pathlib import Path

import pytest
from mischief import slow_jpeg
from rack import Rack, engine_of, on_redis, wait_for
from small_kinds import PATHS, write_kinds
from small_networks import save_small_networks

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
N_EACH = 5
EMBEDDED = {
    "ARCHIVE_DATABASE_URL": "sqlite:///alone.db",
    "ARCHIVE_BROKER_URL": "",
    "ARCHIVE_FILES_URL": "",
    "ARCHIVE_NETWORKS_FOLDER": "archive-networks",
}
# whatever is known of pages and what was read, the same whoever read it
KINDS = "SELECT page_index, sha256, state, kind, kind_confidence, n_digits FROM ledger JOIN pages ON"
KINDS += " pages.id = page_id JOIN documents ON documents.id = document_id ORDER BY sha256"
READ = "SELECT sha256, position, digit, confidence FROM readings JOIN ledger ON ledger.id = ledger_id JOIN"
READ += " pages ON pages.id = page_id JOIN documents ON documents.id = document_id ORDER BY sha256, position"


@pytest.fixture
def asked(rack: Rack, rooms: Path) -> tuple[str, ...]:
    """Put scans of three kinds into the rack, and the sorter; return the words that read them."""
    shutil.copytree(rooms, rack.folder / "archive-networks")
    save_small_networks(rack.folder / "more/detector.safetensors", rack.folder / "other.safetensors", seed=1)
    (rack.folder / "paths.toml").write_text(f"doubtful_below = 0.05\n{PATHS}")
    write_kinds(rack.folder / "scans", N_EACH)
    return "ingest", "scans", "--sorter", "rooms", "--paths", "paths.toml"


def stop(rack: Rack) -> None:
    for process in rack.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@on_redis
def test_workers_of_one_stage_each_sort_and_read_what_one_command_does(
    rack: Rack, asked: tuple[str, ...]
) -> None:
    rack.archive(*asked)
    assert rack.states() == {"unsorted": 3 * N_EACH}
    rack.worker("--stage", "sort")
    wait_for(lambda: "unsorted" not in rack.states())
    assert rack.states() == {"skipped": N_EACH, "waiting": 2 * N_EACH}
    assert rack.rows("SELECT count(*) FROM detections") == [(0,)]
    assert rack.rows("SELECT stages FROM workers") == [("sort",)]
    for stage in ("detect", "classify"):
        rack.worker("--stage", stage)
    wait_for(lambda: rack.states() == {"skipped": N_EACH, "done": 2 * N_EACH})
    stop(rack)
    rack.archive(*asked, **EMBEDDED)
    for query in (KINDS, READ):
        assert rack.rows(query) == rack.rows_of_sqlite("alone.db", query)


@on_redis
def test_a_worker_killed_in_the_middle_of_sorting_loses_and_repeats_nothing(
    rack: Rack, asked: tuple[str, ...]
) -> None:
    slow = rack.folder / "scans" / "slow.jpg"
    slow.write_bytes(slow_jpeg(3000, 1500))  # seconds in the decoder
    rack.archive(*asked)
    worker = rack.worker("--stage", "sort")
    in_hand = (
        "SELECT count(*) FROM ledger JOIN pages ON pages.id = page_id JOIN paths USING (document_id)"
        " WHERE path LIKE '%slow.jpg' AND state = 'unsorted' AND attempt_token IS NOT NULL"
    )
    wait_for(lambda: rack.rows(in_hand) == [(1,)])
    engine_of(worker).kill()
    wait_for(lambda: rack.rows("SELECT count(*) FROM ledger WHERE suspect") != [(0,)])
    wait_for(lambda: "unsorted" not in rack.states())
    assert rack.rows("SELECT count(*), count(DISTINCT page_id), sum(attempts) FROM ledger") == [
        (3 * N_EACH + 1, 3 * N_EACH + 1, 0)
    ]
    rack.worker("--stage", "detect", "--stage", "classify")
    wait_for(lambda: set(rack.states()) == {"skipped", "done"})
    stop(rack)
    rack.archive(*asked, **EMBEDDED)
    for query in (KINDS, READ):
        assert rack.rows(query) == rack.rows_of_sqlite("alone.db", query)


@on_redis
def test_pages_that_a_command_sorted_are_read_by_workers_after_a_persons_word(
    rack: Rack, asked: tuple[str, ...]
) -> None:
    rack.archive(*asked, ARCHIVE_BROKER_URL="")
    assert rack.states() == {"skipped": N_EACH, "done": 2 * N_EACH}
    done = rack.archive("sort", "register1.png", "--kind", "form", "--json")
    assert "1 page taken for form" in done.stderr
    assert rack.states() == {"skipped": N_EACH, "done": 2 * N_EACH - 1, "waiting": 1}
    rack.worker()
    wait_for(lambda: rack.states() == {"skipped": N_EACH, "done": 2 * N_EACH})
    other = hashlib.sha256((rack.folder / "other.safetensors").read_bytes()).hexdigest()
    assert (rack.folder / "files" / "weights" / other).exists()
