"""Marks: points and commas between digits are found in the ink, kept, and shown with numbers and records."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.drawn import DrawnPage, draw_page
from pipeline.forms import Column, Form, Values
from pipeline.frames import Frame
from pipeline.marks import with_marks
from pipeline.numbers import as_written, group_numbers
from pipeline.page import Box, Detection, PageDetections, Reading
from pipeline.records import build_records
from pipeline.styles import PageStyle
from pipeline.turning import turn_back, turn_page

Said = Callable[..., tuple[str, str]]
STYLE = PageStyle(width=1100, height=1400, digit_px=24.0, columns=("running", "day", "text", "amount"))


@pytest.fixture(scope="module")
def page() -> DrawnPage:
    return draw_page(3, STYLE)


def grey_of(page: DrawnPage) -> np.ndarray:
    return np.asarray(cv2.cvtColor(page.pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def digits_of(page: DrawnPage) -> PageDetections:
    return PageDetections(tuple(Detection(digit.box, 0.9) for digit in page.digits), 1.0)


def written(page: DrawnPage, found: PageDetections) -> list[tuple[str, str | None]]:
    """What was drawn and what was found, of each number."""
    return [
        (number.written, as_written(number.text, number.members, found.detections)) for number in page.numbers
    ]


def test_marks_of_drawn_numbers_are_found_and_none_beside() -> None:
    pairs = []
    for seed in (3, 4, 5):
        page = draw_page(seed, STYLE)
        pairs += written(page, with_marks(grey_of(page), digits_of(page)))
    marked = [(drawn, found) for drawn, found in pairs if not drawn.isdigit()]
    assert len(marked) > 20
    assert sum(found == drawn for drawn, found in marked) > 0.6 * len(marked)
    plain = [(drawn, found) for drawn, found in pairs if drawn.isdigit()]
    assert len(plain) > 100 and [one for one in plain if one[1] is not None] == []


def test_a_point_a_comma_and_a_dash_are_told_apart() -> None:
    paper = np.full((200, 400), 230, np.uint8)
    spots = {".": ((85, 134), (91, 140)), ",": ((85, 133), (91, 149)), "-": ((82, 118), (94, 121))}
    boxes = Box(50, 100, 78, 140), Box(98, 100, 126, 140)
    found = PageDetections(tuple(Detection(box, 0.9) for box in boxes), 1.0)
    for mark, (start, end) in spots.items():
        grey = paper.copy()
        for box in boxes:
            cv2.rectangle(grey, (int(box.x0) + 3, 103), (int(box.x1) - 4, 136), 40, 6)
        assert with_marks(grey, found) == found
        cv2.rectangle(grey, start, end, 40, -1)
        assert [one.mark for one in with_marks(grey, found).detections] == [mark, None]


def test_a_page_without_digits_or_with_one_has_no_marks() -> None:
    blank = np.full((60, 80), 230, np.uint8)
    none, one = PageDetections((), 1.0), PageDetections((Detection(Box(5, 5, 20, 30), 0.9),), 1.0)
    edge = PageDetections((Detection(Box(-4, 40, 9, 66), 0.9), Detection(Box(70, 41, 84, 67), 0.9)), 1.0)
    for found in (none, one, edge):
        assert with_marks(blank, found) == found


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_page_that_lies_on_its_side_has_the_same_marks(page: DrawnPage, degrees: int) -> None:
    grey = grey_of(page)
    upright = with_marks(grey, digits_of(page))
    lying = turn_page(grey, 360 - degrees)
    found = turn_back(digits_of(page), degrees, lying.shape[1], lying.shape[0])
    marks = [one.mark for one in with_marks(lying, found).detections]
    assert marks == [one.mark for one in upright.detections] and any(marks)


def detections(marks: str) -> tuple[Detection, ...]:
    return tuple(
        Detection(Box(20.0 * k, 0.0, 20.0 * k + 14, 20.0), 0.9, mark if mark != " " else None)
        for k, mark in enumerate(marks)
    )


def test_a_number_has_the_marks_between_its_own_digits() -> None:
    found = detections(" .  ,")
    readings = [Reading(digit, 0.9) for digit in (2, 8, 5, 0, 0)]
    (number,) = group_numbers(found, readings)
    assert (number.text, number.written) == ("28500", "28.500")  # not the one behind its last digit
    (number,) = group_numbers(found[2:], readings[2:])
    assert (number.text, number.written) == ("500", None)
    assert as_written("28", (0, 1, 2), found) is None


def test_records_have_marks_where_the_type_of_a_value_may_have_some() -> None:
    frame = Frame(((0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)), (), True)
    found = detections(" .  ")
    readings = [Reading(digit, 0.9) for digit in (2, 8, 5, 0)]
    numbers = group_numbers(found, readings)
    for type, text in (("number", "28.50"), ("amount", "28.50"), ("date", "28.50"), ("code", "2850")):
        form = Form("ledger", (Column("no", 0.0, 1.0, Values(type)),), (), "no")  # type: ignore[arg-type]
        (record,) = build_records(found, readings, numbers, frame, form)
        assert record["no"].text == text
    ruled = Form("ledger", (Column("no", 0.0, 1.0, Values("amount", rule=0.35, decimals=2)),), (), "no")
    (record,) = build_records(found, readings, numbers, frame, ruled)
    assert (record["no"].text, record["no"].value) == ("28|50", "28.50")  # the rule parts them already
    apart = group_numbers(found[:2], readings[:2])[0], group_numbers(found[2:], readings[2:])[0]
    two = apart[0], replace(apart[1], members=(2, 3))
    form = Form("ledger", (Column("no", 0.0, 1.0, Values("amount", decimals=2)),), (), "no")
    (record,) = build_records(found, readings, two, frame, form)
    assert (record["no"].text, record["no"].value) == ("28.50", "28.50")  # also between two numbers


def test_marks_are_kept_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: DrawnPage, said: Said
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHIVE_DEVICE", "cpu")
    monkeypatch.setenv("ARCHIVE_DATABASE_URL", f"sqlite:///{tmp_path}/archive.db")
    cv2.imwrite("page.png", cv2.cvtColor(page.pixels, cv2.COLOR_RGB2BGR))
    said("ingest", "page.png")
    rows = json.loads(said("query", "--json")[0])["numbers"]
    marked = {row["number"]: row["written"] for row in rows if row["written"]}
    drawn = {number.text: number.written for number in page.numbers if not number.written.isdigit()}
    assert len(marked) >= 0.4 * len(drawn)
    assert all(re.sub(r"[.,-]", "", text) == number for number, text in marked.items())
    assert sum(drawn.get(number) == text for number, text in marked.items()) > 0.8 * len(marked)
    assert marked["202569"] == "2025.69"

    (row,) = json.loads(said("query", "202569", "--json")[0])["numbers"]  # looked for by its digits
    assert said("query", "202569")[0].splitlines()[1].split()[0] == "2025.69" == row["written"]
    for words in (("2025.69",), ("--prefix", "2025.6"), ("--pattern", "20?5,69")):  # as tables show it
        assert json.loads(said("query", *words, "--json")[0])["numbers"] == [row], words
    (from_csv,) = csv.DictReader(said("query", "202569", "--csv")[0].splitlines())
    assert (from_csv["number"], from_csv["written"]) == ("202569", "2025.69")
    assert "2025.69  " in said("show", "page.png", "--alternatives")[0]
    shown = json.loads(said("show", "page.png", "--alternatives", "--json")[0])["numbers"]
    assert {one["number"]: one["written"] for one in shown if one["written"]} == marked
    query = "SELECT number, written FROM v_numbers WHERE written IS NOT NULL"
    out = json.loads(said("sql", "--json", query)[0])["rows"]
    assert {one["number"]: one["written"] for one in out} == marked

    said("reprocess", "page.png")
    again = json.loads(said("query", "--json")[0])["numbers"]
    assert {row["number"]: row["written"] for row in again if row["written"]} == marked
