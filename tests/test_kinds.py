"""Kinds in the ledger: how sorting ends, what a person says, and what the commands count by kind."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, text

from pipeline import ledger
from pipeline.adoption import adopt
from pipeline.catalogue import add_document, current_run
from pipeline.database import open_database, reading, writing
from pipeline.errors import UsageError
from pipeline.kinds import (
    FoundKind,
    PageForPerson,
    finish_sort,
    keep_sorted,
    pages_for_person,
    said_before,
    say_kinds,
    sort_page,
)
from pipeline.ledger import Claim
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.page_forms import ANY, give_to_page
from pipeline.queries import Filter, find_numbers
from pipeline.sorting import KindPath, Sorting, as_json
from pipeline.sources import Document, PageRef
from pipeline.status import status
from pipeline.tables import forms

NOW = 1_700_000_000.0
LEASE_S = 100.0
SORTING = Sorting(
    "5" * 64,
    0.8,
    {
        "cover": KindPath(end="skip"),
        "form": KindPath(networks={"classifier": "f" * 64}),
        "letter": KindPath(end="person"),
        "register": KindPath(sorter="6" * 64, kinds={"left": KindPath(), "index": KindPath(end="skip")}),
    },
)
FOUND = PageDetections((Detection(Box(1, 2, 3, 4), 0.9),), 1.0)


@pytest.fixture
def db(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def run_of(db: Engine, sorting: Sorting | None = SORTING, *, detector: str = "d", new: bool = False) -> int:
    settings = {} if sorting is None else {"sorting": as_json(sorting)}
    with writing(db) as conn:
        return current_run(
            conn, detector * 64, "c" * 64, json.dumps(settings, sort_keys=True), new=new, now=NOW
        )


def fill(db: Engine, n_pages: int, run_id: int, *, again: bool = False) -> None:
    pages = tuple(PageRef(index, None, index) for index in range(n_pages))
    document = Document(Path("/scans/book.pdf"), "a" * 64, "pdf", 10, 5.0, pages)
    with writing(db) as conn:
        add_document(conn, document, run_id, again=again, now=NOW)


def take(db: Engine, state: str) -> Claim:
    """Take the next page in hand that is due, which is in this state."""
    (due,) = ledger.take_due(db, now=NOW, limit=1, lease_s=LEASE_S)
    assert due.state == state
    return retake(db, due.ledger_id, state)


def retake(db: Engine, ledger_id: int, state: str) -> Claim:
    claim = ledger.claim(db, ledger_id, state=state, now=NOW, lease_s=LEASE_S)
    assert claim is not None
    return claim


def sort(db: Engine, kind: str, state: str, confidence: float = 0.95) -> int:
    claim = take(db, "unsorted")
    assert finish_sort(db, claim, FoundKind(kind, confidence, state), now=NOW, lease_s=LEASE_S)
    return claim.ledger_id


def read(db: Engine, ledger_id: int) -> None:
    """Take a page that waits through both stages, with one number on it."""
    claim = retake(db, ledger_id, "waiting")
    kept = ledger.keep_detected(db, claim, FOUND, width=20, height=10, now=NOW, lease_s=LEASE_S)
    assert kept is not None
    number = Number("7", 0.9, Box(1, 2, 3, 4), 0, (0,))
    assert ledger.finish_classify(db, kept, [Reading(7, 0.9)], [number], now=NOW)


def rows(db: Engine, columns: str = "state, kind, kind_confidence") -> list[tuple[object, ...]]:
    with reading(db) as conn:
        return [tuple(row) for row in conn.execute(text(f"SELECT {columns} FROM ledger ORDER BY id"))]


def for_person(db: Engine) -> list[PageForPerson]:
    with reading(db) as conn:
        return list(pages_for_person(conn))


def test_a_run_that_sorts_begins_with_sorting_and_another_one_with_reading(db: Engine) -> None:
    fill(db, 1, run_of(db))
    fill(db, 1, run_of(db, None), again=True)
    assert rows(db, "state, current") == [("unsorted", True), ("waiting", False)]


def test_a_kind_picks_the_networks_and_the_state_that_a_page_goes_on_in(db: Engine) -> None:
    fill(db, 4, run_of(db))
    form, usual = sort(db, "form", "waiting"), sort(db, "register/left", "waiting")
    sort(db, "cover", "skipped")
    sort(db, "form", "person", 0.6)
    assert rows(db) == [
        ("waiting", "form", 0.95),
        ("waiting", "register/left", 0.95),
        ("skipped", "cover", 0.95),
        ("person", "form", 0.6),
    ]
    assert retake(db, form, "waiting").networks == {"detector": "d" * 64, "classifier": "f" * 64}
    assert retake(db, usual, "waiting").networks == {"detector": "d" * 64, "classifier": "c" * 64}
    counts = ledger.counts(db)
    assert (counts.n_open, counts.n_over) == (2, 2)
    assert (counts.n_waiting, counts.n_skipped, counts.n_person) == (2, 1, 1)


def test_a_page_that_is_kept_has_the_networks_of_its_kind_at_once(db: Engine) -> None:
    fill(db, 1, run_of(db))
    claim = take(db, "unsorted")
    kept = keep_sorted(db, claim, FoundKind("form", 0.9, "waiting"), now=NOW, lease_s=LEASE_S)
    assert kept is not None
    assert (kept.state, kept.token) == ("waiting", claim.token)
    assert kept.networks["classifier"] == "f" * 64
    assert rows(db, "state, kind, attempt_token") == [("waiting", "form", claim.token)]


def test_sorting_that_somebody_else_did_meanwhile_changes_nothing(db: Engine) -> None:
    fill(db, 1, run_of(db))
    late = take(db, "unsorted")
    ledger.expire(db, now=NOW + LEASE_S, max_deaths=3)
    for end in (
        lambda: finish_sort(db, late, FoundKind("cover", 0.9, "skipped"), now=NOW, lease_s=LEASE_S),
        lambda: keep_sorted(db, late, FoundKind("form", 0.9, "waiting"), now=NOW, lease_s=LEASE_S),
    ):
        assert not end()
        assert rows(db, "state, kind, suspect") == [("unsorted", None, True)]


def test_pages_that_are_further_on_are_due_before_those_to_sort(db: Engine) -> None:
    fill(db, 3, run_of(db))
    sort(db, "form", "waiting")
    with writing(db) as conn:
        conn.execute(text("UPDATE ledger SET queued = (1 = 0), lease_until = 0"))
    due = ledger.take_due(db, now=NOW, limit=9, lease_s=LEASE_S)
    assert [row.state for row in due] == ["waiting", "unsorted", "unsorted"]


def test_a_sorter_in_doubt_leaves_the_page_to_a_person() -> None:
    chances = {"5" * 64: {"cover": 0.1, "register": 0.9}, "6" * 64: {"left": 0.95, "index": 0.05}}
    assert sort_page(SORTING, chances.__getitem__) == FoundKind(
        "register/left", pytest.approx(0.855), "waiting"
    )
    chances["6" * 64] = {"left": 0.15, "index": 0.85}  # each is sure enough, both together are not
    assert sort_page(SORTING, chances.__getitem__) == FoundKind(
        "register/index", pytest.approx(0.765), "person"
    )
    assert sort_page(SORTING, lambda _: {"cover": 0.8, "form": 0.2}) == FoundKind("cover", 0.8, "skipped")
    assert sort_page(SORTING, lambda _: {"letter": 1.0}) == FoundKind("letter", 1.0, "person")


def test_a_person_says_the_kind_and_the_page_takes_its_path_anew(db: Engine) -> None:
    fill(db, 2, run_of(db))
    ledger_id = sort(db, "register/left", "waiting")
    read(db, ledger_id)
    sort(db, "form", "person", 0.55)
    (waiting,) = for_person(db)
    assert (waiting.path, waiting.page, waiting.kind, waiting.confidence) == (
        "/scans/book.pdf",
        2,
        "form",
        0.55,
    )
    assert waiting.kinds == ("cover", "form", "letter", "register/index", "register/left")
    with writing(db) as conn:
        assert say_kinds(conn, [1, 2], "form") == 2
    assert rows(db) == [("waiting", "form", None), ("waiting", "form", None)]
    assert ledger.counts(db).n_digits == 0
    with reading(db) as conn:
        assert [conn.scalar(text(f"SELECT count(*) FROM {name}")) for name in ("detections", "numbers")] == [
            0,
            0,
        ]
    assert for_person(db) == []
    (first, _) = ledger.take_due(db, now=NOW, limit=2, lease_s=LEASE_S)
    assert retake(db, first.ledger_id, "waiting").networks["classifier"] == "f" * 64


def test_a_claim_says_whether_its_kind_has_a_form(db: Engine) -> None:
    fill(db, 3, run_of(db))
    with writing(db) as conn:
        form = {"sha256": "f" * 64, "name": "form", "form": "{}", "source": "", "added_at": NOW}
        form_id = conn.execute(insert(forms).values(form).returning(forms.c.id)).scalar_one()
        give_to_page(conn, 1, {"form": form_id})
        give_to_page(conn, 2, {"form": form_id})
        give_to_page(conn, 3, {ANY: form_id})
    first = take(db, "unsorted")
    assert not first.has_form
    kept = keep_sorted(db, first, FoundKind("form", 0.9, "waiting"), now=NOW, lease_s=LEASE_S)
    assert kept is not None and kept.has_form
    second = sort(db, "register/left", "waiting")
    assert not retake(db, second, "waiting").has_form
    assert take(db, "unsorted").has_form, "whatever its kind"


def test_what_a_person_says_counts_though_somebody_has_the_page_in_hand(db: Engine) -> None:
    fill(db, 1, run_of(db))
    sort(db, "form", "waiting")
    late = retake(db, 1, "waiting")
    with writing(db) as conn:
        assert say_kinds(conn, [1], "cover") == 0
    assert ledger.keep_detected(db, late, FOUND, width=9, height=9, now=NOW, lease_s=LEASE_S) is None
    assert rows(db) == [("skipped", "cover", None)]


@pytest.mark.parametrize("kind", ["covr", "register", "register/left/x", ""])
def test_a_kind_that_nobody_knows_is_refused_with_those_there_are(db: Engine, kind: str) -> None:
    fill(db, 1, run_of(db))
    sort(db, "form", "person", 0.5)
    before = rows(db)
    with (
        pytest.raises(UsageError, match=r"cover, form, letter, register/index, register/left"),
        writing(db) as c,
    ):
        say_kinds(c, [1], kind)
    assert rows(db) == before


def test_pages_of_a_run_that_sorts_nothing_have_no_kinds(db: Engine) -> None:
    fill(db, 1, run_of(db, None))
    with pytest.raises(UsageError, match=r"--again --sorter"), writing(db) as conn:
        say_kinds(conn, [1], "cover")


def test_a_page_read_before_is_out_of_sight_once_it_is_skipped_but_not_while_a_person_is_asked(
    db: Engine,
) -> None:
    fill(db, 2, run_of(db, None))
    for _ in range(2):
        (due,) = ledger.take_due(db, now=NOW, limit=1, lease_s=LEASE_S)
        read(db, due.ledger_id)
    fill(db, 2, run_of(db), again=True)
    sort(db, "cover", "skipped")
    sort(db, "form", "person", 0.5)
    assert rows(db, "state, current") == [
        ("done", False),
        ("done", True),
        ("skipped", True),
        ("person", False),
    ]
    with reading(db) as conn:
        assert [number.page for number in find_numbers(conn, Filter())] == [2]
    assert [page.page for page in for_person(db)] == [2]


def test_status_and_numbers_by_kind(db: Engine) -> None:
    fill(db, 5, run_of(db))
    read(db, sort(db, "form", "waiting"))
    read(db, sort(db, "register/left", "waiting"))
    sort(db, "register/left", "waiting")
    sort(db, "cover", "skipped")
    with reading(db) as conn:
        found = status(conn, now=NOW)
        assert (found.n_pages, found.n_unsorted, found.n_waiting, found.n_done, found.n_skipped) == (
            5,
            1,
            1,
            2,
            1,
        )
        assert [
            (kind.kind, kind.n_pages, kind.n_done, kind.n_skipped, kind.n_numbers) for kind in found.kinds
        ] == [
            ("cover", 1, 0, 1, 0),
            ("form", 1, 1, 0, 1),
            ("register/left", 2, 1, 0, 1),
        ]
        for order in ("reading", "confidence"):
            for kind, pages in (("form", [1]), ("register", [2]), ("register/left", [2]), ("cover", [])):
                numbers = list(find_numbers(conn, Filter(kind=kind, order=order)))  # type: ignore[arg-type]
                assert [number.page for number in numbers] == pages, kind
        assert [number.kind for number in find_numbers(conn, Filter())] == ["form", "register/left"]
        with pytest.raises(
            UsageError, match=r"no page is of kind 'forms': kinds are cover, form, register/left"
        ):
            list(find_numbers(conn, Filter(kind="forms")))


def test_other_weights_take_pages_over_and_leave_their_sorting_as_it_was(db: Engine) -> None:
    fill(db, 3, run_of(db))
    sort(db, "form", "waiting")
    kept = retake(db, sort(db, "register/left", "waiting"), "waiting")
    assert ledger.keep_detected(db, kept, FOUND, width=9, height=9, now=NOW, lease_s=LEASE_S)
    ledger.void_leases(db, now=NOW, max_deaths=3)
    new = run_of(db, None, detector="e")
    assert adopt(db, new, now=NOW) == 3
    assert [row[:2] for row in rows(db)] == [
        ("waiting", "form"),
        ("waiting", "register/left"),
        ("unsorted", None),
    ]
    assert {row[0] for row in rows(db, "run_id")} == {run_of(db, SORTING, detector="e")}
    assert retake(db, 1, "waiting").networks == {"detector": "e" * 64, "classifier": "f" * 64}
    assert adopt(db, new, now=NOW) == 0


def test_a_plain_command_leaves_pages_of_the_same_weights_to_their_sorting(db: Engine) -> None:
    run_id = run_of(db)
    fill(db, 2, run_id)
    assert adopt(db, run_of(db, None), now=NOW) == 0
    assert rows(db, "run_id, state") == [(run_id, "unsorted")] * 2


def test_another_sorting_begins_anew_but_keeps_what_a_person_said(db: Engine) -> None:
    fill(db, 4, run_of(db))
    for _ in range(3):
        sort(db, "form", "waiting")
    with writing(db) as conn:
        say_kinds(conn, [1], "form")
        say_kinds(conn, [2], "register/left")
    other = Sorting("7" * 64, 0.5, {"cover": KindPath(), "form": KindPath(end="skip")})
    assert adopt(db, run_of(db, other), now=NOW) == 4
    assert rows(db) == [
        ("unsorted", "form", None),
        ("unsorted", "register/left", None),
        ("unsorted", None, None),
        ("unsorted", None, None),
    ]
    # the stage asks for these words before any sorter
    assert said_before(db, 1, other) == FoundKind("form", None, "skipped")
    assert said_before(db, 2, other) is None, "a kind that the other sorter does not know"
    assert said_before(db, 3, other) is None


def test_what_a_person_said_holds_when_pages_are_read_once_more(db: Engine) -> None:
    fill(db, 2, run_of(db))
    for _ in range(2):
        sort(db, "form", "waiting")
    with writing(db) as conn:
        say_kinds(conn, [1], "register/left")
    fill(db, 2, run_of(db, detector="e"), again=True)
    assert said_before(db, 1, SORTING) == FoundKind("register/left", None, "waiting")
    assert said_before(db, 2, SORTING) is None
    divided = Sorting(
        "5" * 64, 0.8, {"register": KindPath(sorter="7" * 64, kinds={"left": KindPath(sorter="8" * 64)})}
    )
    assert said_before(db, 1, divided) is None, "a further sorter divides this kind now"


def test_a_page_that_is_what_a_person_says_keeps_what_was_read(db: Engine) -> None:
    fill(db, 2, run_of(db))
    read(db, sort(db, "form", "waiting"))
    sort(db, "cover", "skipped")
    with writing(db) as conn:
        assert say_kinds(conn, [1], "form") == 0
        assert say_kinds(conn, [2], "cover") == 0
    assert rows(db, "state, kind, kind_confidence, n_numbers") == [
        ("done", "form", None, 1),
        ("skipped", "cover", None, 0),
    ]


def test_a_person_is_asked_once_about_a_page_and_no_more_when_it_was_said(db: Engine) -> None:
    fill(db, 2, run_of(db))
    for kind in ("form", "letter"):
        sort(db, kind, "person", 0.5)
    fill(db, 2, run_of(db, detector="e"), again=True)
    assert for_person(db) == [], "they are sorted once more"
    for kind in ("form", "letter"):
        sort(db, kind, "person", 0.6)
    assert [(page.page, page.confidence) for page in for_person(db)] == [(1, 0.6), (2, 0.6)]
    with writing(db) as conn:
        assert say_kinds(conn, [2], "letter") == 0  # a kind that a person looks at anyway
    assert [page.page for page in for_person(db)] == [1]


def test_a_confidence_that_is_no_number_leaves_the_page_to_a_person() -> None:
    no_number = {"cover": math.nan, "form": math.nan}
    assert sort_page(SORTING, lambda _: no_number) == FoundKind("cover", 0.0, "person")


def test_a_page_that_fails_in_sorting_is_tried_again_there(db: Engine) -> None:
    fill(db, 1, run_of(db))
    assert ledger.set_aside(db, take(db, "unsorted"), "is torn", now=NOW)
    assert rows(db, "state, failed_in") == [("failed", "unsorted")]
    assert ledger.retry(db, everything=True, now=NOW) == 1
    assert rows(db, "state, failed_in") == [("unsorted", None)]
