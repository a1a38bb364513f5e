import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from pipeline.bulk import add_documents
from pipeline.catalogue import Added, add_document, add_failed_document, current_run, known_file
from pipeline.database import open_database, reading, writing
from pipeline.sources import Document, PageRef

NOW = 1_700_000_000.0


@pytest.fixture
def db(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def scan(path: str, sha256: str, n_pages: int = 1, member: str | None = None) -> Document:
    pages = tuple(PageRef(index, member and f"{index}{member}", index) for index in range(n_pages))
    return Document(Path(path), sha256.rjust(64, "0"), "zip" if member else "tiff", 10, 5.25, pages)


def add(db: Engine, *found: Document, again: bool = False, now: float = NOW) -> list[Added]:
    with writing(db) as conn:
        run_id = current_run(conn, "d", "c", "{}", new=again, now=now)
        return add_documents(conn, found, run_id, again=again, now=now)


def contents(db: Engine) -> dict[str, list[tuple[object, ...]]]:
    """All rows that registering makes, without the times at which they were seen."""
    queries = {
        "documents": "documents.* FROM documents",
        "paths": "document_id, path, size_bytes, modified_at FROM paths",
        "pages": "pages.* FROM pages",
        "ledger": "ledger.* FROM ledger",
    }
    with reading(db) as conn:
        return {
            name: [tuple(row) for row in conn.execute(text(f"SELECT {query} ORDER BY 1"))]
            for name, query in queries.items()
        }


def count(db: Engine, table: str) -> int:
    with reading(db) as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


MIXED = (
    scan("/a.tif", "a"),
    scan("/b.zip", "b", 3, "é ', \\ \".png"),
    scan('/odd "name" \\ é\n.tif', "c", 2),
    scan("/d.tif", "d"),
)


def test_many_give_the_rows_that_one_by_one_give(db: Engine, tmp_path: Path) -> None:
    other = open_database(f"sqlite:///{tmp_path}/one by one.db")
    with writing(other) as conn:
        run_id = current_run(conn, "d", "c", "{}", new=False, now=NOW)
        single = [add_document(conn, document, run_id, again=False, now=NOW) for document in MIXED]
    assert add(db, *MIXED) == single == [Added(id_, n, False) for id_, n in ((1, 1), (2, 3), (3, 2), (4, 1))]
    assert contents(db) == contents(other)
    other.dispose()


def test_more_than_fit_into_one_condition_are_all_there(db: Engine) -> None:
    many = [scan(f"/{k}.tif", f"{k:x}") for k in range(2_500)]
    assert [added.n_new_pages for added in add(db, *many)] == [1] * 2_500
    assert count(db, "ledger") == 2_500
    assert all(added.known and not added.n_new_pages for added in add(db, *many))


def test_nothing_found_is_nothing_added(db: Engine) -> None:
    assert add(db) == []


def test_a_document_without_pages_gets_none(db: Engine) -> None:
    assert add(db, scan("/a.zip", "a", 0), scan("/b.tif", "b")) == [Added(1, 0, False), Added(2, 1, False)]
    assert (count(db, "documents"), count(db, "pages")) == (2, 1)


def test_known_bytes_get_another_path(db: Engine) -> None:
    [first] = add(db, scan("/a.tif", "a", 2))
    moved, new = add(db, scan("/moved.tif", "a", 2), scan("/b.tif", "b"), now=NOW + 9)
    assert moved == Added(first.document_id, 0, known=True)
    assert (new.n_new_pages, new.known) == (1, False)
    assert count(db, "paths") == 3


def test_a_known_path_with_other_bytes_replaces_its_document(db: Engine) -> None:
    [first] = add(db, scan("/a.tif", "a"))
    [second] = add(db, scan("/a.tif", "b"), now=NOW + 9)
    assert (second.known, second.n_new_pages) == (False, 1)
    with reading(db) as conn:
        replaced = conn.execute(text("SELECT id FROM documents WHERE replaced_at IS NOT NULL")).scalars()
        assert list(replaced) == [first.document_id]


def test_the_same_bytes_twice_are_one_document_with_two_paths(db: Engine) -> None:
    first, between, second = add(db, scan("/a.tif", "a", 2), scan("/b.tif", "b"), scan("/again.tif", "a", 2))
    assert (first.known, between.known, second.known) == (False, False, True)
    assert (second.document_id, second.n_new_pages) == (first.document_id, 0)
    assert (count(db, "documents"), count(db, "paths"), count(db, "ledger")) == (2, 3, 3)


def test_the_same_path_twice_means_what_it_named_last(db: Engine) -> None:
    first, second = add(db, scan("/a.tif", "a"), scan("/a.tif", "b"))
    assert (first.known, second.known) == (False, False)
    with reading(db) as conn:
        assert known_file(conn, Path("/a.tif"), 10, 5.25) == second.document_id
        replaced = conn.execute(text("SELECT id FROM documents WHERE replaced_at IS NOT NULL")).scalars()
        assert list(replaced) == [first.document_id]


def test_a_file_that_failed_and_was_mended_is_a_document(db: Engine) -> None:
    with writing(db) as conn:
        facts = {"sha256": "a".rjust(64, "0"), "format": "tiff", "size_bytes": 10, "modified_at": 5.25}
        failed = add_failed_document(conn, Path("/a.tif"), "is cut short", **facts, now=NOW)  # type: ignore[arg-type]
    same, _ = add(db, scan("/a.tif", "a"), scan("/b.tif", "b"))
    assert same == Added(failed.document_id, 1, known=False)
    with reading(db) as conn:
        assert conn.scalar(text("SELECT reason FROM documents WHERE id = 1")) is None


def test_again_gives_known_pages_a_row_of_the_new_run(db: Engine) -> None:
    add(db, scan("/a.tif", "a", 2))
    known, new = add(db, scan("/a.tif", "a", 2), scan("/b.tif", "b"), again=True)
    assert (known.n_new_pages, known.known, new.n_new_pages, new.known) == (2, True, 1, False)
    with reading(db) as conn:
        rows = conn.execute(text("SELECT page_id, run_id, current FROM ledger ORDER BY page_id, run_id"))
        assert [tuple(row) for row in rows] == [(1, 1, 1), (1, 2, 0), (2, 1, 1), (2, 2, 0), (3, 2, 1)]


INGEST = """
import sys
from pathlib import Path
from pipeline.bulk import add_documents
from pipeline.database import open_database, writing
from pipeline.sources import Document, PageRef

size, n = int(sys.argv[2]), 0
pages = (PageRef(0, None, 0), PageRef(1, None, 1))
found = [Document(Path(f"/{k}.tif"), f"{k % 700:064x}", "tiff", 10, 5.25, pages) for k in range(800)]
db = open_database(sys.argv[1])
sys.stdin.readline()
for start in range(0, len(found), size):
    with writing(db) as conn:
        added = add_documents(conn, found[start : start + size], 1, again=False, now=1.7e9)
        n += sum(one.n_new_pages for one in added)
print(n)
"""


def test_processes_that_register_the_same_files_at_once_make_one_row_of_each(
    db: Engine, database_url: str
) -> None:
    with writing(db) as conn:
        current_run(conn, "d", "c", "{}", new=False, now=NOW)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", INGEST, database_url, str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for size in (7, 100, 230)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate() for child in children]
    assert [errors for _, errors in said] == [""] * 3
    assert sum(int(out) for out, _ in said) == 1_400  # each page is new to one of them
    assert [count(db, name) for name in ("documents", "paths", "pages", "ledger")] == [700, 800, 1400, 1400]


@pytest.mark.postgres
def test_who_comes_second_waits_for_the_first_and_takes_its_document(postgres_url: str) -> None:
    db = open_database(postgres_url)
    with writing(db) as conn:
        run_id = current_run(conn, "d", "c", "{}", new=False, now=NOW)
    code = INGEST.replace("range(800)", "range(3)")
    with writing(db) as conn:
        add_documents(conn, [scan("/0.tif", "0", 2), scan("/1.tif", "1", 2)], run_id, again=False, now=NOW)
        child = subprocess.Popen(
            [sys.executable, "-c", code, postgres_url, "9"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
        wait_for_a_lock(db)
    assert child.communicate()[0] == "2\n"  # pages of the third
    assert [count(db, name) for name in ("documents", "paths", "ledger")] == [3, 3, 6]
    db.dispose()


def wait_for_a_lock(db: Engine) -> None:
    end = time.monotonic() + 30
    blocked = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    while time.monotonic() < end:
        with reading(db) as conn:
            if conn.scalar(blocked):
                return
        time.sleep(0.05)
    pytest.fail("nobody waits")
