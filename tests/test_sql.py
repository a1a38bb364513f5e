"""`archive sql`: a person's own SQL on views, which can read and nothing else."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, insert, inspect, select, text

from pipeline.database import open_database, reading, writing
from pipeline.forms import Column, Form, Values
from pipeline.inserts import insert_rows, many
from pipeline.page import Box
from pipeline.record_filter import RecordFilter
from pipeline.record_finding import find_records
from pipeline.record_store import Correction, add_correction, keep_form, write_records
from pipeline.records import Record, Value
from pipeline.results import sort_key
from pipeline.tables import documents, ledger, metadata, numbers, pages, paths, runs
from pipeline.views import VIEWS

Said = Callable[..., tuple[str, str]]
NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
ROWS = [("0001", "1889", "3|50"), ("0002", "1890", "12"), ("0003", "1890", "0|75"), ("0004", "1891", "")]
FORM = Form("notary", (Column("no", 0.0, 0.2, Values("serial")),), (), "no")


def value(column: str, text: str, x0: float, **more: str | None) -> Value:
    box = Box(x0, 1.0, x0 + 10, 21.5) if text else None
    return Value(column, text, text.replace("|", "."), 0.9 if text else 0.2, box, **more)


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A database with a page read twice, a document that was replaced, and one without a page."""
    monkeypatch.setenv("ARCHIVE_DATABASE_URL", database_url)
    monkeypatch.chdir(tmp_path)
    db = open_database(database_url)
    kept = {"format": "png", "size_bytes": 9, "added_at": NOW, "freed": False}
    of_runs = {"started_at": NOW, "detector_sha256": "d", "classifier_sha256": "c", "settings": "{}"}
    state = {
        "state": "done",
        "suspect": False,
        "attempts": 0,
        "queued": False,
        "lease_until": 0.0,
        "turned": 0,
    }
    state |= {"n_digits": 4, "n_numbers": 1, "finished_at": NOW}
    with writing(db) as conn:
        for number, more in enumerate(({}, {"replaced_at": NOW}, {"reason": "the image is cut short"}), 1):
            n_pages = 0 if "reason" in more else 1
            row = {"id": number, "sha256": f"{number:064}", "n_pages": n_pages, **kept, **more}
            conn.execute(insert(documents).values(row))
            seen = {"seen_at": NOW, "size_bytes": 9, "modified_at": NOW}
            for name in (f"/scans/old/{number}.png", f"/scans/né, {number}.png"):
                seen["seen_at"] += 1
                conn.execute(insert(paths).values(document_id=number, path=name, **seen))
        for number in (1, 2):
            conn.execute(insert(pages).values(id=number, document_id=number, page_index=0, frame=0))
            conn.execute(insert(runs).values(id=number, **of_runs))
        for number, (page, run, current) in enumerate([(1, 1, False), (1, 2, True), (2, 2, True)], 1):
            where = {"id": number, "page_id": page, "run_id": run, "current": current, "kind": "register"}
            conn.execute(insert(ledger).values(**where, **state))
            found = {"text": "0042", "sort_key": sort_key("0042"), "confidence": 0.9375, "line": 0}
            box = {"x0": 1.0, "y0": 2.0, "x1": 3.5, "y1": 4.0}
            conn.execute(insert(numbers).values(ledger_id=number, position=0, **found, **box))
        form_id = keep_form(conn, FORM, "", now=NOW)
        made = [
            Record(
                row,
                row / 4,
                (row + 1) / 4,
                (
                    value("no", no, 0.0),
                    value("year", year, 20.0, made_by="rule", replaced="1880"),
                    value("fee", fee, 40.0, flag=None if fee else "required"),
                ),
            )
            for row, (no, year, fee) in enumerate(ROWS)
        ]
        for ledger_id in (1, 2, 3):
            write_records(conn, ledger_id, form_id, made)
        add_correction(conn, 1, Correction("fee", 0.75, "5", "", "miriam", NOW))
    db.dispose()
    return database_url


def asked(said: Said, query: str) -> list[dict]:
    return json.loads(said("sql", "--json", query)[0])["rows"]


def test_the_views_are_what_the_contract_says(database: str, said: Said) -> None:
    db = open_database(database)
    with reading(db) as conn:
        look = inspect(conn)
        assert set(look.get_view_names()) == {view.name for view in VIEWS}
        for view in VIEWS:
            named = [column["name"] for column in look.get_columns(view.name)]
            assert named == [name for name, _ in view.columns]
    db.dispose()
    out, _ = said("sql")
    listed = json.loads(said("sql", "--json")[0])["views"]
    documented = (Path(__file__).parent.parent / "docs/sql.md").read_text(encoding="utf-8")
    for view, same in zip(VIEWS, listed, strict=True):
        assert f"{view.name}: {view.about}" in out and same["name"] == view.name
        section = documented.partition(f"### `{view.name}`")[2].partition("\n### ")[0]
        for name, about in view.columns:
            assert f"  {name} " in out and about in out
            assert f"`{name}`" in section, (view.name, name)
    assert said("sql", "--csv")[0].splitlines()[1] == '"v_documents","document_id","the document\'s number"'


def test_views_show_current_runs_of_what_is_there(database: str, said: Said) -> None:
    for view, n_rows in (("documents", 2), ("pages", 1), ("numbers", 1), ("records", 4), ("fields", 12)):
        assert asked(said, f"SELECT count(*) AS n FROM v_{view}") == [{"n": n_rows}], view
    (number,) = asked(said, "SELECT * FROM v_numbers")
    assert number == {
        **{"number": "0042", "amount": 42, "confidence": 0.9375, "document_id": 1},
        **{"document": "/scans/né, 1.png", "page_id": 1, "page": 1, "line": 1, "position": 0},
        **{"x0": 1.0, "y0": 2.0, "x1": 3.5, "y1": 4.0, "kind": "register", "run_id": 2},
        **{"written": None},
    }
    (page,) = asked(said, "SELECT state, finished_at, n_digits, member FROM v_pages")
    assert page == {"state": "done", "finished_at": "2023-11-14 22:13:20", "n_digits": 4, "member": None}
    assert asked(said, "SELECT reason FROM v_documents WHERE n_pages = 0") == [
        {"reason": "the image is cut short"}
    ]
    (correction,) = asked(said, "SELECT who, field, text, page_id FROM v_corrections")
    assert correction == {"who": "miriam", "field": "fee", "text": "5", "page_id": 1}


def test_records_and_fields_are_those_of_archive_query(database: str, said: Said) -> None:
    db = open_database(database)
    with reading(db) as conn:
        found = list(find_records(conn, RecordFilter()))
    db.dispose()
    rows = asked(said, "SELECT record, page, row, form, flagged FROM v_records ORDER BY row")
    assert rows == [
        {"record": row.id, "page": row.page, "row": row.row, "form": row.form, "flagged": int(row.flagged)}
        for row in found
    ]
    assert rows[2]["record"] == "2.3" and [row["flagged"] for row in rows] == [0, 0, 0, 1]
    (fee,) = asked(said, "SELECT * FROM v_fields WHERE record = '2.1' AND field = 'fee'")
    assert (fee["text"], fee["value"], fee["amount"], fee["x1"]) == ("3|50", "3.50", 3.5, 50.0)
    (year,) = asked(said, "SELECT made_by, replaced FROM v_fields WHERE field = 'year' AND row = 2")
    assert year == {"made_by": "rule", "replaced": "1880"}
    assert asked(said, "SELECT amount, flag FROM v_fields WHERE value = ''") == [
        {"amount": None, "flag": "required"}
    ]


def test_every_example_of_the_documentation_runs(database: str, said: Said) -> None:
    lines = (Path(__file__).parent.parent / "docs/sql.md").read_text(encoding="utf-8")
    examples = [part.partition("```")[0] for part in lines.split("```sql\n")[1:]]
    assert len(examples) >= 5
    answers = [asked(said, example) for example in examples]
    by_year = next(a for a, e in zip(answers, examples, strict=True) if "sum(" in e)
    assert by_year[:2] == [
        {"year": "1889", "n_fees": 1, "fees": 3.5},
        {"year": "1890", "n_fees": 2, "fees": 12.75},
    ]
    wide = next(a for a, e in zip(answers, examples, strict=True) if "CASE" in e)
    assert [row["no"] for row in wide] == [no for no, _, _ in ROWS] and wide[0]["fee"] == "3|50"


def test_a_table_csv_and_json_say_the_same(database: str, said: Said) -> None:
    query = "SELECT text, amount, confidence, flag FROM v_fields WHERE field = 'fee' ORDER BY row"
    out, err = said("sql", query)
    assert out.splitlines()[:2] == ["TEXT  AMOUNT  CONFIDENCE  FLAG", "3|50     3.5         0.9"]
    assert err == "4 rows\n"
    rows = list(csv.reader(said("sql", "--csv", query)[0].splitlines()))
    assert rows[0] == ["text", "amount", "confidence", "flag"] and rows[4] == ["", "", "0.2", "required"]
    assert said("sql", "--csv", "SELECT number FROM v_numbers")[0] == '"number"\n"0042"\n'
    assert [tuple(map(str, row.values())) for row in asked(said, query)][1] == ("12", "12", "0.9", "None")
    assert said("sql", "SELECT number FROM v_numbers WHERE page = 7") == ("NUMBER\n", "0 rows\n")
    assert asked(said, "SELECT number FROM v_numbers WHERE page = 7") == []
    assert asked(
        said, "/* 100% of them: %s */ -- ?\nWITH a AS (VALUES (1)) SELECT '%' || ':x' AS b FROM a;"
    ) == [{"b": "%:x"}]
    assert "several columns are called a" in said("sql", "--json", "SELECT 1 AS a, 2 AS a", code=2)[1]


REFUSED = (
    ("DELETE FROM numbers", "'DELETE' is none of them"),
    ("  /* a */ -- b\n update ledger set kind = 'x'", "'update' is none of them"),
    ("PRAGMA query_only = off", "only reads"),
    ("ATTACH 'other.db' AS other", "only reads"),
    ("VACUUM INTO 'copy.db'", "only reads"),
    ("COPY numbers TO '/tmp/numbers'", "only reads"),
    ("WITH a AS (SELECT 1) DELETE FROM numbers", ""),
    ("WITH a AS (DELETE FROM numbers RETURNING 1) SELECT * FROM a", ""),
    ("SELECT 1 AS a INTO numbers_2", ""),
    ("SELECT 1; DELETE FROM numbers", ""),
    ("SELECT 1; COMMIT; DELETE FROM numbers", ""),
    ("SELECT load_extension('x')", ""),
    ("SELECT set_config('transaction_read_only', 'off', false)", ""),
    ("SELECT * FROM v_nothing", "v_nothing"),
    ("SELECT nothing FROM v_numbers", "nothing"),
    ("SELECT number FROM v_numbers WHERE", "says: "),
    ("SELECT 'a", ""),
    ("", "there is no statement"),
    (" ; -- nothing\n", "there is no statement"),
)


def test_what_does_not_read_is_one_clear_line_and_changes_nothing(database: str, said: Said) -> None:
    before = everything(database)
    for query, told in REFUSED:
        out, err = said("sql", query, code=2)
        assert out == "" and err.count("\n") == 1 and err.startswith("archive: ") and told in err, err
        assert "DECLARE" not in err and "sqlalche" not in err, err
    assert everything(database) == before
    assert not {"other.db", "copy.db"} & {file.name for file in Path().iterdir()}


def everything(database: str) -> list[object]:
    db = open_database(database)
    with reading(db) as conn:
        found = [conn.scalar(select(func.count()).select_from(table)) for table in metadata.sorted_tables]
        found += [inspect(conn).get_table_names(), conn.scalar(text("SELECT max(kind) FROM ledger"))]
    db.dispose()
    return found


def test_an_error_halfway_through_the_rows_is_told_too(database: str, said: Said) -> None:
    db = open_database(database)
    rows = [
        {"ledger_id": 2, "position": k, "text": str(k), "sort_key": sort_key(str(k)), "confidence": 0.5}
        | {"line": 0, "x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": 1.0, "alternatives": "[]"}
        for k in range(1, 3000)
    ]
    with writing(db) as conn:
        name = conn.dialect.name
        conn.execute(insert_rows(name, numbers), many(name, rows))
    db.dispose()
    bad = (
        "1 / (position - 2900)" if "postgres" in database else "abs(-9223372036854775807 - (position = 2900))"
    )
    out, err = said("sql", "--csv", f"SELECT position, {bad} AS a FROM v_numbers", code=2)
    assert err.count("\n") == 1 and "the database says: " in err
    assert len(out.splitlines()) > 1000, "rows came before it"
    assert len(asked(said, "SELECT position FROM v_numbers")) == 3000


def test_a_signal_ends_a_statement_that_would_never_end(database: str) -> None:
    forever = "WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT max(n) FROM a"
    archive = Path(sys.executable).with_name("archive")
    with subprocess.Popen([archive, "sql", forever], stderr=subprocess.PIPE, env=os.environ) as process:
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and err == b"archive: stopped\n"


def test_a_file_that_may_only_be_read_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    open_database(f"sqlite:///{tmp_path}/a b%41#.db").dispose()
    (file,) = tmp_path.glob("*.db")
    file.chmod(0o444)
    monkeypatch.chdir(tmp_path)
    assert said("--database", file.name, "sql", "SELECT count(*) AS n FROM v_pages")[0] == "N\n0\n"
    with sqlite3.connect(file) as other:
        assert other.execute("SELECT count(*) FROM v_fields").fetchone() == (0,)
    other.close()
