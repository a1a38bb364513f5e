"""What a run of other weights left is taken over by the next one, from the start."""

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from pipeline import catalogue, ledger
from pipeline.adoption import adopt
from pipeline.database import open_database, reading, writing
from pipeline.page import Box, Detection, PageDetections, Reading
from pipeline.sources import Document, PageRef

N_PAGES = 5


@pytest.fixture
def db(tmp_path: Path) -> Engine:
    """Five pages of a run "old": done, detected, in hand, failed and waiting, in this order."""
    db = open_database(f"sqlite:///{tmp_path}/archive.db")
    pages = tuple(PageRef(index, None, index) for index in range(N_PAGES))
    with writing(db) as conn:
        run_id = catalogue.current_run(conn, "d-old", "c-old", "{}", new=False, now=1.0)
        document = Document(Path("/scan.tif"), "a" * 64, "tiff", 10, 1.0, pages)
        catalogue.add_document(conn, document, run_id, again=False, now=1.0)
    one = _claim(db, 1, "waiting")
    _detect(db, one)
    claim = _claim(db, 1, "detected")
    assert ledger.finish_classify(db, claim, [Reading(7, 0.9)], [], now=time.time())
    _detect(db, _claim(db, 2, "waiting"))
    _claim(db, 3, "waiting")
    ledger.set_aside(db, _claim(db, 4, "waiting"), "is torn", now=time.time())
    return db


def _claim(db: Engine, ledger_id: int, state: str) -> ledger.Claim:
    ledger.take_due(db, now=time.time(), limit=N_PAGES, lease_s=100)
    claim = ledger.claim(db, ledger_id, state=state, now=time.time(), lease_s=100)
    assert claim is not None
    return claim


def _detect(db: Engine, claim: ledger.Claim) -> None:
    found = PageDetections((Detection(Box(1, 2, 3, 4), 0.9),), 1.0)
    assert ledger.finish_detect(
        db, claim, found, width=9, height=9, blob="crops/x", now=time.time(), lease_s=100
    )


def _run(db: Engine, detector: str, settings: str = "{}") -> int:
    with writing(db) as conn:
        return catalogue.current_run(conn, detector, "c-old", settings, new=False, now=2.0)


def _rows(db: Engine, columns: str) -> list[tuple[object, ...]]:
    with reading(db) as conn:
        return [tuple(row) for row in conn.execute(text(f"SELECT {columns} FROM ledger ORDER BY id"))]


def test_open_pages_go_to_the_new_run_and_the_others_stay(db: Engine) -> None:
    old, new = _run(db, "d-old"), _run(db, "d-new")
    assert adopt(db, new, now=3.0) == 3
    assert _rows(db, "run_id, state") == [
        (old, "done"),
        (new, "waiting"),
        (new, "waiting"),
        (old, "failed"),
        (new, "waiting"),
    ]
    assert adopt(db, new, now=3.0) == 0
    ledger.void_leases(db, now=time.time(), max_deaths=3)
    assert _rows(db, "suspect")[2] == (1,), "it was in hand when its engine died"
    _detect(db, _claim(db, 2, "waiting"))
    with reading(db) as conn:
        assert conn.scalar(text("SELECT count(*) FROM detections WHERE ledger_id = 2")) == 1


def test_networks_beside_detector_and_classifier_make_another_run_too(db: Engine) -> None:
    new = _run(db, "d-old", '{"recogniser": "r-new"}')
    assert adopt(db, new, now=3.0) == 3
    assert [run_id for run_id, _ in _rows(db, "run_id, id")].count(new) == 3


def test_a_run_of_the_same_weights_takes_nothing(db: Engine) -> None:
    before = _rows(db, "run_id, state, attempt_token")
    with writing(db) as conn:
        again = catalogue.current_run(conn, "d-old", "c-old", "{}", new=True, now=2.0)
    assert adopt(db, again, now=3.0) == 0
    assert _rows(db, "run_id, state, attempt_token") == before


def test_a_page_that_the_new_run_has_is_left_alone(db: Engine) -> None:
    new = _run(db, "d-new")
    with writing(db) as conn:
        catalogue.add_again(conn, 1, new)
    assert adopt(db, new, now=3.0) == 0
    assert len(_rows(db, "id")) == 2 * N_PAGES
