"""The crop sorter: a label set becomes a network that tells digits from letters and noise."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli.main import run
from models.any_network import kind_of
from models.checkpoint import load_checkpoint, save_checkpoint
from models.crop_sorter import CATEGORIES, load_crop_sorter
from models.loaded import load_detector
from models.train_crop_sorter import HAND, LETTER, NOISE, PRINT, PRINTED_COLLECTIONS, sorter_crops
from models.training_crops import TrainingCrops
from pipeline.drawn import draw_page
from pipeline.drawn_labels import label_drawn
from pipeline.errors import MissingError, SourceError, UsageError
from pipeline.label_sets import read_label_set, write_label_set
from pipeline.labels import LabelledPage
from pipeline.settings import WEIGHTS
from pipeline.transcriptions import read_lines

DETECTOR = WEIGHTS / "digit_detector.safetensors"
CLASSIFIER = WEIGHTS / "digit_classifier.safetensors"


def page_of(seed: int, *columns: str) -> LabelledPage:
    """A small drawn page of varied look, as a labelled page."""
    size = {"width": 800, "height": 800, "digit_px": 22.0, "row_pitch": 2.2, "skew_deg": 0.0}
    page = draw_page(seed, "varied", **size, columns=columns, rules="double", row_fill=1.0, header=True)
    return label_drawn(f"page-{seed}", page, 21.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a drawn label set and the crop sorter that the command made of it."""
    folder = tmp_path_factory.mktemp("crops")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["labels", "--drawn", "3", "--seed", "2", "-o", "labels"]) == 0
        assert run(["train", "sorter", "--data", "labels", "--name", "crops"]) == 0
    return folder


@pytest.fixture(scope="module")
def others() -> TrainingCrops:
    """Crops of drawn pages that the sorter never saw, by the detector's boxes too."""
    pages = [page_of(31, "running", "text", "amount"), page_of(32, "printed", "text", "figures")]
    return sorter_crops(pages, load_detector(DETECTOR, "cpu"), np.random.default_rng(0))


def test_a_drawn_label_set_makes_a_sorter_of_crops_it_never_saw(trained: Path, others: TrainingCrops) -> None:
    chances = load_crop_sorter(trained / "crops.safetensors", "cpu").chances(others.seen)
    assert chances.shape == (len(others.classes), len(CATEGORIES))
    assert chances.sum(axis=1) == pytest.approx(1, abs=1e-5)
    right = chances.argmax(axis=1) == others.classes
    shares = [right[others.classes == category].mean() for category in (HAND, LETTER, NOISE)]
    assert min(shares) > 0.7, shares  # by chance a quarter
    is_digit = chances[:, : PRINT + 1].sum(axis=1) > 0.5
    assert (is_digit == (others.classes <= PRINT)).mean() > 0.85
    assert {file.name for file in trained.glob("crops*.png")} == {"crops.png", "crops-confusions.png"}


def test_what_is_saved_and_loaded_says_the_same(trained: Path, others: TrainingCrops, tmp_path: Path) -> None:
    file, again = trained / "crops.safetensors", tmp_path / "again.safetensors"
    save_checkpoint(again, *load_checkpoint(file, "crop-sorter"))
    some = others.seen[:60]
    first, second = (load_crop_sorter(one, "cpu").chances(some) for one in (file, again))
    assert (first == second).all()
    back = load_crop_sorter(file, "cpu").chances(some[::-1].copy())[::-1]
    assert np.abs(back - first).max() < 1e-5


def test_no_crops_are_no_trouble(trained: Path) -> None:
    sorter = load_crop_sorter(trained / "crops.safetensors", "cpu")
    assert sorter.chances(np.zeros((0, 2, 40, 40), np.uint8)).shape == (0, len(CATEGORIES))
    none = sorter_crops([], None, np.random.default_rng(0))
    assert none.seen.shape == (0, 2, 40, 40)


def test_a_file_that_is_none_of_these_is_named(trained: Path, tmp_path: Path) -> None:
    damaged, other = tmp_path / "damaged.safetensors", tmp_path / "other.safetensors"
    damaged.write_bytes((trained / "crops.safetensors").read_bytes()[:5000])
    with pytest.raises(MissingError, match=r"damaged\.safetensors: the weights are damaged"):
        load_crop_sorter(damaged, "cpu")
    with pytest.raises(MissingError, match="holds a digit-classifier, not a crop-sorter"):
        load_crop_sorter(CLASSIFIER, "cpu")
    weights, metadata = load_checkpoint(trained / "crops.safetensors", "crop-sorter")
    save_checkpoint(other, weights, replace(metadata, config=metadata.config | {"head_hidden": 7}))
    with pytest.raises(MissingError, match=r"layer head\.\S+ is .* in the file"):
        load_crop_sorter(other, "cpu")
    few = {name: value for name, value in metadata.config.items() if name != "temperature"}
    save_checkpoint(other, weights, replace(metadata, config=few))
    with pytest.raises(MissingError, match="its configuration makes no crop-sorter"):
        load_crop_sorter(other, "cpu")
    with pytest.raises(MissingError, match="holds a crop-sorter, and no network that reads pages"):
        kind_of(trained / "crops.safetensors")


def test_what_cannot_be_done_is_said(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    command = ["train", "sorter", "--data", "labels", "--name", "crops"]
    assert run(command) == UsageError.exit_code
    assert "crops.safetensors: is there already" in capsys.readouterr().err
    assert run([*command, "--backbone", "resnet18"]) == UsageError.exit_code
    assert "leave out --backbone" in capsys.readouterr().err
    blank = page_of(1, "count")
    blank = replace(blank, ink=np.zeros_like(blank.ink), digits=(), words=())
    assert list(write_label_set(tmp_path / "blank", [blank]))
    assert run([*command[:3], str(tmp_path / "blank"), "--name", "blank"]) == SourceError.exit_code
    assert "no handwritten digit and no printed digit and no letter" in capsys.readouterr().err


def test_categories_go_by_what_a_label_set_says(tmp_path: Path) -> None:
    page = page_of(5, "running", "text", "printed")
    assert len(list(write_label_set(tmp_path, [page]))) == 1
    (kept,) = read_label_set(tmp_path)
    assert (kept.words, kept.digits) == (page.words, page.digits)
    assert len({digit.printed for digit in kept.digits}) == 2
    crops = sorter_crops([kept], None, np.random.default_rng(0))
    counts = np.bincount(crops.classes, minlength=len(CATEGORIES))
    assert counts.min() >= 10
    typed = replace(kept, collection=PRINTED_COLLECTIONS[0])
    assert HAND not in sorter_crops([typed], None, np.random.default_rng(0)).classes
    # a page of an older label set, which doesn't say where words are, and one with lines
    older = sorter_crops([replace(kept, words=None)], None, np.random.default_rng(0))
    assert set(older.classes.tolist()) == {HAND, PRINT}
    known = np.full_like(kept.known, 1)
    outside = sorter_crops(
        [replace(kept, words=None, collection="x", known=known)], None, np.random.default_rng(0)
    )
    assert set(outside.classes.tolist()) == {HAND, PRINT, NOISE}
    on_lines = replace(kept, words=None, collection="x", known=known + 1)
    assert set(sorter_crops([on_lines], None, np.random.default_rng(0)).classes.tolist()) == {
        HAND,
        PRINT,
        LETTER,
    }
    nothing = replace(on_lines, known=known * 0)
    assert set(sorter_crops([nothing], None, np.random.default_rng(0)).classes.tolist()) == {HAND, PRINT}


def test_a_label_set_of_an_older_version_is_read(tmp_path: Path) -> None:
    assert list(write_label_set(tmp_path, [page_of(6, "printed")]))
    index = tmp_path / "labels.jsonl"
    row = json.loads(index.read_text())
    del row["printed"], row["words"]
    index.write_text(json.dumps(row) + "\n")
    (page,) = read_label_set(tmp_path)
    assert page.words is None and not any(digit.printed for digit in page.digits)


def test_transcriptions_say_which_lines_are_print(tmp_path: Path) -> None:
    shape = '<Shape><Polygon POINTS="0 0 9 0 9 9"/></Shape><String CONTENT="{}"/>'
    alto = tmp_path / "alto.xml"
    alto.write_text(
        '<alto><Tags><OtherTag ID="a" LABEL="printed"/><OtherTag ID="b" LABEL="DefaultLine:Print"/>'
        '<OtherTag ID="c" LABEL="blueprint"/></Tags>'
        + "".join(
            f'<TextLine TAGREFS="{tag}">{shape.format(tag)}</TextLine>' for tag in ("a", "c b", "c", "")
        )
        + "</alto>"
    )
    assert [line.printed for line in read_lines(alto)] == [True, True, False, False]
    page = tmp_path / "page.xml"
    line = '<TextLine {}><Coords points="0,0 9,0 9,9"/></TextLine>'
    page.write_text(
        f'<PcGts><TextRegion production="typewritten">{line.format("")}</TextRegion><TextRegion>'
        f"{line.format('')}{line.format('production=' + chr(34) + 'printed' + chr(34))}</TextRegion></PcGts>"
    )
    assert [line.printed for line in read_lines(page)] == [True, False, True]
