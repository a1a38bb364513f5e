"""The main job from end to end with the shipped weights: what is drawn is what the commands answer."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.drawn import DrawnPage, draw_page, draw_strip
from pipeline.page import Box

ARCHIVE = Path(sys.executable).with_name("archive")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LEAST_SHARE = 0.95


@dataclass(frozen=True)
class Drawn:
    """A number that stands on a page: `document` is the file's name, `page` counts from 1."""

    document: str
    page: int
    text: str
    box: Box


@dataclass(frozen=True)
class Archive:
    """A folder in which `archive ingest scans` was run, what it said, and what was drawn."""

    folder: Path
    summary: dict[str, Any]
    pages: dict[tuple[str, int], DrawnPage]

    @property
    def drawn(self) -> list[Drawn]:
        return [
            Drawn(document, page, number.text, number.box)
            for (document, page), drawn in self.pages.items()
            for number in drawn.numbers
        ]

    def run(self, *args: str, code: int = 0) -> str:
        done = run_archive(*args, cwd=self.folder)
        assert done.returncode == code, done.stderr
        return done.stdout

    def query(self, *args: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("query", *args, "--json"))["numbers"]
        return found


def run_archive(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVE_")}
    return subprocess.run(
        [ARCHIVE, *args], cwd=cwd, env=clean, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Pages in all ways of arriving: a JPEG, a TIFF of two, a PDF, strips, and a ZIP in a folder below."""
    folder = tmp_path_factory.mktemp("archive")
    scans = folder / "scans"
    (scans / "box 2").mkdir(parents=True)
    drawn = [draw_page(seed) for seed in (101, 102, 103, 104)]
    images = [Image.fromarray(page.pixels) for page in drawn]
    strips = [draw_strip(seed, text=text, neat=True) for seed, text in enumerate(("0042", "1897", "3305612"))]
    images[0].save(scans / "page.jpg", quality=92)
    images[1].save(scans / "two.tif", save_all=True, append_images=[images[2]], compression="tiff_lzw")
    images[3].save(scans / "wrapped.pdf", resolution=150)
    with zipfile.ZipFile(scans / "box 2" / "strips.zip", "w") as packed:
        for number, strip in enumerate(strips):
            data = io.BytesIO()
            Image.fromarray(strip.pixels).save(data, "PNG")
            packed.writestr(f"strip {number}.png", data.getvalue())
    done = run_archive("ingest", "scans", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    pages = {("page.jpg", 1): drawn[0], ("two.tif", 1): drawn[1], ("two.tif", 2): drawn[2]}
    pages |= {("wrapped.pdf", 1): drawn[3]}
    pages |= {("strips.zip", page): strip for page, strip in enumerate(strips, 1)}
    return Archive(folder, json.loads(done.stdout), pages)


def holds(box: Sequence[float], x: float, y: float) -> bool:
    return box[0] <= x < box[2] and box[1] <= y < box[3]


def share_answered(drawn: list[Drawn], answers: list[dict[str, Any]]) -> float:
    """The share of drawn numbers that an answer has: the same text, at the same place of the same page."""
    n_right = sum(
        any(
            answer["number"] == number.text
            and answer["page"] == number.page
            and Path(answer["document"]).name == number.document
            and holds(answer["box"], *number.box.centre)
            for answer in answers
        )
        for number in drawn
    )
    return n_right / len(drawn)


def test_every_page_is_read(archive: Archive) -> None:
    assert archive.summary["documents"] == {"new": 4, "known": 0, "failed": 0}
    assert archive.summary["pages"] == {
        "new": 7,
        "done": 7,
        "skipped": 0,
        "person": 0,
        "failed": 0,
        "left": 0,
    }
    status = json.loads(archive.run("status", "--json"))
    assert (status["n_documents"], status["n_pages"], status["n_done"], status["n_failed"]) == (4, 7, 7, 0)
    assert status["n_digits"] == archive.summary["digits"]
    assert status["n_numbers"] == archive.summary["numbers"] == len(archive.query())
    assert json.loads(archive.run("failed", "list", "--json"))["failed"] == []


def test_query_answers_what_was_drawn(archive: Archive) -> None:
    answers = archive.query()
    drawn = archive.drawn
    assert share_answered(drawn, answers) >= LEAST_SHARE
    assert len(answers) <= len(drawn) / LEAST_SHARE, "and little else"


@pytest.mark.parametrize("text", ["0042", "1897", "3305612"])
def test_a_number_in_a_strip_is_found_with_its_leading_zeros(archive: Archive, text: str) -> None:
    found = archive.query(text, "--document", "strips.zip")
    assert [answer["number"] for answer in found] == [text]
    without_zeros = archive.query(text.lstrip("0"), "--document", "strips.zip")
    assert len(without_zeros) == (0 if text.startswith("0") else 1)


def test_every_way_of_asking_agrees_with_the_list_of_all(archive: Archive) -> None:
    every = archive.query()

    def where(answers: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
        return {(one["document"], one["page"], one["position"], one["number"]) for one in answers}

    assert where(archive.query("--prefix", "1")) == where([n for n in every if n["number"].startswith("1")])
    assert where(archive.query("--pattern", "?8*")) == where([n for n in every if n["number"][1:2] == "8"])
    in_range = [number for number in every if 20 <= int(number["number"]) <= 1890]
    assert where(archive.query("--min", "20", "--max", "1890")) == where(in_range)
    second = [n for n in every if n["page"] == 2 and Path(n["document"]).name == "two.tif"]
    assert second
    assert where(archive.query("--document", "two.tif", "--page", "2")) == where(second)
    sure = [number for number in every if number["confidence"] >= 0.9]
    assert abs(len(archive.query("--confidence", "0.9")) - len(sure)) <= 1  # printed values are rounded
    by_number = [int(number["number"]) for number in archive.query("--order", "number")]
    assert by_number == sorted(by_number)


def test_exported_digits_stand_where_they_were_drawn(archive: Archive) -> None:
    archive.run("export", "digits", "-o", "digits.jsonl")
    lines = (archive.folder / "digits.jsonl").read_text(encoding="utf-8").splitlines()
    exported = [json.loads(line) for line in lines]
    images = [(page["image"], page["page"] + 1) for page in exported]
    assert images[:4] == [("strip 0.png", 1), ("strip 1.png", 1), ("strip 2.png", 1), ("page.jpg", 1)]
    names = {(f"strip {number}.png", 1): ("strips.zip", number + 1) for number in range(3)}
    n_right = n_drawn = n_exported = 0
    for image, page in zip(images, exported, strict=True):
        drawn = archive.pages[names.get(image, image)]
        assert (page["height"], page["width"]) == drawn.pixels.shape[:2]
        n_drawn += len(drawn.digits)
        n_exported += len(page["digits"])
        for digit in drawn.digits:
            same = [one for one in page["digits"] if one["digit"] == digit.digit]
            n_right += any(holds(one["box"], *digit.box.centre) for one in same)
    assert n_right >= LEAST_SHARE * n_drawn
    assert n_right >= LEAST_SHARE * n_exported


def test_show_draws_each_page_with_its_numbers(archive: Archive) -> None:
    for name, page in (("page.jpg", 1), ("two.tif:2", 2), ("wrapped.pdf", 1), ("strips.zip:3", 3)):
        archive.run("show", name, "-o", "shown.png")
        drawn = archive.pages[name.partition(":")[0], page]
        with Image.open(archive.folder / "shown.png") as shown:
            assert shown.width >= drawn.pixels.shape[1] and shown.height >= drawn.pixels.shape[0]
            colours = np.ptp(np.asarray(shown.convert("RGB")).astype(int), axis=2)
        # above the legend, what is coloured reaches from the first box to the last
        zoom = shown.width // drawn.pixels.shape[1]
        columns = np.flatnonzero((colours[: zoom * drawn.pixels.shape[0]] > 100).any(axis=0))
        boxes = [number.box for number in drawn.numbers]
        ends = zoom * min(box.x0 for box in boxes), zoom * max(box.x1 for box in boxes)
        assert np.abs(np.array(ends) - (columns[0], columns[-1])).max() <= 12 * zoom, name


def test_show_says_what_else_each_number_may_be(archive: Archive) -> None:
    page = json.loads(archive.run("show", "strips.zip:3", "--alternatives", "--json"))
    found = archive.query("--document", "strips.zip", "--page", "3")
    assert [(one["number"], one["box"]) for one in page["numbers"]] == [
        (one["number"], one["box"]) for one in found
    ]
    assert any(number["alternatives"] for number in page["numbers"])
    for number in page["numbers"]:
        others = number["alternatives"]
        assert sum(one["probability"] for one in others) <= 1 - number["confidence"] + 0.001
        assert number["number"] not in [one["number"] for one in others]


def test_the_doctor_finds_nothing_to_mend(archive: Archive) -> None:
    found = json.loads(archive.run("doctor", "--json"))
    assert found["ok"] and {check["state"] for check in found["checks"]} <= {"ok", "warn"}


def test_the_examples_are_read(tmp_path: Path) -> None:
    (tmp_path / "scans").symlink_to(EXAMPLES / "scans")
    truth = json.loads((EXAMPLES / "truth.json").read_text(encoding="utf-8"))["pages"]
    done = run_archive("ingest", "scans", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["pages"]["done"], summary["skipped"]) == (len(truth), {})
    found = run_archive("query", "--json", cwd=tmp_path)
    drawn = [
        Drawn(page["image"], page["page"] + 1, number["text"], Box(*number["box"]))
        for page in truth
        for number in page["numbers"]
    ]
    assert share_answered(drawn, json.loads(found.stdout)["numbers"]) >= LEAST_SHARE
