"""Records as files: CSV, JSON lines and Parquet, written by the commands, read back by us and by others."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from pipeline import ledger
from pipeline.catalogue import add_document, current_run
from pipeline.database import open_database, reading, writing
from pipeline.errors import SettingsError
from pipeline.export_jsonl import read_jsonl
from pipeline.export_parquet import read_records, write_records
from pipeline.export_records import (
    read_records_csv,
    record_json,
    write_records_csv,
    write_records_jsonl,
)
from pipeline.form_files import read_form
from pipeline.forms import OF_FIELD, OF_RECORD, Column, Field, Form, Values
from pipeline.frames import Frame
from pipeline.page import Box, PageDetections
from pipeline.record_filter import RecordFilter
from pipeline.record_finding import RecordRow, find_records
from pipeline.record_store import keep_form, write_frame
from pipeline.record_store import write_records as store_records
from pipeline.records import NETWORK, PAGE, PERSON, RULE, Record, Value
from pipeline.sources import Document, PageRef

Said = Callable[..., tuple[str, str]]
NOW = 1_700_000_000.0
LEDGER = Form(
    "ledger",
    (
        Column("no", 0.0, 0.1, Values("serial")),
        Column("day of deed", 0.1, 0.2, Values("day")),
        Column("fee", 0.9, 1.0, Values("amount", rule=0.95, decimals=2)),
    ),
    (Field("year", (0.4, 0.0, 0.6, 0.1), Values()),),
    "no",
)
INDEX = Form(
    "index", (Column("folio", 0.0, 0.1, Values()), Column("no", 0.1, 0.2, Values("serial"))), (), "no"
)
BOX = Box(10.004, 20, 30.5, 40)
PAGES: tuple[tuple[Form, tuple[Record, ...]], ...] = (
    (
        LEDGER,
        (
            Record(PAGE, 0, 0, (Value("year", "1903", "1903", 0.99, BOX),)),
            Record(
                0,
                0.1,
                0.2,
                (
                    Value("no", "0042", "0042", 0.9876543210, BOX),
                    Value("day of deed", "07", "7", 0.8, BOX),
                    Value("fee", "022|5", "22.50", 0.7, BOX, made_by=RULE, replaced="92|5"),
                ),
            ),
            Record(
                1,
                0.2,
                0.3,
                (
                    Value("no", "0043", "0043", 1.0, BOX, made_by=PERSON, replaced=""),
                    Value("day of deed", "", "", 0.0, None),
                    Value("fee", "00|05", "0.05", 0.3, BOX, flag='00|05 is below "1"'),
                ),
            ),
        ),
    ),
    (
        INDEX,
        (Record(0, 0.1, 0.2, (Value("folio", "007", "7", 0.9, BOX), Value("no", "12", "12", 0.9, None))),),
    ),
)
NAMES = ("year", "no", "day of deed", "fee", "folio")


def register(db: Engine, path: str) -> None:
    with writing(db) as conn:
        run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=NOW)
        sha256 = f"{abs(hash(path)):064x}"[-64:]
        document = Document(Path(path), sha256, "tiff", 10, 5.0, (PageRef(0, None, 0),))
        add_document(conn, document, run_id, again=False, now=NOW)


def read_next(db: Engine) -> int:
    """Let the next page that waits be read, with nothing on it; return its row of the ledger."""
    due = ledger.take_due(db, now=NOW, limit=1, lease_s=9)[0]
    claim = ledger.claim(db, due.ledger_id, state=due.state, now=NOW, lease_s=9)
    assert claim is not None
    nothing = PageDetections((), 0.5, 0)
    assert ledger.finish_detect(db, claim, nothing, width=900, height=700, blob=None, now=NOW, lease_s=9)
    claim = ledger.claim(db, claim.ledger_id, state="detected", now=NOW, lease_s=9)
    assert claim is not None
    assert ledger.finish_classify(db, claim, [], [], now=NOW)
    return claim.ledger_id


def fill(db: Engine) -> None:
    """Three pages that were read, records of two forms on two of them, and a page that waits."""
    for name in ("a", "b", "c", "d"):
        register(db, f"/scans/box é 1/{name}.tif")
    read_pages = [read_next(db) for _ in range(3)]
    with writing(db) as conn:
        for ledger_id, (form, made) in zip(read_pages, PAGES, strict=False):
            store_records(conn, ledger_id, keep_form(conn, form, "", now=NOW), made)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    db = open_database("sqlite:///archive.db")
    fill(db)
    db.dispose()
    return tmp_path


def stored() -> list[dict[str, Any]]:
    db = open_database("sqlite:///archive.db")
    with reading(db) as conn:
        found = [record_json(row) for row in find_records(conn, RecordFilter())]
    db.dispose()
    return found


def without_boxes(record: dict[str, Any]) -> dict[str, Any]:
    fields = {
        name: {what: told for what, told in value.items() if what != "box"}
        for name, value in record["fields"].items()
    }
    return {**record, "fields": fields}


def test_records_are_written_and_come_back(folder: Path, said: Said) -> None:
    kept = stored()
    assert len(kept) == 4 and kept[1]["fields"]["no"]["text"] == "0042"
    for name in ("csv", "jsonl", "parquet"):
        out, err = said("export", name, "--records", "-o", f"out.{name}")
        assert out == ""
        assert err.splitlines() == [
            f"4 records → out.{name}; 1 page not done, left out",
            "1 page read, but without records: archive form apply makes them",
            "records of 2 forms have the fields of all; `form` says which made each",
        ]
        assert max(map(len, err.splitlines())) <= 80
    with Path("out.jsonl").open(encoding="utf-8") as file:
        assert list(read_jsonl(file)) == kept
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        assert list(read_records_csv(file)) == list(map(without_boxes, kept))
    assert list(read_records(Path("out.parquet"))) == list(map(without_boxes, kept))


def test_the_exports_are_what_query_prints(folder: Path, said: Said) -> None:
    assert said("export", "csv", "--records", "-o", "-")[0] == said("query", "--record", "--csv")[0]
    lines = said("export", "jsonl", "--records", "-o", "-")[0].splitlines()
    assert [json.loads(line) for line in lines] == json.loads(said("query", "--record", "--json")[0])[
        "records"
    ]
    of_one = said("query", "--record", "--csv", "--form", "index")[0].splitlines()
    assert of_one[0].startswith('"id","folio","no","confidence",') and len(of_one) == 2


def test_every_field_has_a_column_also_one_that_comes_late(folder: Path, said: Said) -> None:
    """The first fifty records say nothing of the fields of the others."""
    db = open_database("sqlite:///archive.db")
    with writing(db) as conn:
        row = Record(0, 0.1, 0.2, (Value("no", "1", "1", 0.9, None),))
        late = Record(60, 0.1, 0.2, (Value("late", "001", "1", 0.9, None),))
        form = Form("long", (Column("no", 0, 0.1, Values()), Column("late", 0.1, 0.2, Values())), (), "no")
        store_records(
            conn,
            1,
            keep_form(conn, form, "", now=NOW),
            [*(replace(row, position=k) for k in range(60)), late],
        )
    db.dispose()
    out, _ = said("query", "--record", "--csv", "--form", "long")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 61 and rows[-1]["late_text"] == "001" and rows[0]["late_text"] == ""


def test_pandas_and_polars_keep_leading_zeros(folder: Path, said: Said) -> None:
    for name in ("csv", "parquet"):
        said("export", name, "--records", "-o", f"out.{name}")
    text = pandas.read_csv("out.csv", dtype=str, keep_default_na=False)
    assert list(text["no"]) == ["", "0042", "0043", "12"] and list(text["folio_text"]) == ["", "", "", "007"]
    assert list(text["fee"]) == ["", "22.50", "0.05", ""] and text["fee_text"][1] == "022|5"
    of_types = pandas.read_csv("out.csv", dtype={"id": str, "no": str})
    assert of_types["confidence"].dtype == float and of_types["page"].dtype == int
    assert of_types["no"][1] == "0042" and bool(pandas.isna(of_types["no"][0]))

    table = polars.read_parquet("out.parquet")
    assert table["no"].to_list() == [None, "0042", "0043", "12"]
    assert table["fee_text"].to_list() == [None, "022|5", "00|05", None]
    assert table["day of deed"].to_list() == [None, "7", "", None], "nothing was read; no such field"
    assert table["flagged"].to_list() == [False, False, True, False]
    assert table["fee_made_by"][1] == RULE and table["fee_replaced"][1] == "92|5"
    assert table["fee"].cast(polars.Float64).to_list() == [None, 22.5, 0.05, None]
    assert polars.read_csv("out.csv", infer_schema=False)["no_text"].to_list()[1] == "0042"


def test_what_goes_wrong_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    monkeypatch.chdir(tmp_path)
    db = open_database("sqlite:///archive.db")
    register(db, "/scans/a.tif")
    read_next(db)
    db.dispose()
    ways = [("export", name, "--records", "-o", "out") for name in ("csv", "jsonl", "parquet")]
    ways += [("query", "--record", *how) for how in ((), ("--json",), ("--csv",), ("--field", "no=5"))]
    for words in ways:
        out, err = said(*words, code=2)
        assert out == "" and err.count("\n") == 1
        assert "no form was applied yet, so there are no records: archive form apply FORM.toml" in err
    _, err = said("export", "parquet", "--records", "--digits", "-o", "out", code=2)
    assert "--digits and --records: one of them" in err and err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir() if "out" in file.name or "part" in file.name] == []


def test_a_form_that_found_nothing_is_an_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    monkeypatch.chdir(tmp_path)
    db = open_database("sqlite:///archive.db")
    register(db, "/scans/a.tif")
    read_next(db)
    with writing(db) as conn:
        keep_form(conn, LEDGER, "", now=NOW)
    db.dispose()
    for name in ("csv", "jsonl", "parquet"):
        _, err = said("export", name, "--records", "-o", f"out.{name}")
        assert err.startswith(f"0 records → out.{name}\n1 page read, but without records")
    assert Path("out.csv").read_text().count("\n") == 1 and Path("out.jsonl").read_text() == ""
    assert list(read_records(Path("out.parquet"))) == []
    assert said("query", "--record") == ("", "no record is like that\n")


def test_both_databases_give_the_same_rows_in_order(database_url: str) -> None:
    db = open_database(database_url)
    fill(db)
    with reading(db) as conn:
        rows = list(find_records(conn, RecordFilter()))
        names = tuple(find_records(conn, RecordFilter(order="-no")))
    db.dispose()
    assert [(row.document_id, row.page, row.row) for row in rows] == [
        (1, 1, 0),
        (1, 1, 1),
        (1, 1, 2),
        (2, 1, 1),
    ]
    assert [row["no"].text for row in map(_Named, names) if row.has("no")] == ["0043", "0042", "12"]


class _Named:
    """A record's values by their names."""

    def __init__(self, row: RecordRow) -> None:
        self.of = {value.column: value for value in row.values}

    def __getitem__(self, name: str) -> Value:
        return self.of[name]

    def has(self, name: str) -> bool:
        return name in self.of


# --- any records


def written() -> st.SearchStrategy[str]:
    return st.from_regex(r"[0-9]{0,6}(\|[0-9]{0,2})?", fullmatch=True)


def a_text() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@st.composite
def values(draw: st.DrawFn, name: str) -> Value:
    made_by = draw(st.sampled_from([NETWORK, RULE, PERSON]))
    edges = draw(st.tuples(st.floats(0, 5000), st.floats(0, 5000)))
    return Value(
        name,
        draw(written()),
        draw(st.from_regex(r"[0-9]{0,8}(\.[0-9]{2})?", fullmatch=True)),
        draw(st.floats(0, 1)),
        draw(st.sampled_from([None, Box(*edges, edges[0] + 9, edges[1] + 20)])),
        made_by=made_by,
        replaced=None if made_by == NETWORK else draw(written()),
        flag=draw(st.none() | a_text()),
    )


@st.composite
def archives(draw: st.DrawFn) -> tuple[tuple[str, ...], list[RecordRow]]:
    """The fields that there are, and records of forms that have some of them."""
    words = st.sampled_from(["no", "fee", "day of deed", 'Läge, "Ost"', "a.b", "übertrag;", "textual"])
    names = tuple(draw(st.lists(words, max_size=5, unique=True)))
    rows = []
    for k in range(draw(st.integers(0, 5))):
        of = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        rows.append(
            RecordRow(
                f"{draw(st.integers(1, 10**9))}.{k}",
                draw(a_text()),
                draw(st.integers(1, 2**40)),
                draw(st.integers(1, 10**6)),
                draw(st.integers(0, 200)),
                draw(a_text()),
                draw(st.none() | a_text()),
                draw(st.floats(0, 1)),
                draw(st.booleans()),
                tuple(draw(values(name)) for name in of),
                draw(st.integers(1, 2**40)),
            )
        )
    return names, rows


@settings(max_examples=40, deadline=None)
@given(archives())
def test_any_records_come_back_from_every_format(made: tuple[tuple[str, ...], list[RecordRow]]) -> None:
    names, rows = made
    told = list(map(record_json, rows))
    lines, table, packed = io.StringIO(), io.StringIO(newline=""), io.BytesIO()
    assert write_records_jsonl(lines, rows) == len(rows)
    assert list(read_jsonl(io.StringIO(lines.getvalue(), newline="\n"))) == told
    bare = list(map(without_boxes, told))
    assert write_records_csv(table, rows, names) == len(rows)
    assert list(read_records_csv(io.StringIO(table.getvalue(), newline=""))) == bare
    assert write_records(packed, rows, names) == len(rows)
    packed.seek(0)
    assert list(read_records(packed)) == bare


# --- names that can't be


def a_form(name: str) -> str:
    return (
        f"rows = 'no'\n[columns.no]\nfrom = 0\nto = 0.5\n[columns.{json.dumps(name)}]\nfrom = 0.5\nto = 1\n"
    )


def refused() -> Iterator[tuple[str, str]]:
    yield from ((name, "is what exports call a column of every record") for name in (*OF_RECORD, "Page"))
    yield "reading", "is what exports call"
    yield from ((f"fee_{what}", f"ends in _{what}") for what in OF_FIELD)
    yield from ((name, "can't be asked for") for name in ("a=b", "<fee", "fee>", " fee", "fee ", "-fee"))
    yield "NO", "NO is no but for capitals"


@pytest.mark.parametrize(("name", "says"), list(refused()))
def test_names_that_clash_are_refused_with_their_line(name: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "form.toml"
    file.write_text(a_form(name))
    with pytest.raises(SettingsError) as told:
        read_form(file)
    assert str(told.value).startswith(f"{file}:5: ") and says in str(told.value)
    assert "\n" not in str(told.value)


def test_names_that_only_look_like_those_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "form.toml"
    for name in ("page no", "text", "flag", "paid", "fee.text", "rows", "replaced", "year-day"):
        file.write_text(a_form(name))
        assert [column.name for column in read_form(file).columns] == ["no", name]


# --- what the commands say


FORM = """name = "ledger"
rows = "no"
[columns.no]
from = 0
to = 0.5
[columns.fee]
from = 0.5
to = 1
"""


def test_a_form_is_applied_to_pages_that_were_read_or_says_why_not(folder: Path, said: Said) -> None:
    Path("form.toml").write_text(FORM)
    for words, told in (
        (("a.tif:9",), "a.tif:9 means no page that was read"),
        (("d.tif",), "d.tif means no page that was read"),
        (("nothing.tif",), "no document 'nothing.tif' is in the archive"),
        (("--kind", "cover"), "no page is of kind 'cover': no page was sorted yet"),
    ):
        _, err = said("form", "apply", "form.toml", *words, code=2)
        assert told in err and err.count("\n") == 1
    assert len(stored()) == 4, "the records that there were stay"
    db = open_database("sqlite:///archive.db")
    with writing(db) as conn:
        write_frame(conn, 3, Frame(((0, 0), (900, 0), (900, 700), (0, 700)), (0.5,), True))
    db.dispose()
    out, err = said("form", "apply", "form.toml", "c.tif")
    path = "/scans/box é 1/c.tif"
    assert out == "" and err.splitlines() == [
        "1 page, 0 records by form ledger",
        f"1 page without a row: archive form check form.toml '{path}' -o DRAWN draws why",
    ]


def test_a_form_needs_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    monkeypatch.chdir(tmp_path)
    db = open_database("sqlite:///archive.db")
    register(db, "/scans/a.tif")
    db.dispose()
    Path("form.toml").write_text(FORM)
    _, err = said("form", "apply", "form.toml", code=2)
    assert err == "archive: no page was read yet: archive ingest SCANS\n"


def test_a_table_of_records_fits_80_columns_where_its_values_do(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("number in the register", "day of the deed", "month of the deed", "fee", "another long name")
    form = Form("wide", tuple(Column(name, 0, 1, Values()) for name in names), (), names[0])
    db = open_database("sqlite:///archive.db")
    with writing(db) as conn:
        made = tuple(Value(name, "123456", "123456", 0.9, None, flag="odd") for name in names)
        store_records(conn, 1, keep_form(conn, form, "", now=NOW), [Record(0, 0.1, 0.2, made)])
    db.dispose()
    words = ("query", "--record", "--form", "wide")
    whole, _ = said(*words)
    assert all(name.upper() in whole for name in names)
    monkeypatch.setattr("cli.query_records.terminal_width", lambda: 80)
    monkeypatch.setattr("cli.terminal.terminal_width", lambda: 80)
    out, _ = said(*words)
    assert max(map(len, out.splitlines())) <= 80 and out.count("123456?") == len(names)
    assert " FEE " in out and "NU…STER" in out


def test_fields_are_found_by_their_key_and_never_by_going_through_all_of_them(folder: Path) -> None:
    """SQLite takes no index for pairs in a list: two hundred records took a look at every field there was."""
    db = open_database("sqlite:///archive.db")
    asked: list[tuple[str, Any]] = []
    with reading(db) as conn:
        event.listen(conn, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
        assert len(list(find_records(conn, RecordFilter()))) == 4
        plans = [
            row[3]
            for sql, given in list(asked)
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)
        ]
    db.dispose()
    assert any(plan.startswith("SEARCH fields USING PRIMARY KEY") for plan in plans)
    assert not any(plan.startswith("SCAN fields") for plan in plans), plans
