"""Thresholds: they keep what they say, are chosen with care, and the command says what a query lists."""

import csv
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from cli.main import run
from models.checkpoint import file_sha256
from pipeline import catalogue, ledger
from pipeline.database import open_database, writing
from pipeline.drawn import DrawnPage, draw_page, draw_strip
from pipeline.settings import Settings
from pipeline.sources import probe
from pipeline.storage import Files
from pipeline.thresholds import STEP, choose_threshold, kept_by, least_kept, second_half, trade_off
from workers import stages
from workers.in_hand import InHand
from workers.networks import Networks
from workers.stages import Bench
from workers.tasks import work_on
from workers.trouble import Trouble

Answers = tuple[np.ndarray, np.ndarray]

# few values, so that many answers are equally sure; the last is what confidence never exceeds
sure = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.98765, 0.9876500001, 0.9999]))
answers = st.lists(st.tuples(sure, st.booleans()), max_size=60).map(
    lambda pairs: (np.array([c for c, _ in pairs], np.float64), np.array([r for _, r in pairs], bool))
)
targets = st.one_of(st.floats(0.01, 0.99), st.sampled_from([0.5, 0.7, 0.8, 0.9, 0.95]))


def is_good(threshold: float, some: Answers, target: float) -> bool:
    """Say in plain words whether a threshold keeps answers that are right often enough."""
    kept = [bool(right) for confidence, right in zip(*some, strict=True) if confidence >= threshold]
    return (kept.count(False) + 1) / (len(kept) + 1) <= 1 - target + 1e-8


@examples(max_examples=50)
@given(answers, targets)
def test_the_lowest_threshold_that_is_good_is_chosen(some: Answers, target: float) -> None:
    chosen = choose_threshold(*some, target)
    confidence, _ = some
    lower = [step * STEP for step in sorted({int(c // STEP) + more for c in confidence for more in (-1, 0)})]
    if chosen is None:
        assert not any(is_good(threshold, some, target - 1e-7) for threshold in lower)
    else:
        assert is_good(chosen, some, target)
        fewer = [t for t in lower if kept_by(t, *some).n_kept > kept_by(chosen, *some).n_kept]
        assert not any(is_good(threshold, some, target + 1e-7) for threshold in fewer)


@examples(max_examples=50)
@given(answers, targets)
def test_a_threshold_keeps_the_same_when_it_is_typed(some: Answers, target: float) -> None:
    chosen = choose_threshold(*some, target)
    if chosen is not None:
        assert kept_by(float(f"{chosen:.4f}"), *some) == kept_by(chosen, *some)
        assert float(f"{chosen:g}") == chosen


@examples(max_examples=50)
@given(answers)
def test_the_trade_off_counts_what_each_threshold_keeps(some: Answers) -> None:
    curve = trade_off(*some)
    assert curve.n == len(some[0])
    for threshold, *counts in zip(curve.thresholds, curve.n_kept, curve.n_right, strict=True):
        kept = kept_by(float(threshold), *some)
        assert [kept.n_kept, kept.n_right] == counts and kept.n_kept > 0
    assert (np.diff(curve.thresholds) > 0).all() and (np.diff(curve.n_kept) <= 0).all()
    if curve.n:
        assert curve.n_kept[0] == curve.n, "the first keeps all"


@examples(max_examples=50)
@given(answers, targets, st.randoms(use_true_random=False))
def test_the_order_of_answers_decides_nothing(some: Answers, target: float, random: Any) -> None:
    order = list(range(len(some[0])))
    random.shuffle(order)
    assert choose_threshold(some[0][order], some[1][order], target) == choose_threshold(*some, target)


@examples(max_examples=50)
@given(answers, targets, targets)
def test_who_asks_for_more_keeps_no_more(some: Answers, one: float, other: float) -> None:
    low, high = sorted((one, other))
    strict, lax = (kept_by(choose_threshold(*some, target), *some) for target in (high, low))
    assert strict.n_kept <= lax.n_kept


@examples(max_examples=50)
@given(st.integers(1, 400), targets)
def test_a_few_right_answers_are_too_few(n: int, target: float) -> None:
    some = np.full(n, 0.95), np.ones(n, bool)
    assert (choose_threshold(*some, target) == 0.95) == (n >= least_kept(target))


@pytest.mark.parametrize(
    ("right", "target", "expected"),
    [
        ("", 0.5, None),
        ("1" * 9, 0.9, 0.9),  # (0 + 1) / (9 + 1) is just enough
        ("1" * 8, 0.9, None),
        ("0" + "1" * 9, 0.9, 0.91),  # without the wrong one it is
        ("1" * 9 + "0", 0.9, None),  # the surest is wrong
        ("0" + "1" * 18 + "0", 0.9, 0.9 + 1e-4),
    ],
)
def test_known_answers(right: str, target: float, expected: float | None) -> None:
    n = len(right)
    confidence = 0.9 + 0.01 * np.arange(n) if n <= 10 else 0.9 + 1e-4 * np.arange(n)
    assert choose_threshold(confidence, np.array([r == "1" for r in right], bool), target) == (
        pytest.approx(expected) if expected is not None else None
    )


def test_nothing_kept_has_no_share() -> None:
    none = kept_by(None, np.array([0.5]), np.array([True]))
    assert (none.n, none.n_kept, none.kept, none.right_of_kept) == (1, 0, 0.0, None)
    assert kept_by(0.1, np.zeros(0), np.zeros(0, bool)).kept is None


@examples(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.text("xyz", max_size=3)), unique=True), st.randoms())
def test_halves_are_equal_in_each_collection(pages: list[tuple[str, str]], random: Any) -> None:
    half = dict(zip(pages, second_half(pages).tolist(), strict=True))
    for collection in {name for name, _ in pages}:
        its = [half[page] for page in sorted(pages) if page[0] == collection]
        assert all(one != following for one, following in pairwise(its)), "they take turns"
    assert abs(2 * sum(half.values()) - len(pages)) <= 1
    shuffled = random.sample(pages, len(pages))
    assert dict(zip(shuffled, second_half(shuffled).tolist(), strict=True)) == half


def write_page(folder: Path, name: str, page: DrawnPage, *, n_wrong: int = 0) -> None:
    """Write a drawn page, and what stands on it as PAGE XML, in which the first numbers are wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page.pixels).save(folder / f"{name}.png")
    lines = []
    for k, number in enumerate(page.numbers):
        x0, y0, x1, y1 = number.box.x0 - 3, number.box.y0 - 3, number.box.x1 + 3, number.box.y1 + 3
        text = number.text if k >= n_wrong else "".join(str(9 - int(digit)) for digit in number.text)
        lines.append(
            f'<TextLine><Coords points="{x0},{y0} {x1},{y0} {x1},{y1} {x0},{y1}"/>'
            f"<TextEquiv><Unicode>{text}</Unicode></TextEquiv></TextLine>"
        )
    (folder / f"{name}.xml").write_text(f"<PcGts>{''.join(lines)}</PcGts>", encoding="utf-8")


N_WRONG = 2  # numbers of one page


@pytest.fixture
def register(tmp_path: Path) -> Path:
    """Two collections with three drawn pages; all that is wrong on them is in the transcription of one."""
    for seed, place in enumerate(("first/p1", "first/p2", "second/p1")):
        where = tmp_path / "register" / place
        page = draw_page(seed, "ledger", width=420, height=460, digit_px=22.0)
        write_page(where.parent, where.name, page, n_wrong=N_WRONG if seed == 0 else 0)
    return tmp_path / "register"


def read_into_archive(scans: list[Path]) -> None:
    """Read scans into archive.db by the stages of `archive ingest`, without a process of their own."""
    settings = Settings(database_url="sqlite:///archive.db")
    db = open_database(settings.database_url)
    bench = Bench(db, Files(settings.files), Networks(settings), settings, InHand(60), 60.0, 60.0)
    with writing(db) as conn:
        weights = file_sha256(settings.detector), file_sha256(settings.classifier)
        run_id = catalogue.current_run(conn, *weights, "{}", new=False, now=time.time())
        for scan in scans:
            document = probe(scan, max_pixels=settings.max_pixels)
            catalogue.add_document(conn, document, run_id, again=False, now=time.time())
    for due in ledger.take_due(db, now=time.time(), limit=len(scans), lease_s=60):
        assert work_on(bench, Trouble(60), due, stages.detect_and_classify)
    db.dispose()


def test_the_command_says_what_a_query_lists(
    register: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["threshold", "register", "--target", "0.87", "-o", "out", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["schema_version"], found["target"], found["n_pages"]) == (1, 0.87, 3)
    assert found["halves"] == [["first/p1.png", "second/p1.png"], ["first/p2.png"]]
    assert any("3 transcribed pages are too few" in note for note in found["notes"])
    for kind in ("digits", "numbers"):
        whole, elsewhere = found[kind], found[kind]["elsewhere"]
        assert whole["threshold"] is not None and whole["n_kept"] >= least_kept(0.87)
        n_wrong = whole["n_kept"] - whole["n_right"]
        assert n_wrong + 1 <= 0.13 * (whole["n_kept"] + 1)
        assert whole["kept"] == pytest.approx(whole["n_kept"] / whole["n"], abs=1e-6)
        assert sum(other["n"] for other in elsewhere) == whole["n"]
        assert [other["chosen_on"] for other in elsewhere] == [0, 1]
    with (tmp_path / "out/trade-off.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "numbers"]
    assert int(rows[0]["kept"]) - int(rows[0]["right"]) == N_WRONG, "the networks read these pages well"
    (chosen,) = (row for row in rows if float(row["threshold"]) == found["numbers"]["threshold"])
    assert (int(chosen["kept"]), int(chosen["right"])) == (
        found["numbers"]["n_kept"],
        found["numbers"]["n_right"],
    )
    assert json.loads((tmp_path / "out/threshold.json").read_text(encoding="utf-8")) == found
    for name in ("trade-off.png", "surest-wrong.png"):
        assert name in said.err and np.asarray(Image.open(tmp_path / "out" / name)).std() > 5

    read_into_archive(sorted(register.rglob("*.png")))
    listed = []
    for option in ("--confidence", "--doubtful"):
        assert run(["query", option, str(found["numbers"]["threshold"]), "--limit", "0", "--json"]) == 0
        listed.append(json.loads(capsys.readouterr().out)["numbers"])
    assert len(listed[0]) == found["numbers"]["n_kept"]
    assert len({str(number) for some in listed for number in some}) == found["numbers"]["n"], "none is lost"


def test_tables_fit_a_terminal_and_say_plainly_that_there_is_no_threshold(
    register: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (register / "second/p1.png").write_bytes(b"")
    assert run(["threshold", str(register), "--target", "0.995"]) == 4
    said = capsys.readouterr()
    assert "p1.png: is empty" in said.err and "1 page left out" in said.err
    rows = [line for line in said.out.splitlines() if line.startswith(("digits", "numbers"))]
    assert len(rows) == 6 and all(len(line) <= 80 for line in rows)
    assert all("none" in row and row.endswith("–") for row in rows)
    assert "numbers are too few for 99.5 %: that takes 199 at least" in said.out
    assert "archive query" not in said.out, "nothing can be accepted"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["empty"], 5, "no transcription"),
        (["one"], 5, "two pages at least"),
        (["blank"], 5, "no digit was found"),
        (["none"], 2, "none"),
        (["one", "--target", "1"], 2, "0<x<1"),
        (["one", "--target", "99"], 2, "0<x<1"),
        (["one", "--detector", "none.safetensors"], 3, "none.safetensors"),
    ],
)
def test_what_cannot_be_said_is_one_line(
    words: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    write_page(tmp_path / "one", "p", draw_strip(1))
    for name in ("p", "q"):
        write_page(tmp_path / "blank", name, DrawnPage(np.full((200, 200), 240, np.uint8), (), ()))
    monkeypatch.chdir(tmp_path)
    assert run(["threshold", *words]) == code
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and said.out == ""
