"""Commands that read the database, on an archive that the ledger's own functions filled."""

import csv
import fcntl
import io
import json
import os
import pty
import struct
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.main import run
from pipeline import catalogue, ledger
from pipeline.database import open_database, reading, writing
from pipeline.numbers import group_numbers
from pipeline.page import Alternative, Box, Detection, Number, PageDetections, Reading
from pipeline.sources import probe

ARCHIVE = Path(sys.executable).with_name("archive")
DETECTOR, CLASSIFIER = "d" * 64, "c" * 64
SIZE = (400, 300)  # width, height
PAGES = {
    "a.png": (("0042", 0.99), ("1987", 0.9), ("7", 0.4)),
    "b.tif": (("42", 0.98), ("120", 0.97)),
    "sub folder/a copy.png": (("0", 0.95),),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, and the current one, with an archive of three documents, a failed page and a failed file."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("ARCHIVE_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)
    db = open_database("sqlite:///archive.db")
    with writing(db) as conn:
        run_id = catalogue.current_run(conn, DETECTOR, CLASSIFIER, '{"render_dpi": 300}', new=False, now=1.0)
    for shade, (name, numbers) in enumerate(PAGES.items()):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("L", SIZE, 250 - shade).save(path)
        with writing(db) as conn:
            catalogue.add_document(conn, probe(path, max_pixels=10**6), run_id, again=False, now=2.0 + shade)
        _read(db, numbers)
    bad = tmp_path / "torn.png"
    Image.new("L", SIZE, 7).save(bad)
    with writing(db) as conn:
        catalogue.add_document(conn, probe(bad, max_pixels=10**6), run_id, again=False, now=9.0)
        catalogue.add_failed_document(
            conn,
            tmp_path / "locked.pdf",
            "is protected by a password",
            sha256="e" * 64,
            format="pdf",
            size_bytes=10,
            modified_at=1.0,
            now=9.0,
        )
    claim = _claim(db)
    ledger.set_aside(db, claim, "is cut short", now=10.0)
    db.dispose()
    return tmp_path


def _claim(db: object) -> ledger.Claim:
    due = ledger.take_due(db, now=time.time(), limit=1, lease_s=100)[0]
    claim = ledger.claim(db, due.ledger_id, state=due.state, now=time.time(), lease_s=100)
    assert claim is not None
    return claim


def _read(db: object, numbers: tuple[tuple[str, float], ...]) -> None:
    """Take the page that is due to done, with these numbers below one another."""
    detections, readings = [], []
    for line, (digits, confidence) in enumerate(numbers):
        for place, digit in enumerate(digits):
            x, y = 20 + 16 * place, 20 + 60 * line
            detections.append(Detection(Box(x, y, x + 14, y + 20), 0.9))
            readings.append(Reading(int(digit), confidence ** (1 / len(digits))))
    detections.append(Detection(Box(300, 200, 310, 220), 0.3))
    readings.append(Reading(None, 0.9))
    claim = _claim(db)
    found = PageDetections(tuple(detections), 1.0)
    assert ledger.finish_detect(
        db, claim, found, width=SIZE[0], height=SIZE[1], blob=None, now=time.time(), lease_s=100
    )
    claim = ledger.claim(db, claim.ledger_id, state="detected", now=time.time(), lease_s=100)
    assert claim is not None
    grouped = tuple(map(_doubted, group_numbers(detections, readings)))
    assert ledger.finish_classify(db, claim, readings, grouped, now=time.time())


def _doubted(number: Number) -> Number:
    """The number with other readings, each with some of what its confidence leaves."""
    texts = [f"1{number.text}", f"{number.text}1", *(f"{number.text}{k}5" for k in range(3))]
    others = (
        Alternative(text, round((1 - number.confidence) / 2**k, 4), number.members)
        for k, text in enumerate(texts, 1)
    )
    return replace(number, alternatives=tuple(one for one in others if one.probability >= 0.0005))


def numbers_of(capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
    assert run(["query", "--json", *args]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema_version"] == 1
    return [number["number"] for number in found["numbers"]]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], ["0042", "1987", "7", "42", "120", "0"]),
        (["0042"], ["0042"]),
        (["42"], ["42"]),
        (["5"], []),
        (["--prefix", "0"], ["0042", "0"]),
        (["--pattern", "?2*"], ["42", "120"]),
        (["--pattern", "*2"], ["0042", "42"]),
        (["--min", "42", "--max", "120"], ["0042", "42", "120"]),
        (["--min", "00120"], ["1987", "120"]),
        (["--max", "6"], ["0"]),
        (["--document", "a.png"], ["0042", "1987", "7"]),
        (["--document", "sub folder"], ["0"]),
        (["--document", "b.tif", "--page", "1"], ["42", "120"]),
        (["--page", "2"], []),
        (["--confidence", "0.96"], ["0042", "42", "120"]),
        (["--doubtful", "0.95"], ["7", "1987", "0"]),
        (["--order", "text"], ["0", "0042", "120", "1987", "42", "7"]),
        (["--order", "number"], ["0", "7", "0042", "42", "120", "1987"]),
        (["--order", "confidence", "--limit", "2"], ["7", "1987"]),
    ],
)
def test_query_finds_exactly_what_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str], args: list[str], expected: list[str]
) -> None:
    assert numbers_of(capsys, *args) == expected


def test_query_csv_keeps_numbers_as_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["query", "--csv", "--document", "a.png"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1].startswith('"0042",0.99,"')
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["number"], row["page"], row["line"]) for row in rows] == [
        ("0042", "1", "1"),
        ("1987", "1", "2"),
        ("7", "1", "3"),
    ]
    assert rows[0]["document"] == str(folder / "a.png")
    assert [float(rows[0][edge]) for edge in ("x0", "y0", "x1", "y1")] == [20, 20, 82, 40]


def test_query_prints_a_table_and_says_that_there_are_more(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", "--limit", "2"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "NUMBER  CONFIDENCE  PAGE  LINE  DOCUMENT",
        "  0042        0.99     1     1  a.png",
        "  1987        0.90     1     2  a.png",
    ]
    assert "--limit 0" in said.err
    assert run(["query", "--limit", "6"]) == 0
    assert "--limit 0" not in capsys.readouterr().err
    assert run(["query", "31415"]) == 0
    said = capsys.readouterr()
    assert said.out == "" and said.err == "no number is like that\n"


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["query", "--json", "--csv"], 2, "one of them"),
        (["query", "19*"], 2, "--pattern '19*'"),
        (["query", "--min", "abc"], 2, "'abc'"),
        (["query", "--confidence", "7"], 2, "--confidence"),
        (["query", "--document", "nowhere.png"], 2, "nowhere.png"),
        (["show", "a.png", "-o", "page.txt"], 2, ".png or .jpg"),
        (["show", "a.png", "-o", "page.png", "--json"], 2, "--alternatives"),
        (["show", "a.png", "-o", "-", "--alternatives"], 2, "stdout"),
        (["show", "a.png:3", "-o", "page.png"], 2, "has no page 3"),
        (["show", "torn.png", "-o", "page.png"], 5, "is cut short"),
        (["show", "a.png", "-o", "none/page.png"], 5, "none/page.png can't be written"),
        (["failed", "show", "99"], 2, "99"),
        (["failed", "retry"], 2, "--all"),
        (["failed", "retry", "1", "--all"], 2, "--all"),
        (["export", "digits", "-o", "."], 5, "is a folder"),
        (["--database", "none.db", "status"], 3, "none.db"),
        (["--database", "a.png", "status"], 5, "a.png"),
        (["--database", "oracle://x", "status"], 9, "oracle"),
        (["status", "--config", "none.toml"], 9, "none.toml"),
    ],
)
def test_what_goes_wrong_is_one_line_with_its_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, says: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert run(args) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and says in said.err
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.png")} == before


def test_status_counts_documents_pages_digits_and_numbers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_documents"], found["n_failed_documents"], found["n_pages"]) == (5, 1, 4)
    assert (found["n_done"], found["n_failed"], found["n_waiting"]) == (3, 1, 0)
    assert (found["n_digits"], found["n_numbers"]) == (15, 6)
    assert run(["status"]) == 0
    lines = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert lines["done"] == "3" and lines["failed"] == "1" and lines["numbers"] == "6"


def test_failed_lists_and_shows_each_with_its_one_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["failed", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["failed"]
    reasons = {Path(failure["path"]).name: failure["reason"] for failure in found}
    assert reasons == {"torn.png": "is cut short", "locked.pdf": "is protected by a password"}
    ids = {Path(failure["path"]).name: failure["id"] for failure in found}
    assert run(["failed", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        f"{ids['torn.png']} torn.png, page 1: is cut short",
        f"{ids['locked.pdf']} locked.pdf: is protected by a password",
    ]
    assert run(["failed", "show", ids["locked.pdf"]]) == 0
    shown = capsys.readouterr().out
    assert "is protected by a password" in shown and f"archive failed retry {ids['locked.pdf']}" in shown


def test_show_draws_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("page.jpg", "page.png"):
        assert run(["show", "a.png:1", "-o", name]) == 0
        with Image.open(folder / name) as drawn:
            pixels = np.asarray(drawn.convert("RGB")).astype(int)
        colourful = np.ptp(pixels, axis=2) > 60
        assert colourful.any(), "the page is grey: colour is what was drawn"
        assert capsys.readouterr().err == f"9 digits, 3 numbers → {name}\n"
    # of the PNG, the last: a frame in one piece around the first digit, on a page drawn at twice its size
    x0, y0, x1, y1 = (2 * edge for edge in (20, 20, 34, 40))
    assert all(colourful[y0:y1, x : x + 3].any(axis=1).all() for x in (x0 - 3, x1))
    assert all(colourful[y : y + 3, x0:x1].any(axis=0).all() for y in (y0 - 3, y1))
    assert not colourful[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].any(), "nothing hides the digit"


def test_show_prints_what_else_numbers_may_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.png").unlink()  # nothing is drawn: the scan is not needed
    assert run(["show", "a.png", "--alternatives"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NUMBER  CONFIDENCE  ALTERNATIVES"
    assert lines[3] == "     7       0.400  17 0.300, 71 0.150, 705 0.075, 715 0.037, 725 0.019"
    assert run(["show", "a.png", "--alternatives", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["schema_version"] == 1 and (said["document"], said["page"]) == (str(folder / "a.png"), 1)
    last = said["numbers"][-1]
    assert (last["number"], last["confidence"], last["line"], last["position"]) == ("7", 0.4, 3, 2)
    assert last["alternatives"][0] == {"number": "17", "probability": 0.3, "box": [20, 140, 34, 160]}
    assert last["box"] == [20, 140, 34, 160] and len(last["alternatives"]) == 5


def test_show_prints_as_many_alternatives_as_fit(folder: Path) -> None:
    lines = in_terminal("show", "a.png", "--alternatives")
    assert len(lines) == 4 and max(map(len, lines)) <= 80
    assert all("," in line and not line.endswith(",") for line in lines[1:])


def test_show_draws_and_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "b.tif", "--alternatives", "-o", "page.png"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3 and said.err == "5 digits, 2 numbers → page.png\n"
    assert (folder / "page.png").exists()


def test_show_never_writes_over_a_scan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "link.png").symlink_to("a.png")
    before = (folder / "a.png").read_bytes()
    for target in ("a.png", "link.png", str(folder / "sub folder/a copy.png")):
        assert run(["show", "b.tif", "-o", target]) == 2
        assert "is a scan of the archive" in capsys.readouterr().err
    assert (folder / "a.png").read_bytes() == before


def test_show_draws_whatever_could_be_read(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIVE_MAX_PIXELS", "1000")
    assert run(["show", "a.png", "-o", "page.png"]) == 0, capsys.readouterr().err


def test_show_says_when_the_scan_is_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.png").unlink()
    assert run(["show", "a.png", "-o", "page.png"]) == 5
    assert f"{folder / 'a.png'}, page 1: is gone" in capsys.readouterr().err
    assert not (folder / "page.png").exists()


def test_export_digits_has_the_form_that_scoring_reads(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", "digits", "-o", "digits.jsonl"]) == 0
    pages = [json.loads(line) for line in (folder / "digits.jsonl").read_text().splitlines()]
    assert [(page["image"], page["page"]) for page in pages] == [
        ("a.png", 0),
        ("b.tif", 0),
        ("a copy.png", 0),
    ]
    assert (pages[0]["width"], pages[0]["height"], pages[0]["turned"]) == (*SIZE, 0)
    first = pages[0]["digits"][0]
    assert first.keys() == {"box", "digit", "confidence", "score", "number"}
    assert (first["box"], first["digit"], first["number"]) == ([20, 20, 34, 40], 0, 0)
    assert [digit["digit"] for digit in pages[0]["digits"]] == [0, 0, 4, 2, 1, 9, 8, 7, 7], (
        "rejects are left out"
    )
    assert run(["export", "digits", "-o", "-"]) == 0
    assert capsys.readouterr().out == (folder / "digits.jsonl").read_text()


def test_a_database_named_after_the_command_wins_over_one_before_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--database", "none.db", "status", "--database", "archive.db"]) == 0
    assert run(["--database", "archive.db", "status", "--database", "none.db"]) == 3
    assert run(["--database", "archive.db", "failed", "--database", "none.db", "list"]) == 3
    assert run(["failed", "list", "--database", "none.db"]) == 3
    capsys.readouterr()


def test_options_are_variables_too(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIVE_QUERY_LIMIT", "1")
    assert numbers_of(capsys) == ["0042"]
    assert numbers_of(capsys, "--limit", "2") == ["0042", "1987"]
    monkeypatch.setenv("ARCHIVE_DATABASE_URL", "none.db")
    assert run(["query"]) == 3
    assert numbers_of(capsys, "--database", "archive.db") == ["0042"]
    monkeypatch.setenv("ARCHIVE_QUERY_LIMITT", "1")
    assert run(["status"]) == 9
    assert "did you mean ARCHIVE_QUERY_LIMIT?" in capsys.readouterr().err


def test_reading_commands_leave_the_database_as_it_was(folder: Path) -> None:
    db = open_database("sqlite:///archive.db")
    with reading(db) as conn:
        before = conn.exec_driver_sql("SELECT id, state, attempts, lease_until FROM ledger ORDER BY id").all()
    for args in (["status"], ["query"], ["failed", "list"], ["export", "digits", "-o", "-"]):
        assert run(args) == 0
    with reading(db) as conn:
        after = conn.exec_driver_sql("SELECT id, state, attempts, lease_until FROM ledger ORDER BY id").all()
    db.dispose()
    assert after == before


def in_terminal(*args: str) -> list[str]:
    """Run a command in a terminal of 80 columns and return the lines that it shows."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(ARCHIVE, [str(ARCHIVE), *args])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux says so where the other side is closed
            break
        if not data:
            break
        shown += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return shown.decode().replace("\r", "").splitlines()


def test_a_table_fits_the_terminal_and_keeps_both_ends_of_a_path(folder: Path) -> None:
    long = folder / ("a folder with a long name " * 3) / "registers of the year 1890" / "page 17.png"
    long.parent.mkdir(parents=True)
    (folder / "a.png").rename(long)
    db = open_database("sqlite:///archive.db")
    with writing(db) as conn:
        run_id = catalogue.current_run(conn, DETECTOR, CLASSIFIER, '{"render_dpi": 300}', new=False, now=20.0)
        catalogue.add_document(conn, probe(long, max_pixels=10**6), run_id, again=False, now=20.0)
    db.dispose()
    lines = in_terminal("query", "--document", long.name)
    assert len(lines) == 4
    assert max(len(line) for line in lines) <= 80
    assert all("a folder with" in line and line.endswith("page 17.png") and "…" in line for line in lines[1:])
