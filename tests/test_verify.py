"""What was damaged by hand, files and rows, is found and named; what is well is left alone."""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, text

from cli.main import run
from pipeline import ledger
from pipeline.catalogue import add_document, current_run
from pipeline.database import open_database, writing
from pipeline.drawn import draw_page
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.scope import Scope, n_documents_and_pages
from pipeline.sources import probe
from pipeline.styles import PageStyle
from pipeline.wholeness import broken_rows

Said = Callable[..., tuple[str, str]]
FORM = """
name = "ledger"
rows = "no"
[columns.no]
from = 0.0
to = 0.4
[columns.day]
from = 0.4
to = 0.9
"""
FOUND = PageDetections(tuple(Detection(Box(9 * x, 2, 9 * x + 8, 20), 0.9) for x in range(6)), 1.0)
READ = (*(Reading(digit, 0.97) for digit in (4, 2, 7, 0, 1)), Reading(None, 0.8))
GROUPED = (
    Number("42", 0.9, Box(0, 2, 17, 20), 0, (0, 1)),
    Number("701", 0.8, Box(18, 2, 44, 20), 0, (2, 3, 4)),
)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scans that were read, and records of one of them."""
    folder = tmp_path_factory.mktemp("read")
    (folder / "scans/box").mkdir(parents=True)
    style = PageStyle(width=500, height=400, digit_px=24.0, columns=("running", "day"))
    for seed, name in ((3, "a.png"), (4, "b.png"), (5, "box/c.png")):
        Image.fromarray(draw_page(seed, style).pixels).save(folder / "scans" / name)
    (folder / "ledger.toml").write_text(FORM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ARCHIVE_DEVICE", "cpu")
        assert run(["ingest", "scans"]) == 0
    return folder


@pytest.fixture
def folder(read: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: scans that were read where they are now, and a database of its own."""
    shutil.copytree(read, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    with sqlite3.connect(tmp_path / "archive.db") as conn:
        conn.execute("UPDATE paths SET path = replace(path, ?, ?)", (str(read), str(tmp_path)))
    conn.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHIVE_DEVICE", "cpu")
    return tmp_path


def damage(*statements: str) -> None:
    """Change rows as another program would: SQLite looks at no foreign key then."""
    conn = sqlite3.connect("archive.db")
    for statement in statements:
        conn.execute(statement)
    conn.commit()
    conn.close()


def lines(said: Said, *words: str, code: int = 5) -> list[list[str]]:
    """What `verify` says: the kind and the rest of each line."""
    out, _ = said("verify", *words, code=code)
    return [line.split("  ", 1) for line in out.splitlines()]


def only(said: Said, *words: str, code: int = 5) -> tuple[str, str]:
    ((kind, rest),) = lines(said, *words, code=code)
    return kind, rest.strip()


def test_all_is_well_where_nothing_was_damaged(folder: Path, said: Said) -> None:
    assert said("verify") == ("all is well: 3 documents, 3 pages, 6 networks\n", "")
    assert said("verify", "--quick", "scans/a.png", "box")[0].startswith("all is well: 2 documents, 2 pages")
    os.utime("scans/a.png", (1, 1))  # copied back, it has another time and the same bytes
    found = json.loads(said("verify", "--json")[0])
    counts = {"n_documents": 3, "n_pages": 3, "n_networks": 6}
    assert found == {"schema_version": 1, "ok": True, **counts, "problems": []}
    _, err = said("verify", "nowhere.png", code=2)
    assert "no document 'nowhere.png'" in err and err.count("\n") == 1


def test_as_many_documents_are_named_as_a_shell_finds(folder: Path, said: Said) -> None:
    named = [f"scans/{name}" for name in ("a.png", "b.png")] * 600
    assert said("verify", "--quick", *named)[0].startswith("all is well: 2 documents, 2 pages")
    damage("DELETE FROM readings WHERE ledger_id = 1 AND position = 0")
    assert "readings of them" in only(said, "--quick", *named)[1]
    assert said("verify", "--quick", "box")[0].startswith("all is well: 1 document, 1 page")


def test_what_became_of_a_scan_is_told_apart(folder: Path, said: Said) -> None:
    scan = folder / "scans/a.png"
    whole, time = scan.read_bytes(), scan.stat().st_mtime_ns
    scan.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    kind, rest = only(said)
    assert kind == "changed" and "it has other bytes" in rest
    os.utime(scan, ns=(time, time))
    assert "its disk may be failing" in only(said)[1]
    assert said("verify", "--quick")[0].startswith("all is well"), "which only looks at size and time"
    os.utime(scan, (1, 1))
    kind, rest = only(said, "--quick")
    assert kind == "changed" and "may be another file" in rest and rest.startswith("scans/a.png: ")
    scan.write_bytes(whole + b"x")
    for words in ((), ("--quick",)):
        assert f"{len(whole):,} bytes were read, and {len(whole) + 1:,} are there" in only(said, *words)[1]
    scan.unlink()
    assert only(said) == ("missing", "scans/a.png: is gone → put it back, or restore it from a backup")
    scan.mkdir()
    assert only(said)[1].startswith("scans/a.png: is no file any more")
    scan.rmdir()
    scan.symlink_to("a.png")
    kind, rest = only(said)
    assert kind == "unreadable" and "symbolic links" in rest
    assert said("verify", "scans/b.png", "box")[0].startswith("all is well: 2 documents")
    found = json.loads(said("verify", "--json", code=5)[0])
    (problem,) = found["problems"]
    assert not found["ok"] and problem["kind"] == "unreadable" and problem["path"] == str(scan)
    assert problem["page"] is None and problem["mend"] and problem["found"]


def test_a_scan_that_moved_is_found_again(folder: Path, said: Said) -> None:
    (folder / "scans/a.png").rename(folder / "scans/box/z.png")
    for words in ((), ("--quick",)):
        kind, rest = only(said, *words)
        assert kind == "moved" and f"is {folder}/scans/box/z.png now → archive ingest" in rest
    said("ingest", "scans/box")
    assert said("verify")[0].startswith("all is well: 3 documents")
    (folder / "scans/box").rename(folder / "scans/crate")
    assert {kind for kind, _ in lines(said)} == {"moved"} and len(lines(said)) == 2
    shutil.move(folder / "scans/crate", folder.parent / f"{folder.name}-away")
    assert {kind for kind, _ in lines(said)} == {"missing"}
    assert all("with its folder" in rest for _, rest in lines(said))


def test_scans_of_one_size_that_moved_are_told_apart(folder: Path, said: Said) -> None:
    """Scans that are not compressed have all the same size, and a copy keeps its time."""
    Path("flat").mkdir()
    for shade in range(3):
        Image.fromarray(np.full((20, 40), 200 + shade, np.uint8)).save(f"flat/{shade}.bmp")
        os.utime(f"flat/{shade}.bmp", (1000 + shade, 1000 + shade))
    said("ingest", "flat")
    assert len({file.stat().st_size for file in Path("flat").iterdir()}) == 1
    Path("flat/moved").mkdir()
    for shade in range(3):
        Path(f"flat/{shade}.bmp").rename(f"flat/moved/{2 - shade}.bmp")
    for words in ((), ("--quick",)):
        told = [rest for kind, rest in lines(said, *words) if kind == "moved"]
        assert [re.findall(r"(\d)\.bmp", line) for line in told] == [[str(k), str(2 - k)] for k in range(3)]


def test_one_of_several_copies_may_be_gone(folder: Path, said: Said) -> None:
    shutil.copy2("scans/a.png", "scans/copy.png")
    said("ingest", "scans")
    Path("scans/a.png").unlink()
    assert said("verify")[0].startswith("all is well: 3 documents")
    Path("scans/copy.png").write_bytes(b"x")
    assert only(said)[1].startswith("scans/copy.png: is another file now")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM readings WHERE ledger_id = 1 AND position = 0", r"digit boxes and .* readings of them"),
        ("DELETE FROM detections WHERE ledger_id = 1 AND position = 0", r"digit boxes and .* readings"),
        ("UPDATE ledger SET n_digits = n_digits + 1 WHERE id = 1", "is said to have .* digits"),
        ("UPDATE ledger SET n_numbers = 0 WHERE id = 1", "is said to have 0 numbers"),
        ("UPDATE readings SET number = NULL WHERE ledger_id = 1 AND place = 0", "digits are not all there"),
        (
            "UPDATE ledger SET state = 'waiting' WHERE id = 1",
            "is waiting in run 1, and has readings, numbers",
        ),
        ("UPDATE ledger SET current = 0 WHERE id = 1", "has no run that is shown"),
        ("UPDATE documents SET n_pages = 2 WHERE id = 1", "has 2 pages, and 1 are in the database"),
    ],
)
def test_rows_that_are_damaged_are_named(folder: Path, said: Said, statement: str, told: str) -> None:
    damage(statement)
    kind, rest = only(said, "--quick")
    assert kind == "rows" and rest.startswith("scans/") and re.search(told, rest), rest
    assert " → " in rest and only(said, "--quick", "scans") == (kind, rest)


def test_what_is_said_to_mend_rows_mends_them(folder: Path, said: Said) -> None:
    damage(
        "DELETE FROM readings WHERE ledger_id = 1 AND position = 0",
        "UPDATE ledger SET current = 0 WHERE id = 2",
        "UPDATE ledger SET state = 'waiting' WHERE id = 3",
    )
    found = [rest.strip() for _, rest in lines(said, "--quick")]
    assert len(found) == 3
    said("delete", next(rest for rest in found if "archive delete" in rest).split(",")[0], "--yes")
    said("ingest", "--again", "scans")
    assert said("verify", "--quick")[0].startswith("all is well: 3 documents, 3 pages")


def test_rows_whose_parents_are_gone_are_told(folder: Path, said: Said) -> None:
    damage("DELETE FROM ledger WHERE id = 1", "DELETE FROM paths WHERE document_id = 2")
    told = [rest for _, rest in lines(said)]
    assert any("has no run that is shown" in line for line in told)
    assert any("has no path" in line for line in told)
    assert any("rows of readings belong to ledger that are not there" in line for line in told)


def test_records_lack_nothing_of_their_form(folder: Path, said: Said) -> None:
    said("form", "apply", "ledger.toml")
    assert said("verify")[0].startswith("all is well")
    damage(
        "DELETE FROM fields WHERE (ledger_id, record) IN (SELECT ledger_id, max(position) FROM records"
        " WHERE ledger_id = 1) AND name = 'day'"
    )
    kind, rest = only(said)
    assert kind == "rows" and "has 1 of the 2 fields of its form → apply the form again" in rest
    said("form", "apply", "ledger.toml")
    assert said("verify")[0].startswith("all is well")
    damage("UPDATE forms SET form = replace(form, '0.4', '0.5')")
    assert only(said)[1].startswith("form ledger is no longer what was applied")
    damage("DELETE FROM forms")
    told = [rest for _, rest in lines(said, "scans/a.png")]
    assert any("the form of row 1 is not there" in rest for rest in told)
    assert any("is to have records by a form that is not there → apply the form" in rest for rest in told)
    said("form", "apply", "ledger.toml")
    assert said("verify")[0].startswith("all is well")


def test_networks_that_read_are_looked_for(folder: Path, said: Said) -> None:
    missing = "ab" * 32
    damage(f"UPDATE runs SET detector_sha256 = '{missing}'")
    kind, rest = only(said, "--quick", code=3)
    assert kind == "network" and rest.startswith(f"detector {missing[:12]} is not at hand, and 3 pages were")
    damage("UPDATE ledger SET n_digits = 0 WHERE id = 1")
    assert {kind for kind, _ in lines(said)} == {"network", "rows"}
    damage("DELETE FROM ledger", "DELETE FROM pages", "UPDATE documents SET n_pages = 0")
    assert not any(kind == "network" for kind, _ in lines(said)), "no page that is shown was read with it"


@pytest.fixture
def db(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def fill(db: Engine, folder: Path, n: int) -> None:
    """Read `n` pages, without a network."""
    with writing(db) as conn:
        run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=1.0)
        for shade in range(n):
            scan = folder / f"{shade}.png"
            Image.fromarray(np.full((30, 60), 250 - shade, np.uint8)).save(scan)
            add_document(conn, probe(scan, max_pixels=10**6), run_id, again=False, now=1.0)
    for due in ledger.take_due(db, now=2.0, limit=n, lease_s=9):
        claim = ledger.claim(db, due.ledger_id, state=due.state, now=2.0, lease_s=9)
        assert claim is not None
        assert ledger.finish_detect(db, claim, FOUND, width=60, height=30, blob=None, now=2.0, lease_s=9)
        claim = ledger.claim(db, claim.ledger_id, state="detected", now=2.0, lease_s=9)
        assert claim is not None and ledger.finish_classify(db, claim, READ, GROUPED, now=2.0)


def test_both_databases_count_alike(db: Engine, database_url: str, tmp_path: Path, said: Said) -> None:
    fill(db, tmp_path, 4)
    words = ("--database", database_url, "verify", "--json")
    found = json.loads(said(*words, code=3)[0])  # nobody has networks of these hashes
    assert (found["n_documents"], found["n_pages"], found["n_networks"]) == (4, 4, 2)
    assert [problem["kind"] for problem in found["problems"]] == ["network"] * 2
    for statement in (
        "UPDATE readings SET place = 5 WHERE ledger_id = 1 AND position = 0",
        "UPDATE readings SET number = 3 WHERE ledger_id = 2 AND number = 1",
        "UPDATE numbers SET text = '7010' WHERE ledger_id = 3 AND position = 1",
        "DELETE FROM detections WHERE ledger_id = 4",
    ):
        with writing(db) as conn:
            conn.execute(text(statement))
    (tmp_path / "0.png").unlink()
    found = json.loads(said(*words, code=5)[0])
    rows = [problem for problem in found["problems"] if problem["kind"] == "rows"]
    assert [Path(problem["path"]).name for problem in rows] == [f"{k}.png" for k in range(4)]
    assert {problem["page"] for problem in rows} == {1}
    assert [problem["kind"] for problem in found["problems"]] == ["rows"] * 4 + ["network"] * 2 + ["missing"]
    out, _ = said(*words, str(tmp_path / "1.png"), code=5)
    assert len(json.loads(out)["problems"]) == 3


def test_statements_are_as_many_for_one_page_as_for_many(db: Engine, tmp_path: Path) -> None:
    from sqlalchemy import event

    from pipeline.database import reading

    seen: list[str] = []
    event.listen(db, "before_cursor_execute", lambda *args: seen.append(args[2]))
    n_statements = []
    for n in (1, 40):
        fill(db, tmp_path, n)
        seen.clear()
        with reading(db) as conn:
            assert not list(broken_rows(conn, Scope()))
            assert n_documents_and_pages(conn, Scope()) == (n, n)
        n_statements.append(len(seen))
    assert n_statements[0] == n_statements[1] < 15
