"""`archive evaluate`: what it says of drawn pages, fields, digits and tables agrees with what it found."""

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cli.main import run
from cli.report import FIGURES
from models.checkpoint import Metadata, file_sha256, load_checkpoint, save_checkpoint
from models.classifier import ClassifierConfig, DigitClassifier, classifier_loss
from models.detector import DetectorConfig, DigitDetector
from models.orienter import OrienterConfig, PageOrienter
from models.train_detector import Windows, detector_batches, detector_losses
from models.training_crops import mnist_crops, page_crops
from pipeline.coco import read_coco, score_field
from pipeline.drawn import DrawnPage, draw_page, draw_strip
from pipeline.drawn_labels import label_drawn
from pipeline.page import Box
from pipeline.scoring import Totals, score_page
from pipeline.transcriptions import read_lines

SEEDS = (1, 2)


def page_of(seed: int) -> DrawnPage:
    return draw_page(seed, "ledger", width=700, height=900, digit_px=24.0)


def grey_of(page: DrawnPage) -> np.ndarray:
    pixels = page.pixels
    return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def corners(box: Box) -> list[tuple[float, float]]:
    x0, y0, x1, y1 = box.x0 - 3, box.y0 - 3, box.x1 + 3, box.y1 + 3
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def alto(page: DrawnPage) -> str:
    lines = [
        f'<TextLine BASELINE="{n.box.x0} {n.box.y1} {n.box.x1} {n.box.y1}"><Shape><Polygon POINTS="'
        + " ".join(f"{x} {y}" for x, y in corners(n.box))
        + f'"/></Shape><String CONTENT="{escape(n.text)}"/></TextLine>'
        for n in page.numbers
    ]
    return f"<alto>{''.join(lines)}</alto>"


def page_xml(page: DrawnPage) -> str:
    lines = [
        '<TextLine><Coords points="'
        + " ".join(f"{x},{y}" for x, y in corners(n.box))
        + f'"/><TextEquiv><Unicode>{escape(n.text)}</Unicode></TextEquiv></TextLine>'
        for n in page.numbers
    ]
    return f"<PcGts>{''.join(lines)}</PcGts>"


def write_page(folder: Path, name: str, page: DrawnPage, form: Callable[[DrawnPage], str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page.pixels).save(folder / f"{name}.png")
    (folder / f"{name}.xml").write_text(form(page), encoding="utf-8")


def train(network: nn.Module, losses: Iterator[Tensor], n_steps: int) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    network.train()
    for step, loss in zip(range(n_steps), losses, strict=False):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / n_steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name tiny networks, taught for seconds: they see most drawn digits."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pages = [label_drawn(str(seed), page_of(seed), 21.0) for seed in SEEDS]
    detector = DigitDetector(config := DetectorConfig(channels=(8, 16, 24, 32), head=16))
    batches = detector_batches([(pages, 1.0)], Windows(batch=3, size_px=224), rng)
    each = (detector_losses(detector, batch, torch.device("cpu")) for batch in batches)
    train(detector, (losses["heat"] + losses["boxes"] for losses in each), 250)
    save_checkpoint(
        folder / "d.safetensors", detector.state_dict(), Metadata("digit-detector", asdict(config))
    )
    classifier = DigitClassifier(small := ClassifierConfig(channels=(8, 12, 16, 24), hidden=32))
    wide = page_crops(pages, None, rng)
    crops = torch.from_numpy(wide.seen)
    classes = torch.from_numpy(wide.classes)

    def classifier_losses() -> Iterator[Tensor]:
        while True:
            some = torch.from_numpy(rng.integers(len(classes), size=64))
            yield classifier_loss(classifier(crops[some].float() / 255), classes[some])

    train(classifier, classifier_losses(), 80)
    save_checkpoint(
        folder / "c.safetensors", classifier.state_dict(), Metadata("digit-classifier", asdict(small))
    )
    orienter = PageOrienter(tiny := OrienterConfig(channels=(4, 4, 4, 4)))
    save_checkpoint(folder / "o.safetensors", orienter.state_dict(), Metadata("page-orienter", asdict(tiny)))
    files = {"--detector": "d", "--classifier": "c", "--orienter": "o"}
    return [part for option, name in files.items() for part in (option, str(folder / f"{name}.safetensors"))]


@pytest.fixture
def register(tmp_path: Path) -> Path:
    """Two collections of transcribed drawn pages."""
    write_page(tmp_path / "register/first", "p1", page_of(1), alto)
    write_page(tmp_path / "register/second", "p2", page_of(2), page_xml)
    return tmp_path / "register"


def evaluated(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    assert run(["evaluate", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["schema_version"] == 1
    assert set(found["figures"]) | {"loss"} == set(FIGURES[found["kind"]]) | {"loss"}
    return found


def predictions(folder: Path) -> dict[str, list[dict[str, Any]]]:
    rows = map(json.loads, (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines())
    return {Path(row["image"]).stem: row["digits"] for row in rows}


def test_pages_score_as_their_predictions_do(
    register: Path, networks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (register, "-o", tmp_path / "out", "--sizes", "0.7", "--turns", "3,180", *networks)
    said = evaluated(capsys, *words)
    totals = Totals()
    for stem, digits in predictions(tmp_path / "out").items():
        lines = read_lines(next(register.rglob(f"{stem}.xml")))
        values = [digit["digit"] for digit in digits]
        totals.add(score_page(lines, [Box(*digit["box"]) for digit in digits], values), values)
    assert totals.equal > 50, "the networks of this test see something"
    assert said["figures"]["f1"] == pytest.approx(totals.f1, abs=1e-6)
    assert said["figures"]["cells"] == pytest.approx(totals.cells_share, abs=1e-6)
    assert said["figures"]["classifier"] == pytest.approx(totals.classifier, abs=1e-6)
    assert said["all"]["right"] == totals.equal
    assert [row["name"] for row in said["collections"]] == ["first", "second"]
    assert sum(row["right"] for row in said["collections"]) == totals.equal
    sure = said["confidence"]["digits"]
    assert sure["n"] == totals.found == sum(part["n"] for part in sure["bins"])
    assert sum(part["right"] * part["n"] for part in sure["bins"]) == pytest.approx(totals.equal)
    names = [variant["name"] for variant in said["variants"]]
    assert names == ["at 0.7 × its size", "turned by 3°", "turned by 180°"]
    assert said["figures"]["loss"] == pytest.approx(max(v["loss"] for v in said["variants"]), abs=1e-6)
    low, high = said["intervals"]["f1"]
    assert low <= said["figures"]["f1"] <= high
    for name in ("confusions.png", "reliability.png", "worst-cells.png"):
        assert np.asarray(Image.open(tmp_path / "out" / name)).std() > 5
    assert json.loads((tmp_path / "out/figures.json").read_text())["figures"].keys() == said["figures"].keys()


def test_tables_fit_a_terminal_and_a_bar_that_is_missed_is_named(
    register: Path, networks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(register), "--require", "f1=1.01,ece=1,cells=0", *networks]) == 7
    said = capsys.readouterr()
    assert all(len(line) <= 80 for line in said.out.splitlines())
    assert "first" in said.out and "second" in said.out
    last = said.err.splitlines()[-1]
    assert "f1 is 0." in last and "not at least 1.01" in last and "ece" not in last and "cells" not in last


def test_an_image_that_cannot_be_read_is_named_and_left_out(
    register: Path, networks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (register / "first/p1.png").write_bytes(b"")
    assert run(["evaluate", str(register), *networks]) == 4
    said = capsys.readouterr()
    assert "p1.png: is empty" in said.err and "1 page left out" in said.err
    assert "second" in said.out and "first" not in said.out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["."], 5, "holds no truth"),
        ([".", "--sizes", "x"], 2, "no list of numbers"),
        ([".", "--sizes", "0"], 2, "from 0.05 to 20"),
        ([".", "--require", "f1"], 2, "no list of bars"),
        (["register", "--require", "f2=1"], 2, "'f2' is not measured"),
        (["register", "--require", "loss=0.1"], 2, "'loss' is not measured"),
        (["register", "--detector", "none.safetensors"], 3, "no"),
        (["coco", "--turns", "90"], 2, "pages with transcriptions"),
        (["coco", "--part", "test", "NETWORKS"], 2, "has no part 'test'; it has val"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    words: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    networks: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_page(tmp_path / "x/register", "p", draw_strip(1), alto)
    write_coco(tmp_path / "x/coco", {})
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / ("empty" if words[0] == "." else "x"))
    words = [word for word in words if word != "NETWORKS"] + (networks if "NETWORKS" in words else [])
    assert run(["evaluate", *words]) == code
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and said.out == ""


def write_coco(folder: Path, fields: dict[str, DrawnPage]) -> None:
    (folder / "annotations").mkdir(parents=True)
    (folder / "images/val2020").mkdir(parents=True)
    images, annotations = [], []
    for k, (name, page) in enumerate(fields.items()):
        Image.fromarray(page.pixels).save(folder / "images/val2020" / name)
        images.append({"id": 7 + k, "file_name": name})
        annotations += [
            {
                "image_id": 7 + k,
                "category_id": 20 + digit.digit,
                "bbox": [digit.box.x0, digit.box.y0, digit.box.width, digit.box.height],
            }
            for digit in page.digits
        ]
    categories = [{"id": 20 + digit, "name": str(digit)} for digit in range(10)]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations/instances_val2020.json").write_text(json.dumps(whole))


def test_fields_with_boxes_score_as_their_predictions_do(
    tmp_path: Path, networks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_coco(tmp_path / "coco", {f"{seed}.png": draw_strip(seed, neat=True) for seed in range(6)})
    said = evaluated(capsys, tmp_path / "coco", "-o", tmp_path / "out", *networks)
    fields = {field.image.stem: field for field in read_coco(tmp_path / "coco", "val")}
    exact = n_found = n_matched = 0
    for stem, digits in predictions(tmp_path / "out").items():
        across = sorted(digits, key=lambda digit: digit["box"][0] + digit["box"][2])
        order = np.argsort([box.centre[0] for box in fields[stem].boxes])
        exact += [digit["digit"] for digit in across] == [fields[stem].digits[i] for i in order]
        n_found += len(digits)
        boxes = [Box(*digit["box"]) for digit in digits]
        scores = [digit["score"] for digit in digits]
        matched = score_field(fields[stem], boxes, [digit["digit"] for digit in digits], scores).pairs
        n_matched += len(matched)
    assert (said["fields"], said["fields_exact"]) == (6, exact)
    assert (said["found"], said["matched"]) == (n_found, n_matched)
    assert said["digits"] == sum(len(field.digits) for field in fields.values())
    assert said["figures"]["boxes_f1"] == pytest.approx(2 * n_matched / (said["digits"] + n_found), abs=1e-6)
    assert said["right"] <= said["matched"]


def write_mnist(folder: Path, images: np.ndarray, digits: np.ndarray) -> None:
    folder.mkdir()
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">4i", 2051, len(images), 28, 28) + images.tobytes())
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">2i", 2049, len(digits)) + digits.astype(np.uint8).tobytes())


def test_single_digits_are_counted(
    tmp_path: Path, networks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.zeros((50, 28, 28), np.uint8)
    digits = np.arange(50) % 10
    for image, digit in zip(images, digits, strict=True):
        cv2.putText(image, str(digit), (6, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    write_mnist(tmp_path / "mnist", images, digits)
    said = evaluated(capsys, tmp_path / "mnist", "-o", tmp_path / "out", *networks)
    assert said["digits"] == 50 == len(mnist_crops(tmp_path / "mnist", "t10k").classes)
    assert said["figures"]["accuracy"] == said["right"] / 50
    assert said["right"] <= said["right_of_ten"]
    assert (tmp_path / "out/confusions.png").exists()


def test_printed_tables_are_counted(
    tmp_path: Path, networks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    page = page_of(1)
    for name in ("images", "data"):
        (tmp_path / "tables" / name).mkdir(parents=True)
    Image.fromarray(page.pixels).save(tmp_path / "tables/images/a.png")
    rows = "".join(f"'day','{number.text}'\n" for number in page.numbers)
    (tmp_path / "tables/data/a.csv").write_text("'','1'\n" + rows)
    said = evaluated(capsys, tmp_path / "tables", "-o", tmp_path / "out", *networks)
    n_digits = sum(len(number.text) for number in page.numbers)
    (found,) = predictions(tmp_path / "out").values()
    assert said["all"]["digits"] == n_digits == said["all"]["right"] + said["all"]["missed"]
    in_numbers = sum(digit["number"] is not None for digit in found)
    assert said["all"]["found"] == in_numbers == said["all"]["right"] + said["all"]["false"]
    assert said["all"]["numbers"] == len(page.numbers)


def test_confidence_is_fitted_to_transcribed_pages(
    register: Path, networks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = tmp_path / "fitted.safetensors"
    assert run(["train", "confidence", str(register), "-o", str(fitted), *networks]) == 0
    assert "calibration error" in capsys.readouterr().out
    before = networks[networks.index("--classifier") + 1]
    old, _ = load_checkpoint(Path(before), "digit-classifier")
    new, metadata = load_checkpoint(fitted, "digit-classifier")
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert {name: len(weights) for name, weights in metadata.confidence.items()} == {
        "digit": 7,
        "number": 7,
    }
    said = evaluated(capsys, register, *[str(fitted) if word == before else word for word in networks])
    for kind in ("digits", "numbers"):
        sure = said["confidence"][kind]
        mean = sum(part["confidence"] * part["n"] for part in sure["bins"]) / sure["n"]
        right = sum(part["right"] * part["n"] for part in sure["bins"]) / sure["n"]
        assert mean == pytest.approx(right, abs=0.02)
    assert {"digits, cross-fitted", "numbers, cross-fitted"} <= set(said["confidence"])
    strict, near = (said["confidence"][f"digits, {rule}"] for rule in ("outside lines wrong", "cross-fitted"))
    assert strict["n"] == near["n"] and strict["right_of_kept"] <= near["right_of_kept"] + 0.05


def test_confidence_needs_a_transcribed_page(
    networks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "confidence", str(tmp_path), "-o", str(tmp_path / "c.safetensors"), *networks]
    assert run(words) == 5
    assert "no transcription" in capsys.readouterr().err


def of_upright_pages(networks: list[str]) -> list[str]:
    """Return the options without the orienter's."""
    place = networks.index("--orienter")
    return networks[:place] + networks[place + 2 :]


def train_in_other_hands(
    capsys: pytest.CaptureFixture[str], kind: str, register: Path, learned: Path, *words: str
) -> None:
    assert run(["train", kind, str(register), "-o", str(learned), *words]) == 0
    assert "steps" in capsys.readouterr().out
    assert learned.with_suffix(".png").exists()


def test_a_rescorer_is_trained_on_pages_in_other_hands_and_read_with(
    register: Path, networks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = tmp_path / "rescorer.safetensors"
    upright = of_upright_pages(networks)
    train_in_other_hands(capsys, "rescorer", register, learned, "--hands", "1", "--minutes", "0.05", *upright)
    assert load_checkpoint(learned, "digit-rescorer")[1].data == ["register"]
    said = evaluated(capsys, register, *networks, "--rescorer", learned)
    assert said["figures"]["f1"] > 0.5  # 0.87: the networks of this test see most digits
    assert said["figures"]["precision"] > 0.5
    assert run(["train", "rescorer", str(tmp_path / "register" / "first"), "-o", "no/where", *upright]) == 5
    (tmp_path / "empty").mkdir()
    assert run(["train", "rescorer", str(tmp_path / "empty"), "-o", str(learned), *upright]) == 5
    assert "no transcription" in capsys.readouterr().err


def test_a_judge_is_trained_on_pages_in_other_hands_and_read_with(
    register: Path, networks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = tmp_path / "judge.safetensors"
    upright = of_upright_pages(networks)
    train_in_other_hands(capsys, "judge", register, learned, "--hands", "2", "--minutes", "0.2", *upright)
    assert load_checkpoint(learned, "number-judge")[1].data == ["register"]
    words = ["train", "confidence", str(register), "-o", str(tmp_path / "c.safetensors"), *networks]
    assert run([*words, "--judge", str(learned)]) == 0
    _, metadata = load_checkpoint(tmp_path / "c.safetensors", "digit-classifier")
    assert metadata.confidence["number"][-1] != 0  # what it says counts
    assert metadata.metrics["with judge"] == file_sha256(learned)
    (tmp_path / "empty").mkdir()
    assert run(["train", "judge", str(tmp_path / "empty"), "-o", str(learned), *upright]) == 5
    assert "no transcription" in capsys.readouterr().err
