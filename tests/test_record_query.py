"""Whichever way records are found, they are the ones that a look at each of them finds, in the same order."""

import random
from collections.abc import Iterator
from operator import eq, ge, gt, le, lt

import pytest
import records_scale
from sqlalchemy import Engine

from pipeline.database import open_database, reading
from pipeline.record_finding import RecordFilter, RecordRow, find_records, parse_wish

N_PAGES = 240
SIGNS = {"=": eq, "<": lt, "<=": le, ">": gt, ">=": ge}
FEW, MANY = 3, 10**9  # so few rows are many, so that pages are gone through; and so many never are
HIGHEST = {"no": N_PAGES * records_scale.N_ROWS, "year": 1970, "day": 31, "fee": 10_000}


@pytest.fixture
def filled(database_url: str) -> Iterator[Engine]:
    """A database of 240 made-up pages with 6,000 records: entries and years go up, the rest is spread."""
    db = open_database(database_url)
    records_scale.fill(db, N_PAGES)
    yield db
    db.dispose()


def test_every_way_to_records_finds_the_same(filled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.record_finding._PAGES_AT_A_TIME", 7)
    draw = random.Random(0)
    n_found = []
    with reading(filled) as conn:
        everything = list(find_records(conn, RecordFilter()))
        assert len(everything) == N_PAGES * records_scale.N_ROWS
        for many in (FEW, 500, MANY):
            for limit in ("_MANY", "_MANY_BY_PAGES", "_MANY_PAGES"):
                monkeypatch.setattr(f"pipeline.record_query.{limit}", many)
            for _ in range(50):
                asked = drawn(draw)
                found = [row.id for row in find_records(conn, asked)]
                assert found == looked_for(everything, asked), (many, asked)
                n_found.append(len(found))
    assert n_found.count(0) < 75 and max(n_found) > 100


def drawn(draw: random.Random) -> RecordFilter:
    """Return a question of up to three bounds, confidence, flags, a document, an order and a limit."""
    names = draw.choices(list(HIGHEST), k=draw.choice((0, 1, 1, 2, 2, 3)))
    wishes = [f"{name}{draw.choice(list(SIGNS))}{draw.randint(0, HIGHEST[name])}" for name in names]
    order = draw.choice(("reading", "reading", "confidence", *HIGHEST))
    return RecordFilter(
        tuple(map(parse_wish, wishes)),
        document=draw.choice((None, None, None, "page 0000017.jpg", "box 0000")),
        flagged=draw.random() < 0.1,
        max_confidence=draw.choice((None, None, 0.5, 0.01)),
        order="-" + order if order in HIGHEST and draw.random() < 0.5 else order,
        limit=draw.choice((None, 1, 51, 51, 400)),
    )


def looked_for(everything: list[RecordRow], asked: RecordFilter) -> list[str]:
    """Return the ids of what is asked for, by looking at every record."""
    found = [
        row
        for row in everything
        if all(SIGNS[wish.sign](value_of(row, wish.name), int(wish.text)) for wish in asked.fields)
        and (asked.document is None or asked.document in row.path)
        and (not asked.flagged or row.flagged)
        and (asked.max_confidence is None or row.confidence <= asked.max_confidence)
    ]
    name = asked.order.removeprefix("-")
    if name == "confidence":
        found.sort(key=lambda row: row.confidence)
    elif name in HIGHEST:
        found.sort(key=lambda row: value_of(row, name) * (-1 if asked.order.startswith("-") else 1))
    return [row.id for row in found][: asked.limit]


def value_of(row: RecordRow, name: str) -> int:
    return next(int(value.value) for value in row.values if value.column == name)
