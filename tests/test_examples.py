import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from pipeline.numbers import group_numbers
from pipeline.page import Box, Detection, Reading

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TRUTH = json.loads((EXAMPLES / "truth.json").read_text(encoding="utf-8"))["pages"]
IDS = [f"{page['image']}:{page['page']}" for page in TRUTH]


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("examples_make", EXAMPLES / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def grey(page: dict) -> np.ndarray:
    path = EXAMPLES / "scans" / page["image"]
    if path.suffix == ".pdf":
        with pypdfium2.PdfDocument(path) as document:
            (image,) = document[page["page"]].get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE])
            return np.asarray(image.get_bitmap().to_pil().convert("L"))
    with Image.open(path) as image:
        image.seek(page["page"])
        return np.asarray(image.convert("L"))


def test_every_scan_has_its_truth_and_every_truth_its_scan():
    scans = {path.name for path in (EXAMPLES / "scans").iterdir()}
    assert scans == {page["image"] for page in TRUTH}
    assert {Path(name).suffix for name in scans} == {".jpg", ".png", ".tif", ".pdf"}
    assert [page["page"] for page in TRUTH if page["image"] == "accounts.tif"] == [0, 1]


def test_the_scans_are_small_enough_for_a_repository():
    assert sum(path.stat().st_size for path in (EXAMPLES / "scans").iterdir()) < 2_500_000


@pytest.mark.parametrize("page", TRUTH, ids=IDS)
def test_a_scan_is_the_file_that_its_truth_was_written_for(page):
    data = (EXAMPLES / "scans" / page["image"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == page["sha256"], "run python examples/make.py again"
    assert grey(page).shape == (page["height"], page["width"])


@pytest.mark.parametrize("page", TRUTH, ids=IDS)
def test_every_box_of_the_truth_has_ink_in_it(page):
    pixels = grey(page)
    for digit in page["digits"]:
        x0, y0, x1, y1 = digit["box"]
        inside = pixels[y0:y1, x0:x1]
        around = np.median(pixels[max(y0 - 15, 0) : y1 + 15, max(x0 - 15, 0) : x1 + 15])
        assert around - inside.min() > 60, digit


@pytest.mark.parametrize("page", TRUTH, ids=IDS)
def test_the_digits_of_the_truth_make_its_numbers(page):
    detections = [Detection(Box(*digit["box"]), 0.9) for digit in page["digits"]]
    readings = [Reading(digit["digit"], 0.99) for digit in page["digits"]]
    found = {(number.text, number.box) for number in group_numbers(detections, readings)}
    assert found == {(number["text"], Box(*number["box"])) for number in page["numbers"]}


def test_drawing_the_examples_again_gives_the_same_truth(tmp_path):
    make = maker()
    drawn = [page for scan in make.draw_scans() for page in make.truth_of(scan, make.save(scan, tmp_path))]
    assert len(drawn) == len(TRUTH)
    for before, after in zip(TRUTH, drawn, strict=True):
        assert [n["text"] for n in after["numbers"]] == [n["text"] for n in before["numbers"]]
        # another version of OpenCV or Pillow may round ink differently, by a pixel
        boxes = [np.array([digit["box"] for digit in page["digits"]]) for page in (before, after)]
        assert np.abs(boxes[0] - boxes[1]).max() <= 1
