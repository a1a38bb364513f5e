"""The parts of the engine, one by one, on a real ledger."""

import hashlib
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import event, text

from pipeline import catalogue, ledger
from pipeline.catalogue import KnownPath, PageSource
from pipeline.database import OwnerLock, open_database, reading, writing
from pipeline.errors import BusyError, MissingError, SourceGoneError, StorageError
from pipeline.ledger import Due
from pipeline.page import PageDetections
from pipeline.settings import Settings
from pipeline.sources import Document, PageRef
from workers.agreed import log_path
from workers.app import create_app
from workers.feeder import Feeder
from workers.in_hand import InHand
from workers.trouble import FEEDER, Trouble
from workers.watch import Engine, run_until_done
from workers.whereabouts import where_is

LEASE_S = 100.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return open_database(f"sqlite:///{tmp_path}/archive.db")


def add_pages(db: Database, n: int) -> list[int]:
    """Add a document of `n` pages that nobody will open; return their ledger ids."""
    with writing(db) as conn:
        run = catalogue.current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=1.0)
        pages = tuple(PageRef(index, None, index) for index in range(n))
        document = Document(Path("/nowhere/scan.tif"), "a" * 64, "tiff", 10, 1.0, pages)
        catalogue.add_document(conn, document, run, again=False, now=1.0)
    with reading(db) as conn:
        return list(conn.scalars(text("SELECT id FROM ledger ORDER BY id")))


def make_feeder(
    db: Database, clock: Clock, limit: int = 4, n_processes: int = 1, **other: Any
) -> tuple[Feeder, list[Due]]:
    sent: list[Due] = []
    feeder = Feeder(
        db,
        sent.append,
        limit=limit,
        queue_lease_s=LEASE_S,
        max_deaths=3,
        n_processes=lambda: n_processes,
        clock=clock,
        **{"timer": clock} | other,
    )
    return feeder, sent


def take(db: Database, due: Due, clock: Clock) -> ledger.Claim:
    claim = ledger.claim(db, due.ledger_id, state=due.state, now=clock.now, lease_s=LEASE_S, alone=due.alone)
    assert claim is not None
    return claim


def test_a_lost_message_of_the_second_stage_is_sent_again_once_the_queue_stays_empty(db: Database) -> None:
    add_pages(db, 1)
    clock = Clock()
    feeder, sent = make_feeder(db, clock, n_waiting=lambda: 0)
    feeder.step()
    claim = take(db, sent[0], clock)
    found = PageDetections((), 1.0)
    ledger.finish_detect(db, claim, found, width=9, height=9, blob=None, now=clock.now, lease_s=LEASE_S)
    for _ in range(20):  # nobody sends the message: the process was killed just then
        clock.now += 1.0
        feeder.step()
    assert sent[1:] == [Due(sent[0].ledger_id, "detected")]


def test_a_clock_that_is_set_back_stops_neither_deaths_nor_suspects(db: Database) -> None:
    add_pages(db, 1)
    clock, timer = Clock(), Clock()
    buried = []
    feeder, _ = make_feeder(db, clock, timer=timer, bury=lambda: buried.append(clock.now) or 0)
    feeder.step()
    clock.now -= 3600
    timer.now += 60
    feeder.step()
    assert len(buried) == 2


def test_hands_leave_room_for_messages_that_are_not_acknowledged_yet(db: Database) -> None:
    add_pages(db, 50)
    for n_hands, n_sent in ((0, 40), (3, 37), (1000, 36)):
        feeder, sent = make_feeder(db, Clock(), limit=40, n_hands=lambda n_hands=n_hands: n_hands)
        feeder.step()
        assert len(sent) == n_sent
        ledger.void_leases(db, now=1.0, max_deaths=3)


def test_the_feeder_keeps_no_more_in_flight_than_its_limit(db: Database) -> None:
    ids = add_pages(db, 10)
    clock = Clock()
    feeder, sent = make_feeder(db, clock)
    assert feeder.step()
    assert feeder.step()
    assert [due.ledger_id for due in sent] == ids[:4]
    ledger.set_aside(db, take(db, sent[0], clock), "is torn", now=clock.now)
    feeder.step()
    assert [due.ledger_id for due in sent] == ids[:5]


def test_a_lost_message_waits_for_its_queue_lease_only(db: Database) -> None:
    add_pages(db, 1)
    clock = Clock()
    feeder, sent = make_feeder(db, clock)
    feeder.step()
    clock.now += LEASE_S - 1
    feeder.step()
    assert len(sent) == 1
    clock.now += 2
    feeder.step()
    assert len(sent) == 2 and sent[0] == sent[1]


def test_suspects_wait_for_good_pages_and_come_no_more_at_a_time_than_there_are_processes(
    db: Database,
) -> None:
    ids = add_pages(db, 5)
    clock = Clock()
    feeder, sent = make_feeder(db, clock, limit=3)
    feeder.step()
    for due in list(sent):
        take(db, due, clock)
    ledger.void_leases(db, now=clock.now, max_deaths=3)  # the process died with three pages in hand
    feeder, sent = make_feeder(db, clock, limit=3, n_processes=2)
    feeder.step()
    assert [(due.ledger_id, due.alone) for due in sent] == [(ids[3], False), (ids[4], False)]
    for due in list(sent):
        ledger.set_aside(db, take(db, due, clock), "is torn", now=clock.now)
    sent.clear()
    feeder.step()  # nothing else is left: their turn, without a back-off
    assert [(due.ledger_id, due.alone) for due in sent] == [(ids[0], True), (ids[1], True)]
    claim = take(db, sent[0], clock)
    assert claim.suspect
    for _ in range(3):
        clock.now += 1
        assert feeder.step()
    assert len(sent) == 2  # the third one waits until one of these is through
    ledger.set_aside(db, claim, "is torn", now=clock.now)
    feeder.step()
    assert [due.ledger_id for due in sent] == ids[:3]


def test_a_suspect_is_taken_when_nothing_is_in_hand_and_nothing_is_taken_before_it_is_through(
    db: Database,
) -> None:
    add_pages(db, 3)
    clock = Clock()
    hands = InHand(deadline_s=5, clock=clock)
    first, suspect, other = ledger.take_due(db, now=clock.now, limit=3, lease_s=LEASE_S)
    held = hands.take(lambda: take(db, first, clock))
    assert held is not None
    order: list[str] = []
    alone_now, go_on = threading.Event(), threading.Event()

    def work_alone() -> None:
        with hands.alone():
            order.append("alone")
            claim = hands.take(lambda: take(db, suspect, clock))
            assert claim is not None and [c.token for c in hands.claims()] == [claim.token]
            alone_now.set()
            assert go_on.wait(20)
            order.append("through")
            hands.drop(claim)

    def work_too() -> None:
        hands.take(lambda: take(db, other, clock))
        order.append("other")

    threads = [threading.Thread(target=work_alone), threading.Thread(target=work_too)]
    threads[0].start()
    time.sleep(0.05)
    assert order == []  # a page is in hand
    hands.drop(held)
    assert alone_now.wait(20)
    threads[1].start()
    time.sleep(0.05)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert order == ["alone", "through", "other"]


def test_good_pages_do_not_starve_a_suspect_whose_back_off_is_over(db: Database) -> None:
    ids = add_pages(db, 30)
    clock = Clock()
    feeder, sent = make_feeder(db, clock, limit=1)
    feeder.step()
    take(db, sent[0], clock)
    ledger.void_leases(db, now=clock.now, max_deaths=3)
    for _ in range(29):
        clock.now += 20
        feeder.step()
        feeder.step()
        claim = take(db, sent[-1], clock)
        ledger.set_aside(db, claim, "is torn", now=clock.now)
        if claim.suspect:
            break
    assert [due.ledger_id for due in sent].count(ids[0]) == 2
    assert len(sent) < 10


def test_what_is_in_hand_has_a_clock_and_is_given_back_on_leaving(db: Database) -> None:
    add_pages(db, 3)
    clock = Clock()
    hands = InHand(deadline_s=5, clock=clock)
    due = ledger.take_due(db, now=clock.now, limit=3, lease_s=LEASE_S)
    claims = [hands.take(lambda row=row: take(db, row, clock)) for row in due]
    hung, other, waiting = claims
    assert hung is not None and other is not None and waiting is not None
    with hands.clock(hung):
        clock.now += 4
        with hands.clock(other):
            clock.now += 2
            assert hands.overdue() == [hung]
            hands.leave(db, but=hands.overdue())
    assert hands.take(lambda: take(db, due[1], clock)) is None
    with reading(db) as conn:
        rows = conn.execute(text("SELECT attempt_token, suspect FROM ledger ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [(hung.token, 0), (None, 0), (None, 0)]


def test_what_is_owed_is_paid_back_without_blame(db: Database) -> None:
    add_pages(db, 1)
    clock = Clock()
    hands = InHand(deadline_s=5, clock=clock)
    (due,) = ledger.take_due(db, now=clock.now, limit=1, lease_s=LEASE_S)
    claim = hands.take(lambda: take(db, due, clock))
    assert claim is not None
    hands.owe(claim)
    hands.drop(claim)
    hands.pay_back(db)
    assert ledger.take_due(db, now=clock.now, limit=1, lease_s=LEASE_S) == [due]


def test_trouble_pauses_longer_each_time_and_is_fatal_after_its_patience() -> None:
    clock = Clock()
    trouble = Trouble(30, clock)
    trouble.note(StorageError("disk full"))
    first = trouble.pause_s()
    clock.now += first
    trouble.note(StorageError("disk full"))
    assert trouble.pause_s() > first > 0
    clock.now += 29
    trouble.note(StorageError("disk full"))
    assert trouble.fatal() is None
    clock.now += 5
    trouble.note(StorageError("disk full"))
    assert str(trouble.fatal()) == "disk full"


def test_trouble_that_went_away_is_forgotten() -> None:
    clock = Clock()
    trouble = Trouble(30, clock)
    for _ in range(4):
        trouble.note(StorageError("disk full"))
        clock.now += 20
        trouble.over()
    trouble.note(StorageError("disk full"))
    assert trouble.fatal() is None


def test_trouble_lasts_until_something_works_however_rarely_it_is_noted() -> None:
    clock = Clock()
    trouble = Trouble(15, clock)
    trouble.note(StorageError("database is locked"))
    clock.now += 30  # SQLite waits for so long before it gives up
    trouble.note(StorageError("database is locked"))
    assert str(trouble.fatal()) == "database is locked"


def test_the_feeders_success_ends_its_own_trouble_and_not_that_of_pages() -> None:
    clock = Clock()
    trouble = Trouble(15, clock)
    trouble.note(StorageError("database is locked"), FEEDER)
    trouble.note(StorageError("disk full"))
    trouble.over(FEEDER)
    clock.now += 30
    trouble.note(StorageError("database is locked"), FEEDER)
    assert trouble.fatal() is None
    trouble.over(FEEDER)
    trouble.note(StorageError("disk full"))
    assert str(trouble.fatal()) == "disk full"


def test_a_step_of_the_feeder_that_works_ends_its_trouble(db: Database) -> None:
    feeder, _ = make_feeder(db, Clock())
    trouble = Trouble(3600)
    trouble.note(StorageError("database is locked"), FEEDER)
    stop = threading.Event()
    thread = threading.Thread(target=feeder.run, args=(stop, InHand(5), trouble))
    thread.start()
    end = time.monotonic() + 30
    while trouble.lasting() and time.monotonic() < end:
        time.sleep(0.02)
    stop.set()
    thread.join(30)
    assert not trouble.lasting()


def test_missing_weights_are_fatal_at_once() -> None:
    trouble = Trouble(30)
    trouble.note(MissingError("no weights"))
    assert isinstance(trouble.fatal(), MissingError)


def source_of(*paths: Path, sha256: str, size: int, at: float) -> PageSource:
    known = tuple(KnownPath(path, size, at) for path in paths)
    return PageSource(1, 1, 0, sha256, "png", None, 0, known)


def test_a_page_is_found_under_any_path_that_still_holds_it(tmp_path: Path) -> None:
    old, touched = tmp_path / "old.png", tmp_path / "touched.png"
    touched.write_bytes(b"the bytes")
    sha256 = hashlib.sha256(b"the bytes").hexdigest()
    source = source_of(old, touched, sha256=sha256, size=9, at=12.0)
    assert where_is(source) == touched  # another time, the same bytes
    touched.write_bytes(b"the bites")
    os.utime(touched, (13.0, 13.0))
    with pytest.raises(SourceGoneError, match="is gone"):
        where_is(source)
    os.utime(touched, (12.0, 12.0))
    assert where_is(source) == touched  # taken at its word: hashing every file again would be slow


def test_a_file_that_was_changed_says_so(tmp_path: Path) -> None:
    file = tmp_path / "page.png"
    file.write_bytes(b"other bytes")
    with pytest.raises(SourceGoneError, match="run `archive ingest` on it again"):
        where_is(source_of(file, sha256="0" * 64, size=9, at=12.0))


def test_a_touched_file_is_hashed_once_and_not_for_each_page(tmp_path: Path) -> None:
    file = tmp_path / "scans.pdf"
    file.write_bytes(b"the bytes")
    source = source_of(file, sha256=hashlib.sha256(b"the bytes").hexdigest(), size=9, at=12.0)
    os.utime(file, (13.0, 13.0))
    assert where_is(source) == file
    file.write_bytes(b"the bites")
    os.utime(file, (13.0, 13.0))
    assert where_is(source) == file  # size and time of the hash: taken at its word
    os.utime(file, (14.0, 14.0))
    with pytest.raises(SourceGoneError, match="was changed"):
        where_is(source)


def test_a_folder_that_is_away_is_trouble_and_not_the_pages_fault(tmp_path: Path) -> None:
    share = tmp_path / "share" / "scans"
    here, there = tmp_path / "page.png", share / "page.png"
    source = source_of(here, there, sha256="0" * 64, size=9, at=12.0)
    with pytest.raises(StorageError, match=r"share/scans is away") as caught:
        where_is(source)
    assert "\n" not in str(caught.value)
    share.mkdir(parents=True)  # the way out of a folder that was deleted for good
    with pytest.raises(SourceGoneError, match="is gone"):
        where_is(source)
    there.write_bytes(b"the bytes")
    os.utime(there, (12.0, 12.0))
    assert where_is(source) == there


def test_messages_reach_the_worker_of_the_embedded_broker() -> None:
    app = create_app()
    got: list[int] = []
    enough = threading.Event()

    @app.task(name="detect")
    def detect(ledger_id: int) -> None:
        got.append(ledger_id)
        if len(got) == 50:
            enough.set()

    worker = app.WorkController(
        app=app, pool="threads", concurrency=2, queues="detect,classify", without_mingle=True,
        without_gossip=True, without_heartbeat=True,
    )  # fmt: skip
    thread = threading.Thread(target=worker.start, daemon=True)
    thread.start()
    try:
        for number in range(50):
            detect.apply_async((number,))
        assert enough.wait(20)
        assert sorted(got) == list(range(50))
    finally:
        from celery.worker import state

        state.should_stop = 0
        thread.join(20)
        state.should_stop = None
    assert not thread.is_alive()


def settings_of(tmp_path: Path) -> Settings:
    return Settings(
        database_url=f"sqlite:///{tmp_path}/archive.db",
        detector=tmp_path / "none.safetensors",
        classifier=tmp_path / "none.safetensors",
        device="cpu",
    )


def test_without_weights_the_command_gets_the_reason(db: Database, tmp_path: Path) -> None:
    add_pages(db, 1)
    with pytest.raises(MissingError, match="there are no weights here"):
        run_until_done(db, settings_of(tmp_path), on_progress=lambda counts: None)
    assert ledger.counts(db).n_waiting == 1


def test_an_engine_that_can_never_start_is_given_up_with_its_log(db: Database, tmp_path: Path) -> None:
    add_pages(db, 1)
    settings = settings_of(tmp_path)
    news: list[str] = []
    engine = Engine(db, settings, on_news=news.append)
    engine.start()
    with pytest.raises(MissingError, match=r"5 times without moving a page; its log .*engine\.log ends"):
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if engine.pid is not None:
                os.kill(engine.pid, signal.SIGSEGV)
            engine.poll()
            time.sleep(0.02)
    assert len(news) == 4
    assert "died (SIGSEGV) and is started again" in news[0]
    assert engine.pid is None


def test_with_nothing_to_do_no_engine_is_started(db: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    counts = run_until_done(db, settings, on_progress=lambda counts: None)
    assert counts.n_open == 0
    assert not log_path(settings).exists()


def test_a_slow_count_does_not_put_off_a_stop(db: Database, tmp_path: Path) -> None:
    asked: list[int] = []  # how often the stop was asked after, before each count

    @event.listens_for(db, "before_cursor_execute")
    def slowly(*_: object) -> None:
        time.sleep(0.15)

    n_asked = 0

    def should_stop() -> bool:
        nonlocal n_asked
        n_asked += 1
        return len(asked) >= 2

    run_until_done(
        db,
        settings_of(tmp_path),
        on_progress=lambda counts: asked.append(n_asked),
        should_stop=should_stop,
        registered=lambda: False,
    )
    assert asked[1] - asked[0] >= 4


def test_a_second_command_on_the_same_database_is_refused(db: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with OwnerLock(settings.database_url), pytest.raises(BusyError, match=str(os.getpid())):
        run_until_done(db, settings, on_progress=lambda counts: None)


def test_settings_reach_the_engine_whole(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert Settings(**json.loads(settings.model_dump_json())) == settings
