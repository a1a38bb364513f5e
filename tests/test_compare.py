"""`archive compare` from end to end: pages that processes read twice, with a classifier that was altered."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

from cli.main import run
from models.checkpoint import load_checkpoint, save_checkpoint
from pipeline import ledger
from pipeline.catalogue import add_document, current_run
from pipeline.changes import NONE
from pipeline.compared import N_NAMED, compare_runs
from pipeline.database import open_database, reading, writing
from pipeline.drawn import draw_page
from pipeline.numbers import group_numbers
from pipeline.page import Box, Detection, PageDetections, Reading
from pipeline.runs import all_runs, digits_of
from pipeline.settings import WEIGHTS
from pipeline.sources import Document, PageRef

ARCHIVE = Path(sys.executable).with_name("archive")
DOCS = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
N_CLASSES = 11  # the ten digits and the reject


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose three pages run 1 read; run 2 read two of them with a classifier that swaps 1 and 7."""
    folder = tmp_path_factory.mktemp("yard")
    (folder / "scans").mkdir()
    for seed in range(3):
        page = draw_page(seed + 3, "ledger", width=500, height=500, digit_px=24.0)
        Image.fromarray(page.pixels).save(folder / "scans" / f"{seed}.png")
    weights, metadata = load_checkpoint(WEIGHTS / "digit_classifier.safetensors", "digit-classifier")
    last = [name for name, value in weights.items() if value.shape[:1] == (N_CLASSES,)]
    assert last
    swapped = [0, 7, 2, 3, 4, 5, 6, 1, 8, 9, 10]
    save_checkpoint(folder / "other.safetensors", weights | {k: weights[k][swapped] for k in last}, metadata)
    archive(folder, "ingest", "scans")
    two = [f"scans/{seed}.png" for seed in range(2)]
    archive(folder, "ingest", "--again", *two, "--classifier", "other.safetensors")
    return folder


def archive(folder: Path, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVE_")}
    done = subprocess.run(
        [ARCHIVE, *args],
        cwd=folder,
        env={**clean, "ARCHIVE_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def here(yard: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(yard)
    for name in list(os.environ):
        if name.startswith("ARCHIVE_"):
            monkeypatch.delenv(name)
    return yard


def found_json(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert run(["compare", *args, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["schema_version"] == 1
    return found


def sql(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "archive.db") as conn:
        rows = conn.execute(query).fetchall()
    conn.close()
    return rows


def test_the_runs_are_listed_with_what_tells_them_apart(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = found_json(capsys)["runs"]
    assert (first["run_id"], first["n_done"], second["run_id"], second["n_done"]) == (1, 3, 2, 2)
    digits = dict(sql(here, "SELECT run_id, sum(n_digits) FROM ledger GROUP BY run_id"))
    assert [first["n_digits"], second["n_digits"]] == [digits[1], digits[2]] and digits[1] > 50
    assert list(first["networks"]) == [
        "orienter",
        "detector",
        "classifier",
        "rescorer",
        "recogniser",
        "judge",
    ]
    assert run(["compare"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:] if not line.startswith("    ")] == ["1", "2"]
    (changed,) = [line for line in lines if line.endswith("changed")]
    assert changed.split() == ["classifier", second["networks"]["classifier"][:12], "changed"]
    assert max(len(line) for line in lines) <= 80


def test_the_counts_agree_with_the_database(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = found_json(capsys, "1", "2")
    table = np.array(found["digits"]["table"])
    both = "page_id IN (SELECT page_id FROM ledger WHERE run_id = 2)"
    rows = sql(
        here,
        "SELECT run_id, digit, count(*), sum(confidence) FROM readings JOIN ledger ON id = ledger_id "
        f"WHERE digit IS NOT NULL AND {both} GROUP BY run_id, digit",
    )
    for number, sums, letter in ((1, table.sum(axis=1), "a"), (2, table.sum(axis=0), "b")):
        its = {digit: n for run_id, digit, n, _ in rows if run_id == number}
        assert {digit: n for digit, n in enumerate(sums[:NONE].tolist()) if n} == its
        assert found["digits"][f"n_{letter}"] == sum(its.values())
        mean = sum(total for run_id, *_, total in rows if run_id == number) / sum(its.values())
        assert found["digits"][f"mean_confidence_{letter}"] == pytest.approx(mean, abs=1e-6)
    # the detector is the same, so its boxes are: what both read in one box is the same place
    paired = sql(
        here,
        "SELECT a.digit, b.digit, count(*) FROM ledger la JOIN ledger lb ON la.page_id = lb.page_id "
        "JOIN readings a ON a.ledger_id = la.id JOIN readings b ON b.ledger_id = lb.id "
        "AND a.position = b.position WHERE la.run_id = 1 AND lb.run_id = 2 "
        "AND a.digit IS NOT NULL AND b.digit IS NOT NULL GROUP BY a.digit, b.digit",
    )
    assert all(table[a, b] >= n for a, b, n in paired)
    assert table[1, 7] > 0 and table[7, 1] > 0, "what was altered is seen"
    assert table[NONE, NONE] == 0
    numbers, per_run = (
        found["numbers"],
        f"SELECT count(*) FROM numbers JOIN ledger ON id = ledger_id WHERE {both}",
    )
    n_both = numbers["n_same"] + numbers["n_other"]
    assert sql(here, f"{per_run} AND run_id = 1") == [(n_both + numbers["n_gone"],)]
    assert sql(here, f"{per_run} AND run_id = 2") == [(n_both + numbers["n_new"],)]
    assert found["pages"]["n_compared"] == 2 and found["pages"]["n_only_a"] == 1
    assert found["pages"]["only_a"] == [{"document": str(here / "scans/2.png"), "page": 1}]
    assert found["differing_networks"] == ["classifier"]


def test_what_changed_is_said_in_words(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = found_json(capsys, "1", "2")
    assert run(["compare", "1", "2"]) == 0
    said = capsys.readouterr().out
    assert "B has another classifier (" in said and "no other differs." in said
    lines = {" ".join(line.split()) for line in said.splitlines()}
    digits = found["digits"]
    assert f"another digit {digits['n_another']}" in lines
    assert f"same text {found['numbers']['n_same']}" in lines
    assert "pages that only run 1 has done 1 scans/2.png:1" in lines
    row = " ".join(str(n or ".") for n in digits["table"][1])
    assert f"1 {row}" in lines
    assert max(len(line) for line in said.splitlines()) <= 100


def test_the_sheet_shows_what_changed(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    found = found_json(capsys, "1", "2", "-o", str(sheet), "--limit", "9")
    assert found["n_drawn"] == 9
    with Image.open(sheet) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    assert pixels.shape[1] == 1500 and pixels.shape[0] > 250, "two rows: seven stand beside one another"
    assert (pixels == (0, 110, 200)).all(axis=2).any(), "boxes are blue where a run is sure"
    # the same place of a page, twice
    left, right = pixels[34:132, 10:108], pixels[34:132, 114:212]
    assert (np.abs(left - right).max(axis=2) == 0).mean() > 0.8 and left.std() > 3


def test_changes_whose_scan_is_gone_are_left_out_and_said(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    whole = found_json(capsys, "1", "2", "-o", str(tmp_path / "s.png"))["n_drawn"]
    (here / "scans/0.png").rename(here / "away.png")
    try:
        assert run(["compare", "1", "2", "-o", str(tmp_path / "s.png"), "--json"]) == 0
    finally:
        (here / "away.png").rename(here / "scans/0.png")
    said = capsys.readouterr()
    n_drawn = json.loads(said.out)["n_drawn"]
    assert 0 < n_drawn < whole
    assert f"{whole - n_drawn} changes not drawn: scans/0.png, page 1: is gone" in said.err
    assert (tmp_path / "s.png").exists()


def test_every_command_of_the_documentation_works(here: Path, tmp_path: Path) -> None:
    section = DOCS.read_text(encoding="utf-8").split("`archive compare`\n", 1)[1].split("\n## ")[0]
    lines = [line.partition("#")[0].split() for line in section.splitlines() if line.startswith("archive ")]
    assert len(lines) == 4
    for words in lines:
        assert run([word.replace("changes.png", str(tmp_path / "changes.png")) for word in words[1:]]) == 0
    assert (tmp_path / "changes.png").exists()


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["1"], 2, "name two runs"),
        (["1", "2", "3"], 2, "name two runs"),
        (["1", "one"], 2, "'one' is not a valid integer"),
        (["1", "9"], 2, "there is no run 9; `archive compare` lists the runs"),
        (["2", "2"], 2, "run 2 is named twice"),
        (["-o", "x.png"], 2, "name them"),
        (["1", "2", "-o", "x.jpg"], 2, "name it .png"),
        (["1", "2", "-o", "scans/2.png"], 2, "is a scan of the archive"),
        (["1", "2", "-o", "none/x.png"], 5, "none/x.png can't be written"),
        (["1", "2", "--limit", "0"], 2, "--limit"),
        (["--database", "none.db"], 3, "none.db"),
    ],
)
def test_what_goes_wrong_is_one_line_with_its_exit_code(
    here: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, says: str
) -> None:
    assert run(["compare", *args]) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and says in said.err


@pytest.fixture
def db(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def read_document(
    db: Engine, name: str, classifier: str, *texts: str, settings: str = "{}", format: str = "tiff"
) -> int:
    """Let a run read a document whose pages have these numbers; return the run."""
    refs = tuple(PageRef(index, None, index) for index in range(len(texts)))
    document = Document(Path(f"/scans/{name}"), f"{len(name):02}{ord(name[0]):062x}", format, 10, 5.0, refs)
    with writing(db) as conn:
        run_id = current_run(conn, "d" * 64, classifier * 64, settings, new=False, now=1.0)
        add_document(conn, document, run_id, again=True, now=1.0)
    for text in texts:
        due = ledger.take_due(db, now=2.0, limit=1, lease_s=9)[0]
        claim = ledger.claim(db, due.ledger_id, state=due.state, now=2.0, lease_s=9)
        assert claim is not None
        found = tuple(Detection(Box(12.0 * k, 0, 12.0 * k + 10, 20), 0.9) for k in range(len(text)))
        kept = ledger.keep_detected(
            db, claim, PageDetections(found, 1.0), width=600, height=300, now=2.0, lease_s=9
        )
        assert kept is not None
        readings = [Reading(None if digit == "x" else int(digit), 0.8) for digit in text]
        assert ledger.finish_classify(db, kept, readings, group_numbers(found, readings), now=2.0)
    return run_id


def test_rejected_boxes_are_no_digits(db: Engine) -> None:
    for classifier, text in (("a", "18x9"), ("b", "1x79")):
        read_document(db, "book.tif", classifier, text)
    with reading(db) as conn:
        a, b = all_runs(conn)
        found = compare_runs(conn, a, b, 10)
        ids = conn.exec_driver_sql("SELECT id FROM ledger ORDER BY id").scalars().all()
        assert [digits_of(conn, ids)[each].digits.tolist() for each in ids] == [[1, 8, 9], [1, 7, 9]]
        assert digits_of(conn, []) == {}
    assert (found.tally.n_a, found.tally.n_b, found.tally.n_same) == (3, 3, 2)
    assert (found.tally.digits[8, NONE], found.tally.digits[NONE, 7]) == (1, 1)
    assert len(found.changes) == 2


def test_only_pages_that_both_have_done_are_compared_and_those_that_are_there(db: Engine) -> None:
    read_document(db, "book.tif", "a", *["12"] * 3)
    read_document(db, "later.tif", "a", *["3"] * (N_NAMED + 4))
    read_document(db, "book.tif", "b", *["12"] * 3)
    read_document(db, "own.tif", "b", "7")
    with reading(db) as conn:
        a, b = all_runs(conn)
        found = compare_runs(conn, a, b, 10)
    assert (a.n_done, b.n_done, a.n_digits) == (N_NAMED + 7, 4, N_NAMED + 10)
    assert (found.tally.n_pages, found.tally.n_same, found.tally.n_changes) == (3, 6, 0)
    assert (found.only_a.n_pages, len(found.only_a.page_ids), found.only_b.n_pages) == (
        N_NAMED + 4,
        N_NAMED,
        1,
    )
    # another file at the path of a document that both have read
    with writing(db) as conn:
        conn.exec_driver_sql("UPDATE documents SET replaced_at = 3.0 WHERE n_pages = 3")
    with reading(db) as conn:
        a, b = all_runs(conn)
        assert (a.n_done, b.n_done) == (N_NAMED + 4, 1)
        assert compare_runs(conn, a, b, 10).tally.n_pages == 0


def test_pages_of_pdfs_that_were_rendered_otherwise_are_left_out(
    db: Engine, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = read_document(db, "book.pdf", "a", "12", settings='{"render_dpi": 300}', format="pdf")
    second = read_document(db, "book.pdf", "a", "12", settings='{"render_dpi": 150}', format="pdf")
    read_document(db, "other.tif", "b", "12", settings='{"render_dpi": 150}')
    with reading(db) as conn:
        a, b, _ = all_runs(conn)
        found = compare_runs(conn, a, b, 10)
    assert (found.tally.n_pages, found.other_dpi.n_pages) == (0, 1)
    assert run(["compare", str(first), str(second), "--database", database_url]) == 2
    assert "rendered at another dpi" in capsys.readouterr().err
    assert run(["compare", str(first), "3", "--database", database_url]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "runs 1 and 3 have done no page both; `archive ingest --again`" in said.err
