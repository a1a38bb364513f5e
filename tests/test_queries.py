import fnmatch
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from pipeline import finding, ledger, queries
from pipeline.catalogue import add_document, add_failed_document, current_run
from pipeline.database import open_database, reading, writing
from pipeline.errors import UsageError
from pipeline.ledger import Claim
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.queries import Filter, sort_key
from pipeline.sources import Document, PageRef
from pipeline.status import status
from pipeline.tables import pages as pages_table

NOW = 1_700_000_000.0
DIGIT_PX = 10.0


@pytest.fixture
def db(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def register(
    db: Engine, path: str, n_pages: int = 1, *, again: bool = False, member: str | None = None
) -> None:
    pages = tuple(PageRef(index, member, index) for index in range(n_pages))
    sha256 = f"{sum(os.fsencode(path)) * 7919:064x}"[::-1]
    with writing(db) as conn:
        run_id = current_run(conn, "d", "c", "{}", new=again, now=NOW)
        add_document(conn, Document(Path(path), sha256, "tiff", 10, 5.0, pages), run_id, again=again, now=NOW)


def on_line(line: int, texts: list[str]) -> tuple[list[Detection], list[Reading], list[Number]]:
    """Digits of 10 px beside one another, with a rejected speck behind them."""
    detections: list[Detection] = []
    readings: list[Reading] = []
    found: list[Number] = []
    for text in texts:
        members = tuple(range(len(detections), len(detections) + len(text)))
        for digit in text:
            x0 = len(detections) * DIGIT_PX
            detections.append(Detection(Box(x0, line * 20.0, x0 + DIGIT_PX, line * 20.0 + 12), 0.9))
            readings.append(Reading(int(digit), 0.99))
        confidence = round(1 - len(text) / 10, 2)
        box = Box(members[0] * DIGIT_PX, line * 20.0, (members[-1] + 1) * DIGIT_PX, line * 20.0 + 12)
        found.append(Number(text, confidence, box, line, members))
    detections.append(Detection(Box(500, 0, 510, 12), 0.31))
    readings.append(Reading(None, 0.7))
    return detections, readings, found


def claim_next(db: Engine, now: float = NOW) -> Claim:
    due = ledger.take_due(db, now=now, limit=1, lease_s=9)[0]
    claim = ledger.claim(db, due.ledger_id, state=due.state, now=now, lease_s=9)
    assert claim is not None
    return claim


def read_next(db: Engine, *texts: str, now: float = NOW) -> None:
    """Let the next page that waits have these numbers on its only line."""
    detections, readings, found = on_line(0, list(texts))
    claim = claim_next(db, now)
    page = PageDetections(tuple(detections), 0.5)
    assert ledger.finish_detect(db, claim, page, width=600, height=300, blob=None, now=now, lease_s=9)
    second = ledger.claim(db, claim.ledger_id, state="detected", now=now, lease_s=9)
    assert second is not None
    assert ledger.finish_classify(db, second, readings, found, now=now)


@pytest.fixture
def archive(db: Engine) -> Engine:
    """Two documents of three pages with ten numbers."""
    register(db, "/scans/1890/book.tif", 2)
    register(db, "/scans/1891/page_10%.tif", 1)
    read_next(db, "007", "1890", "12")
    read_next(db, "7", "99999999999999999999", "0")
    read_next(db, "1891", "12", "00", "1289")
    return db


def texts(db: Engine, wanted: Filter) -> list[str]:
    with reading(db) as conn:
        return [row.text for row in queries.find_numbers(conn, wanted)]


ALL = ["007", "1890", "12", "7", "99999999999999999999", "0", "1891", "12", "00", "1289"]


CASES = [
    (Filter(), ALL),
    (Filter(limit=3), ALL[:3]),
    (Filter(limit=0), []),
    (Filter(text="7"), ["7"]),
    (Filter(text="007"), ["007"]),
    (Filter(prefix="1"), ["1890", "12", "1891", "12", "1289"]),
    (Filter(prefix="9" * 20), ["9" * 20]),
    (Filter(prefix=""), ALL),
    (Filter(pattern="18?0"), ["1890"]),
    (Filter(pattern="*9*"), ["1890", "9" * 20, "1891", "1289"]),
    (Filter(pattern="??"), ["12", "12", "00"]),
    (Filter(pattern="%"), []),
    (Filter(pattern="1[28]*"), []),
    (Filter(at_least="0007", at_most="12"), ["007", "12", "7", "12"]),
    (Filter(at_least="1891"), ["9" * 20, "1891"]),
    (Filter(at_most="0"), ["0", "00"]),
    (Filter(at_least="1" * 20), ["9" * 20]),
    (Filter(page=2), ["7", "9" * 20, "0"]),
    (Filter(document="book.tif"), ALL[:6]),
    (Filter(document="/scans/1890/book.tif"), ALL[:6]),
    (Filter(document="/scans/1890"), ALL[:6]),
    (Filter(document="/scans/1890/"), ALL[:6]),
    (Filter(document="1891/"), ALL[6:]),
    (Filter(document="*.tif"), ALL),
    (Filter(document="/scans/*/book.???"), ALL[:6]),
    (Filter(document="page_10%.tif"), ALL[6:]),
    (Filter(document="1"), ALL[:6]),
    (Filter(min_confidence=0.85), ["7", "0"]),
    (Filter(max_confidence=0.6), ["1890", "9" * 20, "1891", "1289"]),
    (Filter(order="number"), ["0", "00", "007", "7", "12", "12", "1289", "1890", "1891", "9" * 20]),
    (Filter(order="text"), sorted(ALL)),
    (
        Filter(order="confidence"),
        ["9" * 20, "1890", "1891", "1289", "007", "12", "12", "00", "7", "0"],
    ),
    (Filter(prefix="1", document="book.tif", page=1, order="number"), ["12", "1890"]),
]


def test_numbers_are_found_by_what_is_known_of_them(archive: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # both ways to go about it, and the same answers
    for many in (finding.MANY, dict.fromkeys(finding.MANY, 1)):
        monkeypatch.setattr(finding, "MANY", many)
        for wanted, found in CASES:
            assert texts(archive, wanted) == found, wanted


def test_a_row_says_where_its_number_stands(archive: Engine) -> None:
    with reading(archive) as conn:
        row = next(queries.find_numbers(conn, Filter(prefix="1")))  # and not the others
    assert (row.path, row.page, row.line, row.position) == ("/scans/1890/book.tif", 1, 1, 1)
    assert (row.confidence, row.box) == (0.6, Box(30.0, 0.0, 70.0, 12.0))


def test_a_bound_that_is_no_number_is_refused(archive: Engine) -> None:
    for bound in ("12a", "-5", "1.5", "", "１２"):
        with pytest.raises(UsageError, match="is no number"):
            texts(archive, Filter(at_least=bound))


def test_a_document_that_is_not_there_is_said_not_to_be(archive: Engine) -> None:
    for document in ("nowhere.tif", "ook.tif", "BOOK.tif", "page_10.tif", "99", "*.jpg", "%", ""):
        with pytest.raises(UsageError, match="no document"):
            texts(archive, Filter(document=document))


def test_a_document_is_found_by_the_start_of_its_hash(archive: Engine) -> None:
    with reading(archive) as conn:
        source = queries.page_of(conn, "/scans/1891/page_10%.tif")
        assert queries.page_of(conn, source.sha256[:12].upper()) == source
    assert texts(archive, Filter(document=source.sha256)) == ALL[6:]


def test_a_document_that_was_replaced_is_found_by_its_hash_alone(archive: Engine) -> None:
    with reading(archive) as conn:
        old = queries.page_of(conn, "book.tif").sha256
    pages = (PageRef(0, None, 0),)
    new = Document(Path("/scans/1890/book.tif"), "e" * 64, "tiff", 11, 6.0, pages)
    with writing(archive) as conn:
        run_id = current_run(conn, "d", "c", "{}", new=False, now=NOW)
        add_document(conn, new, run_id, again=False, now=NOW + 1)
    read_next(archive, "5")
    assert texts(archive, Filter()) == [*ALL[6:], "5"]
    assert texts(archive, Filter(document="book.tif")) == ["5"]
    assert texts(archive, Filter(document=old[:9])) == ALL[:6]
    with reading(archive) as conn:
        assert queries.page_of(conn, "book.tif").sha256 == "e" * 64
        source = queries.page_of(conn, old, 2)
        assert [number.text for number in queries.page_result(conn, source.page_id).numbers] == ALL[3:6]
        assert [page.page_index for page in queries.exported_pages(conn)] == [0, 0]
        found = status(conn, now=NOW)
        assert (found.n_documents, found.n_pages, found.n_done, found.n_numbers) == (2, 2, 2, len(ALL) - 5)


def test_a_page_is_found_in_its_document(archive: Engine) -> None:
    with reading(archive) as conn:
        source = queries.page_of(conn, "book.tif", 2)
        assert (source.page_index, source.frame, source.format) == (1, 1, "tiff")
        assert [number.text for number in queries.page_result(conn, source.page_id).numbers] == ALL[3:6]
        with pytest.raises(UsageError, match=r"book\.tif has no page 3: it has 2 pages"):
            queries.page_of(conn, "book.tif", 3)
        with pytest.raises(UsageError, match=r"several documents: /scans/1890/book\.tif .*page_10%\.tif"):
            queries.page_of(conn, "*.tif")


def test_a_page_that_waits_has_no_result_yet(db: Engine) -> None:
    register(db, "/scans/a.tif")
    with reading(db) as conn:
        result = queries.page_result(conn, queries.page_of(conn, "a.tif").page_id)
    assert (result.state, result.detections, result.readings, result.numbers) == ("waiting", (), (), ())


def test_only_the_run_that_is_shown_is_queried_and_exported(archive: Engine) -> None:
    register(archive, "/scans/1891/page_10%.tif", again=True)
    assert texts(archive, Filter()) == ALL
    read_next(archive, "5")
    assert texts(archive, Filter()) == [*ALL[:6], "5"]
    with reading(archive) as conn:
        assert sum(len(page.digits) for page in queries.exported_pages(conn)) == 31 + 1
        assert status(conn, now=NOW).n_pages == 3


def test_the_export_has_every_digit_that_was_not_rejected(archive: Engine) -> None:
    register(archive, "/scans/all.zip", member="inside/front.png")
    register(archive, "/scans/late.tif")
    read_next(archive, "31")
    with reading(archive) as conn:
        pages = list(queries.exported_pages(conn))
    assert [(page.image, page.page_index) for page in pages] == [
        ("book.tif", 0),
        ("book.tif", 1),
        ("page_10%.tif", 0),
        ("front.png", 0),
    ]
    first = pages[0]
    assert (first.width, first.height, first.turned) == (600, 300, 0)
    assert "".join(str(digit.digit) for digit in first.digits) == "007189012"
    assert [digit.number for digit in first.digits] == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert (first.digits[0].box, first.digits[0].confidence, first.digits[0].score) == (
        Box(0, 0, 10, 12),
        0.99,
        0.9,
    )


def test_the_export_names_an_image_and_its_page_as_they_are_found(db: Engine) -> None:
    register(db, "/scans/all.zip", 2, member="inside/two.tif")
    with writing(db) as conn:  # as if those of other members came before
        conn.execute(pages_table.update().values(page_index=pages_table.c.page_index + 5))
    register(db, "/scans/a\\b.tif")
    register(db, os.fsdecode(b"/scans/caf\xe9.tif"))
    for _ in range(4):
        read_next(db, "1")
    with reading(db) as conn:
        found = [(page.image, page.page_index) for page in queries.exported_pages(conn)]
    assert found == [("two.tif", 0), ("two.tif", 1), (r"a\b.tif", 0), (r"caf\xe9.tif", 0)]


def test_the_status_counts_everything_once(archive: Engine) -> None:
    register(archive, "/scans/more.tif", 3)
    failed = claim_next(archive)
    ledger.set_aside(archive, failed, "is cut short", now=NOW)
    with writing(archive) as conn:
        add_failed_document(
            conn,
            Path("/scans/0.pdf"),
            "is empty",
            sha256="0" * 64,
            format="pdf",
            size_bytes=0,
            modified_at=1.0,
            now=NOW,
        )
    with reading(archive) as conn:
        found = status(conn, now=NOW + 10)
    assert (found.n_documents, found.n_failed_documents) == (4, 1)
    assert (found.n_pages, found.n_waiting, found.n_detected, found.n_done, found.n_failed) == (6, 2, 0, 3, 1)
    assert (found.n_digits, found.n_numbers) == (sum(map(len, ALL)), len(ALL))
    assert (found.n_finished_lately, found.pages_per_s) == (3, 0.3)
    with reading(archive) as conn:
        assert status(conn, now=NOW + 1000).pages_per_s == 0


def test_the_status_of_an_empty_database_is_all_zero(db: Engine) -> None:
    with reading(db) as conn:
        found = status(conn, now=NOW)
        assert list(queries.failures(conn)) == []
        assert list(queries.find_numbers(conn, Filter())) == []
        assert list(queries.exported_pages(conn)) == []
    assert (found.n_documents, found.n_pages, found.n_digits, found.pages_per_s) == (0, 0, 0, 0)


def test_failures_are_listed_in_the_order_of_the_documents(db: Engine) -> None:
    register(db, "/scans/a.tif", 2)
    first, second = claim_next(db), claim_next(db)
    for claim in (second, first):
        ledger.set_aside(db, claim, f"page {claim.source.page_index} is cut short", now=NOW)
    with writing(db) as conn:
        add_failed_document(
            conn,
            Path("/scans/b\n.pdf"),
            "is empty",
            sha256="0" * 64,
            format="pdf",
            size_bytes=0,
            modified_at=1.0,
            now=NOW,
        )
    register(db, "/scans/c.tif")
    ledger.set_aside(db, claim_next(db), "hangs", now=NOW)
    with reading(db) as conn:
        found = list(queries.failures(conn))
    assert [(failure.path, failure.page, failure.reason, failure.failed_in) for failure in found] == [
        ("/scans/a.tif", 1, "page 0 is cut short", "waiting"),
        ("/scans/a.tif", 2, "page 1 is cut short", "waiting"),
        ("/scans/b\n.pdf", None, "is empty", None),
        ("/scans/c.tif", 1, "hangs", "waiting"),
    ]
    assert found[0].ledger_id == first.ledger_id
    assert found[2].ledger_id is None


def test_a_failure_of_newer_weights_is_listed_until_it_is_made_up_for(archive: Engine) -> None:
    register(archive, "/scans/1891/page_10%.tif", again=True)
    ledger.set_aside(archive, claim_next(archive), "hangs", now=NOW)
    with reading(archive) as conn:
        assert [failure.page for failure in queries.failures(conn)] == [1]
    assert texts(archive, Filter()) == ALL
    register(archive, "/scans/1891/page_10%.tif", again=True)
    read_next(archive, "5")
    with reading(archive) as conn:
        assert list(queries.failures(conn)) == []


def test_a_document_under_several_paths_shows_the_newest(db: Engine) -> None:
    pages = (PageRef(0, None, 0),)
    for seen, path in ((1.0, "/old/a.tif"), (2.0, "/new/a.tif"), (1.5, "/mid/a.tif")):
        with writing(db) as conn:
            run_id = current_run(conn, "d", "c", "{}", new=False, now=NOW)
            add_document(
                conn, Document(Path(path), "a" * 64, "tiff", 1, 1.0, pages), run_id, again=False, now=seen
            )
    read_next(db, "5")
    with reading(db) as conn:
        assert [row.path for row in queries.find_numbers(conn, Filter())] == ["/new/a.tif"]
        assert [row.path for row in queries.find_numbers(conn, Filter(document="/old"))] == ["/new/a.tif"]


@given(st.lists(st.text("0123456789", min_size=1, max_size=25), max_size=30))
def test_the_key_sorts_as_the_numbers_do(found: list[str]) -> None:
    shuffled = random.Random(0).sample(found, len(found))
    assert [int(text) for text in sorted(shuffled, key=sort_key)] == sorted(int(text) for text in found)


DIGITS = st.text("0123456789", min_size=1, max_size=4)


@given(
    wanted=st.builds(
        Filter,
        prefix=st.none() | DIGITS,
        pattern=st.none() | st.text("01*?", min_size=1, max_size=5),
        at_least=st.none() | DIGITS,
        at_most=st.none() | DIGITS,
        order=st.sampled_from(["reading", "text", "number"]),
    )
)
@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_query_answers_as_python_would(archive: Engine, wanted: Filter) -> None:
    meant = [
        text
        for text in ALL
        if text.startswith(wanted.prefix or "")
        and (wanted.pattern is None or fnmatch.fnmatchcase(text, wanted.pattern))
        and (wanted.at_least is None or int(text) >= int(wanted.at_least))
        and (wanted.at_most is None or int(text) <= int(wanted.at_most))
    ]
    key = {"reading": lambda text: 0, "text": str, "number": lambda text: (int(text), text)}[wanted.order]
    assert texts(archive, wanted) == sorted(meant, key=key)
