"""Training: a few seconds of each network through `archive train`, and the checkpoints it leaves."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.calibrate import fit_temperature, predict
from models.checkpoint import load_checkpoint
from models.classifier import ClassifierConfig, DigitClassifier
from models.reader import load_classifier, load_detector
from models.training_crops import TrainingCrops, page_crops
from pipeline.label_sets import read_label_set


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
    done = archive("train", "detector", "drawn=0.5", "--minutes", "0.05", "-o", "d.safetensors", cwd=drawn)
    assert done.returncode == 0, done.stderr
    assert load_detector(drawn / "d.safetensors", "cpu").sha256
    _, metadata = load_checkpoint(drawn / "d.safetensors", "digit-detector")
    assert metadata.data == ["drawn"]
    assert "train detector drawn=0.5" in metadata.recipe
    done = archive(
        *("train", "classifier", "drawn", "--boxes", "d.safetensors", "--calibrate", "drawn"),
        *("--minutes", "0.05", "-o", "c.safetensors"),
        cwd=drawn,
    )
    assert done.returncode == 0, done.stderr
    assert load_classifier(drawn / "c.safetensors", "cpu").temperature > 0
    _, metadata = load_checkpoint(drawn / "c.safetensors", "digit-classifier")
    assert "held-out accuracy, eleven classes" in metadata.metrics


def test_a_training_goes_on_from_a_checkpoint_of_its_kind_only(drawn: Path) -> None:
    made = archive("train", "detector", "drawn", "--minutes", "0.02", "-o", "e.safetensors", cwd=drawn)
    assert made.returncode == 0, made.stderr
    words = ("train", "classifier", "drawn", "--start", "e.safetensors", "-o", "f.safetensors")
    done = archive(*words, cwd=drawn)
    assert done.returncode == 3
    assert "holds a digit-detector" in done.stderr
    assert not (drawn / "f.safetensors").exists()


def test_a_folder_that_is_no_label_set_is_refused(tmp_path: Path) -> None:
    done = archive("train", "detector", ".", "-o", "d.safetensors", cwd=tmp_path)
    assert done.returncode == 5
    assert "archive labels" in done.stderr


def test_training_crops_hold_every_digit_and_rejects(drawn: Path) -> None:
    pages = read_label_set(drawn / "drawn")
    crops = page_crops(pages, None, np.random.default_rng(0))
    assert crops.crops.shape[1:] == (64, 64)
    for digit in range(10):
        expected = sum(label.digit == digit for page in pages for label in page.digits)
        assert int((crops.classes == digit).sum()) == expected


def test_the_temperature_of_right_but_timid_logits_sharpens_them() -> None:
    network = DigitClassifier(ClassifierConfig())
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 255, (64, 64, 64), dtype=np.uint8)
    # what the network itself says, so that it is always right, however unsure
    network.eval()
    said = predict(network, TrainingCrops(crops, np.zeros(64, np.int64))).argmax(1).numpy()
    assert fit_temperature(network, TrainingCrops(crops, said)) < 0.2
