"""The reference networks: trained through `archive train classifier --recipe`, on digits like MNIST's."""

import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cli.main import run
from cli.train_classifier import RECIPES
from models.checkpoint import Metadata, save_checkpoint
from models.dense import one_hot_loss
from models.features import choose_head, features_of, load_head, save_head
from models.loaded import classifier_network
from models.references import REFERENCES, build_reference, load_reference, reference_metadata
from models.train_reference import Digits, digit_accuracy, digit_chances, move_digits, reference_batches
from models.training import Measure, Recipe, Training
from models.training_crops import mnist_crops
from pipeline.errors import MissingError
from pipeline.hands import read_mnist
from pipeline.settings import WEIGHTS

DETECTOR = WEIGHTS / "digit_detector.safetensors"


def archive(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from cli.main import main; main()", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def write_part(folder: Path, part: str, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, digits = np.zeros((n, 28, 28), np.uint8), np.arange(n) % 10
    for image, digit in zip(images, digits, strict=True):
        place = (6 + int(rng.integers(-2, 3)), 22 + int(rng.integers(-2, 3)))
        cv2.putText(image, str(digit), place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">4i", 2051, n, 28, 28) + images.tobytes())
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">2i", 2049, n) + digits.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("references")
    (folder / "mnist").mkdir()
    write_part(folder / "mnist", "train", 600, seed=1)
    write_part(folder / "mnist", "t10k", 100, seed=2)
    return folder


def test_a_recipe_ends_with_a_line_of_json_and_its_files_lie_there(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "classifier", "--recipe", "mlp-50", "--data", "mnist", "--json")
    done = archive(*words, "--seed", "3", cwd=here)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    said = json.loads(line)
    assert (said["recipe"], said["seed"], said["checkpoint"]) == ("mlp-50", 3, "mlp-50-3.safetensors")
    assert said["steps"] == 5 * -(-420 // 128) and said["parameters"] == 784 * 50 + 50 + 50 * 10 + 10
    for picture in ("mlp-50-3.png", "mlp-50-3-confusions.png"):
        assert cv2.imread(str(here / picture)).std() > 5
    network, metadata = load_reference(here / said["checkpoint"])
    test = Digits(*read_mnist(here / "mnist", "t10k"))
    assert digit_accuracy(network, test, torch.device("cpu")) == said["test_accuracy"] > 0.3
    assert metadata.metrics["test_accuracy"] == said["test_accuracy"]
    monkeypatch.chdir(here)
    assert run([*words, "--seed", "3", "-o", "again.safetensors"]) == 0
    assert json.loads(capsys.readouterr().out)["test_accuracy"] == said["test_accuracy"]


def test_a_recipe_can_be_given_minutes_and_says_so_without_json(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    words = ["train", "classifier", "--recipe", "cnn-simple-7", "--minutes", "0.02"]
    assert run(words) == 0
    assert capsys.readouterr().out.startswith("cnn-simple-7-0.safetensors: ")
    assert load_reference(here / "cnn-simple-7-0.safetensors")[0]


def test_features_of_the_shipped_network_get_the_best_of_three_heads(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    assert run(["train", "classifier", "--recipe", "features+head", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    accuracies = said["validation_accuracies"]
    assert set(accuracies) == {"logistic regression", "random forest", "boosted trees"}
    assert accuracies[said["head"]] == max(accuracies.values()) == said["validation_accuracy"]
    test = mnist_crops(here / "mnist", "t10k")
    network = classifier_network(WEIGHTS / "digit_classifier.safetensors")
    read = load_head(here / said["checkpoint"]).predict(features_of(network, test, torch.device("cpu")))
    assert float((read == test.classes).mean()) == said["test_accuracy"] > 0.5
    assert (here / "features+head-0.png").exists() and (here / "features+head-0-confusions.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--recipe", "mlp-50", "--data", "nowhere"], 3, "nowhere"),
        (["--recipe", "mlp-50", "--freeze", "features"], 2, "takes none of --from"),
        (["--recipe", "mlp-51"], 2, "mlp-51"),
        (["--data", "mnist"], 2, "--output"),
        (["-o", "x.safetensors"], 2, "--data"),
        (["--data", "mnist", "--freeze", "features", "-o", "x.safetensors"], 2, "give --from"),
        (
            ["--recipe", "features+head", "--from", str(DETECTOR), "-o", "h.skops"],
            3,
            "holds a digit-detector",
        ),
        (["--recipe", "features+head", "--minutes", "1"], 2, "takes no --minutes"),
        (["--recipe", "mlp-50", "--data", "mnist=0.5"], 2, "takes no share"),
        (["--recipe", "mlp-50", "--seed", "3"], 2, "is there already"),
    ],
)
def test_what_a_recipe_can_not_do_is_one_line(
    here: Path,
    words: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(here)
    Path("mlp-50-3.safetensors").touch()
    assert run(["train", "classifier", *words]) == code
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and said in told


def test_the_command_knows_every_recipe() -> None:
    assert (*REFERENCES, "features+head") == RECIPES


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_takes_pictures_of_digits_and_learns_them(name: str) -> None:
    torch.manual_seed(0)
    reference = REFERENCES[name]
    network = build_reference(reference.config).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (7, 28, 28), dtype=np.uint8)
    cpu = torch.device("cpu")
    chances = digit_chances(network, images, cpu)
    assert chances.shape == (7, 10) and np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert digit_chances(network, images[:0], cpu).shape == (0, 10)
    assert np.allclose(digit_chances(network, images[3:4], cpu), chances[3:4], atol=1e-5)
    some = torch.from_numpy(images[:, None]).float() / 255, torch.arange(7)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    losses = []
    for _ in range(8 if name.startswith("cnn-simple") else 25):
        loss = reference.loss(network.train()(some[0]), some[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[1:]) < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("dense-784", 833_498),
        ("cnn-simple-3", 1_124_180),
        ("cnn-simple-5", 1_128_180),
        ("cnn-simple-7", 2_291_972),
    ],
)
def test_a_reference_is_as_large_as_published(name: str, n: int) -> None:
    assert sum(weight.numel() for weight in build_reference(REFERENCES[name].config).parameters()) == n


def test_one_hot_loss_is_keras_s_binary_cross_entropy() -> None:
    logits = torch.tensor([[0.0, 1.0, *[-2.0] * 8]])
    chances = torch.softmax(logits, dim=1)[0].numpy()
    by_hand = -np.log(np.where(np.arange(10) == 1, chances, 1 - chances)).mean()
    assert float(one_hot_loss(logits, torch.tensor([1]))) == pytest.approx(by_hand, rel=1e-5)


def test_an_epoch_shows_every_digit_once() -> None:
    digits = Digits(np.zeros((10, 28, 28), np.uint8), np.arange(10))
    batches = reference_batches(digits, 4, np.random.default_rng(0))
    for _ in range(2):
        shown = torch.cat([next(batches)[1] for _ in range(3)])
        assert sorted(shown.tolist()) == list(range(10))


def test_moved_digits_stay_within_their_bounds() -> None:
    torch.manual_seed(0)
    images = torch.zeros(300, 1, 28, 28)
    images[:, :, 13:15, 13:15] = 1.0
    moved = move_digits(images)
    place = torch.arange(28.0)
    along = [moved.sum(dim=axis)[:, 0] for axis in (2, 3)]
    x, y = ((part * place).sum(dim=1) / part.sum(dim=1) - 13.5 for part in along)
    assert 6.5 < float(torch.hypot(x, y).max()) < 5.6 * 2**0.5 + 0.2  # a fifth of 28 pixels each way


def test_a_plain_recipe_ends_after_its_steps_and_measures_on_the_way(tmp_path: Path) -> None:
    def training() -> Training:
        torch.manual_seed(0)
        recipe = Recipe(0.0, 0.1, 0.0, seed=0, n_steps=5, optimizer="rmsprop", plain=True)
        return Training(torch.nn.Linear(3, 1), recipe, torch.device("cpu"))

    def losses(network: torch.nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"square": (network(batch) ** 2).mean()}

    def batches():
        generator = torch.Generator().manual_seed(1)
        while True:
            yield torch.randn(4, 3, generator=generator)

    whole = training()
    measure = Measure(2, lambda network: {"weight": float(network.weight.detach().sum())})
    whole.run(batches(), losses, lambda at: None, lambda: None, measure)
    assert whole.step == 5 and len(whole.measured) == 3  # after 2 and 4 steps, and at the end
    assert len(whole.curve) == 3  # a short training has a curve too
    assert whole.optimizer.param_groups[0]["lr"] == 0.1
    by_hand = torch.nn.Linear(3, 1)
    by_hand.load_state_dict(training().network.state_dict())
    optimizer = torch.optim.RMSprop(by_hand.parameters(), lr=0.1, alpha=0.9, eps=1e-7)
    for batch, _ in zip(batches(), range(5), strict=False):
        optimizer.zero_grad()
        losses(by_hand, batch)["square"].backward()
        optimizer.step()
    assert torch.equal(by_hand.weight, whole.network.weight)


@pytest.mark.parametrize("n_steps", [4, 5])  # the last measuring falls on the last step, or comes after it
def test_a_network_that_was_measured_is_left_to_read_with_what_it_learned(n_steps: int) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    recipe = Recipe(0.0, 0.1, 0.0, seed=0, n_steps=n_steps, plain=True)
    training = Training(network, recipe, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    measure = Measure(2, lambda net: {"mean": float(net(torch.full((4, 3), 9.0)).detach().mean())})
    training.run(
        iter(lambda: torch.randn(4, 3, generator=generator), None),
        lambda net, batch: {"square": (net(batch) ** 2).mean()},
        lambda at: None,
        lambda: None,
        measure,
    )
    assert not any(module.training for module in network.modules())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        assert float(network(torch.full((4, 3), 9.0)).mean()) == training.measured[-1][1]["mean"]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_head_that_is_no_head_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 8)).astype(np.float32)
    digits = features[:, :3].argmax(axis=1)
    chosen = choose_head((features[:200], digits[:200]), (features[200:], digits[200:]), seed=0)
    save_head(tmp_path / "head.skops", chosen.head)
    assert (load_head(tmp_path / "head.skops").predict(features) == chosen.head.predict(features)).all()
    whole = (tmp_path / "head.skops").read_bytes()
    (tmp_path / "cut.skops").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MissingError, match=r"cut\.skops"):
        load_head(tmp_path / "cut.skops")


def test_a_checkpoint_of_an_unknown_reference_is_named(tmp_path: Path) -> None:
    kind, config = reference_metadata("mlp-50")
    weights = build_reference(REFERENCES["mlp-50"].config).state_dict()
    save_checkpoint(tmp_path / "known.safetensors", weights, Metadata(kind, config))
    network, _ = load_reference(tmp_path / "known.safetensors")
    assert torch.equal(network.state_dict()["classes.weight"], weights["classes.weight"])
    save_checkpoint(
        tmp_path / "other.safetensors", weights, Metadata(kind, config | {"reference": "mlp-5000"})
    )
    with pytest.raises(MissingError, match="mlp-5000"):
        load_reference(tmp_path / "other.safetensors")
