"""Pages sorted on their way, as a user does it: a sorter trained on a few, a paths file, the real queue."""

import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_kinds import PATHS, draw_kind, write_kinds
from sqlalchemy import text

from models.checkpoint import load_checkpoint, save_checkpoint
from models.sorting import Sorter, load_sorter
from pipeline.database import open_database, reading
from pipeline.network_store import look_through, network_file
from pipeline.settings import WEIGHTS

Said = Callable[..., tuple[str, str]]
N_PAGES = 12  # of three kinds
FORM = '[fields.total]\nbox = [0.0, 0.0, 1.0, 1.0]\ntype = "number"\n'
pytestmark = pytest.mark.usefixtures("room")


@pytest.fixture
def room(tmp_path: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with scans of three kinds and one in between, another classifier, and paths for the kinds."""
    monkeypatch.chdir(tmp_path)
    save_other_classifier(Path("other.safetensors"))
    monkeypatch.setenv("ARCHIVE_NETWORKS_FOLDER", str(rooms))
    monkeypatch.setenv("ARCHIVE_CACHE", "cache")
    Path("paths.toml").write_text(f"doubtful_below = 0.7\n{PATHS}")
    write_kinds(Path("kinds"), N_PAGES // 3)
    Path("scans").mkdir()
    for file in Path("kinds").glob("*/*.png"):
        file.rename(Path("scans", file.name))
    Image.fromarray(between(sorter_of(rooms))).save("scans/odd.png")
    return tmp_path


def save_other_classifier(file: Path) -> None:
    """Write a classifier that reads nearly as the shipped one, but never as surely."""
    weights, metadata = load_checkpoint(WEIGHTS / "digit_classifier.safetensors", "digit-classifier")
    torch.manual_seed(0)
    for weight in weights.values():
        if weight.dim() > 1:
            weight += 0.03 * weight.std() * torch.randn_like(weight)
    save_checkpoint(file, weights, metadata)


def sorter_of(store: Path) -> Sorter:
    (card,) = look_through(store, ("sorter",)).cards
    return load_sorter(network_file(store, "sorter", card.sha256), "cpu")


def between(sorter: Sorter) -> np.ndarray:
    """Return a page, uint8 (H, W), that is half one kind and half another, so that the sorter is in doubt."""
    cover, form = draw_kind("cover", 50), draw_kind("form", 50)
    mixed = [np.where(np.arange(cover.shape[1]) < x, cover, form) for x in range(10, 290, 10)]
    return min(mixed, key=lambda page: float(sorter.sort(page).max()))


def rows(columns: str, database: str = "archive.db") -> list[tuple[Any, ...]]:
    with closing(open_database(database if ":" in database else f"sqlite:///{database}").connect()) as conn:
        query = (
            f"SELECT {columns} FROM ledger JOIN pages ON pages.id = page_id JOIN paths USING (document_id)"
            " ORDER BY path"
        )
        return [tuple(row) for row in conn.execute(text(query))]


def state_and_kind(database: str = "archive.db") -> dict[str, tuple[str, str]]:
    return {Path(path).name: (state, kind) for path, state, kind in rows("path, state, kind", database)}


def digits(database: str = "archive.db") -> dict[str, list[tuple[Any, ...]]]:
    """Return what was read on each page that is done."""
    db = open_database(f"sqlite:///{database}")
    with reading(db) as conn:
        query = (
            "SELECT path, position, digit, confidence FROM readings JOIN ledger ON ledger.id = ledger_id"
            " JOIN pages ON pages.id = page_id JOIN paths USING (document_id) ORDER BY path, position"
        )
        found: dict[str, list[tuple[Any, ...]]] = {}
        for path, *read in conn.execute(text(query)):
            found.setdefault(Path(path).name, []).append(tuple(read))
    db.dispose()
    return found


def records(said: Said) -> list[tuple[str, str]]:
    """Return of each record the name of its page, and its form."""
    found = json.loads(said("query", "--record", "--json")[0])["records"]
    return sorted((Path(row["document"]).name, row["form"]) for row in found)


def expected() -> dict[str, tuple[str, str]]:
    """Return what becomes of every page of the room but the odd one."""
    states = {"cover": "skipped", "form": "done", "register": "done"}
    return {
        f"{kind}{seed}.png": (state, kind) for kind, state in states.items() for seed in range(N_PAGES // 3)
    }


def test_each_kind_of_page_takes_its_own_path(said: Said) -> None:
    _, err = said("ingest", "scans", "--sorter", "rooms", "--paths", "paths.toml")
    assert "8 pages read in" in err
    assert "4 pages skipped, by kind" in err
    assert "1 page for a person to sort: archive sort" in err
    found = state_and_kind()
    odd_state, odd_kind = found.pop("odd.png")
    assert (odd_state, found) == ("person", expected())
    # forms were read by the other classifier, registers by the usual one
    said("--database", "usual.db", "ingest", "scans")
    said("--database", "other.db", "ingest", "scans", "--classifier", "other.safetensors")
    read, usual, other = digits(), digits("usual.db"), digits("other.db")
    for seed in range(4):
        form, register = f"form{seed}.png", f"register{seed}.png"
        assert read[form] == other[form] != usual[form]
        assert read[register] == usual[register] != other[register]
        assert f"cover{seed}.png" not in read
    out, _ = said("status")
    assert re.search(r"^  skipped +4 ", out, re.M)
    assert re.search(r"^  person +1 +`archive sort` lists them$", out, re.M)
    n_odd = int(odd_kind == "cover")
    assert re.search(rf"^cover +{4 + n_odd} +0 +4 +{n_odd} +0 +0$", out, re.M)
    of_forms = json.loads(said("query", "--json", "--kind", "form")[0])["numbers"]
    assert {Path(number["document"]).name[:4] for number in of_forms} == {"form"}
    assert {number["kind"] for number in of_forms} == {"form"}
    assert "kinds are cover, form, register" in said("query", "--kind", "from", code=2)[1]
    # a person looks at the odd one
    out, err = said("sort")
    assert out.splitlines()[1].split()[0] == odd_kind
    assert "kinds:    cover, form, register" in err
    (page,) = json.loads(said("sort", "--json")[0])["pages"]
    assert (Path(page["path"]).name, page["page"], page["confidence"] < 0.7) == ("odd.png", 1, True)
    assert "1 page taken for form" in said("sort", "scans/odd.png", "--kind", "form")[1]
    assert state_and_kind()["odd.png"] == ("done", "form")
    assert digits()["odd.png"] == other["odd.png"]
    assert "no page waits for a person" in said("sort")[1]
    # and finds that one was taken for what it is not
    assert "would take 1 page for cover" in said("sort", "form2.png", "--kind", "cover", "--dry-run")[1]
    said("sort", "form2.png", "--kind", "cover")
    assert state_and_kind()["form2.png"] == ("skipped", "cover")
    assert "form2.png" not in digits()
    # the same command again changes nothing, nor does one without a sorter
    before = rows("path, state, kind, kind_confidence, run_id")
    said("ingest", "scans", "--sorter", "rooms", "--paths", "paths.toml")
    said("ingest", "scans")
    assert rows("path, state, kind, kind_confidence, run_id") == before


def test_mistakes_are_said_before_anything_is_read(said: Said) -> None:
    for words, code, message in (
        (["--paths", "paths.toml"], 2, "--sorter"),
        (["--sorter", "room"], 3, "no file and no sorter is called room; there are rooms"),
        (["--sorter", "other.safetensors"], 2, "is a classifier, not a sorter"),
        (["--sorter", "x" * 300], 3, "no file and no sorter is called xxx"),
        (["--sorter", "rooms", "--paths", "cut.toml"], 9, "cut.toml:1: cut.safetensors"),
        (
            ["--sorter", "rooms", "--paths", "wrong.toml"],
            9,
            "wrong.toml:2: unknown kind 'covr'; did you mean",
        ),
        (["--sorter", "rooms", "--paths", "gone.toml"], 9, "gone.toml: can't be read"),
        (
            ["--sorter", "rooms", "--paths", "no network.toml"],
            9,
            "no network.toml:1: no file and no classifier",
        ),
    ):
        whole = Path("other.safetensors").read_bytes()
        Path("cut.safetensors").write_bytes(whole[: len(whole) // 2])
        Path("cut.toml").write_text("kinds.form.classifier = 'cut.safetensors'\n")
        Path("wrong.toml").write_text("doubtful_below = 0.5\nkinds.covr = {path = 'skip'}\n")
        Path("no network.toml").write_text("kinds.form.classifier = 'forms'\n")
        for more in ([], ["--dry-run"]):
            _, err = said("ingest", "scans", *words, *more, code=code)
            assert message in err, err
            assert len(err.splitlines()) == 1
    assert not Path("archive.db").exists()


def test_a_page_whose_kind_a_person_says_keeps_its_records(said: Said) -> None:
    Path("page.toml").write_text(FORM)
    said("ingest", "scans/form0.png", "--sorter", "rooms", "--paths", "paths.toml")
    said("form", "apply", "page.toml")
    assert records(said) == [("form0.png", "page")]
    said("sort", "form0.png", "--kind", "register")
    assert state_and_kind() == {"form0.png": ("done", "register")}
    assert records(said) == [("form0.png", "page")]


def test_kinds_have_forms_of_their_own(said: Said) -> None:
    for name in ("page", "other"):
        Path(f"{name}.toml").write_text(FORM)
    Path("paths.toml").write_text("doubtful_below = 0.7\n[kinds.register]\nform = 'page.toml'\n" + PATHS)
    scans = [f"scans/{name}.png" for name in ("cover0", "form0", "form1", "register0")]
    sorted_by = ["--sorter", "rooms", "--paths", "paths.toml"]
    Path("page.toml").write_text(FORM.replace("box", "bx"))
    for more in ([], ["--dry-run"]):
        _, err = said("ingest", *scans, *sorted_by, *more, code=9)
        assert "paths.toml:3: page.toml:2: unknown key 'bx'; did you mean box?" in err
        assert len(err.splitlines()) == 1
    Path("page.toml").write_text(FORM)
    said("ingest", *scans, *sorted_by)
    assert records(said) == [("register0.png", "page")]
    # a person says that a page is of a kind with a form, and then of one without
    said("sort", "form0.png", "--kind", "register")
    assert records(said) == [("form0.png", "page"), ("register0.png", "page")]
    said("sort", "form0.png", "--kind", "form")
    assert records(said) == [("register0.png", "page")]
    # a form that changes is applied anew, and nothing is read again; those of kinds go before the other
    Path("page.toml").write_text(FORM.replace("1.0]", "0.9]") + "max = 7\n")
    _, err = said("ingest", *scans, *sorted_by, "--form", "other.toml")
    assert "no page was left to read" in err and "3 pages read before" in err
    expected = [("form0.png", "other"), ("form1.png", "other"), ("register0.png", "page")]
    assert records(said) == expected
    assert len({run for (run,) in rows("run_id")}) == 1
    # a form for pages of a kind is theirs as long as they are of it
    said("form", "apply", "page.toml", "--kind", "form")
    assert records(said) == [(name, "page") for name, _ in expected]
    said("sort", "form1.png", "--kind", "register")
    said("sort", "form1.png", "--kind", "form")
    assert records(said) == [(name, "page") for name, _ in expected]
    db = open_database("sqlite:///archive.db")
    with reading(db) as conn:
        query = "SELECT path, kind, form_id FROM page_forms JOIN pages ON pages.id = page_id JOIN paths USING"
        found = conn.execute(text(query + " (document_id) WHERE path LIKE '%form1.png' ORDER BY kind")).all()
    db.dispose()
    assert [(row.kind, row.form_id) for row in found] == [("", 2), ("form", 3), ("register", 3)]


def test_a_chain_of_sorters_and_a_sorter_in_a_file(said: Said) -> None:
    for half in ("left", "right"):
        Path("kinds2", half).mkdir(parents=True)
    for seed in range(200, 208):
        page = draw_kind("register", seed)
        for half, dark in (("left", slice(0, 150)), ("right", slice(150, 300))):
            shaded = page.copy()
            shaded[20:200, dark] //= 3
            Image.fromarray(shaded).save(f"kinds2/{half}/{seed}.png")
    said("train", "sorter", "--data", "kinds2", "--name", "halves", "-o", "halves.safetensors")
    Path("paths.toml").write_text(
        "doubtful_below = 0\n[kinds.register]\nsorter = 'halves.safetensors'\n"
        "[kinds.register.kinds.left]\npath = 'person'\n[kinds.cover]\npath = 'skip'\n"
    )
    said("ingest", "scans", "--sorter", "rooms", "--paths", "paths.toml")
    kinds = {kind for _, kind in state_and_kind().values()}
    assert kinds - {"cover", "form"} <= {"register/left", "register/right"}
    assert kinds & {"register/left", "register/right"}
    for name, (state, kind) in state_and_kind().items():
        assert state == {"cover": "skipped", "register/left": "person"}.get(kind, "done"), name
