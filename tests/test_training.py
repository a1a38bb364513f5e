"""Training: a few seconds of each network through `archive train`, and the checkpoints it leaves."""

import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cli.main import run
from models.checkpoint import SHOWN, load_checkpoint, save_checkpoint
from models.loaded import load_classifier, load_detector, load_orienter, load_recogniser
from models.train_classifier import change_crops, classifier_batches
from models.training import Recipe, Training
from models.training_crops import MARGIN_PX, TrainingCrops, page_crops
from pipeline.confidence import REJECT
from pipeline.crops import VIEWS, cut_boxes
from pipeline.label_sets import held_back, read_label_set, write_label_set
from pipeline.labels import LabelledPage
from pipeline.page import Box
from pipeline.settings import WEIGHTS


def archive(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from cli.main import main; main()", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    done = archive("labels", "--drawn", "3", "-o", "drawn", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_both_networks_train_and_load(drawn: Path) -> None:
    done = archive(
        "train", "detector", "--data", "drawn=0.5", "--minutes", "0.05", "-o", "d.safetensors", cwd=drawn
    )
    assert done.returncode == 0, done.stderr
    assert load_detector(drawn / "d.safetensors", "cpu").sha256
    _, metadata = load_checkpoint(drawn / "d.safetensors", "digit-detector")
    assert metadata.data == ["drawn"]
    assert "train detector --data drawn=0.5" in metadata.recipe
    assert (drawn / "d.png").stat().st_size > 1000  # the learning curve
    done = archive(
        *("train", "classifier", "--data", "drawn", "--boxes", "d.safetensors"),
        *("--minutes", "0.05", "-o", "c.safetensors"),
        cwd=drawn,
    )
    assert done.returncode == 0, done.stderr
    assert load_classifier(drawn / "c.safetensors", "cpu").sha256
    done = archive(
        "train", "orienter", "--data", "drawn", "--minutes", "0.05", "-o", "o.safetensors", cwd=drawn
    )
    assert done.returncode == 0, done.stderr
    assert load_orienter(drawn / "o.safetensors", "cpu").sha256


def test_the_recogniser_trains_on_what_a_detector_boxes(drawn: Path) -> None:
    shipped = WEIGHTS / "digit_detector.safetensors"
    words = ("train", "recogniser", "--data", "drawn", "--boxes", shipped, "-o", "r.safetensors")
    done = archive(*words, "--minutes", "0.1", cwd=drawn)
    assert done.returncode == 0, done.stderr
    assert load_recogniser(drawn / "r.safetensors", "cpu").sha256
    assert load_checkpoint(drawn / "r.safetensors", "number-recogniser")[1].data == ["drawn"]
    (drawn / "empty").mkdir()
    blank = LabelledPage("blank", np.zeros((200, 200), np.uint8), np.full((200, 200), 2, np.uint8), (), 0)
    assert len(list(write_label_set(drawn / "empty", [blank]))) == 1
    done = archive("train", "recogniser", "--data", "empty", *words[4:], cwd=drawn)
    assert (done.returncode, "no number was found" in done.stderr) == (5, True)
    done = archive(*words[:4], "-o", "r.safetensors", cwd=drawn)
    assert (done.returncode, "--boxes" in done.stderr) == (2, True)


def test_a_training_that_is_killed_goes_on_where_it_was(drawn: Path) -> None:
    words = [
        sys.executable,
        "-c",
        "from cli.main import main; main()",
        *("train", "orienter", "--data", "drawn"),
    ]
    words += ["--minutes", "0.2", "-o", "k.safetensors"]
    process = subprocess.Popen(words, cwd=drawn, stderr=subprocess.PIPE, text=True)
    state = drawn / "k.safetensors.state"
    while not state.exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    process.communicate()
    assert not (drawn / "k.safetensors").exists()
    done = archive(
        "train", "orienter", "--data", "drawn", "--minutes", "0.3", "-o", "k.safetensors", cwd=drawn
    )
    assert done.returncode == 2
    assert "is of another training" in done.stderr
    done = archive(*words[3:], cwd=drawn)
    assert done.returncode == 0, done.stderr
    assert "goes on at" in done.stderr
    assert load_orienter(drawn / "k.safetensors", "cpu").sha256
    assert not state.exists()


def test_what_is_kept_is_an_average_and_the_same_after_a_pause(tmp_path: Path) -> None:
    def training() -> Training:
        torch.manual_seed(0)
        return Training(torch.nn.Linear(3, 1), Recipe(1.0, 0.01, 0.0, seed=0), torch.device("cpu"))

    def losses(network: torch.nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"square": (network(batch) ** 2).mean()}

    batches = [torch.randn(4, 3, generator=torch.Generator().manual_seed(k)) for k in range(8)]
    whole, first, second = training(), training(), training()
    for batch in batches:
        whole.take_step(batch, losses, torch.float32, done=0.1)
    for batch in batches[:5]:
        first.take_step(batch, losses, torch.float32, done=0.1)
    first.save_state(tmp_path / "state", "a recipe")
    second.load_state(tmp_path / "state", "a recipe")
    for batch in batches[5:]:
        second.take_step(batch, losses, torch.float32, done=0.1)
    for name, value in whole.average.items():
        assert torch.equal(value, second.average[name])
        assert not torch.equal(value, whole.network.state_dict()[name])


def test_a_training_goes_on_from_a_checkpoint_of_its_kind_only(drawn: Path) -> None:
    made = archive(
        "train", "detector", "--data", "drawn", "--minutes", "0.02", "-o", "e.safetensors", cwd=drawn
    )
    assert made.returncode == 0, made.stderr
    words = ("train", "classifier", "--data", "drawn", "--from", "e.safetensors", "-o", "f.safetensors")
    done = archive(*words, cwd=drawn)
    assert done.returncode == 3
    assert "holds a digit-detector" in done.stderr
    assert not (drawn / "f.safetensors").exists()


def test_a_folder_that_is_no_label_set_is_refused(tmp_path: Path) -> None:
    done = archive("train", "detector", "--data", ".", "-o", "d.safetensors", cwd=tmp_path)
    assert done.returncode == 5
    assert "archive labels" in done.stderr


def test_training_crops_hold_every_digit_and_rejects(drawn: Path) -> None:
    pages = read_label_set(drawn / "drawn")
    crops = page_crops(pages, None, np.random.default_rng(0))
    assert crops.crops.shape[1:] == (2, 64, 64)
    for digit in range(10):
        expected = sum(label.digit == digit for page in pages for label in page.digits)
        assert int((crops.classes == digit).sum()) == expected
    assert (crops.classes == REJECT).sum() > len(pages)


def test_a_training_crop_without_its_margin_is_what_reading_cuts() -> None:
    ink = np.random.default_rng(0).integers(0, 255, (300, 300), dtype=np.uint8)
    ink = cv2.GaussianBlur(ink, (0, 0), 3)
    boxes = [Box(100, 100, 112, 117), Box(3, 140, 60, 200), Box(290, 0, 299, 14)]
    wide = TrainingCrops(cut_boxes(ink, boxes, MARGIN_PX), np.zeros(3, np.int64))
    apart = np.abs(wide.seen.astype(int) - cut_boxes(ink, boxes))
    assert apart.max() <= 2  # places are rounded to a 32nd of a pixel


def test_the_views_of_a_crop_show_as_much_as_they_say() -> None:
    ink = np.zeros((200, 200), np.uint8)
    ink[95:105, 95:105] = 255  # a box of 10 × 10 that is all ink
    (crop,) = cut_boxes(ink, [Box(95, 95, 105, 105)])
    for view, times in zip(crop, VIEWS, strict=True):
        rows = np.flatnonzero((view > 127).any(axis=1))
        assert len(rows) == pytest.approx(40 / times, abs=1.1)
        assert (rows[0] + rows[-1]) / 2 == pytest.approx(19.5, abs=0.6)


def test_changed_crops_keep_what_they_show_in_the_middle() -> None:
    torch.manual_seed(0)
    wide = torch.zeros(200, 2, 64, 64, dtype=torch.uint8)
    wide[:, 0, 24:40, 24:40] = 255
    wide[:, 1, 29:35, 29:35] = 255
    seen = change_crops(wide)
    assert seen.shape == (200, 2, 40, 40) and 0 <= float(seen.min()) <= float(seen.max()) <= 1
    place = torch.arange(40.0)
    for view in seen.mean(dim=0):
        for axis in (0, 1):
            weight = (view - view.min()).sum(dim=axis)
            assert float((weight * place).sum() / weight.sum()) == pytest.approx(19.5, abs=0.4)


def test_a_class_that_no_set_has_is_not_drawn() -> None:
    few = TrainingCrops(np.zeros((3, 2, 64, 64), np.uint8), np.array([4, 4, 7]))
    _, classes = next(classifier_batches([(few, 1.0)], np.random.default_rng(0)))
    assert set(classes.tolist()) == {4, 7}


def test_a_classifier_goes_on_from_the_shipped_one_and_says_what_it_gained_and_forgot(drawn: Path) -> None:
    words = ("train", "classifier", "--from", "shipped", "--data", "drawn", "--minutes", "0.02")
    words = (*words, "--freeze", "features", "--measure", "drawn", "--json", "-o", "last.safetensors")
    done = archive(*words, cwd=drawn)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    said = json.loads(line)
    rows = {row["name"]: row for row in said["went on from"]["read right"]}
    of_digits = [name.removesuffix(", digits") for name in rows if name.endswith(", digits")]
    assert of_digits == ["labels held back", "drawn", "old: drawn pages"]
    n_digits = sum(len(page.digits) for page in read_label_set(drawn / "drawn"))
    assert said["learned_from"] + rows["labels held back, digits"]["n"] == n_digits
    before, after = (
        load_checkpoint(file, "digit-classifier")
        for file in (WEIGHTS / "digit_classifier.safetensors", drawn / "last.safetensors")
    )
    changed = {name for name, value in after[0].items() if not torch.equal(value, before[0][name])}
    assert changed == {"classes.weight", "classes.bias"}  # the averages of batch normalisation stay too
    assert after[1].confidence == before[1].confidence  # until it is fitted anew


def test_held_back_pages_are_whole_and_few_pages_give_digits(drawn: Path) -> None:
    pages = read_label_set(drawn / "drawn")
    rng = np.random.default_rng(0)
    learnt, away = held_back(pages, 0.2, rng)
    assert len(learnt) == 2 and len(away) == 1 and {p.name for p in learnt}.isdisjoint(p.name for p in away)
    assert held_back(pages, 0.0, rng) == (pages, [])
    learnt, away = held_back(pages[:1], 0.25, rng)
    n = len(pages[0].digits)
    assert (len(learnt[0].digits), len(away[0].digits)) == (n - round(0.25 * n), round(0.25 * n))
    kept = {digit.box.corners for digit in learnt[0].digits}
    assert kept.isdisjoint(digit.box.corners for digit in away[0].digits)
    x, y = (int(v) for v in away[0].digits[0].box.centre)
    assert learnt[0].known[y, x] == 0  # nothing is taught where a digit is held back


def test_a_classifier_goes_on_from_one_that_saw_other_pictures(
    drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, metadata = load_checkpoint(WEIGHTS / "digit_classifier.safetensors", "digit-classifier")
    monkeypatch.chdir(drawn)
    with monkeypatch.context() as earlier:
        earlier.setitem(SHOWN, "digit-classifier", {"digit_px": 20})
        save_checkpoint(Path("old.safetensors"), weights, metadata)
    words = ["train", "classifier", "--from", "old.safetensors", "--data", "drawn", "--minutes", "0.01"]
    assert run([*words, "--held", "0", "-o", "new.safetensors"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert rows and all(row.split()[-2] == "–" for row in rows)  # it can't be measured, and is gone on from
    assert run([*words, "-o", "old.safetensors"]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert load_checkpoint(Path("old.safetensors"), "digit-classifier", to_train=True)


def test_what_no_classifier_learns_from_is_one_line(
    drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = LabelledPage("blank", np.zeros((200, 200), np.uint8), np.full((200, 200), 2, np.uint8), (), 0)
    assert len(list(write_label_set(drawn / "blank", [blank]))) == 1
    (drawn / "nothing").mkdir(exist_ok=True)
    monkeypatch.chdir(drawn)
    for words, code, said in (
        (["--data", "blank", "-o", "x.safetensors"], 5, "no digit is labelled"),
        (["--data", "drawn", "-o", "x.png"], 2, "name of the picture"),
        (
            ["--from", "shipped", "--data", "drawn", "--measure", "nothing", "-o", "x.safetensors"],
            5,
            "nothing",
        ),
    ):
        assert run(["train", "classifier", *words]) == code
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and said in told


def test_what_was_measured_survives_a_pause_and_an_earlier_version_measured_nothing(tmp_path: Path) -> None:
    def training() -> Training:
        torch.manual_seed(0)
        recipe = Recipe(0.0, 0.01, 0.0, seed=0, n_steps=4, optimizer="adam", plain=True)
        return Training(torch.nn.Linear(3, 1), recipe, torch.device("cpu"))

    first, second = training(), training()
    first.measured = [(0.1, {"validation": 0.5})]
    first.save_state(tmp_path / "state", "a recipe")
    second.load_state(tmp_path / "state", "a recipe")
    assert second.measured == first.measured
    state = torch.load(tmp_path / "state", weights_only=True)
    del state["measured"]
    torch.save(state, tmp_path / "state")
    second.load_state(tmp_path / "state", "a recipe")
    assert second.measured == []
