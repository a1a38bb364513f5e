"""A document that is deleted leaves nothing behind; its scan, and all other documents, stay as they were."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine, Table, insert, select

from pipeline import ledger
from pipeline.catalogue import add_document, current_run
from pipeline.database import open_database, reading, writing
from pipeline.deletion import TABLES
from pipeline.drawn import draw_page
from pipeline.frames import Frame
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.page_forms import ANY, give_to_page
from pipeline.record_store import Correction, add_correction, write_frame, write_records
from pipeline.records import Record, Value
from pipeline.sources import Document, PageRef, probe
from pipeline.storage import Files
from pipeline.styles import PageStyle
from pipeline.tables import documents, forms, metadata, pages, paths
from pipeline.tables import ledger as rows

Said = Callable[..., tuple[str, str]]
ARCHIVE = Path(sys.executable).with_name("archive")
LINKS = {"document_id": documents, "page_id": pages, "ledger_id": rows}
FOUND = PageDetections((Detection(Box(1, 2, 3, 4), 0.9), Detection(Box(4, 2, 6, 4), 0.8)), 1.0)
READ = (Reading(4, 0.97), Reading(2, 0.9))
GROUPED = (Number("42", 0.87, Box(1, 2, 6, 4), 0, (0, 1)),)


@pytest.fixture
def db(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """What the commands find crops and copies of scans in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHIVE_FILES_URL", str(tmp_path / "files"))
    return Files(str(tmp_path / "files"))


def fill(db: Engine, name: str, *, again: bool = False) -> str:
    """Register a document of two pages, and let the first have rows in every table; return its hash."""
    sha256 = name[0] * 64
    found = Document(
        Path(f"/scans/{name}"), sha256, "pdf", 10, 5.0, tuple(PageRef(i, None, i) for i in range(2))
    )
    with writing(db) as conn:
        run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=again, now=1.0)
        add_document(conn, found, run_id, again=again, now=1.0)
        known = conn.scalar(select(forms.c.id))
        form = {"sha256": "f" * 64, "name": "form", "form": "{}", "source": "", "added_at": 1.0}
        form_id = known or conn.execute(insert(forms).values(form).returning(forms.c.id)).scalar_one()
    claim = take(db)
    now = time.time()
    assert ledger.finish_detect(db, claim, FOUND, width=9, height=9, blob=f"crops/{name}", now=now, lease_s=9)
    claim = ledger.claim(db, claim.ledger_id, state="detected", now=now, lease_s=100)
    assert claim is not None and ledger.finish_classify(db, claim, READ, GROUPED, now=now)
    with writing(db) as conn:
        write_frame(conn, claim.ledger_id, Frame(((0, 0), (9, 0), (9, 9), (0, 9)), (), True))
        value = Value("no", "42", "42", 0.9, None)
        give_to_page(conn, claim.source.page_id, {ANY: form_id})
        write_records(conn, claim.ledger_id, form_id, [Record(0, 0.0, 1.0, (value,))])
        add_correction(conn, claim.source.page_id, Correction("no", 0.1, "43", "42", "miriam", 1.0))
    return sha256


def take(db: Engine) -> ledger.Claim:
    due = ledger.take_due(db, now=time.time(), limit=1, lease_s=100)[0]
    claim = ledger.claim(db, due.ledger_id, state=due.state, now=time.time(), lease_s=100)
    assert claim is not None
    return claim


def everything(db: Engine) -> dict[str, list[Any]]:
    """Every row of every table."""
    with reading(db) as conn:
        return {
            name: sorted(conn.execute(select(table)), key=repr) for name, table in metadata.tables.items()
        }


def ids_of(db: Engine, sha256: str) -> dict[str, set[int]]:
    """The ids of a document, its pages and its rows of the ledger, by the columns that name them."""
    with reading(db) as conn:
        of_document = select(documents.c.id).where(documents.c.sha256 == sha256)
        of_pages = select(pages.c.id).where(pages.c.document_id.in_(of_document))
        of_rows = select(rows.c.id).where(rows.c.page_id.in_(of_pages))
        queries = {"document_id": of_document, "page_id": of_pages, "ledger_id": of_rows}
        return {column: set(conn.scalars(query)) for column, query in queries.items()}


def refers(table: Table) -> dict[str, str]:
    """The columns of a table that name a document, a page or a row of the ledger, and which of these."""
    found = {name: name for name in LINKS if name in table.c}
    found |= {
        key.parent.name: column
        for key in table.foreign_keys
        for column, target in LINKS.items()
        if key.column.table is target
    }
    own = {target.name: column for column, target in LINKS.items()}
    return found | ({"id": own[table.name]} if table.name in own else {})


def left_of(db: Engine, ids: dict[str, set[int]]) -> dict[str, int]:
    """How many rows of each table name one of these ids."""
    found = {}
    with reading(db) as conn:
        for name, table in metadata.tables.items():
            n = sum(
                len(conn.execute(select(table).where(table.c[column].in_(ids[of]))).all())
                for column, of in refers(table).items()
            )
            if refers(table):
                found[name] = n
    return found


def test_nothing_in_any_table_refers_to_a_deleted_document(
    db: Engine, database_url: str, files: Files, said: Said
) -> None:
    kept, gone = fill(db, "kept.pdf"), fill(db, "gone.pdf")
    fill(db, "gone.pdf", again=True)
    with reading(db) as conn:
        before = {
            name: conn.execute(select(table)).all()
            for name, table in metadata.tables.items()
            if name in ("runs", "forms", "workers")
        }
    ids, others = ids_of(db, gone), ids_of(db, kept)
    had, of_others = left_of(db, ids), left_of(db, others)
    assert len(ids["page_id"]) == 2 and len(ids["ledger_id"]) == 4
    assert set(had) == {table.name for table in TABLES}, "a table that hangs on documents is not deleted from"
    assert all(had.values()), "this test fills each table, so that none is forgotten"
    for name in ("scans/" + gone, "scans/" + kept, "crops/other"):
        files.put(name, b"x")
    said("--database", database_url, "delete", "gone.pdf", "--yes")
    assert not any(left_of(db, ids).values())
    assert left_of(db, others) == of_others
    after = everything(db)
    assert {name: after[name] for name in before} == {k: sorted(v, key=repr) for k, v in before.items()}
    assert list(files.names()) == ["crops/other", "scans/" + kept]
    _, err = said("--database", database_url, "delete", "gone.pdf", "--yes", code=2)
    assert "no document 'gone.pdf'" in err and err.count("\n") == 1


def test_what_goes_is_said_and_a_dry_run_changes_nothing(
    db: Engine, database_url: str, files: Files, said: Said
) -> None:
    fill(db, "gone.pdf")
    before = everything(db)
    words = ("--database", database_url, "delete", "/scans/gone.pdf")
    _, err = said(*words, "--dry-run")
    counts = "1 path, 2 pages, 2 readings of pages, 2 digit boxes, 1 number, 1 record, 1 correction"
    assert err == f"would delete /scans/gone.pdf: {counts}\n"
    _, err = said(*words, code=2)
    assert err.count("\n") == 1 and "--yes" in err and "--dry-run" in err
    assert everything(db) == before
    out, _ = said(*words, "--dry-run", "--json")
    planned = json.loads(out)
    out, err = said(*words, "--yes", "--json")
    assert json.loads(out) == planned | {"dry_run": False} and err == f"deleted /scans/gone.pdf: {counts}\n"
    assert planned["schema_version"] == 1 and planned["rows"]["fields"] == 1 and planned["n_files"] == 0


def test_a_page_in_hand_keeps_its_document(db: Engine, database_url: str, files: Files, said: Said) -> None:
    fill(db, "gone.pdf")
    claim = take(db)
    before = everything(db)
    words = ("--database", database_url, "delete", "gone.pdf", "--yes")
    _, err = said(*words, code=3)
    assert "gone.pdf: page 2 is being read" in err and err.count("\n") == 1
    assert everything(db) == before
    with writing(db) as conn:  # whoever had it died, and its lease is over
        conn.execute(rows.update().where(rows.c.id == claim.ledger_id).values(lease_until=time.time() - 1))
    said(*words)
    assert not ledger.finish_detect(db, claim, FOUND, width=9, height=9, blob=None, now=1.0, lease_s=9)
    assert not everything(db)["detections"]


def test_several_documents_go_only_with_all(db: Engine, database_url: str, files: Files, said: Said) -> None:
    for name in ("a.pdf", "b.pdf"):
        fill(db, name)
        ledger.set_aside(db, take(db), "is cut short", now=1.0)
    _, err = said("--database", database_url, "delete", "/scans", "--yes", code=2)
    assert "means 2 documents" in err and "--all" in err
    _, err = said("--database", database_url, "delete", "/scans", "--all", "--yes")
    assert "deleted 2 documents of /scans: 2 paths, 4 pages" in err
    left = {name for name, found in everything(db).items() if found}
    assert left == {"runs", "forms"}


def test_a_hash_and_an_id_name_a_document(db: Engine, database_url: str, files: Files, said: Said) -> None:
    sha256, other = fill(db, "a.pdf"), fill(db, "b.pdf")
    said("--database", database_url, "delete", sha256[:8], "--yes")
    (document_id,) = ids_of(db, other)["document_id"]
    said("--database", database_url, "delete", str(document_id), "--yes")
    assert not everything(db)["documents"]


def test_files_that_cant_be_removed_leave_the_rows(
    db: Engine, database_url: str, files: Files, tmp_path: Path, said: Said
) -> None:
    sha256 = fill(db, "gone.pdf")
    before = everything(db)
    (tmp_path / "files/scans" / sha256).mkdir(parents=True)  # which nobody can unlink
    _, err = said("--database", database_url, "delete", "gone.pdf", "--yes", code=5)
    assert "files" in err and err.count("\n") == 1
    assert everything(db) == before


@pytest.mark.parametrize(("answer", "n_left"), [("n", 1), ("y", 0)])
def test_a_person_is_asked(tmp_path: Path, answer: str, n_left: int) -> None:
    db = open_database(f"sqlite:///{tmp_path}/archive.db")
    fill(db, "gone.pdf")
    person, terminal = pty.openpty()
    os.write(person, f"{answer}\n".encode())
    words = [ARCHIVE, "delete", "gone.pdf"]
    done = subprocess.run(words, cwd=tmp_path, stdin=terminal, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Delete all this" in done.stderr and done.stdout == ""
    assert "/scans/gone.pdf: 1 path, 2 pages" in done.stderr
    assert ("nothing was deleted" in done.stderr) == bool(n_left)
    assert len(everything(db)["documents"]) == n_left
    for end in (person, terminal):
        os.close(end)
    db.dispose()


def test_a_deleted_scan_stays_and_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHIVE_DEVICE", "cpu")
    (tmp_path / "scans").mkdir()
    style = PageStyle(width=500, height=400, digit_px=24.0, columns=("running", "day"))
    for seed, name in ((3, "page.png"), (4, "other.png")):
        Image.fromarray(draw_page(seed, style).pixels).save(tmp_path / "scans" / name)
    bytes_before = (tmp_path / "scans/page.png").read_bytes()
    said("ingest", "scans")

    def numbers(*words: str) -> list[dict[str, Any]]:
        found = json.loads(said("query", "--json", *words)[0])["numbers"]
        return [{k: v for k, v in row.items() if k != "document_id"} for row in found]

    other, page = numbers("--document", "other.png"), numbers("--document", "page.png")
    assert len(other) > 2 and len(page) > 2
    said("delete", "page.png", "--yes")
    assert (tmp_path / "scans/page.png").read_bytes() == bytes_before
    assert numbers() == other
    assert json.loads(said("status", "--json")[0])["n_documents"] == 1
    said("ingest", "scans")
    assert numbers("--document", "page.png") == page and numbers("--document", "other.png") == other


def test_an_ingest_after_it_takes_the_path_for_new(db: Engine, database_url: str, files: Files) -> None:
    from cli.main import run

    scan = Path("scan.png").absolute()
    Image.new("L", (40, 30), 250).save(scan)
    with writing(db) as conn:
        run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=1.0)
        first = add_document(conn, probe(scan, max_pixels=10**6), run_id, again=False, now=1.0)
    assert run(["--database", database_url, "delete", str(scan), "--yes"]) == 0
    with writing(db) as conn:
        second = add_document(conn, probe(scan, max_pixels=10**6), run_id, again=False, now=2.0)
        assert not second.known and second.n_new_pages == 1
        assert len(conn.execute(select(paths)).all()) == 1
    assert first.n_new_pages == 1
