"""Labels from transcriptions: drawn pages with ALTO and PAGE files of our own, through `archive labels`."""

import subprocess
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
from PIL import Image

from pipeline.drawn import DrawnPage, draw_page
from pipeline.errors import SourceError
from pipeline.label_sets import read_label_set
from pipeline.page import Box
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
    done = archive("labels", "page.xml", "-o", "labels", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (labelled,) = read_label_set(tmp_path / "labels")
    scale = labelled.ink.shape[1] / page.pixels.shape[1]
    truth = np.array([(*digit.box.centre, digit.digit) for digit in page.digits])
    # at least four of five digits are labelled, and at least 19 of 20 of these rightly
    assert len(labelled.digits) > 0.8 * len(truth)
    right = 0
    for label in labelled.digits:
        x, y = (v / scale for v in label.box.centre)
        near = truth[np.hypot(truth[:, 0] - x, truth[:, 1] - y).argmin()]
        right += int(near[2]) == label.digit
    assert right >= 0.95 * len(labelled.digits)


def test_a_line_without_digits_is_known_and_a_mixed_one_is_not(tmp_path: Path) -> None:
    Image.fromarray(np.full((1800, 1800), 255, np.uint8)).save(tmp_path / "p.png")
    lines = "".join(
        f'<TextLine HPOS="100" VPOS="{y}" WIDTH="500" HEIGHT="40"><String CONTENT="{text}"/></TextLine>'
        for y, text in ((100, "Vente"), (200, "rue 12"), (300, "XXX"))
    )
    (tmp_path / "p.xml").write_text(f"<alto>{lines}</alto>", encoding="utf-8")
    assert archive("labels", "p.xml", "-o", "out", cwd=tmp_path).returncode == 0
    (page,) = read_label_set(tmp_path / "out")
    assert [int(page.known[y, 300]) for y in (120, 220, 320, 370)] == [2, 0, 0, 1]


def test_drawn_pages_make_a_label_set(tmp_path: Path) -> None:
    assert archive("labels", "--drawn", "2", "--seed", "3", "-o", "drawn", cwd=tmp_path).returncode == 0
    pages = read_label_set(tmp_path / "drawn")
    assert len(pages) == 2
    assert all(len(page.digits) == page.n_number_digits > 0 for page in pages)


def test_an_image_that_cannot_be_read_is_named_and_the_next_one_labelled(tmp_path: Path) -> None:
    for name in ("1", "2", "3", "4"):
        Image.fromarray(np.full((900, 600), 250, np.uint8)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.xml").write_text("<alto/>")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "3.xml").write_text("no xml")
    done = archive("labels", ".", "-o", "out", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert [page.name for page in read_label_set(tmp_path / "out")] == ["-4"]
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
    assert archive("labels", "a", "b", "-o", "out", cwd=tmp_path).returncode == 0
    assert [page.name for page in read_label_set(tmp_path / "out")] == ["page-p1", "page-p1~2"]
