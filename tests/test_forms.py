"""Forms: begun from a scan, tried on others, written by people; each mistake with its line."""

import datetime
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.drawn import PageStyle, draw_page
from pipeline.errors import SettingsError
from pipeline.form_files import read_form
from pipeline.form_fit import fit_of
from pipeline.forms import RULES, Column, Field, Form, Sum, Values, as_json, form_hash, form_of
from pipeline.frames import Frame, find_frame
from pipeline.layout import _columns
from pipeline.paper import Look

ARCHIVE = Path(sys.executable).with_name("archive")
ROOT = Path(__file__).resolve().parent.parent
LOOK = Look(grey=True, paper=(215, 215, 215), noise=1.0)
STYLE = PageStyle(look=LOOK, skew_deg=0.6)
OTHER = PageStyle(look=LOOK, columns=("count", "text", "count", "count"))
FORM = """\
name = "register of deeds"
rows = "number"

[columns.number]
from = 0.0
to = 0.07
type = "serial"
step = 2
gaps = true
min = 1

[columns.fee]
from = 0.9
to = 1.0
type = "amount"
at = "bottom"
rule = 0.96
max = 99999.5

[columns."day of deed"]
from = 0.07
to = 0.14
type = "day"

[columns.sort]
from = 0.2
to = 0.3
type = "code"
codes = [1, 2, "07"]

[columns.date]
from = 0.3
to = 0.4
type = "date"
min = 1803-01-01
max = 1920-12-31
order = "mdy"
century = 1900
ascending = true

[fields.total]
box = [0.9, 0.95, 1.0, 1.02]
type = "amount"

[sums.fee]
column = "fee"
field = "total"
"""
DATES = Values(
    "date",
    datetime.date(1803, 1, 1),
    datetime.date(1920, 12, 31),
    ascending=True,
    order="mdy",
    century=1900,
)


def archive(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVE_")}
    return subprocess.run(
        [ARCHIVE, "form", *args], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pages of one form, the second smaller; one of another; and a blank one."""
    folder = tmp_path_factory.mktemp("scans")
    Image.fromarray(draw_page(1, STYLE).pixels).save(folder / "p1.png")
    second = Image.fromarray(draw_page(2, STYLE).pixels)
    second.resize((868, 1228), Image.Resampling.LANCZOS).save(folder / "p2.jpg", quality=90)
    Image.fromarray(draw_page(3, OTHER).pixels).save(folder / "other.png")
    Image.fromarray(np.full((900, 700), 240, np.uint8)).save(folder / "blank.png")
    return folder


def test_a_form_begun_from_a_scan_fits_the_pages_like_it(scans: Path, tmp_path: Path) -> None:
    done = archive("new", scans / "p1.png", "-o", "day-book.toml", "--picture", "p1.jpg", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == "5 columns → day-book.toml, drawn → p1.jpg\n"
    edges = np.array(_columns(STYLE))
    form = read_form(tmp_path / "day-book.toml")
    assert (form.name, form.rows) == ("day-book", "column-1")
    assert np.allclose(form.edges(), (edges - edges[0]) / (edges[-1] - edges[0]), atol=0.005)
    assert {column.values for column in form.columns} == {Values()}
    with Image.open(tmp_path / "p1.jpg") as picture:
        drawn = np.asarray(picture).astype(int)
    assert drawn.shape[1] == STYLE.width and drawn.shape[0] > STYLE.height
    blue = (drawn[..., 2] - drawn[..., 0] > 100).sum()
    assert blue > 2 * (STYLE.width + STYLE.height), "the frame is drawn in"

    tried = archive("check", "day-book.toml", scans / "p1.png", scans / "p2.jpg", "-o", "drawn", cwd=tmp_path)
    assert tried.returncode == 0, tried.stderr
    titles, *rows = tried.stdout.splitlines()
    assert titles.split() == ["page", "frame", "edges", "on", "rules", "distance", "fits"]
    assert [row.split()[1:5] for row in rows] == [["table", "6", "of", "6"]] * 2
    assert [row.split()[-1] for row in rows] == ["yes", "yes"]
    assert sorted(file.name for file in (tmp_path / "drawn").iterdir()) == ["p1-1.jpg", "p2-1.jpg"]


def test_pages_that_dont_fit_are_named_in_one_line(scans: Path, tmp_path: Path) -> None:
    archive("new", scans / "p1.png", "-o", "form.toml", cwd=tmp_path)
    done = archive("check", "form.toml", scans, "--json", cwd=tmp_path)
    assert done.returncode == 7
    assert done.stderr.count("\n") == 1 and "2 of 4 pages not fitted by form.toml" in done.stderr
    assert "blank.png" in done.stderr and "other.png" in done.stderr and "p1.png" not in done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema_version"] == 1
    assert answer["sha256"] == form_hash(read_form(tmp_path / "form.toml"))
    pages = {Path(page["page"]).name: page for page in answer["pages"]}
    assert {name: page["fits"] for name, page in pages.items()} == {
        "blank.png": False,
        "other.png": False,
        "p1.png": True,
        "p2.jpg": True,
    }
    assert pages["blank.png"]["printed"] is False and pages["blank.png"]["distance"] is None
    assert pages["other.png"]["printed"] is True and pages["other.png"]["n_on_rules"] < 5
    assert pages["p1.png"]["distance"] < 0.001


def test_a_page_that_cant_be_read_leaves_the_others(scans: Path, tmp_path: Path) -> None:
    archive("new", scans / "p1.png", "-o", "form.toml", cwd=tmp_path)
    (tmp_path / "broken.png").write_bytes((scans / "p1.png").read_bytes()[:4000])
    done = archive("check", "form.toml", "broken.png", scans / "p1.png", cwd=tmp_path)
    assert done.returncode == 4
    assert "1 of 2 pages not read: broken.png" in done.stderr
    assert done.stdout.splitlines()[-1].endswith("yes")


def test_a_page_of_a_document_is_meant_by_its_number(tmp_path: Path) -> None:
    pages = [Image.fromarray(draw_page(seed, style).pixels) for seed, style in ((1, STYLE), (3, OTHER))]
    pages[0].save(tmp_path / "book.pdf", save_all=True, append_images=pages[1:], resolution=150.0)
    done = archive("new", "book.pdf:2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(tomllib.loads(done.stdout)["columns"]) == len(OTHER.columns)
    assert tomllib.loads(done.stdout)["name"] == "book"
    tried = archive("check", ROOT / "examples" / "notary.toml", "book.pdf", cwd=tmp_path)
    assert tried.returncode == 7
    assert [row.split()[0] for row in tried.stdout.splitlines()[1:]] == ["book.pdf:1", "book.pdf:2"]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["new", "blank.png"], 2, "no printed table"),
        (["new", "none.png"], 2, "none.png"),
        (["new", "p1.png:3"], 2, "p1.png has 1 page, and no page 3"),
        (["new", "p1.png", "-o", "mine.toml"], 2, "is there already"),
        (["new", "p1.png", "--picture", "x.gif"], 2, ".png or .jpg"),
        (["new", "mine.toml"], 5, "mine.toml"),
        (["check", "mine.toml"], 2, "PAGES"),
        (["check", "mine.toml", "mine.toml"], 2, "no scan"),
        (["check", "mine.toml", "p1.png", "-o", "p1.png"], 2, "is no folder"),
        (["check", "wrong.toml", "p1.png"], 9, "wrong.toml:3: unknown key 'form'; did you mean from?"),
    ],
)
def test_a_wrong_command_is_one_line(
    args: list[str], code: int, says: str, scans: Path, tmp_path: Path
) -> None:
    for name in ("p1.png", "blank.png"):
        (tmp_path / name).symlink_to(scans / name)
    (tmp_path / "mine.toml").write_text(FORM)
    (tmp_path / "wrong.toml").write_text('rows = "a"\n[columns.a]\nform = 0\nto = 1\n')
    done = archive(*args, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1 and says in done.stderr
    assert len(list(tmp_path.iterdir())) == 4, "nothing is made"


def test_a_form_is_what_its_file_says(tmp_path: Path) -> None:
    file = tmp_path / "deeds.toml"
    file.write_text(FORM)
    assert read_form(file) == Form(
        "register of deeds",
        (
            Column("number", 0.0, 0.07, Values("serial", min=1, step=2, gaps=True)),
            Column("day of deed", 0.07, 0.14, Values("day", 1, 31)),
            Column("sort", 0.2, 0.3, Values("code", codes=("1", "2", "07"))),
            Column("date", 0.3, 0.4, DATES),
            Column("fee", 0.9, 1.0, Values("amount", max=99999.5, rule=0.96, decimals=2), "bottom"),
        ),
        (Field("total", (0.9, 0.95, 1.0, 1.02), Values("amount", decimals=2)),),
        "number",
        (Sum("fee", "fee", "total"),),
    )
    assert read_form(file).column("fee").at == "bottom"


def test_a_run_keeps_a_form_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "deeds.toml"
    file.write_text(FORM)
    form = read_form(file)
    assert form_of(json.loads(json.dumps(as_json(form)))) == form
    tables = FORM.split("\n\n")
    file.write_text("\n\n".join([tables[0], "# in another order", *reversed(tables[1:])]))
    assert form_hash(read_form(file)) == form_hash(form)
    file.write_text(FORM.replace("0.96", "0.961"))
    assert form_hash(read_form(file)) != form_hash(form)


def test_a_form_without_a_name_is_called_as_its_file(tmp_path: Path) -> None:
    file = tmp_path / "covers.toml"
    file.write_text("[fields.year]\nbox = [0.1, -0.1, 0.3, 0]\n")
    form = read_form(file)
    assert (form.name, form.rows, form.columns) == ("covers", "", ())
    assert fit_of(form, find_frame(np.full((50, 50), 200, np.uint8))).fits, "nothing of it says otherwise"


# each: what stands in FORM, what is written there, the line that is named, and what is said of it
WRONG = [
    (
        'rows = "number"',
        'rows = "numbr"',
        'rows = "numbr"',
        "rows is 'numbr', which is no column; did you mean number?",
    ),
    ('rows = "number"\n', "", 'name = "register of deeds"', "which one starts a row?"),
    ('rows = "number"', 'row = "number"', 'row = "number"', "unknown key 'row'; did you mean rows?"),
    ('name = "register of deeds"', "name = 7", "name = 7", "name is 7"),
    ('type = "serial"', 'type = "seral"', 'type = "seral"', "unknown type 'seral'; did you mean serial?"),
    ('type = "serial"', 'type = "int"', 'type = "int"', "unknown type 'int'"),
    (
        'type = "serial"',
        'type = "number"',
        "step = 2",
        "step is for type serial, but number is of type number",
    ),
    ("step = 2", "step = 0", "step = 0", "step is 0"),
    ("step = 2", "step = 1.5", "step = 1.5", "not a whole number"),
    ("gaps = true", 'gaps = "yes"', 'gaps = "yes"', "not true or false"),
    ("min = 1\n", "min = 9\nmax = 3\n", "max = 3", "max of number is 3, and min is 9"),
    ("min = 1\n", "min = true\n", "min = true", "not a whole number"),
    ("min = 1\n", "mn = 1\n", "mn = 1", "did you mean min?"),
    ("from = 0.0\n", "from = 7\n", "from = 7", "not a share from 0 to 1"),
    ("from = 0.0\n", "from = nan\n", "from = nan", "not a share"),
    ("from = 0.0\n", "", "[columns.number]", "number has no from"),
    ("to = 0.07\n", "to = 0.0\n", "to = 0.0", "number ends at 0, but begins at 0"),
    ("to = 0.07\n", "to = 0.08\n", "from = 0.07", "day of deed begins at 0.07, before number ends at 0.08"),
    ("to = 0.14\n", 'to = 0.14\nat = "botom"\n', 'at = "botom"', "at is 'botom', not top or bottom"),
    ('type = "day"', 'type = "day"\nmax = 32', "max = 32", "days are 1 to 31"),
    ("rule = 0.96", "rule = 0.86", "rule = 0.86", "rule is 0.86, outside of fee, which is from 0.9 to 1"),
    ("rule = 0.96", "rule = 0.96\ndecimals = 0", "rule = 0.96", "decimals is 0"),
    ("rule = 0.96", "decimals = 7", "decimals = 7", "decimals is 7"),
    ('[1, 2, "07"]', "[1, 2, 1]", "codes = [1, 2, 1]", "code 1 stands there twice"),
    ('[1, 2, "07"]', "[]", "codes = []", "no list of values"),
    ('[1, 2, "07"]', '["a"]', 'codes = ["a"]', "code 'a' is no number"),
    ('codes = [1, 2, "07"]', "codes = [1, 2, 7]\nmax = 6", "codes = [1, 2, 7]", "code 7 can't be: max is 6"),
    ('codes = [1, 2, "07"]', "codes = [1, 2, 7]\nmin = 2", "codes = [1, 2, 7]", "code 1 can't be: min is 2"),
    ("min = 1803-01-01", "min = 1803", "min = 1803", "not a date"),
    ('order = "mdy"', 'order = "ydm"', 'order = "ydm"', "order is 'ydm', not dmy, mdy or ymd"),
    ("century = 1900", "century = 19", "century = 19", "century is 19, not a year such as 1900"),
    ("century = 1900", 'century = "1900"', 'century = "1900"', "not a year such as 1900"),
    ("ascending = true", "ascending = 1", "ascending = 1", "ascending is 1, not true or false"),
    (
        'type = "day"',
        'type = "day"\norder = "dmy"',
        'order = "dmy"',
        "order is for type date, but day of deed is of type day",
    ),
    (
        "step = 2",
        "ascending = true",
        "ascending = true",
        "ascending is for type number and day and date, but number is of type serial",
    ),
    (
        'type = "amount"\n\n[sums',
        'type = "number"\nascending = true\n\n[sums',
        "ascending = true",
        "values ascend from row to row, and a field has no rows",
    ),
    (
        "[sums.fee]",
        "[fields.year]\nbox = [0.95, 0.9, 1, 1]\n\n[sums.fee]",
        "box = [0.95, 0.9, 1, 1]",
        "year overlaps total: a digit is of one field only",
    ),
    ("box = [0.9, 0.95, 1.0, 1.02]", "box = [0.9, 0.95, 1.0]", "box = [0.9, 0.95, 1.0]", "total needs a box"),
    (
        "box = [0.9, 0.95, 1.0, 1.02]",
        "box = [0.9, 0.95, 0.8, 1.02]",
        "box = [0.9, 0.95, 0.8, 1.02]",
        "ends before it begins",
    ),
    (
        "box = [0.9, 0.95, 1.0, 1.02]",
        "box = [0.9, 0.95, 1.0, 2]",
        "box = [0.9, 0.95, 1.0, 2]",
        "not a share from -0.5 to 1.5",
    ),
    ("box = [0.9, 0.95, 1.0, 1.02]\n", "", "[fields.total]", "total needs a box"),
    ('type = "amount"\n\n[sums', 'type = "serial"\n\n[sums', 'type = "serial"', "a field has no rows"),
    (
        'type = "amount"\n\n[sums',
        'type = "number"\n\n[sums',
        'field = "total"',
        "adds up to a field of that type",
    ),
    ("[fields.total]", "[fields.fee]", "[fields.fee]", "fee is a column too"),
    ('column = "fee"', 'column = "fees"', 'column = "fees"', "no column of this form; did you mean fee?"),
    (
        'column = "fee"',
        'column = "sort"',
        'column = "sort"',
        "sort is of type code: only numbers and amounts add up",
    ),
    ('column = "fee"\n', "", "[sums.fee]", "sum fee has no column"),
    ('field = "total"', 'field = "fee"', 'field = "fee"', "no field of this form"),
    ("[sums.fee]", "[sum.fee]", "[sum.fee]", "unknown key 'sum'; did you mean sums?"),
    ("step = 2", "step = ", "step = ", "Invalid value"),
]


@pytest.mark.parametrize(("was", "written", "at", "says"), WRONG)
def test_each_mistake_is_said_with_its_line(
    was: str, written: str, at: str, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "deeds.toml"
    assert was in FORM
    file.write_text(FORM.replace(was, written, 1))
    with pytest.raises(SettingsError) as told:
        read_form(file)
    place, _, message = str(told.value).partition(": ")
    assert says in message and "\n" not in message
    name, _, line = place.rpartition(":")
    assert name == str(file)
    assert file.read_text().splitlines()[int(line) - 1] == at


def test_fields_may_touch_and_lie_in_a_column(tmp_path: Path) -> None:
    beside = "[fields.year]\nbox = [0.8, 0.95, 0.9, 1]\n[fields.no]\nbox = [0.8, 0.9, 1, 0.95]\n"
    file = tmp_path / "deeds.toml"
    file.write_text(FORM + beside)
    assert [field.name for field in read_form(file).fields] == ["no", "total", "year"]


def test_an_empty_form_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "empty.toml"
    for text in ("", "# nothing\n", 'name = "x"\n'):
        file.write_text(text)
        with pytest.raises(SettingsError, match=r"empty.toml:1: there is neither a column nor a field"):
            read_form(file)
    with pytest.raises(SettingsError, match="can't be read"):
        read_form(tmp_path / "none.toml")


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["from", "to", "type", "at", *RULES]),
        st.one_of(
            st.integers(-3, 40),
            st.floats(-1, 2),
            st.booleans(),
            st.sampled_from(
                ['"day"', '"date"', '"amount"', '"top"', '"ymd"', "[]", "[1]", "{}", "1803-01-01"]
            ),
        ),
    )
)
def test_whatever_stands_in_a_column_is_a_form_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, said: dict[str, object]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    lines = [f"{key} = {str(value).lower()}" for key, value in said.items()]
    file.write_text("\n".join(['rows = "a"', "[columns.a]", *lines, ""]))
    try:
        form = read_form(file)
    except SettingsError as error:
        assert str(error).startswith(f"{file}:") and "\n" not in str(error)
    else:
        assert form_of(json.loads(json.dumps(as_json(form)))) == form


def test_the_forms_of_the_examples_are_whole() -> None:
    files = sorted((ROOT / "examples").glob("*.toml"))
    assert len(files) == 2
    for form in map(read_form, files):
        assert [column.name for column in form.columns] == ["number", "day", "registered", "fee"]
        assert form.rows == "number"
    assert len({form_hash(read_form(file)) for file in files}) == 2


def test_one_edge_in_five_may_lie_on_no_rule() -> None:
    names = [f"c{n}" for n in range(4)]
    columns = tuple(Column(name, n / 4, (n + 1) / 4, Values()) for n, name in enumerate(names))
    form = Form("quarters", columns, (), "c0")
    corners = ((0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0))
    all_but_one = fit_of(form, Frame(corners, (0.0, 0.255, 0.745, 1.0), True))
    assert (all_but_one.n_on_rules, all_but_one.n_edges, all_but_one.fits) == (4, 5, True)
    assert all_but_one.distance == pytest.approx((0.005 * 2 + 0.245) / 5)
    assert not fit_of(form, Frame(corners, (0.0, 0.25, 0.7, 1.0), True)).fits
    assert not fit_of(form, Frame(corners, (), False)).fits
