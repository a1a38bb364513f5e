from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text

from pipeline import ledger, roster
from pipeline.catalogue import add_document, add_failed_document, current_run
from pipeline.database import open_database, reading, writing
from pipeline.ledger import DETECTED, DONE, FAILED, OPEN, WAITING, Claim, InFlight
from pipeline.page import Alternative, Box, Detection, Number, PageDetections, Reading
from pipeline.queries import page_result
from pipeline.roster import Worker
from pipeline.sources import Document, PageRef
from pipeline.tables import detections, metadata, numbers, readings
from pipeline.tables import ledger as rows

NOW = 1_700_000_000.0
LEASE_S = 100.0
FOUND = PageDetections(
    (
        Detection(Box(1, 2, 3, 4), 0.9),
        Detection(Box(4, 2, 6, 4), 0.8, ","),
        Detection(Box(9, 2, 11, 4), 0.3),
    ),
    scale=0.5,
    turned=90,
)
READ = (Reading(0, 0.97, ((8, 0.02),)), Reading(7, 0.9), Reading(None, 0.8, ((1, 0.2), (None, 0.1))))
OTHERS = Alternative("10", 0.0625, (1, 0)), Alternative("170", 0.0005, (1, 0))
GROUPED = (Number("70", 0.87, Box(1, 2, 6, 4), 0, (1, 0), OTHERS, "7,0"),)


@pytest.fixture
def db(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def fill(db: Engine, n_pages: int, *, sha256: str = "a" * 64, again: bool = False) -> int:
    """Register a document of `n_pages` pages; return its run."""
    document = Document(
        Path("/scans/book.pdf"), sha256, "pdf", 10, 5.0, tuple(PageRef(i, None, i) for i in range(n_pages))
    )
    with writing(db) as conn:
        run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=again, now=NOW)
        add_document(conn, document, run_id, again=again, now=NOW)
    return run_id


def take(db: Engine, now: float = NOW, state: str | None = None) -> Claim:
    """Take the next due row in hand."""
    due = ledger.take_due(db, now=now, limit=1, lease_s=LEASE_S)[0]
    assert state in (None, due.state)
    claim = ledger.claim(db, due.ledger_id, state=due.state, now=now, lease_s=LEASE_S)
    assert claim is not None
    return claim


def take_alone(db: Engine, now: float, *, eager: bool = True) -> Claim | None:
    found = ledger.take_suspects(db, now=now, limit=1, lease_s=LEASE_S, eager=eager)
    if not found:
        return None
    (due,) = found
    assert due.alone
    claim = ledger.claim(db, due.ledger_id, state=due.state, now=now, lease_s=LEASE_S, alone=True)
    assert claim is not None
    assert claim.suspect
    return claim


def detected(db: Engine, claim: Claim, now: float = NOW) -> bool:
    return ledger.finish_detect(
        db, claim, FOUND, width=20, height=10, blob=f"crops/{claim.token}", now=now, lease_s=LEASE_S
    )


def kept(db: Engine, claim: Claim, now: float = NOW) -> Claim | None:
    return ledger.keep_detected(db, claim, FOUND, width=20, height=10, now=now, lease_s=LEASE_S)


def classified(db: Engine, claim: Claim, now: float = NOW) -> bool:
    return ledger.finish_classify(db, claim, READ, GROUPED, now=now)


def do_page(db: Engine, claim: Claim, now: float = NOW) -> None:
    assert detected(db, claim, now)
    second = ledger.claim(db, claim.ledger_id, state=DETECTED, now=now, lease_s=LEASE_S)
    assert second is not None
    assert classified(db, second, now)


def row(db: Engine, ledger_id: int) -> dict[str, object]:
    with reading(db) as conn:
        return dict(conn.execute(select(rows).where(rows.c.id == ledger_id)).mappings().one())


def n_results(db: Engine) -> tuple[int, ...]:
    with reading(db) as conn:
        return tuple(
            conn.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one()
            for table in (detections, readings, numbers)
        )


def test_a_page_goes_from_waiting_to_done_with_all_that_was_read(db: Engine) -> None:
    fill(db, 1)
    claim = take(db, state=WAITING)
    assert claim.source.paths[0].path == Path("/scans/book.pdf")
    assert (claim.source.format, claim.source.frame, claim.networks["detector"]) == ("pdf", 0, "d" * 64)
    assert claim.found is None
    assert detected(db, claim)
    second = ledger.claim(db, claim.ledger_id, state=DETECTED, now=NOW, lease_s=LEASE_S)
    assert second is not None
    assert second.found == FOUND
    assert (second.width, second.height, second.blob) == (20, 10, f"crops/{claim.token}")
    assert ledger.blobs_in_use(db) == {f"crops/{claim.token}"}
    assert classified(db, second)
    with reading(db) as conn:
        result = page_result(conn, claim.source.page_id)
    assert (result.state, result.detections, result.readings, result.numbers) == (
        DONE,
        FOUND.detections,
        READ,
        GROUPED,
    )
    assert ledger.counts(db) == ledger.Counts(
        0, 0, 0, n_done=1, n_skipped=0, n_person=0, n_failed=0, n_digits=2, n_numbers=1
    )
    assert ledger.blobs_in_use(db) == set()
    assert ledger.counts(db).n_open == 0


def test_a_page_may_stay_in_one_hand_through_both_stages(db: Engine) -> None:
    fill(db, 1)
    claim = take(db)
    second = kept(db, claim, NOW + LEASE_S - 1)
    assert second is not None
    assert (second.state, second.found, second.width, second.height) == (DETECTED, FOUND, 20, 10)
    # it is in hand in its second stage: nobody else gets it, and its lease began anew
    later = NOW + LEASE_S + 1
    assert ledger.attempts(db) == [(claim.ledger_id, claim.token)]
    assert ledger.expire(db, now=later, max_deaths=3) == 0
    assert ledger.take_due(db, now=later, limit=1, lease_s=LEASE_S) == []
    assert ledger.claim(db, claim.ledger_id, state=DETECTED, now=later, lease_s=LEASE_S) is None
    assert not detected(db, claim, later)
    assert classified(db, second, later)
    assert n_results(db) == (3, 3, 1)
    assert row(db, claim.ledger_id)["state"] == DONE


def test_a_page_that_is_no_longer_ours_is_not_kept(db: Engine) -> None:
    fill(db, 1)
    claim = take(db)
    ledger.expire(db, now=NOW + LEASE_S, max_deaths=3)
    assert kept(db, claim) is None
    assert n_results(db) == (0, 0, 0)


def test_a_page_that_was_kept_goes_back_to_its_second_stage_whoever_gives_it_back(db: Engine) -> None:
    fill(db, 1)
    claim = take(db)  # whoever leaves may know the page only as it was taken
    assert kept(db, claim) is not None
    assert ledger.give_back(db, [claim]) == 1
    assert ledger.give_back(db, [claim]) == 0
    again = take(db, state=DETECTED)
    assert (again.found, again.blob) == (FOUND, None)


def test_a_page_that_was_kept_is_set_aside_in_its_second_stage(db: Engine) -> None:
    fill(db, 1)
    claim = take(db)
    assert kept(db, claim) is not None
    assert ledger.set_aside(db, claim, "bug", now=NOW)
    assert not ledger.set_aside(db, claim, "bug", now=NOW)
    failed = row(db, claim.ledger_id)
    assert (failed["state"], failed["failed_in"], failed["attempt_token"]) == (FAILED, DETECTED, None)


def test_a_death_with_a_page_that_was_kept_is_one_of_its_second_stage(db: Engine) -> None:
    fill(db, 1)
    claim = take(db)
    assert kept(db, claim) is not None
    assert ledger.void_leases(db, now=NOW, max_deaths=3) == 1
    alone = take_alone(db, NOW)
    assert alone is not None
    assert (alone.state, alone.found) == (DETECTED, FOUND)
    assert row(db, claim.ledger_id)["attempts"] == 0


def test_a_suspect_that_is_kept_is_alone_in_its_second_stage_too(db: Engine) -> None:
    fill(db, 1)
    take(db)
    ledger.void_leases(db, now=NOW, max_deaths=3)
    alone = take_alone(db, NOW)
    assert alone is not None
    assert kept(db, alone) is not None
    assert ledger.in_flight(db, now=NOW) == InFlight(0, 1)
    assert ledger.void_leases(db, now=NOW, max_deaths=1) == 1
    failed = row(db, alone.ledger_id)
    assert (failed["state"], failed["failed_in"], failed["attempts"]) == (FAILED, DETECTED, 1)


def test_a_page_that_was_kept_is_still_in_the_hand_of_its_worker(db: Engine) -> None:
    fill(db, 1)
    worker = Worker("w1", "host", 1, ("detect", "classify"), "cpu", 1)
    roster.enrol(db, worker, now=NOW)
    (due,) = ledger.take_due(db, now=NOW, limit=1, lease_s=LEASE_S)
    claim = ledger.claim(db, due.ledger_id, state=WAITING, now=NOW, lease_s=LEASE_S, worker_id="w1")
    assert claim is not None
    assert ledger.keep_detected(
        db, claim, FOUND, width=20, height=10, now=NOW, lease_s=LEASE_S, worker_id="w1"
    )
    assert ledger.bury(db, ["w1"], now=NOW, max_deaths=3) == 1
    assert row(db, claim.ledger_id)["suspect"]


def test_a_page_without_a_digit_is_done_too(db: Engine) -> None:
    fill(db, 1)
    claim = take(db)
    nothing = PageDetections((), 1.0)
    assert ledger.finish_detect(db, claim, nothing, width=1, height=1, blob=None, now=NOW, lease_s=LEASE_S)
    second = ledger.claim(db, claim.ledger_id, state=DETECTED, now=NOW, lease_s=LEASE_S)
    assert second is not None
    assert ledger.finish_classify(db, second, [], [], now=NOW)
    assert n_results(db) == (0, 0, 0)
    assert row(db, claim.ledger_id)["state"] == DONE


def test_due_rows_come_in_order_and_detected_ones_first(db: Engine) -> None:
    fill(db, 6)
    first = ledger.take_due(db, now=NOW, limit=4, lease_s=LEASE_S)
    assert [due.ledger_id for due in first] == sorted(due.ledger_id for due in first)
    assert ledger.in_flight(db, now=NOW) == InFlight(4, 0)
    claim = ledger.claim(db, first[3].ledger_id, state=WAITING, now=NOW, lease_s=LEASE_S)
    assert claim is not None
    assert detected(db, claim)
    assert ledger.in_flight(db, now=NOW) == InFlight(4, 0)
    # its message is lost, and those of the others; then the lease of the queue runs out
    later = ledger.take_due(db, now=NOW + LEASE_S, limit=10, lease_s=LEASE_S)
    assert [due.state for due in later] == [DETECTED] + [WAITING] * 5
    assert later[0].ledger_id == first[3].ledger_id
    assert ledger.take_due(db, now=NOW + LEASE_S, limit=10, lease_s=LEASE_S) == []


def test_only_one_of_two_who_want_a_page_gets_it(db: Engine) -> None:
    fill(db, 1)
    claim = take(db)
    assert ledger.claim(db, claim.ledger_id, state=WAITING, now=NOW, lease_s=LEASE_S) is None
    assert ledger.claim(db, claim.ledger_id, state=DETECTED, now=NOW, lease_s=LEASE_S) is None
    assert ledger.claim(db, claim.ledger_id + 1, state=WAITING, now=NOW, lease_s=LEASE_S) is None


def test_a_late_finisher_changes_nothing(db: Engine) -> None:
    fill(db, 1)
    late = take(db)
    assert ledger.expire(db, now=NOW + LEASE_S, max_deaths=3) == 1
    assert not detected(db, late)
    assert not ledger.set_aside(db, late, "late", now=NOW)
    assert ledger.give_back(db, [late]) == 0
    assert n_results(db) == (0, 0, 0)
    alone = take_alone(db, NOW + LEASE_S)
    assert alone is not None
    assert not detected(db, late)
    do_page(db, alone)
    assert not detected(db, late)
    assert n_results(db) == (3, 3, 1)


def test_a_page_that_can_not_be_read_is_set_aside_with_one_line(db: Engine) -> None:
    fill(db, 2)
    claim = take(db)
    assert ledger.set_aside(db, claim, "the image is cut short\n  at byte 17", now=NOW)
    found = row(db, claim.ledger_id)
    assert (found["state"], found["failed_in"]) == (FAILED, WAITING)
    assert found["reason"] == "the image is cut short at byte 17"
    assert ledger.counts(db).n_open == 1


def test_what_is_given_back_is_due_at_once_and_without_blame(db: Engine) -> None:
    fill(db, 2)
    claims = [take(db), take(db)]
    assert ledger.give_back(db, claims) == 2
    assert ledger.give_back(db, []) == 0
    assert len(ledger.take_due(db, now=NOW, limit=5, lease_s=LEASE_S)) == 2
    assert row(db, claims[0].ledger_id)["attempts"] == 0


def test_a_page_that_dies_alone_three_times_is_set_aside_and_no_other(db: Engine) -> None:
    fill(db, 3)
    claims = [take(db) for _ in range(3)]
    now = NOW + LEASE_S
    assert ledger.expire(db, now=now - 1, max_deaths=3) == 0
    assert ledger.expire(db, now=now, max_deaths=3) == 3  # one of them killed the process
    assert ledger.take_due(db, now=now + 10_000, limit=9, lease_s=LEASE_S) == []
    assert take_alone(db, now, eager=False) is None  # they back off, so that good pages go first
    poison = claims[0].ledger_id
    tried = []
    for _ in range(5):
        alone = take_alone(db, now)
        assert alone is not None
        tried.append(alone.ledger_id)
        if alone.ledger_id == poison:
            now += LEASE_S
            assert ledger.expire(db, now=now, max_deaths=3) == 1
        else:
            do_page(db, alone, now)
    assert take_alone(db, now) is None
    assert tried == [poison, claims[1].ledger_id, claims[2].ledger_id, poison, poison]
    found = row(db, poison)
    assert (found["state"], found["attempts"]) == (FAILED, 3)
    assert found["reason"] == "the page crashed its worker 3 times"
    assert ledger.counts(db).n_done == 2


def test_a_suspect_backs_off_longer_after_each_death(db: Engine) -> None:
    fill(db, 1)
    take(db)
    now = NOW + LEASE_S
    for waits_s in (30, 60, 120):
        assert ledger.expire(db, now=now, max_deaths=9) == 1
        assert ledger.in_flight(db, now=now) == InFlight(0, 0)
        assert take_alone(db, now + waits_s - 1, eager=False) is None
        assert take_alone(db, now + waits_s, eager=False) is not None
        assert ledger.in_flight(db, now=now + waits_s) == InFlight(0, 1)
        now += waits_s + LEASE_S


def test_an_old_message_does_not_bring_a_suspect_among_other_pages(db: Engine) -> None:
    fill(db, 1)
    claim = take(db)
    now = NOW + LEASE_S
    ledger.expire(db, now=now, max_deaths=3)
    assert ledger.claim(db, claim.ledger_id, state=WAITING, now=now, lease_s=LEASE_S) is None
    assert ledger.take_suspects(db, now=now, limit=1, lease_s=LEASE_S, eager=True) != []
    assert ledger.claim(db, claim.ledger_id, state=WAITING, now=now, lease_s=LEASE_S) is None


def test_a_message_for_a_suspect_takes_no_other_page_and_no_suspect_that_backs_off(db: Engine) -> None:
    fill(db, 1)
    due = ledger.take_due(db, now=NOW, limit=1, lease_s=LEASE_S)[0]
    alone = {"state": WAITING, "lease_s": LEASE_S, "alone": True}
    assert ledger.claim(db, due.ledger_id, now=NOW, **alone) is None
    assert ledger.claim(db, due.ledger_id, state=WAITING, now=NOW, lease_s=LEASE_S) is not None
    ledger.expire(db, now=NOW + LEASE_S, max_deaths=3)
    assert ledger.claim(db, due.ledger_id, now=NOW + LEASE_S, **alone) is None


def test_a_published_suspect_is_not_published_twice(db: Engine) -> None:
    fill(db, 1)
    take(db)
    now = NOW + LEASE_S
    ledger.expire(db, now=now, max_deaths=3)
    assert len(ledger.take_suspects(db, now=now, limit=9, lease_s=LEASE_S, eager=True)) == 1
    assert ledger.take_suspects(db, now=now, limit=9, lease_s=LEASE_S, eager=True) == []
    assert len(ledger.take_suspects(db, now=now + LEASE_S, limit=9, lease_s=LEASE_S, eager=False)) == 1


def test_attempts_start_anew_at_each_stage(db: Engine) -> None:
    fill(db, 1)
    take(db)
    now = NOW + LEASE_S
    ledger.expire(db, now=now, max_deaths=3)
    assert take_alone(db, now) is not None
    now += LEASE_S
    ledger.expire(db, now=now, max_deaths=3)
    alone = take_alone(db, now)
    assert alone is not None
    assert row(db, alone.ledger_id)["attempts"] == 1
    assert detected(db, alone, now)
    found = row(db, alone.ledger_id)
    assert (found["attempts"], found["suspect"], found["reason"]) == (0, False, None)


def test_a_new_owner_voids_what_its_predecessor_held(db: Engine) -> None:
    fill(db, 4)
    held = take(db)
    published = ledger.take_due(db, now=NOW, limit=2, lease_s=LEASE_S)
    assert ledger.void_leases(db, now=NOW + 1, max_deaths=3) == 1
    assert ledger.in_flight(db, now=NOW + 1) == InFlight(0, 0)
    due = ledger.take_due(db, now=NOW + 1, limit=9, lease_s=LEASE_S)
    assert {row.ledger_id for row in published} < {row.ledger_id for row in due}
    assert len(due) == 3
    alone = take_alone(db, NOW + 1)
    assert alone is not None
    assert alone.ledger_id == held.ledger_id
    assert ledger.void_leases(db, now=NOW + 2, max_deaths=1) == 1  # it was alone this time
    assert row(db, held.ledger_id)["reason"] == "the page crashed its worker once"


def test_a_retry_goes_back_to_the_stage_that_failed(db: Engine) -> None:
    fill(db, 3)
    first, second = take(db), take(db)
    ledger.set_aside(db, first, "no", now=NOW)
    assert detected(db, second)
    claim = ledger.claim(db, second.ledger_id, state=DETECTED, now=NOW, lease_s=LEASE_S)
    assert claim is not None
    ledger.set_aside(db, claim, "no", now=NOW)
    assert ledger.blobs_in_use(db) == {claim.blob}
    assert ledger.retry(db, ledger_ids=[second.ledger_id], now=NOW) == 1
    assert row(db, second.ledger_id)["state"] == DETECTED
    assert ledger.retry(db, ledger_ids=[second.ledger_id], now=NOW) == 0
    assert ledger.retry(db, document_ids=[first.source.document_id], now=NOW) == 1
    found = row(db, first.ledger_id)
    assert (found["state"], found["reason"], found["failed_in"]) == (WAITING, None, None)
    with writing(db) as conn:
        add_failed_document(
            conn,
            Path("/scans/bad.pdf"),
            "is empty",
            sha256="e" * 64,
            format="pdf",
            size_bytes=0,
            modified_at=1.0,
            now=NOW,
        )
    assert ledger.retry(db, everything=True, now=NOW) == 1
    assert ledger.retry(db, everything=True, now=NOW) == 0


def test_the_crops_in_use_are_found_without_the_whole_ledger(db: Engine) -> None:
    if db.dialect.name == "sqlite":  # the other plans by what is in the tables
        with reading(db) as conn:
            plan = conn.execute(
                text("EXPLAIN QUERY PLAN SELECT blob FROM ledger WHERE blob IS NOT NULL")
            ).all()
        assert "ix_ledger_blob" in str(plan)


def test_a_later_run_is_shown_once_it_is_done_and_not_before(db: Engine) -> None:
    old = fill(db, 1)
    claim = take(db)
    do_page(db, claim)
    new = fill(db, 1, again=True)
    assert new != old
    page_id = claim.source.page_id

    def shown() -> int:
        with reading(db) as conn:
            return page_result(conn, page_id).run_id

    second = take(db)
    assert second.run_id == new
    assert shown() == old
    do_page(db, second)
    assert shown() == new
    assert ledger.counts(db).n_done == 2


def test_an_older_run_that_is_done_late_does_not_hide_the_newer_one(db: Engine) -> None:
    fill(db, 1)
    old = take(db)
    ledger.set_aside(db, old, "no", now=NOW)
    new_run = fill(db, 1, again=True)
    do_page(db, take(db))
    assert ledger.retry(db, everything=True, now=NOW) == 0  # the newer run made up for it
    with writing(db) as conn:
        conn.execute(rows.update().where(rows.c.id == old.ledger_id).values(state=WAITING))
    do_page(db, take(db))
    with reading(db) as conn:
        assert page_result(conn, old.source.page_id).run_id == new_run


@dataclass
class Modelled:
    """What a row must be, by the rules in words."""

    state: str = WAITING
    suspect: bool = False
    queued: bool = False
    deaths: int = 0
    until: float = 0.0
    token: str | None = None


class Model:
    """The rules of the ledger once more, on plain objects: what SQL does must agree with it."""

    max_deaths = 2

    def __init__(self, db: Engine, n_pages: int) -> None:
        self.db = db
        self.now = NOW
        with writing(db) as conn:
            for table in reversed(metadata.sorted_tables):
                conn.execute(table.delete())
        fill(db, n_pages)
        with reading(db) as conn:
            self.rows = {id_: Modelled() for id_ in conn.scalars(select(rows.c.id).order_by(rows.c.id))}
        self.published: list[tuple[int, str, bool]] = []  # every message ever sent: some are taken twice
        self.claims: list[Claim] = []  # every claim ever made: most are old
        self.n_done: dict[int, int] = dict.fromkeys(self.rows, 0)

    def take(self, n: int) -> None:
        due = ledger.take_due(self.db, now=self.now, limit=n + 1, lease_s=LEASE_S)
        open_rows = [
            (r.state != DETECTED, r.until, id_)
            for id_, r in self.rows.items()
            if r.state in OPEN and not r.suspect and r.token is None and r.until <= self.now
        ]
        assert [row.ledger_id for row in due] == [id_ for *_, id_ in sorted(open_rows)][: n + 1]
        self._published([(row.ledger_id, row.state, False) for row in due])

    def suspect(self, n: int) -> None:
        eager = n % 2 == 0
        limit = 1 + n // 4
        due = ledger.take_suspects(self.db, now=self.now, limit=limit, lease_s=LEASE_S, eager=eager)
        suspects = [
            (r.deaths, r.until, id_)
            for id_, r in self.rows.items()
            if r.state in OPEN and r.suspect and r.token is None
            if r.until <= self.now or (eager and not r.queued)
        ]
        assert [row.ledger_id for row in due] == [id_ for *_, id_ in sorted(suspects)][:limit]
        self._published([(row.ledger_id, row.state, True) for row in due])

    def _published(self, messages: list[tuple[int, str, bool]]) -> None:
        for id_, state, _ in messages:
            assert self.rows[id_].state == state
            self.rows[id_].queued, self.rows[id_].until = True, self.now + LEASE_S
        self.published += messages

    def claim(self, n: int) -> None:
        if not self.published:
            return
        id_, state, alone = self.published[-1 - n % len(self.published)]
        r = self.rows[id_]
        free = r.state == state and r.token is None and r.suspect == alone and (r.queued or not alone)
        claim = ledger.claim(self.db, id_, state=state, now=self.now, lease_s=LEASE_S, alone=alone)
        assert (claim is not None) == free
        if claim is not None:
            r.token, r.queued, r.until = claim.token, False, self.now + LEASE_S
            self.claims.append(claim)

    def finish(self, n: int) -> None:
        if not self.claims:
            return
        claim = self.claims[-1 - n % len(self.claims)]
        r = self.rows[claim.ledger_id]
        ours = r.token == claim.token and r.state == claim.state
        if claim.state == WAITING:
            assert detected(self.db, claim, self.now) == ours
            if ours:
                self.rows[claim.ledger_id] = Modelled(DETECTED, queued=True, until=self.now + LEASE_S)
                self.published.append((claim.ledger_id, DETECTED, False))
        else:
            assert classified(self.db, claim, self.now) == ours
            if ours:
                self.rows[claim.ledger_id] = Modelled(DONE)
                self.n_done[claim.ledger_id] += 1

    def keep(self, n: int) -> None:
        """Go on to the second stage with the page in hand; the claim before stays known to somebody."""
        first = [claim for claim in self.claims if claim.state == WAITING]
        if not first:
            return
        claim = first[-1 - n % len(first)]
        r = self.rows[claim.ledger_id]
        ours = r.token == claim.token and r.state == WAITING
        second = kept(self.db, claim, self.now)
        assert (second is not None) == ours
        if second is not None:
            self.claims.append(second)
            r.state, r.deaths, r.until = DETECTED, 0, self.now + LEASE_S

    def give_back(self, n: int) -> None:
        some = self.claims[-1 - n :]
        ours = {c.token: c for c in some if self.rows[c.ledger_id].token == c.token}.values()
        assert ledger.give_back(self.db, some) == len(ours)
        for claim in ours:
            self.rows[claim.ledger_id].token, self.rows[claim.ledger_id].until = None, 0.0

    def wait(self, n: int) -> None:
        self.now += (10.0, 30.0, LEASE_S, 3 * LEASE_S)[n % 4]

    def expire(self, n: int) -> None:
        lapsed = [r for r in self.rows.values() if r.token and r.until <= self.now]
        assert ledger.expire(self.db, now=self.now, max_deaths=self.max_deaths) == len(lapsed)
        for r in lapsed:
            self._died(r)

    def void(self, n: int) -> None:
        held = [r for r in self.rows.values() if r.token]
        assert ledger.void_leases(self.db, now=self.now, max_deaths=self.max_deaths) == len(held)
        for r in self.rows.values():
            if r.queued:
                r.queued, r.until = False, 0.0
        for r in held:
            self._died(r)

    def _died(self, r: Modelled) -> None:
        r.token = None
        r.deaths += r.suspect  # only who was alone is to blame
        if r.suspect and r.deaths >= self.max_deaths:
            r.state, r.until = FAILED, 0.0
        else:
            r.suspect, r.until = True, self.now + 30 * 2**r.deaths

    def check(self) -> None:
        with reading(self.db) as conn:
            found = {row["id"]: row for row in conn.execute(select(rows)).mappings()}
            with_results = {
                table.name: set(conn.scalars(select(table.c.ledger_id).distinct()))
                for table in (detections, readings, numbers)
            }
        assert set(found) == set(self.rows)  # no row lost, none twice
        for id_, r in self.rows.items():
            row = found[id_]
            assert (row["state"], row["attempt_token"], row["lease_until"]) == (r.state, r.token, r.until)
            assert row["queued"] == r.queued
            if r.state in OPEN:
                assert (row["suspect"], row["attempts"]) == (r.suspect, r.deaths)
            stage = row["failed_in"] if r.state == FAILED else r.state
            assert (id_ in with_results["detections"]) == (stage in (DETECTED, DONE))
            assert (id_ in with_results["readings"]) == (stage == DONE)
            assert (id_ in with_results["numbers"]) == (stage == DONE)
        assert max(self.n_done.values()) <= 1
        flying = [r.suspect for r in self.rows.values() if r.until > self.now and (r.queued or r.token)]
        assert ledger.in_flight(self.db, now=self.now) == InFlight(flying.count(False), flying.count(True))

    def drain(self) -> None:
        """Work on as an engine does, with nothing going wrong: whatever happened before, it ends."""
        self.void(0)
        for _ in range(4 * len(self.rows)):
            self.take(0)
            if ledger.in_flight(self.db, now=self.now) == InFlight(0, 0):
                self.suspect(0)
            for _ in range(2):
                n = len(self.claims)
                self.claim(0)
                if len(self.claims) > n:
                    self.finish(0)
        assert ledger.counts(self.db).n_open == 0
        for r in self.rows.values():
            assert r.state == DONE or (r.state == FAILED and r.deaths == self.max_deaths)


# some more often, so that pages get somewhere
OFTEN = "take take claim claim claim finish finish keep suspect give_back wait expire void"
STEPS = st.lists(
    st.tuples(
        st.sampled_from(OFTEN.split()),
        st.integers(0, 7),
    ),
    max_size=40,
)


@given(n_pages=st.integers(1, 4), steps=STEPS)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_happens_no_page_is_lost_or_done_twice(
    db: Engine, n_pages: int, steps: list[tuple[str, int]]
) -> None:
    model = Model(db, n_pages)
    for name, n in steps:
        getattr(model, name)(n)
        model.check()
    model.drain()
    model.check()


def test_who_was_taken_for_dead_takes_nothing_in_hand(db: Engine) -> None:
    fill(db, 2)
    worker = Worker("w1", "host", 7, ("detect",), "cpu", 2)
    roster.enrol(db, worker, now=1.0)
    first, second = (due.ledger_id for due in ledger.take_due(db, now=NOW, limit=2, lease_s=LEASE_S))
    taking = {"state": "waiting", "now": 2.0, "lease_s": LEASE_S, "worker_id": worker.id}
    assert ledger.claim(db, first, **taking) is not None
    ledger.bury(db, [worker.id], now=3.0, max_deaths=3)
    assert ledger.claim(db, second, **taking) is None
    roster.enrol(db, worker, now=4.0)
    assert ledger.claim(db, second, **taking) is not None
