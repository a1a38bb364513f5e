"""Contact sheets: strips of any size find their place, with boxes where they are and text that is ASCII."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contact_sheets import Strip, ascii_of, draw_sheet
from pipeline.errors import OutputError
from pipeline.label_report import Report
from pipeline.labels import LabelledDigit, LabelledLine, LabelledPage
from pipeline.page import Box


def read(file: Path) -> np.ndarray:
    sheet = cv2.imread(str(file))
    assert sheet is not None
    return sheet


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 2500)), max_size=30), st.booleans())
def test_a_sheet_has_its_size_whatever_is_on_it(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]], colour: bool
) -> None:
    box = (Box(-5, 2, 40, 9000), "3 > 5", True)
    strips = [
        Strip(np.full((*size, 3) if colour else size, 9, np.uint8), (box,), "x" * 300) for size in sizes
    ]
    file = tmp_path_factory.mktemp("sheets") / "deep" / "sheet.png"
    draw_sheet(file, strips, "title")
    height, width, _ = read(file).shape
    assert width == 1500 and height <= 1400
    assert len(sizes) == 0 or (read(file) == 9).any()


def test_boxes_are_blue_or_red_and_colours_stay(tmp_path: Path) -> None:
    picture = np.full((30, 90, 3), (250, 200, 100), np.uint8)  # RGB
    boxes = ((Box(10, 5, 20, 25), "1", False), (Box(50, 5, 60, 25), "2", True))
    draw_sheet(tmp_path / "s.png", [Strip(picture, boxes, "12")], "two")
    sheet = read(tmp_path / "s.png").astype(int)
    assert (sheet == (100, 200, 250)).all(axis=2).any()  # BGR
    blue, red = (sheet == (200, 110, 0)).all(axis=2), (sheet == (30, 30, 220)).all(axis=2)
    # narrow pictures are shown twice as large
    columns = [np.flatnonzero(mask.any(axis=0)) for mask in (blue, red)]
    assert columns[0].max() - columns[0].min() == pytest.approx(20, abs=2)
    assert columns[1].min() - columns[0].min() == pytest.approx(80, abs=2)


def test_text_is_brought_to_ascii() -> None:
    assert ascii_of("dépôt n° 5 – 12 ₶ Œuvre") == "depot no 5 - 12 ? OEuvre"


def test_a_sheet_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OutputError, match=r"taken\.png: can't be written"):
        draw_sheet(tmp_path / "taken.png", [], "title")
    with pytest.raises(OutputError, match="can't be written"):
        draw_sheet(tmp_path / "file" / "s.png", [], "title")


def test_a_sample_has_all_kinds_and_is_as_large_as_it_may_be(tmp_path: Path) -> None:
    polygon = np.array([(5, 5), (60, 5), (60, 25), (5, 25)], np.int32)
    digit = LabelledDigit(Box(10, 8, 20, 22), 4)
    lines = tuple(
        LabelledLine("4", kind, polygon, (digit,)) for kind in ("number", "text", "pasted") for _ in range(99)
    )
    lines += (LabelledLine("4", "number", polygon, (None,)),)
    ink = np.zeros((40, 80), np.uint8)
    page = LabelledPage("p", ink, np.ones_like(ink), (digit,) * 297, 199, 99, 99, 99, "c", lines)
    sheets = []
    for seed in (0, 0):
        report = Report(seed)
        report.add(page)
        assert report.total == report.yields["c"]
        assert report.total.n_labelled_in_numbers == 99 and report.total.n_in_numbers == 100
        (file,) = report.draw_sheets(tmp_path)
        sheets.append(file.read_bytes())
    assert sheets[0] == sheets[1]
    assert Report(0).draw_sheets(tmp_path) == [] and Report(0).total.n_pages == 0
