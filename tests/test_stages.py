"""The stages on pages whose crops, folder or reader are not as they should be."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_networks import save_small_networks
from sqlalchemy import text

from models.checkpoint import file_sha256
from pipeline import catalogue, ledger, sources
from pipeline.catalogue import KnownPath
from pipeline.crops import cut_crops, pack_crops
from pipeline.database import open_database, reading, writing
from pipeline.errors import DeviceError
from pipeline.ledger import Claim, Due
from pipeline.network_store import network_file
from pipeline.page import Box, Detection, PageDetections
from pipeline.settings import Settings
from pipeline.storage import Files
from workers import stages
from workers.in_hand import InHand
from workers.networks import Networks
from workers.stages import Bench
from workers.tasks import work_on
from workers.trouble import Trouble

FOUND = PageDetections((Detection(Box(20.0, 20.0, 40.0, 50.0), 0.9),), 1.0)
GREY = np.full((80, 120), 230, np.uint8)
GREY[22:48, 28:32] = 30
WHOLE = pack_crops(cut_crops(GREY, FOUND))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Return a bench with random networks and one page that waits."""
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/archive.db",
        detector=tmp_path / "detector.safetensors",
        classifier=tmp_path / "classifier.safetensors",
        device="cpu",
    )
    save_small_networks(settings.detector, settings.classifier)
    db = open_database(settings.database_url)
    (tmp_path / "share").mkdir()
    Image.fromarray(GREY).save(tmp_path / "share" / "page.png")
    with writing(db) as conn:
        run = catalogue.current_run(
            conn,
            file_sha256(settings.detector),
            file_sha256(settings.classifier),
            "{}",
            new=False,
            now=time.time(),
        )
        document = sources.probe(tmp_path / "share" / "page.png", max_pixels=settings.max_pixels)
        catalogue.add_document(conn, document, run, again=False, now=time.time())
    yield Bench(db, Files(settings.files), Networks(settings), settings, InHand(60), 60.0, 60.0)
    db.dispose()


def the_page(bench: Bench) -> int:
    """Return the ledger id of the page."""
    with reading(bench.db) as conn:
        (ledger_id,) = conn.scalars(text("SELECT id FROM ledger"))
    return int(ledger_id)


def detected(bench: Bench) -> int:
    """Take the page through detect by hand, with `crops/x` for its blob; return its ledger id."""
    ledger_id = the_page(bench)
    claim = claim_of(bench, ledger_id, ledger.WAITING)
    height, width = GREY.shape
    assert ledger.finish_detect(
        bench.db, claim, FOUND, width=width, height=height, blob="crops/x", now=time.time(), lease_s=60
    )
    return ledger_id


def claim_of(bench: Bench, ledger_id: int, state: str) -> Claim:
    claim = bench.in_hand.take(
        lambda: ledger.claim(bench.db, ledger_id, state=state, now=time.time(), lease_s=60)
    )
    assert claim is not None
    return claim


def row_of(bench: Bench) -> tuple[object, ...]:
    with reading(bench.db) as conn:
        return tuple(conn.execute(text("SELECT state, attempt_token, attempts, reason FROM ledger")).one())


def test_between_two_processes_the_crops_of_a_page_are_a_blob(bench: Bench) -> None:
    ledger_id = the_page(bench)
    assert work_on(bench, Trouble(60), Due(ledger_id, ledger.WAITING), stages.detect)
    (blob,) = ledger.blobs_in_use(bench.db)
    assert len(bench.files.get(blob)) > 100
    bench.in_hand.close()
    other = replace(bench, in_hand=InHand(60))
    assert work_on(other, Trouble(60), Due(ledger_id, ledger.DETECTED), stages.classify)
    assert row_of(bench) == (ledger.DONE, None, 0, None)
    with pytest.raises(FileNotFoundError):
        bench.files.get(blob)


def test_a_page_in_one_hand_goes_through_both_stages_without_a_blob(bench: Bench) -> None:
    work = Due(the_page(bench), ledger.WAITING)
    assert work_on(bench, Trouble(60), work, stages.detect_and_classify)
    assert row_of(bench) == (ledger.DONE, None, 0, None)
    assert not Path(bench.settings.files, "crops").exists()
    assert bench.times.take()[0] == 2  # stages
    assert bench.in_hand.claims() == []


def test_a_page_in_one_hand_waits_in_its_second_stage_where_only_that_cannot_be(bench: Bench) -> None:
    bench.settings.classifier.unlink()
    trouble = Trouble(60)
    assert not work_on(bench, trouble, Due(the_page(bench), ledger.WAITING), stages.detect_and_classify)
    assert "classifier.safetensors" in str(trouble.fatal())
    bench.in_hand.pay_back(bench.db)
    assert row_of(bench) == (ledger.DETECTED, None, 0, None)


def test_files_that_are_away_blame_no_page(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_bytes(b"")
    bench = replace(bench, files=Files(str(tmp_path / "no-folder")))
    trouble = Trouble(0)
    assert not work_on(bench, trouble, Due(the_page(bench), ledger.WAITING), stages.detect)
    assert "no-folder" in str(trouble.fatal())
    bench.in_hand.pay_back(bench.db)
    assert row_of(bench) == (ledger.WAITING, None, 0, None)


@pytest.mark.parametrize(
    "damage",
    [
        lambda blob: blob[: len(blob) // 2],
        lambda blob: blob[:70] + bytes(byte ^ 0xFF for byte in blob[70:110]) + blob[110:],
        lambda blob: b"",
    ],
    ids=["truncated", "flipped", "empty"],
)
def test_crops_of_a_damaged_blob_are_cut_again(bench: Bench, damage: Callable[[bytes], bytes]) -> None:
    ledger_id = detected(bench)
    bench.files.put("crops/x", damage(WHOLE))
    assert work_on(bench, Trouble(60), Due(ledger_id, ledger.DETECTED), stages.classify)
    assert row_of(bench) == (ledger.DONE, None, 0, None)


def test_a_share_that_is_away_blames_no_page_and_ends_the_engine_in_time(
    bench: Bench, tmp_path: Path
) -> None:
    ledger_id = detected(bench)  # without its blob: the page must be read again
    (tmp_path / "share").rename(tmp_path / "unplugged")
    trouble = Trouble(0)
    assert not work_on(bench, trouble, Due(ledger_id, ledger.DETECTED), stages.classify)
    assert "share is away" in str(trouble.fatal())
    bench.in_hand.pay_back(bench.db)
    assert row_of(bench) == (ledger.DETECTED, None, 0, None)
    (tmp_path / "unplugged").rename(tmp_path / "share")
    assert work_on(bench, trouble, Due(ledger_id, ledger.DETECTED), stages.classify)


def test_a_page_that_breaks_the_device_is_tried_again_alone_and_blamed_only_then(bench: Bench) -> None:
    ledger_id = detected(bench)

    def broken(bench: Bench, claim: Claim) -> bool:
        raise DeviceError("device cuda: CUDA error: device-side assert triggered")

    def try_it(*, alone: bool) -> None:
        trouble = Trouble(60)
        assert not work_on(bench, trouble, Due(ledger_id, ledger.DETECTED, alone), broken)
        assert isinstance(trouble.fatal(), DeviceError)
        bench.in_hand.leave(bench.db)  # the process leaves, and another takes its place
        ledger.void_leases(bench.db, now=time.time(), max_deaths=2, cause="CUDA error")

    try_it(alone=False)
    assert row_of(bench)[:3] == (ledger.DETECTED, None, 0)
    for _ in range(2):
        ledger.take_suspects(bench.db, now=time.time(), limit=1, lease_s=60, eager=True)
        bench = replace(bench, in_hand=InHand(60))
        try_it(alone=True)
    assert row_of(bench) == (ledger.FAILED, None, 2, "the page crashed its worker 2 times (CUDA error)")


def test_a_file_that_is_gone_from_its_folder_is_set_aside(bench: Bench, tmp_path: Path) -> None:
    ledger_id = detected(bench)
    (tmp_path / "share" / "page.png").unlink()
    trouble = Trouble(0)
    assert not work_on(bench, trouble, Due(ledger_id, ledger.DETECTED), stages.classify)
    assert trouble.fatal() is None
    assert row_of(bench)[0] == ledger.FAILED


def test_a_page_of_a_pdf_that_waits_for_another_is_not_on_the_clock(bench: Bench) -> None:
    bench = replace(bench, in_hand=InHand(0))  # overdue as soon as its clock runs
    claim = claim_of(bench, detected(bench), ledger.DETECTED)
    claim = replace(claim, source=replace(claim.source, format="pdf"))
    claimed = threading.Event()

    def work() -> None:
        claimed.set()
        with pytest.raises(stages.SourceError):  # no PDF
            stages.classify(bench, claim)

    with bench.pdf_turn:
        thread = threading.Thread(target=work)
        thread.start()
        assert claimed.wait(30)
        thread.join(1.0)
        assert thread.is_alive()
        assert bench.in_hand.overdue() == []
    thread.join(30)
    assert not thread.is_alive()


def test_looking_for_a_file_that_hangs_is_on_the_clock(bench: Bench, tmp_path: Path) -> None:
    bench = replace(bench, in_hand=InHand(0))
    claim = claim_of(bench, detected(bench), ledger.DETECTED)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # like a share that went away: opening it waits
    claim = replace(claim, source=replace(claim.source, paths=(KnownPath(pipe, 0, 1.0),)))

    def work() -> None:
        with pytest.raises(stages.SourceGoneError):
            stages.classify(bench, claim)

    thread = threading.Thread(target=work)
    thread.start()
    end = time.monotonic() + 30
    while not bench.in_hand.overdue():
        assert time.monotonic() < end
        time.sleep(0.02)
    thread.join(0.3)
    assert thread.is_alive() and [late.token for late in bench.in_hand.overdue()] == [claim.token]
    pipe.open("wb").close()
    thread.join(30)
    assert not thread.is_alive()


def test_a_network_of_another_run_that_does_not_load_costs_its_pages_alone(bench: Bench) -> None:
    """Only what the settings name stops the process: a page's own network is the page's trouble."""
    data = b"no weights"
    sha256 = hashlib.sha256(data).hexdigest()
    file = network_file(bench.settings.networks, "classifier", sha256)
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    with writing(bench.db) as conn:
        conn.execute(text("UPDATE runs SET classifier_sha256 = :hash"), {"hash": sha256})
    trouble = Trouble(60)
    assert not work_on(bench, trouble, Due(the_page(bench), ledger.WAITING), stages.detect_and_classify)
    state, *_, reason = row_of(bench)
    assert (state, trouble.fatal()) == ("failed", None)
    assert "the classifier that the page is to be read with" in str(reason)
