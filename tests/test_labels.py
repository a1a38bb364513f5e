"""Labels from transcriptions: drawn pages with ALTO and PAGE files of our own, through `archive labels`."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from models.checkpoint import Metadata, save_checkpoint
from models.classifier import ClassifierConfig, DigitClassifier
from models.detector import DetectorConfig, DigitDetector
from models.train_classifier import classifier_batches, classifier_losses
from models.training_crops import page_crops
from pipeline.drawn import DrawnDigit, DrawnPage, draw_page
from pipeline.errors import SourceError
from pipeline.ink import ink_map
from pipeline.label_sets import read_label_set
from pipeline.labels import LabelledDigit, LabelledPage
from pipeline.page import Box
from pipeline.pens import neat_hand
from pipeline.sheet import Sheet
from pipeline.transcriptions import find_transcribed, read_lines


def archive(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from cli.main import main; main()", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def corners(box: Box, grow: float = 3) -> list[tuple[int, int]]:
    x0, y0, x1, y1 = (round(v) for v in (box.x0 - grow, box.y0 - grow, box.x1 + grow, box.y1 + grow))
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def alto(page: DrawnPage) -> str:
    lines = "".join(
        f'<TextLine BASELINE="{n.box.x0:.0f} {n.box.y1:.0f} {n.box.x1:.0f} {n.box.y1:.0f}">'
        + '<Shape><Polygon POINTS="'
        + " ".join(f"{x} {y}" for x, y in corners(n.box))
        + f'"/></Shape><String CONTENT="{escape(n.text)}"/></TextLine>'
        for n in page.numbers
    )
    return (
        f'<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Layout><Page>{lines}</Page></Layout></alto>'
    )


def page_xml(page: DrawnPage) -> str:
    lines = "".join(
        '<TextLine><Coords points="'
        + " ".join(f"{x},{y}" for x, y in corners(n.box))
        + f'"/><TextEquiv><Unicode>{escape(n.text)}</Unicode></TextEquiv></TextLine>'
        for n in page.numbers
    )
    return f"<PcGts><Page><TextRegion>{lines}</TextRegion></Page></PcGts>"


@pytest.mark.parametrize("form", [alto, page_xml])
def test_a_transcription_becomes_labelled_boxes(tmp_path: Path, form: object) -> None:
    page = draw_page(5, "ledger")
    Image.fromarray(page.pixels).save(tmp_path / "page.png")
    (tmp_path / "page.xml").write_text(form(page), encoding="utf-8")  # type: ignore[operator]
    done = archive("labels", "page.xml", "--ink-only", "-o", "labels", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (labelled,) = read_label_set(tmp_path / "labels")
    # at least four of five digits are labelled, and at least 19 of 20 of these rightly
    assert len(labelled.digits) > 0.8 * len(page.digits)
    scale = labelled.ink.shape[1] / page.pixels.shape[1]
    assert share_right(labelled.digits, page.digits, scale) >= 0.95


def share_right(labels: Sequence[LabelledDigit], truth: Sequence[DrawnDigit], scale: float) -> float:
    centres = np.array([digit.box.centre for digit in truth])
    right = 0
    for label in labels:
        x, y = (v / scale for v in label.box.centre)
        near = int(np.hypot(centres[:, 0] - x, centres[:, 1] - y).argmin())
        at = truth[near].box
        right += truth[near].digit == label.digit and at.x0 <= x <= at.x1 and at.y0 <= y <= at.y1
    return right / len(labels)


@dataclass(frozen=True)
class Mixed:
    """A page of lines with words and numbers: `lines` are each line's text and box."""

    pixels: np.ndarray
    digits: list[DrawnDigit]
    lines: list[tuple[str, Box]]


def mixed_page(seed: int, n_lines: int = 24) -> Mixed:
    rng = np.random.default_rng(seed)
    hand = neat_hand(rng)
    sheet = Sheet(60 * n_lines + 400, 1800)
    lines = []
    for row in range(n_lines):
        baseline, x, words = 90.0 + 60 * row, 60.0, []
        for word in ("vente", "d", "rue", "d", "paris") if row % 3 else ("d", "d"):
            if word == "d":
                word = str(rng.integers(10 ** rng.integers(1, 5)))
                x = sheet.write(rng, hand, word, x, baseline, 24) + 20
            else:
                x = sheet.word(rng, hand, word, x, baseline, 14) + 14
            words.append(word)
        lines.append((" ".join(words), Box(50, baseline - 36, x, baseline + 14)))
    return Mixed(255 - sheet.ink, sheet.digits, lines)


def write_mixed(folder: Path, page: Mixed) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page.pixels).save(folder / "p.png")
    lines = "".join(
        f'<TextLine HPOS="{box.x0}" VPOS="{box.y0}" WIDTH="{box.width}" HEIGHT="{box.height}">'
        f'<String CONTENT="{escape(text)}"/></TextLine>'
        for text, box in page.lines
    )
    (folder / "p.xml").write_text(f"<alto>{lines}</alto>", encoding="utf-8")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name networks: a detector that sees nothing, a classifier that knows one neat hand."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    seeing = DetectorConfig(channels=(4, 4, 8, 8), head=4)
    metadata = Metadata("digit-detector", asdict(seeing))
    save_checkpoint(folder / "d.safetensors", DigitDetector(seeing).state_dict(), metadata)
    config = ClassifierConfig(channels=(8, 16, 24, 32), hidden=64)
    network = DigitClassifier(config)
    page = mixed_page(1)
    ink = ink_map(page.pixels)
    digits = tuple(LabelledDigit(digit.box, digit.digit) for digit in page.digits)
    truth = LabelledPage("page", ink, np.full(ink.shape, 2, np.uint8), digits, len(digits))
    rng = np.random.default_rng(0)
    batches = classifier_batches([(page_crops([truth], None, rng), 1.0)], rng)
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3)
    network.train()
    for _ in range(40):
        crops, classes = next(batches)
        few = (crops[:64], classes[:64])  # small batches: one hand is soon learned
        loss = classifier_losses(network, few, torch.device("cpu"))["classes"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_checkpoint(
        folder / "c.safetensors", network.state_dict(), Metadata("digit-classifier", asdict(config))
    )
    return [
        *("--detector", str(folder / "d.safetensors")),
        *("--classifier", str(folder / "c.safetensors"), "--device", "cpu"),
    ]


def test_digits_inside_text_are_labelled_by_what_the_networks_read(
    tmp_path: Path, networks: list[str]
) -> None:
    page = mixed_page(1)
    write_mixed(tmp_path / "acts", page)
    done = archive("labels", "acts", "-o", "out", "--json", *networks, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["schema_version"] == 1
    (counts,) = report["collections"]
    assert counts.pop("collection") == "acts" and counts == report["total"]
    n_text = sum(sum(c.isdigit() for c in text) for text, _ in page.lines if "vente" in text)
    assert counts["n_in_text"] == n_text and counts["n_in_numbers"] == len(page.digits) - n_text
    assert counts["n_labelled_in_text"] >= 0.9 * n_text
    assert counts["n_labelled_in_numbers"] >= 0.9 * counts["n_in_numbers"]
    (labelled,) = read_label_set(tmp_path / "out")
    assert labelled.collection == "acts" and labelled.lines == ()
    assert labelled.n_labelled_in_text == counts["n_labelled_in_text"]
    scale = labelled.ink.shape[1] / page.pixels.shape[1]
    assert share_right(labelled.digits, page.digits, scale) >= 0.95


def test_the_yield_is_a_table_and_the_sheets_are_pictures(tmp_path: Path) -> None:
    for seed, name in ((1, "acts"), (2, "dépôt-" + 50 * "x")):
        write_mixed(tmp_path / name, mixed_page(seed, 6))
    words = ("labels", ".", "--ink-only", "-o", "out", "--seed", "3")
    done = archive(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    titles, acts, other, total = done.stdout.splitlines()
    assert titles.split() == ["COLLECTION", "PAGES", "IN", "NUMBERS", "IN", "TEXT", "PASTED"]
    assert acts.split()[:2] == ["acts", "1"] and total.split()[:2] == ["all", "2"]
    assert " 0 of " in acts and "%" in acts  # none in text by ink alone
    assert len({len(line.rstrip()) for line in (acts, other, total)}) == 1
    sheets = sorted((tmp_path / "out" / "sheets").iterdir())
    assert [sheet.name for sheet in sheets] == ["acts.png", f"dépôt-{50 * 'x'}.png"]
    first = sheets[0].read_bytes()
    assert cv2.imread(str(sheets[0])).shape[1] == 1500
    assert archive(*words, cwd=tmp_path).returncode == 0
    assert sheets[0].read_bytes() == first


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    write_mixed(tmp_path / "acts", mixed_page(1, 2))
    done = archive("labels", "acts", "-o", "out", "--detector", "none.safetensors", cwd=tmp_path)
    assert done.returncode == 3
    assert "none.safetensors: there are no weights here" in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give either"),
        (["acts", "--drawn", "2"], "give either"),
        (["acts", "--from-set", "set"], "give either"),
        (["--from-set", "set"], "--paste"),
        (["--drawn", "2", "--rewrite", "0.5"], "--rewrite: takes the hands that --paste names"),
        (["--from-set", "set", "--paste", "acts", "-o", "set"], "is the label set itself"),
    ],
)
def test_what_can_not_be_done_together_is_said(tmp_path: Path, words: list[str], says: str) -> None:
    for name in ("acts", "set"):
        (tmp_path / name).mkdir()
    done = archive("labels", *(words if "-o" in words else [*words, "-o", "out"]), cwd=tmp_path)
    assert done.returncode == 2 and says in done.stderr, done.stderr


def test_numbers_are_pasted_into_new_labels_and_into_a_set(tmp_path: Path) -> None:
    write_mixed(tmp_path / "acts", mixed_page(1, 6))
    hands = tmp_path / "hands"
    hands.mkdir()
    for n, digits in enumerate(("3", "80")):
        sheet = Sheet(120, 160)
        rng = np.random.default_rng(n)
        sheet.write(rng, neat_hand(rng), digits, 40, 95, 70)
        Image.fromarray(255 - sheet.ink).save(hands / f"{n}.png")
    (hands / "index.csv").write_text("PATH;NUM\n0.jpg;3\n1.jpg;80\n", encoding="utf-8")
    paste = ("--paste", "hands", "--numbers", "9")
    assert archive("labels", "acts", "--ink-only", "-o", "plain", cwd=tmp_path).returncode == 0
    done = archive("labels", "acts", "--ink-only", *paste, "-o", "once", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = archive("labels", "--from-set", "plain", *paste, "-o", "twice", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (plain,), (once,), (twice,) = (read_label_set(tmp_path / name) for name in ("plain", "once", "twice"))
    assert once.name == twice.name == "acts-p-pasted"
    assert (once.ink == twice.ink).all() and once.digits == twice.digits
    assert once.digits[: len(plain.digits)] == plain.digits
    pasted = once.digits[len(plain.digits) :]
    assert len(pasted) == once.n_pasted > 0 and {digit.digit for digit in pasted} <= {0, 3, 8}
    assert json.loads(done.stdout)["total"]["n_pasted"] == once.n_pasted
    assert (tmp_path / "twice" / "sheets" / "acts.png").exists()
    rewritten = ("--from-set", "plain", *paste, "--rewrite", "1", "-o", "anew")
    assert archive("labels", *rewritten, cwd=tmp_path).returncode == 0
    (anew,) = read_label_set(tmp_path / "anew")
    assert anew.name == "acts-p-rewritten-pasted"
    own = anew.digits[: len(plain.digits)]
    said = [[(digit.digit, digit.goes_on) for digit in digits] for digits in (own, plain.digits)]
    assert said[0] == said[1]
    assert {digit.digit for new, digit in zip(own, plain.digits, strict=True) if new != digit} <= {0, 3, 8}
    assert (anew.ink != plain.ink).any()


def test_by_ink_alone_a_line_without_digits_is_known_and_a_mixed_one_is_not(tmp_path: Path) -> None:
    Image.fromarray(np.full((1800, 1800), 255, np.uint8)).save(tmp_path / "p.png")
    lines = "".join(
        f'<TextLine HPOS="100" VPOS="{y}" WIDTH="500" HEIGHT="40"><String CONTENT="{text}"/></TextLine>'
        for y, text in ((100, "Vente"), (200, "rue 12"), (300, "XXX"))
    )
    (tmp_path / "p.xml").write_text(f"<alto>{lines}</alto>", encoding="utf-8")
    assert archive("labels", "p.xml", "--ink-only", "-o", "out", cwd=tmp_path).returncode == 0
    (page,) = read_label_set(tmp_path / "out")
    assert [int(page.known[y, 300]) for y in (120, 220, 320, 370)] == [2, 0, 0, 1]


def test_labels_say_which_digits_the_transcription_has_in_one_number(tmp_path: Path) -> None:
    page = mixed_page(4)
    write_mixed(tmp_path, page)
    assert archive("labels", "p.xml", "--ink-only", "-o", "out", cwd=tmp_path).returncode == 0
    (labelled,) = read_label_set(tmp_path / "out")
    before = {False: "\n", True: "", None: " "}  # "12 345" on a line of its own may be one number or two
    told = "".join(before[digit.goes_on] + str(digit.digit) for digit in labelled.digits).split("\n")[1:]
    numbers = [text for text, _ in page.lines if text.replace(" ", "").isdigit()]
    assert len(told) > 0.7 * len(numbers) and set(told) <= set(numbers)


def test_drawn_pages_make_a_label_set(tmp_path: Path) -> None:
    assert archive("labels", "--drawn", "2", "--seed", "3", "-o", "drawn", cwd=tmp_path).returncode == 0
    pages = read_label_set(tmp_path / "drawn")
    assert len(pages) == 2
    assert all(len(page.digits) == page.n_written > 0 for page in pages)


def test_an_image_that_cannot_be_read_is_named_and_the_next_one_labelled(tmp_path: Path) -> None:
    for name in ("1", "2", "3", "4"):
        Image.fromarray(np.full((900, 600), 250, np.uint8)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.xml").write_text("<alto/>")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "3.xml").write_text("no xml")
    done = archive("labels", ".", "--ink-only", "-o", "out", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert [page.name for page in read_label_set(tmp_path / "out")] == [f"{tmp_path.name}-4"]
    first, second, third, *_ = done.stderr.splitlines()
    assert first.startswith("1.png: is ") and second.startswith("2.png: is empty")
    assert third.startswith("3.xml: no transcription") and "3 images left out" in done.stderr


def test_an_image_without_a_transcription_is_left_out(tmp_path: Path) -> None:
    Image.new("L", (20, 20)).save(tmp_path / "with.png")
    (tmp_path / "with.xml").write_text("<alto/>")
    (tmp_path / "without.xml").write_text("<alto/>")
    assert find_transcribed(tmp_path) == [(tmp_path / "with.png", tmp_path / "with.xml")]


@pytest.mark.parametrize("text", ["", "no xml", "<html/>", "<alto"])
def test_what_is_no_transcription_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.xml"
    file.write_text(text)
    with pytest.raises(SourceError, match=r"x\.xml"):
        read_lines(file)


def test_no_transcriptions_at_all_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = archive("labels", "empty", "-o", "labels", cwd=tmp_path)
    assert done.returncode == 5
    assert "no transcription" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_that_is_no_label_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is no label set"):
        read_label_set(tmp_path)


def test_pages_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder, shade in (("a/page", 250), ("b/page", 240)):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(np.full((900, 600), shade, np.uint8)).save(tmp_path / folder / "p1.png")
        (tmp_path / folder / "p1.xml").write_text("<alto/>")
    assert archive("labels", "a", "b", "--ink-only", "-o", "out", cwd=tmp_path).returncode == 0
    assert [page.name for page in read_label_set(tmp_path / "out")] == ["page-p1", "page-p1~2"]
