"""`archive export --document NAME --kind KIND`: a part of the archive, as `archive query` means it."""

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import polars
import pytest
from sqlalchemy import Engine, text

from pipeline import ledger
from pipeline.catalogue import add_document, current_run
from pipeline.database import open_database, writing
from pipeline.forms import Column, Form, Values
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.record_store import keep_form, write_records
from pipeline.records import Record, Value
from pipeline.sources import Document, PageRef

Said = Callable[..., tuple[str, str]]
NOW = 1_700_000_000.0
NO = Form("notary", (Column("no", 0.0, 0.2, Values("serial")),), (), "no")
FOLIO = Form("index", (Column("folio", 0.0, 0.2, Values()),), (), "folio")
# the folder and the name of a scan, the kind of its only page, and the form of its record
SCANS = (
    ("1890", "a", "register/left", NO),
    ("1890", "b", "register/right", None),
    ("1890", "c", "letter", None),
    ("1891", "a", "register/left", FOLIO),
    ("1891", "c", None, NO),
    ("1891", "b", "register", None),  # it waits
)
WAITS = ("1891", "b")
DETECTED = PageDetections((Detection(Box(1, 2, 9, 20), 0.9), Detection(Box(10, 2, 18, 20), 0.8)), 1.0)
READ = (Reading(0, 0.97), Reading(7, 0.96))
NUMBERS = (Number("07", 0.9, Box(1, 2, 18, 20), 0, (0, 1)),)

EVERY = ("csv", "jsonl", "parquet", "parquet --digits", "digits", "coco", "alto", "page")
OF_RECORDS = ("csv --records", "jsonl --records", "parquet --records")


@pytest.fixture
def db(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An archive of two folders, whose URL the commands know."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHIVE_DATABASE_URL", database_url)
    engine = open_database(database_url)
    for folder, name, kind, form in SCANS:
        path = Path(f"/scans/{folder}/{name}.tif")
        with writing(engine) as conn:
            run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=NOW)
            sha256 = f"{folder}{name}".ljust(64, "0")
            document = Document(path, sha256, "tiff", 10, 5.0, (PageRef(0, None, 0),))
            add_document(conn, document, run_id, again=False, now=NOW)
        if (folder, name) != WAITS:
            read_next(engine, form)
        with writing(engine) as conn:
            its = "UPDATE ledger SET kind = :kind WHERE id = (SELECT max(id) FROM ledger)"
            conn.execute(text(its), {"kind": kind})
    yield engine
    engine.dispose()


def read_next(db: Engine, form: Form | None) -> None:
    """Let the page that waits have a number on it, and a record if there is a form."""
    due = ledger.take_due(db, now=NOW, limit=1, lease_s=9)[0]
    claim = ledger.claim(db, due.ledger_id, state=due.state, now=NOW, lease_s=9)
    assert claim is not None
    assert ledger.finish_detect(db, claim, DETECTED, width=60, height=30, blob=None, now=NOW, lease_s=9)
    claim = ledger.claim(db, claim.ledger_id, state="detected", now=NOW, lease_s=9)
    assert claim is not None and ledger.finish_classify(db, claim, READ, NUMBERS, now=NOW)
    if form is not None:
        with writing(db) as conn:
            value = Value(form.columns[0].name, "07", "7", 0.9, None)
            form_id = keep_form(conn, form, "", now=NOW)
            write_records(conn, claim.ledger_id, form_id, [Record(0, 0.1, 0.2, (value,))])


def scans_in(export: str, out: Path) -> Counter[str]:
    """The scans in an exported file or folder, as `1890/a`, with how many rows or files each has."""
    name = export.split()[0]
    if name in ("alto", "page"):
        files = [file for file in out.rglob("*") if file.is_file()]
        assert all(ET.parse(file) for file in files)
        return Counter(file.relative_to(out).with_suffix("").as_posix() for file in files)
    if name == "coco":
        paths = [image["file_name"] for image in json.loads(out.read_text())["images"]]
    elif name == "csv":
        paths = polars.read_csv(out, infer_schema=False)["document"].to_list()
    elif name == "parquet":
        paths = polars.read_parquet(out)["document"].to_list()
    else:
        rows = map(json.loads, out.read_text().splitlines())
        paths = [row["image" if name == "digits" else "document"] for row in rows]
    return Counter(path.removeprefix("/scans/").removesuffix(".tif") for path in paths)


def exported(said: Said, export: str, *asked: str) -> tuple[Counter[str], list[str]]:
    """What is in an export, and what was said."""
    out = Path(f"out-{len(list(Path().iterdir()))}")
    printed, err = said("export", *export.split(), *asked, "-o", str(out))
    assert printed == ""
    return scans_in(export, out), err.splitlines()


ASKED = (
    (("--document", "1890"), ["1890/a", "1890/b", "1890/c"], 0),
    (("--document", "/scans/1891"), ["1891/a", "1891/c"], 1),
    (("--document", "189?/a.tif"), ["1890/a", "1891/a"], 0),
    (("--document", "1891c00"), ["1891/c"], 0),
    (("--kind", "register"), ["1890/a", "1890/b", "1891/a"], 1),
    (("--kind", "register/left"), ["1890/a", "1891/a"], 0),
    (("--kind", "letter"), ["1890/c"], 0),
    (("--kind", "register", "--document", "1891"), ["1891/a"], 1),
    (("--kind", "letter", "--document", "1891"), [], 0),
)


def test_every_format_has_the_pages_that_are_asked_for(db: Engine, said: Said) -> None:
    for export in EVERY:
        n_rows = 2 if "--digits" in export else 1
        for asked, scans, n_left_out in ASKED:
            found, (line,) = exported(said, export, *asked)
            if export == "digits":  # it has the names of images only
                scans = [scan.partition("/")[2] for scan in scans]
            assert found == Counter(scans * n_rows), (export, asked)
            assert line.startswith(f"{len(scans) * n_rows} "), line
            left_out = f"; {n_left_out} page not done, left out" if n_left_out else ""
            assert re.fullmatch(r".* → out-\d+" + left_out, line), line
        assert exported(said, export)[0].total() == 5 * n_rows


def test_records_are_those_of_the_pages_that_are_asked_for(db: Engine, said: Said) -> None:
    several = "records of 2 forms have the fields of all; `form` says which made each"
    without = "read, but without records: archive form apply makes them"
    for export in OF_RECORDS:
        for asked, scans, told in (
            ((), ["1890/a", "1891/a", "1891/c"], [f"2 pages {without}", several]),
            (("--document", "1890"), ["1890/a"], [f"2 pages {without}"]),
            (("--document", "1891"), ["1891/a", "1891/c"], [several]),
            (("--kind", "register", "--document", "1890"), ["1890/a"], [f"1 page {without}"]),
            (("--kind", "letter"), [], [f"1 page {without}"]),
        ):
            found, (line, *others) = exported(said, export, *asked)
            assert found == Counter(scans) and others == told, (export, asked)
            assert line.endswith("; 1 page not done, left out") == (asked in ((), ("--document", "1891")))


def test_records_have_the_fields_of_their_own_forms_only(db: Engine, said: Said) -> None:
    of_index, _ = said("export", "csv", "--records", "--document", "1891/a.tif", "-o", "-")
    assert of_index.startswith('"id","folio","confidence",') and of_index.count("\n") == 2


def test_numbers_and_records_are_those_of_query(db: Engine, said: Said) -> None:
    ways = (((), ()), (("--record",), ("--records",)))
    for (asked, _, _), (query, export) in product(ASKED[::2], ways):
        queried, _ = said("query", *query, "--json", *asked)
        lines = said("export", "jsonl", *export, *asked, "-o", "-")[0].splitlines()
        (rows,) = [told for told in json.loads(queried).values() if isinstance(told, list)]
        assert list(map(json.loads, lines)) == rows


def test_what_is_not_there_is_refused_as_query_refuses_it(db: Engine, said: Said) -> None:
    refusals = (
        (("--document", "1899"), "no document '1899' is in the archive"),
        (("--kind", "map"), "no page is of kind 'map': kinds are letter, register, register/left"),
        (("--kind", "map", "--document", "1890"), "no page is of kind 'map'"),
    )
    for export, (asked, told) in product((*EVERY, *OF_RECORDS), refusals):
        _, refused = said("query", *asked, code=2)
        ways = ["out"] if export in ("alto", "page") else ["out", "-"]
        for output in ways:
            out, err = said("export", *export.split(), *asked, "-o", output, code=2)
            assert out == "" and err == refused and told in err and err.count("\n") == 1
    assert not list(Path().glob("*out*")) and not list(Path().glob("*.part"))


def test_a_document_that_was_replaced_is_written_where_its_hash_asks_for_it(db: Engine, said: Said) -> None:
    with writing(db) as conn:
        conn.execute(text("UPDATE documents SET replaced_at = 1 WHERE sha256 LIKE '1890a%'"))
    for export in EVERY:
        assert exported(said, export)[0].total() == (8 if "--digits" in export else 4)
        found, _ = exported(said, export, "--document", "1890a00")
        assert set(found) == ({"a"} if export == "digits" else {"1890/a"})
