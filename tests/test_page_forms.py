"""The form of a page: given when its scan is ingested, it makes its records, whoever reads it."""

import json
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from mischief import drawn_scans
from rack import Rack, on_redis, wait_for
from sqlalchemy import Engine, text

from cli.main import run
from pipeline import ledger
from pipeline.catalogue import add_document, current_run
from pipeline.database import open_database, reading, writing
from pipeline.drawn import DrawnPage, draw_page
from pipeline.form_files import read_form
from pipeline.frames import Frame, find_frame
from pipeline.page import PageDetections
from pipeline.page_forms import ANY, form_of_row, give_to_page
from pipeline.record_store import keep_form
from pipeline.sources import probe
from pipeline.styles import PageStyle

Said = Callable[..., tuple[str, str]]
ARCHIVE = Path(sys.executable).with_name("archive")
STYLE = PageStyle(width=700, height=500, digit_px=24.0, columns=("running", "day"))
FORM = """
name = "ledger"
rows = "no"
[columns.no]
from = 0.0
to = 0.6122
type = "serial"
[columns.day]
from = 0.6122
to = 1.0
type = "day"
"""
DAYS = FORM.replace('"ledger"', '"days"').replace('rows = "no"', 'rows = "day"')
TOTAL = '[fields.total]\nbox = [0.0, 0.0, 1.0, 1.0]\ntype = "number"\n'  # a record of every page


@pytest.fixture(scope="module")
def page() -> DrawnPage:
    return draw_page(3, STYLE)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory, page: DrawnPage) -> Path:
    """A folder with a scan, two forms of it, and a database in which it was read without one."""
    folder = tmp_path_factory.mktemp("read")
    (folder / "scans").mkdir()
    cv2.imwrite(str(folder / "scans/page.png"), page.pixels)
    (folder / "ledger.toml").write_text(FORM)
    (folder / "days.toml").write_text(DAYS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ARCHIVE_DEVICE", "cpu")
        assert run(["--database", "read.db", "ingest", "scans"]) == 0
    return folder


@pytest.fixture
def folder(read: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a scan that nobody read and two forms of it."""
    shutil.copytree(read, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHIVE_DEVICE", "cpu")
    return tmp_path


@pytest.fixture
def known(folder: Path, read: Path) -> Path:
    """The current folder, with a database in which its scan was read without a form."""
    with closing(sqlite3.connect("read.db")) as conn, conn:
        conn.execute("UPDATE paths SET path = replace(path, ?, ?)", (str(read), str(folder)))
    Path("read.db").rename("archive.db")
    return folder


def records(said: Said) -> list[tuple[str, dict[str, str]]]:
    """The form of each record, and what stands in its fields."""
    found = json.loads(said("query", "--record", "--json")[0])["records"]
    return [(row["form"], {name: value["text"] for name, value in row["fields"].items()}) for row in found]


def tables(name: str = "archive.db") -> dict[str, int]:
    db = open_database(f"sqlite:///{name}")
    with reading(db) as conn:
        counts = {
            table: int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
            for table in ("ledger", "frames", "records", "forms", "page_forms")
        }
    db.dispose()
    return counts


ROWS = [
    ("ledger", {"no": "748", "day": "5"}),
    ("ledger", {"no": "749", "day": "31"}),
    ("ledger", {"no": "750", "day": "14"}),
    ("ledger", {"no": "751", "day": "4"}),
    ("ledger", {"no": "752", "day": "11"}),
]


def test_scans_are_ingested_with_a_form_and_get_another_one(folder: Path, said: Said) -> None:
    Path("wrong.toml").write_text(FORM.replace("from", "form"))
    for form, told in (("wrong.toml", "wrong.toml:5: unknown key 'form'"), ("none.toml", "can't be read")):
        for more in ([], ["--dry-run"]):
            _, err = said("ingest", "scans", "--form", form, *more, code=9)
            assert told in err and err.count("\n") == 1
    said("ingest", "scans", "--form", "ledger.toml", "--dry-run")
    assert not Path("archive.db").exists()

    out, err = said("ingest", "scans", "--form", "ledger.toml", "--json")
    assert "numbers, 5 records\n" in err and "records:  archive query --record" in err
    assert json.loads(out)["records"] == 5
    assert records(said) == ROWS
    # nothing is left to do, also by a form that differs in a comment
    Path("ledger.toml").write_text("# the same\n" + FORM)
    for words in (["--form", "ledger.toml"], []):
        out, err = said("ingest", "scans", *words, "--json")
        assert "no page was left to read" in err and "record" not in err
        assert json.loads(out)["records"] == 0
    before = tables()
    assert before == {"ledger": 1, "frames": 1, "records": 5, "forms": 1, "page_forms": 1}
    said("ingest", "scans", "--form", "days.toml", "--dry-run")
    assert tables() == before
    # another form: nothing is read again, and the records are made by it
    out, err = said("ingest", "scans", "--form", "days.toml", "--json")
    # one of them is the page's number, above the table
    assert "1 page read before: 6 records" in err and json.loads(out)["records"] == 6
    assert {form for form, _ in records(said)} == {"days"}
    assert tables() == before | {"records": 6, "forms": 2}
    assert "all is well" in said("verify")[0]
    said("delete", "page.png", "--yes")
    assert tables() == {"ledger": 0, "frames": 0, "records": 0, "forms": 2, "page_forms": 0}


def test_pages_that_were_read_before_get_their_form_and_records(known: Path, said: Said) -> None:
    assert tables()["frames"] == 0, "nobody looks for a frame that no form needs"
    scan = Path("scans/page.png").rename("away.png")
    Path("scans/page.png").symlink_to("nowhere.png")
    # what can't be looked at is said, and costs no page its numbers
    said("form", "apply", "ledger.toml", code=4)
    Path("scans/page.png").unlink()
    scan.rename("scans/page.png")
    assert tables()["page_forms"] == 0
    _, err = said("ingest", "scans", "--form", "ledger.toml")
    assert "no page was left to read\n1 page read before: 5 records\n" in err
    assert records(said) == ROWS


def test_a_page_that_is_drawn_has_records_at_any_resolution(
    folder: Path, page: DrawnPage, said: Said, make_pdf: Callable, make_pdf_image: Callable
) -> None:
    entries = b"/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /FlateDecode"
    pixels = cv2.cvtColor(page.pixels, cv2.COLOR_GRAY2RGB) if page.pixels.ndim == 2 else page.pixels
    image = make_pdf_image((700, 500), entries, zlib.compress(pixels.tobytes()))
    # a line of its own beside the scan: not a plain scan, so that it is drawn
    content = b"q 504 0 0 360 0 0 cm /I0 Do Q 0 0 m 1 0 l S"
    Path("scans/page.png").unlink()
    drawn = {"content": content, "images": [image], "size": (504, 360)}
    Path("scans/book.pdf").write_bytes(make_pdf([drawn]))
    said("ingest", "scans", "--form", "ledger.toml", "--render-dpi", "100")
    before = records(said)
    assert before == ROWS
    _, err = said("reprocess", "book.pdf", "--render-dpi", "150")
    assert "5 records" in err
    db = open_database("sqlite:///archive.db")
    with reading(db) as conn:
        query = "SELECT width, corners FROM pages, frames ORDER BY frames.ledger_id"
        found = [(width, json.loads(corners)[2]) for width, corners in conn.execute(text(query))]
    db.dispose()
    assert found[0][0] == 1050 and found[1][1] == pytest.approx([1.5 * x for x in found[0][1]], abs=8)
    assert [fields["no"] for _, fields in records(said)] == [fields["no"] for _, fields in before]


def test_a_page_that_is_read_again_meanwhile_gets_records_where_it_is_shown(
    known: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def find_and_read_again(grey: npt.NDArray[np.uint8]) -> Frame:
        looked.append(grey.shape[1])
        if len(looked) == 1:
            subprocess.run([ARCHIVE, "reprocess", "page.png"], check=True, capture_output=True)
        return find_frame(grey)

    monkeypatch.setattr("cli.recording.find_frame", find_and_read_again)
    _, err = said("form", "apply", "ledger.toml")
    assert "1 page, 5 records" in err and len(looked) == 2
    assert records(said) == ROWS
    db = open_database("sqlite:///archive.db")
    with reading(db) as conn:
        shown = "SELECT DISTINCT ledger_id, current FROM records JOIN ledger ON ledger.id = ledger_id"
        assert [tuple(row) for row in conn.execute(text(shown))] == [(2, 1)]
    db.dispose()
    assert "all is well" in said("verify")[0]


@pytest.fixture
def db(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def detected(db: Engine) -> ledger.Claim:
    """Register the scan, and find nothing on it; return the claim of its page."""
    with writing(db) as conn:
        run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=1.0)
        add_document(
            conn, probe(Path("scans/page.png").absolute(), max_pixels=10**6), run_id, again=False, now=1.0
        )
    (due,) = ledger.take_due(db, now=1.0, limit=1, lease_s=9)
    claim = ledger.claim(db, due.ledger_id, state="waiting", now=1.0, lease_s=9)
    assert claim is not None and not claim.has_form
    kept = ledger.keep_detected(db, claim, PageDetections((), 1.0), width=9, height=9, now=1.0, lease_s=9)
    assert kept is not None
    return kept


def test_a_form_that_comes_while_a_page_is_read_is_applied_later(
    db: Engine, database_url: str, folder: Path, said: Said
) -> None:
    Path("total.toml").write_text(TOTAL)
    claim = detected(db)
    with writing(db) as conn:
        form_id = keep_form(conn, read_form(Path("total.toml")), TOTAL, now=1.0)
        give_to_page(conn, claim.source.page_id, {ANY: form_id})
    assert ledger.finish_classify(db, claim, (), (), now=2.0)
    with reading(db) as conn:
        assert conn.scalar(text("SELECT count(*) FROM records")) == 0
    _, err = said("--database", database_url, "form", "apply", "total.toml")
    assert "1 page, 0 records" in err
    with reading(db) as conn:
        assert conn.scalar(text("SELECT count(*) FROM records")) == 1


def test_the_form_of_a_kind_goes_before_the_one_for_any(db: Engine, folder: Path) -> None:
    claim = detected(db)
    page_id = claim.source.page_id
    names: list[str | None] = []
    with writing(db) as conn:
        ids = {}
        for name in ("ledger", "days"):
            form = read_form(Path(f"{name}.toml"))
            ids[name] = keep_form(conn, form, "", now=1.0)

        def its_form(kind: str | None) -> str | None:
            conn.execute(text("UPDATE ledger SET kind = :kind"), {"kind": kind})
            kept = form_of_row(conn, claim.ledger_id)
            return kept and kept.form.name

        assert its_form(None) is None
        give_to_page(conn, page_id, {"register/left": ids["days"]})
        names = [its_form(kind) for kind in (None, "register", "register/left")]
        assert names == [None, None, "days"]
        give_to_page(conn, page_id, {ANY: ids["ledger"], "register/left": ids["days"]})
        assert [its_form(kind) for kind in (None, "letter", "register/left")] == ["ledger", "ledger", "days"]
        # what is said of a page whatever its kind takes the place of all
        give_to_page(conn, page_id, {ANY: ids["ledger"]})
        assert its_form("register/left") == "ledger"
        give_to_page(conn, 99, {ANY: ids["ledger"]})  # one that was deleted meanwhile
        assert conn.scalar(text("SELECT count(*) FROM page_forms")) == 1


@pytest.mark.postgres
@pytest.mark.slow
@on_redis
def test_workers_make_the_records_that_one_command_makes(rack: Rack) -> None:
    scans = drawn_scans(rack.folder, 3)
    (rack.folder / "total.toml").write_text(TOTAL)
    for words in (("--stage", "detect"), ("--stage", "classify")):
        rack.worker(*words)
    done = rack.archive("ingest", scans, "--form", "total.toml")
    assert "3 pages wait for workers" in done.stderr
    wait_for(lambda: rack.states() == {"done": 3})
    made = (
        "SELECT sha256, form_id, corners, text FROM fields JOIN records USING (ledger_id)"
        " JOIN frames USING (ledger_id) JOIN ledger ON ledger.id = ledger_id JOIN pages ON pages.id = page_id"
        " JOIN documents ON documents.id = document_id ORDER BY sha256"
    )
    alone = {"ARCHIVE_DATABASE_URL": "sqlite:///alone.db", "ARCHIVE_BROKER_URL": "", "ARCHIVE_FILES_URL": ""}
    rack.archive("ingest", scans, "--form", "total.toml", **alone)
    found = rack.rows(made)
    assert len(found) == 3 and found == rack.rows_of_sqlite("alone.db", made)
