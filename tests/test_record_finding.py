"""Records found by values of each type, on both databases: dates, amounts, and texts without a value."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import ledger
from pipeline.catalogue import add_document, current_run
from pipeline.database import open_database, writing
from pipeline.forms import Column, Form, Values
from pipeline.normalising import normalised
from pipeline.page import Box, PageDetections
from pipeline.record_store import keep_form, write_records
from pipeline.records import Record, Value
from pipeline.sources import Document, PageRef

Said = Callable[..., tuple[str, str]]
NOW = 1_700_000_000.0
FORM = Form(
    "deeds",
    (
        Column("no", 0.0, 0.1, Values("serial")),
        Column("date", 0.1, 0.2, Values("date", century=1900)),
        Column("fee", 0.2, 0.3, Values("amount", decimals=2)),
    ),
    (),
    "no",
)
ROWS = (
    ("0001", "24 7 03", "22 50"),
    ("0002", "24.10.1929", "5.115"),
    ("0003", "31 6 1929", "0 00"),
    ("0004", "", "22 5"),
    ("0005", "1 1 1940", ""),
)


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A page of five records, on each of the two engines."""
    monkeypatch.setenv("ARCHIVE_DATABASE_URL", database_url)
    monkeypatch.chdir(tmp_path)
    db = open_database(database_url)
    with writing(db) as conn:
        run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=NOW)
        document = Document(Path("/scans/a.tif"), "a" * 64, "tiff", 10, 5.0, (PageRef(0, None, 0),))
        add_document(conn, document, run_id, again=False, now=NOW)
    due = ledger.take_due(db, now=NOW, limit=1, lease_s=9)[0]
    claim = ledger.claim(db, due.ledger_id, state=due.state, now=NOW, lease_s=9)
    assert claim is not None
    nothing = PageDetections((), 0.5, 0)
    assert ledger.finish_detect(db, claim, nothing, width=9, height=9, blob=None, now=NOW, lease_s=9)
    claim = ledger.claim(db, claim.ledger_id, state="detected", now=NOW, lease_s=9)
    assert claim is not None and ledger.finish_classify(db, claim, [], [], now=NOW)
    with writing(db) as conn:
        made = [
            Record(
                row,
                row / 9,
                (row + 1) / 9,
                tuple(
                    Value(one.name, text, normalised(text, one.values), 0.9, Box(0, 0, 9, 9))
                    for one, text in zip(FORM.columns, texts, strict=True)
                ),
            )
            for row, texts in enumerate(ROWS)
        ]
        write_records(conn, claim.ledger_id, keep_form(conn, FORM, "", now=NOW), made)
    db.dispose()


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (("date>=1903-07-24",), [1, 2, 5]),
        (("date>1903-07-24", "date<1940-01-01"), [2]),
        (("date=1929-10-24",), [2]),
        (("date=24.10.1929",), [2]),
        (("date=31 6 1929",), [3]),
        (("date>5",), []),
        (("no<1929-10-24",), []),
        (("fee<100",), [1, 3]),
        (("fee=0",), [3]),
        (("fee>=22.5", "date<=1929-10-24"), [1, 2]),
        (("fee=5.115",), [2]),
        (("fee=5115",), [2]),
        (("fee=22 5",), [4]),
    ],
)
def test_a_wish_finds_values_of_its_kind(
    words: tuple[str, ...], rows: list[int], database: None, said: Said
) -> None:
    wishes = [part for word in words for part in ("--field", word)]
    for order in ((), ("--order", "no"), ("--order", "date")):
        found = json.loads(said("query", "--record", "--json", *wishes, *order)[0])["records"]
        assert sorted(row["row"] for row in found) == rows


def test_dates_are_an_order(database: None, said: Said) -> None:
    found = json.loads(said("query", "--record", "--json", "--order", "-date")[0])["records"]
    assert [row["row"] for row in found][:3] == [5, 2, 1]
