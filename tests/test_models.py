"""`archive models`: a worse network is refused, a better one reads, and every digit names who read it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cli.reading import begin_run, find_weights
from models.checkpoint import Metadata, file_sha256, load_checkpoint, save_checkpoint
from pipeline import catalogue, ledger
from pipeline.database import open_database, reading, writing
from pipeline.drawn import DrawnPage, draw_page
from pipeline.network_store import add, network_file
from pipeline.numbers import group_numbers
from pipeline.page import Box, Detection, PageDetections, Reading
from pipeline.promotions import in_place, promote, read_history
from pipeline.settings import NETWORKS, WEIGHTS, load_settings
from pipeline.sharing import share_weights
from pipeline.sources import probe
from pipeline.storage import Files

ARCHIVE = Path(sys.executable).with_name("archive")
SHIPPED = WEIGHTS / "digit_classifier.safetensors"
STORE = Path("archive-networks")

Said = Callable[..., tuple[str, str]]


def changed(file: Path, last: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """Write the shipped classifier with another last layer: `last` changes its weights and its bias."""
    weights, metadata = load_checkpoint(SHIPPED, "digit-classifier")
    for name in ("classes.weight", "classes.bias"):
        weights[name] = last(weights[name])
    save_checkpoint(file, weights, metadata)
    return file


def one_up(classes: torch.Tensor) -> torch.Tensor:
    """Take each digit for the next one; what is none stays none."""
    return torch.cat([classes[:10].roll(1, 0), classes[10:]])


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, write_transcribed: Callable[[Path, DrawnPage], None]
) -> Path:
    """A folder with a worse classifier, and a register of one transcribed page of nine cells."""
    folder = tmp_path_factory.mktemp("made")
    changed(folder / "worse.safetensors", one_up)
    write_transcribed(folder / "register/p.png", drawn(11))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with what was made."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("ARCHIVE_"):
            monkeypatch.delenv(name)
    return tmp_path


def put_in_place(file: Path, over: str | None = None) -> str:
    """Promote a classifier without measuring it, as no command does."""
    sha256 = file_sha256(file)
    add(STORE, file, "classifier", sha256, name=file.stem, note="")
    promote(
        STORE, "classifier", sha256, over=over, replaced=over or file_sha256(SHIPPED), figures={"on": "?"}
    )
    return sha256


def listed(said: Said) -> dict[str, dict[str, Any]]:
    """What `archive models list` says of each network, by name."""
    found = json.loads(said("models", "list", "--json")[0])
    assert found["schema_version"] == 1
    return {network["name"]: network for network in found["networks"]}


def drawn(seed: int) -> DrawnPage:
    return draw_page(seed, "ledger", width=500, height=400, digit_px=24.0)


def read_before(name: str) -> None:
    """Let a scan be read, as by an ingest with what reads now: 2018 stands on it."""
    Image.new("L", (400, 300), 250).save(name)
    settings, now = load_settings(), time.time()
    db = open_database("sqlite:///archive.db")
    run_id = begin_run(db, settings, find_weights(settings), None, again=False)
    with writing(db) as conn:
        catalogue.add_document(conn, probe(Path(name), max_pixels=10**6), run_id, again=False, now=now)
    detections = [Detection(Box(20 + 16 * i, 20, 34 + 16 * i, 40), 0.9) for i in range(4)]
    readings = [Reading(int(digit), 0.9) for digit in "2018"]
    (due,) = ledger.take_due(db, now=now, limit=2, lease_s=100)
    for state in ("waiting", "detected"):
        claim = ledger.claim(db, due.ledger_id, state=state, now=now, lease_s=100)
        assert claim is not None
        if state == "waiting":
            found = PageDetections(tuple(detections), 1.0)
            ledger.finish_detect(db, claim, found, width=400, height=300, blob=None, now=now, lease_s=100)
        else:
            ledger.finish_classify(db, claim, readings, group_numbers(detections, readings), now=now)
    db.dispose()


def ingest(name: str, seed: int) -> None:
    Image.fromarray(drawn(seed).pixels).save(name)
    done = subprocess.run([ARCHIVE, "ingest", name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def read_with() -> dict[tuple[str, str], list[str]]:
    """The numbers of each scan, by its name and the classifier that the run of its digits names."""
    db = open_database("sqlite:///archive.db")
    with reading(db) as conn:
        rows = conn.exec_driver_sql(
            "SELECT path, text, classifier_sha256 FROM numbers JOIN ledger ON ledger.id = ledger_id"
            " JOIN runs ON runs.id = run_id JOIN pages ON pages.id = page_id"
            " JOIN paths ON paths.document_id = pages.document_id WHERE current"
        ).all()
    db.dispose()
    found: dict[tuple[str, str], list[str]] = {}
    for path, text, sha256 in rows:
        found.setdefault((Path(path).name, sha256), []).append(text)
    return found


def test_a_worse_network_is_refused_with_the_figures(folder: Path, said: Said) -> None:
    out, err = said("models", "promote", "worse.safetensors", "--on", "register", code=7)
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    cells = next(line.split() for line in lines if line.startswith("number cells"))
    assert cells[2:] == ["9", "9", "1", "8", "0", "0.0078"]
    assert any(line.startswith("digits, F1") for line in lines)
    assert err.count("\n") == 1 and "is refused: it reads" in err and "of 9 cells right" in err
    assert not STORE.exists(), "what is refused is not kept"
    assert listed(said)["digit_classifier"]["state"] == "reads now"


def test_a_better_network_reads_what_comes_and_what_was_read_names_its_own(folder: Path, said: Said) -> None:
    worse, shipped = put_in_place(Path("worse.safetensors")), file_sha256(SHIPPED)
    read_before("old.png")
    out, err = said("models", "promote", "digit_classifier", "--on", "register", "--json")
    (test,) = (found := json.loads(out))["tests"]
    assert (found["promoted"], test["old"], test["by"]) == (True, worse, "cells")
    assert test["cells"]["n_only_new"] > 5 and test["cells"]["p"] < 0.05 and test["f1"]["low"] > 0
    assert "is promoted" in err
    ingest("new.png", 11)
    ingested = read_with()
    assert ingested.keys() == {("old.png", worse), ("new.png", shipped)}
    assert sorted(ingested["new.png", shipped]) == sorted(number.text for number in drawn(11).numbers)
    assert ingested["old.png", worse] == ["2018"]
    every = listed(said)
    assert (every["digit_classifier"]["state"], every["worse"]["state"]) == ("reads now", "was promoted")
    assert (every["digit_classifier"]["n_pages"], every["worse"]["n_pages"]) == (1, 1)
    assert every["digit_detector"]["n_pages"] == 2
    shown, _ = said("models", "show", "classifier")
    assert "on 1 pages of" in shown and "→ 9 of 9 (p = " in shown and "1 page, 25 digits in 1 run" in shown
    assert "reads from now on" in said("models", "rollback", "classifier")[1]
    assert load_settings().classifier == network_file(STORE, "classifier", worse)
    assert read_with() == ingested
    assert listed(said)["worse"]["state"] == "reads now"
    said("models", "rollback", "classifier")
    assert load_settings().classifier == SHIPPED
    assert "nothing to take back" in said("models", "rollback", "classifier")[1]
    actions = [event.action for event in read_history(STORE)["classifier"]]
    assert actions == ["promoted", "promoted", "rolled back", "rolled back"]
    out, _ = said("models", "verify")
    assert "all 7 networks of 2 runs are at hand" in out


def test_it_must_be_better_than_what_a_setting_names_and_than_what_it_replaces(
    folder: Path, said: Said
) -> None:
    alike = changed(folder / "alike.safetensors", lambda classes: classes * 1.001)
    words = ("models", "promote", str(alike), "--on", "register", "--dry-run")
    out, err = said(*words, "--classifier", "worse.safetensors", "--json", code=7)
    of_setting, of_shipped = json.loads(out)["tests"]
    assert of_setting["old"] == file_sha256(folder / "worse.safetensors") and not of_setting["refusal"]
    assert of_shipped["old"] == file_sha256(SHIPPED) and "right" in of_shipped["refusal"]
    assert "it reads 9 of 9 cells right" in err
    assert not STORE.exists()


def test_a_setting_goes_before_a_promotion(folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(SHIPPED)
    words = ("models", "promote", str(SHIPPED), "--on", "register")
    assert said(*words)[1].endswith("is in place already: nothing to do\n")
    told = json.loads(said(*words, "--json")[0])
    assert (told["tests"], told["better"], told["promoted"]) == ([], False, False)
    Path("archive.toml").write_text('classifier = "worse.safetensors"\n')
    assert "names worse.safetensors, which goes before: take it away" in said(*words)[1]
    assert load_settings().classifier == Path("worse.safetensors")
    assert listed(said)["digit_classifier"]["state"] == "promoted"
    assert listed(said)["worse"]["state"] == "reads now"
    monkeypatch.setenv("ARCHIVE_CLASSIFIER", "other.safetensors")
    assert "names other.safetensors, which goes before" in said("models", "rollback", "classifier")[1]
    monkeypatch.delenv("ARCHIVE_CLASSIFIER")
    Path("archive.toml").write_text('networks_folder = "elsewhere"\n')
    assert load_settings().networks == Path("elsewhere")
    assert load_settings({"networks_folder": "here"}).networks == Path("here")


def test_what_a_person_must_know_is_told(folder: Path, said: Said) -> None:
    weights, metadata = load_checkpoint(SHIPPED, "digit-classifier")
    bare = Metadata(metadata.kind, metadata.config, data=["register"])
    save_checkpoint(folder / "bare.safetensors", weights, bare)
    words = ("models", "promote", "bare.safetensors", "--on", "register", "--by", "digits", "--dry-run")
    _, err = said(*words, code=7)
    assert "no fitted confidence; `archive train confidence`" in err
    assert "its checkpoint names register" in err
    assert "digits right" in err


def test_a_network_is_added_once_and_found_by_hash_and_name(folder: Path, said: Said) -> None:
    sha256 = file_sha256(folder / "worse.safetensors")
    out, err = said("models", "add", "worse.safetensors", "--name", "box 7", "--note", "with noise")
    assert out == sha256[:12] + "\n" and "added" in err
    assert "nothing new" in said("models", "add", "worse.safetensors")[1]
    for word in (sha256, sha256[:5], "box 7"):
        out, _ = said("models", "show", word)
        assert f"classifier {sha256[:12]} (box 7), added" in out and "with noise" in out
    found = json.loads(said("models", "show", "box 7", "--json")[0])["network"]
    assert found["card"]["source"] == str(folder / "worse.safetensors")
    assert found["checkpoint"]["kind"] == "digit-classifier" and found["runs"] is None
    out, _ = said("models", "list")
    assert len(out.splitlines()) == 1 + len(NETWORKS) + 1 and max(map(len, out.splitlines())) <= 80
    said("ingest", "--dry-run", ".")
    skipped = json.loads(said("ingest", "--dry-run", "--json", ".")[0])
    assert "archive-networks" not in json.dumps(skipped), "the store holds no scans"
    add(STORE, SHIPPED, "classifier", file_sha256(SHIPPED), name="x", note="")
    assert listed(said)["digit_classifier"]["state"] == "reads now", "one network, one line"
    assert "x" not in listed(said)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["add", "register/p.xml"], 3, "the weights are damaged"),
        (["add", "worse.safetensors", "--name", "judge"], 2, "not the name of a kind"),
        (["add", "none.safetensors"], 2, "none.safetensors"),
        (["show", "nobody"], 2, "no network is called nobody"),
        (["show", ""], 2, "no network is called"),
        (["rollback", "reader"], 2, "there is no kind reader; kinds are orienter, detector"),
        (["promote", "worse.safetensors", "--on", "empty"], 5, "no transcription"),
        (["promote", "worse.safetensors", "--on", "words"], 2, "words has no cells to measure by"),
        (["promote", "worse.safetensors", "--on", "broken"], 4, "1 page of broken can't be read"),
        (["promote", "worse.safetensors", "--on", "register", "--p", "0"], 2, "--p"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], code: int, says: str, folder: Path, said: Said) -> None:
    for name in ("empty", "words", "broken"):
        (folder / name).mkdir()
    Image.new("L", (64, 64), 250).save("words/p.png")
    Path("words/p.xml").write_text("<alto/>")
    Path("broken/p.png").write_bytes(b"")
    Path("broken/p.xml").write_text("<alto/>")
    extra = ["--by", "cells"] if "words" in words else []
    out, err = said("models", *words, *extra, code=code)
    assert out == "" and says in err.splitlines()[-1] and not STORE.exists()


def test_a_word_that_may_mean_two_networks_is_refused(folder: Path, said: Said) -> None:
    for turns in (2, 3):
        file = changed(folder / f"{turns}.safetensors", lambda classes, turns=turns: classes.roll(turns, 0))
        add(STORE, file, "classifier", file_sha256(file), name="twin", note="")
    assert "may be one of several networks: classifier" in said("models", "show", "twin", code=2)[1]


def test_a_damaged_promoted_network_is_told_and_taken_back(folder: Path, said: Said) -> None:
    sha256 = put_in_place(Path("worse.safetensors"))
    kept = network_file(STORE, "classifier", sha256)
    kept.write_bytes(kept.read_bytes()[:-1])
    says = f"the promoted classifier {sha256[:12]} is damaged"
    for words in (["evaluate", "register"], ["ingest", "register"]):
        _, err = said(*words, code=3)
        assert says in err and "models verify`" in err and "models rollback classifier`" in err
    assert says in said("doctor", code=3)[0]
    assert "there is no database" in said("query", code=3)[1], "who reads with no network is not kept"
    out, err = said("models", "verify", "--json", code=3)
    wrong = [check for check in json.loads(out)["checks"] if check["state"] == "fail"]
    assert len(wrong) == 1 and "has other bytes" in wrong[0]["found"] and "rollback" in wrong[0]["mend"]
    assert "1 thing to mend" in err
    said("models", "rollback", "classifier")
    assert load_settings().classifier == SHIPPED
    said("models", "verify", code=3)
    said("models", "add", "worse.safetensors")
    said("models", "verify")
    kept.unlink()
    assert "can't be read" in said("models", "verify", code=3)[0]
    put_in_place(Path("worse.safetensors"))
    put_in_place(SHIPPED, over=sha256)
    kept.unlink()
    _, err = said("models", "rollback", "classifier", code=3)
    assert f"{sha256[:12]} (worse) reads from now on" in err and "is missing" in err.splitlines()[-1]
    said("models", "rollback", "classifier")


def test_a_damaged_history_is_set_aside(folder: Path, said: Said) -> None:
    put_in_place(Path("worse.safetensors"))
    (STORE / "promoted.json").write_text("{")
    assert "can't be read" in said("ingest", "register", code=3)[1]
    assert "can't be read" in said("models", "verify", code=3)[0]
    err = said("models", "rollback", "judge")[1]
    assert "promoted.json.damaged" in err and "(number_judge) reads from now on" in err
    assert load_settings().classifier == SHIPPED
    said("models", "verify")


def test_a_network_that_read_and_is_not_at_hand_is_told(folder: Path, said: Said) -> None:
    db = open_database("sqlite:///archive.db")
    worse = file_sha256(folder / "worse.safetensors")
    with writing(db) as conn:
        others = json.dumps({"judge": "e" * 64, "render_dpi": 300})
        catalogue.current_run(conn, "d" * 64, worse, others, new=False, now=1.0)
    db.dispose()
    out, err = said("models", "verify", code=3)
    for missing in ("dddddddddddd", "eeeeeeeeeeee", worse[:12]):
        assert f"{missing} is not at hand, and 0 pages were read with it" in out
    assert "3 things to mend" in err
    said("models", "add", "worse.safetensors")
    assert worse[:12] + " is not" not in said("models", "verify", code=3)[0]


def test_a_promoted_network_goes_to_other_machines_as_any_other(folder: Path, said: Said) -> None:
    sha256 = put_in_place(Path("worse.safetensors"))
    settings = load_settings({"files_url": "shared"})
    weights = find_weights(settings)
    assert weights["classifier"] == sha256
    share_weights(Files("shared"), {hash: getattr(settings, kind) for kind, hash in weights.items()})
    assert Path("shared/weights", sha256).read_bytes() == Path("worse.safetensors").read_bytes()
    said("models", "rollback", "classifier")
    network_file(STORE, "classifier", sha256).unlink()
    network_file(STORE, "classifier", sha256).with_suffix(".json").unlink()
    db = open_database("sqlite:///archive.db")
    with writing(db) as conn:
        catalogue.current_run(conn, weights["detector"], sha256, "{}", new=False, now=1.0)
    db.dispose()
    assert "all 2 networks of 1 run are" in said("models", "verify", "--files", "shared")[0]
    Path("shared/weights", sha256).write_bytes(b"torn")
    said("models", "verify", "--files", "shared", code=3)
    assert in_place(read_history(STORE)["classifier"]) is None
