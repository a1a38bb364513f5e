from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from pipeline import ledger
from pipeline.catalogue import (
    Added,
    add_again,
    add_document,
    add_failed_document,
    current_run,
    known_file,
    page_source,
)
from pipeline.database import open_database, reading, writing
from pipeline.queries import failures
from pipeline.sources import Document, PageRef

NOW = 1_700_000_000.0


@pytest.fixture
def db(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def scan(path: str, sha256: str = "a", n_pages: int = 2, modified_at: float = 5.25) -> Document:
    pages = tuple(PageRef(index, f"{index}.png", 0) for index in range(n_pages))
    return Document(Path(path), sha256 * 64, "zip", 10, modified_at, pages)


def add(db: Engine, document: Document, *, again: bool = False, now: float = NOW) -> Added:
    with writing(db) as conn:
        run_id = current_run(conn, "d", "c", "{}", new=again, now=now)
        return add_document(conn, document, run_id, again=again, now=now)


def add_bad(db: Engine, path: str, reason: str, sha256: str | None = "b", now: float = NOW) -> Added:
    with writing(db) as conn:
        return add_failed_document(
            conn,
            Path(path),
            reason,
            sha256=sha256 and sha256 * 64,
            format="pdf" if sha256 else None,
            size_bytes=10 if sha256 else None,
            modified_at=5.25 if sha256 else None,
            now=now,
        )


def table(db: Engine, columns: str) -> list[tuple[object, ...]]:
    with reading(db) as conn:
        return [tuple(row) for row in conn.execute(text(f"SELECT {columns} ORDER BY 1"))]


def known(db: Engine, path: str, size: int = 10, modified_at: float = 5.25) -> int | None:
    with reading(db) as conn:
        return known_file(conn, Path(path), size, modified_at)


def failed(db: Engine) -> list[tuple[str, str]]:
    with reading(db) as conn:
        return [(failure.path, failure.reason) for failure in failures(conn)]


def test_a_run_is_found_again_by_its_weights_and_settings(db: Engine) -> None:
    with writing(db) as conn:
        first = current_run(conn, "d", "c", "{}", new=False, now=NOW)
        others = [
            current_run(conn, "D", "c", "{}", new=False, now=NOW),
            current_run(conn, "d", "C", "{}", new=False, now=NOW),
            current_run(conn, "d", "c", '{"render_dpi": 600}', new=False, now=NOW),
        ]
        assert len({first, *others}) == 4
        assert current_run(conn, "d", "c", "{}", new=False, now=NOW) == first
        newer = current_run(conn, "d", "c", "{}", new=True, now=NOW)
        assert newer not in {first, *others}
        assert current_run(conn, "d", "c", "{}", new=False, now=NOW) == newer


def test_a_document_is_registered_once_with_a_row_for_each_page(db: Engine) -> None:
    added = add(db, scan("/scans/a.zip"))
    assert (added.n_new_pages, added.known) == (2, False)
    assert add(db, scan("/scans/a.zip")) == Added(added.document_id, 0, known=True)
    assert table(db, "page_index, member, frame FROM pages") == [(0, "0.png", 0), (1, "1.png", 0)]
    assert table(db, "state, current FROM ledger") == [("waiting", True)] * 2


def test_the_same_bytes_under_two_paths_are_one_document(db: Engine) -> None:
    first = add(db, scan("/scans/a.zip"))
    second = add(db, scan("/copies/b.zip", modified_at=7.0), now=NOW + 1)
    assert second == Added(first.document_id, 0, known=True)
    assert table(db, "path FROM paths, documents") == [("/copies/b.zip",), ("/scans/a.zip",)]
    due = ledger.take_due(db, now=NOW, limit=1, lease_s=9)[0]
    claim = ledger.claim(db, due.ledger_id, state="waiting", now=NOW, lease_s=9)
    assert claim is not None
    assert [path.path for path in claim.source.paths] == [Path("/copies/b.zip"), Path("/scans/a.zip")]


def test_reading_again_adds_rows_beside_the_old_ones(db: Engine) -> None:
    added = add(db, scan("/scans/a.zip"))
    assert add(db, scan("/scans/a.zip"), again=True) == Added(added.document_id, 2, known=True)
    assert table(db, "run_id, current FROM ledger") == [(1, True), (1, True), (2, False), (2, False)]
    with writing(db) as conn:
        run_id = current_run(conn, "other", "c", "{}", new=False, now=NOW)
        assert add_again(conn, added.document_id, run_id) == 2
        assert add_again(conn, added.document_id, run_id) == 0


def test_a_run_that_was_stopped_while_it_read_again_is_gone_on_with(db: Engine) -> None:
    add(db, scan("/scans/a.zip"))
    add(db, scan("/scans/a.zip"), again=True)
    with writing(db) as conn:
        conn.execute(text("UPDATE ledger SET state = 'done' WHERE page_id = 1"))
        assert current_run(conn, "d", "c", "{}", new=True, now=NOW) == 2
        assert current_run(conn, "other", "c", "{}", new=True, now=NOW) == 3
    assert add(db, scan("/scans/a.zip"), again=True).n_new_pages == 0
    with writing(db) as conn:
        conn.execute(text("UPDATE ledger SET state = 'done' WHERE run_id = 2"))
        # a page of the first run still waits: no matter
        assert current_run(conn, "d", "c", "{}", new=True, now=NOW) == 4


def test_an_unchanged_file_is_known_without_its_bytes(db: Engine) -> None:
    added = add(db, scan("/scans/a.zip"))
    assert known(db, "/scans/a.zip") == added.document_id
    assert known(db, "/scans/a.zip", size=11) is None
    assert known(db, "/scans/a.zip", modified_at=5.5) is None
    assert known(db, "/scans/other.zip") is None


def test_a_path_names_the_document_that_is_there_now(db: Engine) -> None:
    first = add(db, scan("/scans/a.zip"))
    add(db, scan("/copies/a.zip"))
    second = add(db, scan("/scans/a.zip", "x", modified_at=9.0), now=NOW + 1)
    assert known(db, "/scans/a.zip", modified_at=9.0) == second.document_id
    assert known(db, "/scans/a.zip") is None
    with reading(db) as conn:
        assert conn.execute(
            text("SELECT path FROM paths WHERE document_id = :id"), {"id": first.document_id}
        ).scalars().all() == ["/copies/a.zip"]


def test_a_document_keeps_its_last_path_when_the_file_changes(db: Engine) -> None:
    first = add(db, scan("/scans/a.zip"))
    second = add(db, scan("/scans/a.zip", "x", modified_at=9.0), now=NOW + 1)
    assert table(db, "document_id, path FROM paths") == [
        (first.document_id, "/scans/a.zip"),
        (second.document_id, "/scans/a.zip"),
    ]
    assert known(db, "/scans/a.zip") is None  # what it was, should it have that size and time again
    back = add(db, scan("/scans/a.zip", modified_at=11.0), now=NOW + 2)  # the old bytes are back
    assert back == Added(first.document_id, 0, known=True)
    assert known(db, "/scans/a.zip", modified_at=11.0) == first.document_id


def replaced(db: Engine) -> list[object]:
    return [row[0] for row in table(db, "id FROM documents WHERE replaced_at IS NOT NULL")]


def test_a_document_is_replaced_once_its_only_path_names_another(db: Engine) -> None:
    first = add(db, scan("/scans/a.zip"))
    add(db, scan("/copies/a.zip"))
    second = add(db, scan("/scans/a.zip", "x"), now=NOW + 1)
    assert replaced(db) == []  # the copy is still there
    add(db, scan("/copies/a.zip", "x"), now=NOW + 2)
    assert replaced(db) == [first.document_id]
    add(db, scan("/scans/moved.zip"), now=NOW + 3)
    assert replaced(db) == []
    assert table(db, f"path FROM paths WHERE document_id = {first.document_id}") == [("/scans/moved.zip",)]
    add(db, scan("/copies/a.zip"), now=NOW + 4)
    assert replaced(db) == []
    add(db, scan("/scans/a.zip"), now=NOW + 5)
    assert replaced(db) == [second.document_id]


def test_a_damaged_file_replaces_no_scan(db: Engine) -> None:
    first = add(db, scan("/scans/a.zip"))
    add_bad(db, "/scans/a.zip", "is cut short", now=NOW + 1)
    add_bad(db, "/scans/a.zip", "may not be read", sha256=None, now=NOW + 2)
    assert replaced(db) == []
    add(db, scan("/scans/a.zip", "x"), now=NOW + 3)
    assert replaced(db) == [first.document_id]


def test_a_file_that_gave_no_page_is_one_failure_however_often_it_is_seen(db: Engine) -> None:
    assert not add_bad(db, "/scans/bad.pdf", "is protected by a password").known
    assert known(db, "/scans/bad.pdf") is not None
    assert add_bad(db, "/scans/bad.pdf", "is protected by a password").known
    assert failed(db) == [("/scans/bad.pdf", "is protected by a password")]


def test_a_freed_failure_is_looked_at_again(db: Engine) -> None:
    bad = add_bad(db, "/scans/bad.pdf", "is empty")
    assert ledger.retry(db, document_ids=[bad.document_id], now=NOW) == 1
    assert known(db, "/scans/bad.pdf") is None
    assert failed(db) == [("/scans/bad.pdf", "is empty")]  # a kill now loses nothing
    assert ledger.failed_ids(db) == set()
    assert not add_bad(db, "/scans/bad.pdf", "is cut short").known  # it failed now
    assert failed(db) == [("/scans/bad.pdf", "is cut short")]
    assert ledger.failed_ids(db) == {(None, bad.document_id)}
    assert ledger.retry(db, everything=True, now=NOW) == 1
    added = add(db, scan("/scans/bad.pdf", "b"))  # the same bytes give pages this time
    assert added == Added(bad.document_id, 2, known=False)
    assert known(db, "/scans/bad.pdf") == bad.document_id
    assert table(db, "n_pages, reason FROM documents WHERE NOT freed") == [(2, None)]


def test_a_file_that_was_mended_is_no_failure_any_more(db: Engine) -> None:
    add_bad(db, "/scans/a.pdf", "is cut short")
    add(db, scan("/scans/a.pdf", "x"), now=NOW + 1)
    assert failed(db) == []
    assert table(db, "n_pages, sha256 FROM documents") == [(2, "x" * 64)]


def test_a_file_that_could_not_be_opened_fails_until_it_can(db: Engine) -> None:
    assert not add_bad(db, "/scans/a.pdf", "may not be read", sha256=None).known
    assert add_bad(db, "/scans/a.pdf", "may not be read", sha256=None, now=NOW + 1).known
    assert known(db, "/scans/a.pdf", size=0, modified_at=0.0) is None
    assert failed(db) == [("/scans/a.pdf", "may not be read")]
    good = add(db, scan("/scans/a.pdf"), now=NOW + 2)
    assert failed(db) == []
    add_bad(db, "/scans/a.pdf", "may not be read", sha256=None, now=NOW + 3)
    assert known(db, "/scans/a.pdf") is None  # so that it is tried again, and the failure goes
    assert add(db, scan("/scans/a.pdf"), now=NOW + 4) == Added(good.document_id, 0, known=True)
    assert failed(db) == []


def test_a_failure_never_takes_away_the_pages_that_were_read(db: Engine) -> None:
    added = add(db, scan("/scans/a.pdf", "b"))
    assert add_bad(db, "/scans/a.pdf", "crashed the decoder").document_id == added.document_id
    assert failed(db) == []
    assert table(db, "n_pages, reason FROM documents") == [(2, None)]


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\udcff.jpg", "a\\xff.jpg", "ärger 100%.jpg", "a'b\".jpg"])
def test_odd_names_come_back_as_they_were(db: Engine, name: str) -> None:
    add(db, scan(f"/scans/{name}", n_pages=1))
    assert known(db, f"/scans/{name}") is not None
    page_id = table(db, "id, member FROM pages")[0][0]
    assert isinstance(page_id, int)
    with reading(db) as conn:
        source = page_source(conn, page_id)
    assert [path.path for path in source.paths] == [Path(f"/scans/{name}")]
    assert (source.member, source.frame, source.page_index) == ("0.png", 0, 0)


def test_what_a_broken_transaction_added_is_not_there(db: Engine) -> None:
    with pytest.raises(KeyboardInterrupt), writing(db) as conn:
        run_id = current_run(conn, "d", "c", "{}", new=False, now=NOW)
        add_document(conn, scan("/scans/a.zip"), run_id, again=False, now=NOW)
        raise KeyboardInterrupt
    assert table(db, "id, sha256 FROM documents") == []
    assert ledger.counts(db).n_open == 0
