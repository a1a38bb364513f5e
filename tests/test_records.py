"""Records: a printed table that was read becomes rows with fields, ruled, asked for, explained, corrected."""

import json
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.drawn import DrawnPage, draw_page
from pipeline.errors import UsageError
from pipeline.forms import Column, Field, Form, Values
from pipeline.frames import Frame
from pipeline.page import Alternative, Box, Detection, Number, Reading
from pipeline.record_filter import FieldWish
from pipeline.record_finding import parse_id, parse_wish
from pipeline.records import build_records
from pipeline.styles import PageStyle

Said = Callable[..., tuple[str, str]]
STYLE = PageStyle(width=1100, height=1400, digit_px=24.0, columns=("running", "day", "text", "amount"))
NAMES = {"column-1": "no", "column-2": "day", "column-4": "fee"}


@pytest.fixture(scope="module")
def page() -> DrawnPage:
    return draw_page(3, STYLE)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory, page: DrawnPage) -> Path:
    """A folder with a page that was read, and the same page as another scanner shows it."""
    from cli.main import run

    folder = tmp_path_factory.mktemp("read")
    (folder / "scans").mkdir()
    cv2.imwrite(str(folder / "scans/page.png"), page.pixels)
    small = cv2.resize(page.pixels, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    wide = cv2.copyMakeBorder(small, 90, 40, 120, 50, cv2.BORDER_REPLICATE)
    turn = cv2.getRotationMatrix2D((wide.shape[1] / 2, wide.shape[0] / 2), -2.0, 1.0)
    size = (wide.shape[1], wide.shape[0])
    turned = cv2.warpAffine(wide, turn, size, borderMode=cv2.BORDER_REPLICATE)
    cv2.imwrite(str(folder / "scans/turned.png"), turned)
    database = ["--database", str(folder / "archive.db")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ARCHIVE_DEVICE", "cpu")
        assert run([*database, "ingest", "scans"]) == 0
        assert run(["form", "new", "scans/page.png", "-o", "new.toml"]) == 0
    text = (folder / "new.toml").read_text()
    text = re.sub(r"\[columns\.column-3\]\n(?:.+\n)+", "", text)
    for number, name in NAMES.items():
        text = text.replace(f"[columns.{number}]", f"[columns.{name}]").replace(f'"{number}"', f'"{name}"')
    types = iter(("serial", "day", "amount"))
    text = re.sub(r'type = "number"', lambda found: f'type = "{next(types, "number")}"', text)
    (folder / "ledger.toml").write_text(re.sub(r'name = ".*"', 'name = "ledger"', text, count=1))
    return folder


@pytest.fixture
def folder(read: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a database of its own in which the page was read."""
    for file in read.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    (tmp_path / "scans").symlink_to(read / "scans")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(page: DrawnPage) -> list[dict[str, str]]:
    """The rows that were drawn: what stands in each column, by the places of the numbers."""
    rows: dict[int, dict[str, str]] = {}
    for number in page.numbers:
        x, y = number.box.centre
        if y < 170:  # the header's page number
            continue
        name = "no" if x < 165 else "day" if x < 248 else "fee" if x > 865 else None
        if name:
            near = next((at for at in rows if abs(at - y) < 20), round(y))
            rows.setdefault(near, {})[name] = number.text
    return [rows[at] for at in sorted(rows)]


def records_in(said: Said, *words: str) -> list[dict]:
    return json.loads(said("query", "--record", "--json", *words)[0])["records"]


def texts(records: list[dict]) -> list[dict[str, str]]:
    """The digits of each value: whether marks are found between them is asked in tests/test_marks.py."""
    return [
        {name: re.sub(r"[.,-]", "", value["text"]) for name, value in row["fields"].items()}
        for row in records
    ]


def test_a_table_becomes_records_that_are_asked_for_by_their_fields(
    folder: Path, page: DrawnPage, said: Said
) -> None:
    _, err = said("form", "apply", "ledger.toml", "scans/page.png")
    truth = rows_of(page)
    assert len(truth) == 22 and f"1 page, {len(truth)} records by form ledger" in err
    records = records_in(said)
    assert texts(records) == truth
    assert [row["row"] for row in records] == list(range(1, 23))
    assert {row["form"] for row in records} == {"ledger"} and not any(row["flagged"] for row in records)

    assert texts(records_in(said, "--field", "no=550")) == [row for row in truth if row["no"] == "550"]
    fees = [Decimal(row["fields"]["fee"]["value"]) for row in records]
    dear = records_in(said, "--field", "fee>=10000", "--order", "-fee")
    assert [Decimal(row["fields"]["fee"]["value"]) for row in dear] == sorted(
        (fee for fee in fees if fee >= 10_000), reverse=True
    )
    assert len(dear) > 3
    both = records_in(said, "--field", "day<=10", "--field", "no>550")
    assert texts(both) == [row for row in truth if int(row["day"]) <= 10 and int(row["no"]) > 550]
    assert records_in(said, "--form", "ledger", "--confidence", "<0.0001") == []
    assert len(records_in(said, "--document", "page.png", "--page", "1", "--limit", "3")) == 3

    out, err = said("query", "--record", "--limit", "2")
    lines = out.splitlines()
    assert lines[0].split() == ["ID", "NO", "DAY", "FEE", "SURE", "PAGE", "DOCUMENT"] and len(lines) == 3
    assert "more than these 2" in err
    out, _ = said("query", "--record", "--csv", "--field", "no=543")
    assert out.splitlines()[0].startswith('"id","no","day","fee",') and '"543","29","8"' in out


def test_another_scan_of_the_page_gives_the_same_records(folder: Path, page: DrawnPage, said: Said) -> None:
    said("form", "apply", "ledger.toml")
    one, other = (texts(records_in(said, "--document", name)) for name in ("page.png", "turned.png"))
    assert one == other == rows_of(page)


def test_a_value_says_where_it_comes_from(folder: Path, said: Said) -> None:
    said("form", "apply", "ledger.toml", "scans/page.png")
    (found,) = records_in(said, "--field", "no=550")
    out, _ = said("why", found["id"])
    for told in (f"{found['id']}: row 8 of page 1 of", "form       ledger", "detector", "no: 550", "fee: "):
        assert told in out
    assert max(map(len, out.splitlines()[1:])) <= 80
    alone = json.loads(said("why", f"{found['id']}.no", "--json")[0])
    digits = alone["fields"]["no"]["digits"]
    assert list(alone["fields"]) == ["no"] and [digit["digit"] for digit in digits] == [5, 5, 0]
    x0, _, _, y1 = alone["fields"]["no"]["box"]
    assert x0 == min(digit["box"][0] for digit in digits) and y1 == max(digit["box"][3] for digit in digits)
    assert alone["run"]["networks"].keys() >= {"detector", "classifier"} and len(alone["sha256"]) == 64
    for words, told in (
        (("why", "99.1"), "there is no record 99.1"),
        (("why", found["id"] + ".sum"), "has no field 'sum': it has no, day, fee"),
        (("why", "fee"), "is no record: ids look like 12.3"),
        (("query", "--record", "--field", "nr=5"), "no record has a field 'nr': there are day, fee, no"),
        (("query", "--record", "--field", "fee>much"), "is no number to compare with"),
        (("query", "--record", "--field", "fee"), "asks nothing of a field"),
        (("query", "--record", "--form", "other"), "no form is called 'other'"),
        (("query", "--record", "--order", "nr"), "no record has a field 'nr'"),
        (("query", "--record", "543"), "ask with --field"),
        (("query", "--order", "nr"), "fields are of --record"),
        (("query", "--confidence", "sure"), "is no confidence"),
    ):
        _, err = said(*words, code=2)
        assert told in err and err.count("\n") == 1, err


def test_what_a_person_says_stays_when_the_page_is_read_and_recorded_again(folder: Path, said: Said) -> None:
    said("form", "apply", "ledger.toml", "scans/page.png")
    (found,) = records_in(said, "--field", "no=550")
    _, err = said("correct", f"{found['id']}.fee", "0017", "--who", "miriam")
    assert f"it was {found['fields']['fee']['text']}" in err
    said("correct", f"{found['id']}.fee", "0018", "--who", "tim")
    value = records_in(said, "--field", "no=550")[0]["fields"]["fee"]
    assert (value["text"], value["value"], value["made_by"]) == ("0018", "18", "person")
    assert value["replaced"] == found["fields"]["fee"]["text"]
    assert [row["id"] for row in records_in(said, "--field", "fee=18")] == [found["id"]]
    out, _ = said("why", f"{found['id']}.fee")
    assert "tim said so on" in out and "it was 0017 before" in out and "before that miriam said 0017" in out

    _, err = said("reprocess", "page.png")
    assert "1 page read" in err
    (again,) = records_in(said, "--field", "no=550")
    assert again["id"] != found["id"]
    assert again["fields"]["fee"] == value and len(records_in(said)) == 22
    said("form", "apply", "ledger.toml", "scans/page.png")
    assert records_in(said, "--field", "no=550") == [again]
    for words, told in (
        ((f"{again['id']}.fee", "1|7"), "has no rule"),
        ((f"{again['id']}.fee", "much"), "is no value of fee: write digits"),
        ((again["id"], "7"), "say which field"),
        (("7.7.fee", "7"), "there is no record"),
    ):
        _, err = said("correct", *words, code=2)
        assert told in err and err.count("\n") == 1


def test_a_person_may_say_that_nothing_stands_there(folder: Path, said: Said) -> None:
    said("form", "apply", "ledger.toml", "scans/page.png")
    (found,) = records_in(said, "--field", "no=550")
    fee = f"{found['id']}.fee"
    _, err = said("correct", fee, "", "--who", "miriam")
    assert err == f"{fee} is empty now; it was {found['fields']['fee']['text']}\n"
    assert "fee: empty\n  miriam said so on" in said("why", fee)[0]
    said("correct", fee, "7", "--who", "tim")
    assert "before that miriam said that it is empty on" in said("why", fee)[0]
    _, err = said("correct", fee, "|", code=2)
    assert "has no rule" in err
    _, err = said("correct", fee, "5" * 5000, code=2)
    assert "is no value of fee" in err and err.count("\n") == 1


def test_a_correction_is_of_its_row_alone(folder: Path, said: Said) -> None:
    said("form", "apply", "ledger.toml", "scans/page.png")
    rows = records_in(said)
    said("correct", f"{rows[20]['id']}.fee", "71", "--who", "ann")
    said("correct", f"{rows[21]['id']}.fee", "72", "--who", "bob")
    told = json.loads(said("why", f"{rows[20]['id']}.fee", "--json")[0])["fields"]["fee"]
    assert [(one["who"], one["text"]) for one in told["corrections"]] == [("ann", "71")]
    out, _ = said("why", f"{rows[21]['id']}.fee")
    assert "bob said so on" in out and "ann" not in out
    # a row that is not found any more takes its correction with it
    text = Path("ledger.toml").read_text()
    Path("short.toml").write_text(text.replace('rows = "no"', 'rows = "fee"'))
    said("form", "apply", "ledger.toml", "scans/page.png")
    assert [row["fields"]["fee"]["text"] for row in records_in(said)[20:]] == ["71", "72"]


def test_a_png_read_at_another_dpi_keeps_its_records(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    said("form", "apply", "ledger.toml", "scans/page.png")
    before = texts(records_in(said))
    monkeypatch.setenv("ARCHIVE_RENDER_DPI", "200")
    said("reprocess", "page.png")
    assert texts(records_in(said)) == before


def made_of(
    digits: dict[tuple[float, float], int],
    numbers: list[tuple[tuple[int, ...], list]],
    fee: Values = Values("amount"),  # noqa: B008  # it is frozen
) -> tuple:
    """Records of digits at places of a page of 1000 × 1000, and of numbers with their alternatives."""
    detections = tuple(Detection(Box(x - 8, y - 10, x + 8, y + 10), 0.9) for x, y in digits)
    readings = tuple(Reading(digit, 0.99) for digit in digits.values())
    page = []
    for members, others in numbers:
        text = "".join(str(readings[member].digit) for member in members)
        kept = tuple(Alternative(*other) for other in others)
        page.append(Number(text, 0.9, detections[members[0]].box, 0, members, kept))
    frame = Frame(((0, 0), (1000, 0), (1000, 1000), (0, 1000)), (0.0, 1.0), True)
    form = Form(
        "f",
        (Column("no", 0.0, 0.1, Values("serial")), Column("fee", 0.1, 0.5, fee, "bottom")),
        (Field("total", (0.1, 0.9, 0.5, 1.0), Values("amount")),),
        "no",
    )
    return build_records(detections, readings, page, frame, form)


def test_what_belongs_to_a_field_or_another_number_is_taken_once() -> None:
    digits = {(50, 100): 1, (150, 100): 7, (50, 200): 2, (150, 300): 8, (150, 950): 9}
    joined = [("17", 0.2, (0, 1)), ("4", 0.1, (0,))]  # the first would take the fee's digit
    page, first, second = made_of(digits, [((0,), joined), ((1,), []), ((2,), []), ((3,), []), ((4,), [])])
    assert page["total"].text == "9"
    assert (first["no"].text, first["fee"].text) == ("1", "7")
    assert [one.text for one in first["no"].alternatives] == ["4"]
    assert (second["no"].text, second["fee"].text) == ("2", "8"), "the total is no fee"


def test_a_number_that_reaches_over_a_rule_stays_whole_and_one_in_two_columns_comes_apart() -> None:
    over = {(70, 100): 3, (88, 100): 4, (103, 100): 5}  # the last digit stands a little beyond
    _, row = made_of(over, [((0, 1, 2), [])])
    assert (row["no"].text, row["fee"].text) == ("345", "")
    both = {(50, 100): 1, (68, 100): 2, (160, 100): 7, (178, 100): 8}
    _, row = made_of(both, [((0, 1, 2, 3), [("1279", 0.1, (0, 1, 2, 3))])])
    assert (row["no"].text, row["fee"].text) == ("12", "78") and row["no"].alternatives == ()


def test_the_numbers_of_a_line_stand_apart_where_that_says_something() -> None:
    digits = {(50, 100): 1, (150, 100): 2, (168, 100): 4, (230, 100): 1, (248, 100): 0, (330, 100): 2}
    numbers = [((0,), []), ((1, 2), [("21", 0.1, (1, 2))]), ((3, 4), []), ((5,), [])]
    for values, text, known, others in (
        (Values("amount", decimals=1), "24 10 2", "", ["21 10 2"]),
        (Values("amount", decimals=2, rule=0.2), "24|10 2", "", []),
        (Values("amount", decimals=3, rule=0.2), "24|10 2", "24.102", []),
        (Values("number"), "24 10 2", "24102", ["21 10 2"]),
        (Values("code"), "24102", "24102", ["21102"]),
        (Values("day", 1, 31), "24", "24", ["21"]),
    ):
        _, row = made_of(digits, numbers, values)
        fee = row["fee"]
        assert (fee.text, fee.value, [one.text for one in fee.alternatives]) == (text, known, others), values
    digits |= {(348, 100): 9}
    numbers[-1] = ((5, 6), [])
    _, row = made_of(digits, numbers, Values("date", century=1900))
    assert (row["fee"].text, row["fee"].value) == ("24 10 29", "1929-10-24")


def test_dates_are_asked_for_sorted_and_corrected_by_their_value(folder: Path, said: Said) -> None:
    text = Path("ledger.toml").read_text()
    Path("dates.toml").write_text(
        text.replace('type = "day"', 'type = "date"\nmin = 1903-01-01\nmax = 1939-12-31\norder = "dmy"')
    )
    said("form", "apply", "dates.toml", "scans/page.png")
    rows = records_in(said)
    assert all(row["fields"]["day"]["value"] == "" and row["flagged"] for row in rows)
    read = rows[0]["fields"]["day"]["text"]
    assert rows[0]["fields"]["day"]["flag"] == f"{read} is no date"
    assert f"day: {read}\n" in said("why", f"{rows[0]['id']}.day")[0], "it means nothing"
    for row, written in zip(rows, ("24.10.1929", "2 1 29", "24/7/03", "01121903"), strict=False):
        said("correct", f"{row['id']}.day", written)
    dated = records_in(said, "--field", "day>=1903-07-24", "--order", "day")
    assert [row["fields"]["day"]["value"] for row in dated] == [
        "1903-07-24",
        "1903-12-01",
        "1929-01-02",
        "1929-10-24",
    ]
    (one,) = records_in(said, "--field", "day=1903-07-24")
    assert one["id"] == rows[2]["id"] and one["fields"]["day"]["text"] == "24/7/03"
    assert records_in(said, "--field", "day=24/7/03") == [one]
    assert len(records_in(said, "--field", "day<1929-10-24", "--field", "day>1903-07-24")) == 2
    assert records_in(said, "--field", "day>5") == [] == records_in(said, "--field", "no>1903-07-24")
    assert "1903-07-24" in said("query", "--record", "--csv", "--field", "day=1903-07-24")[0]
    answered = json.loads(said("sql", "--json", "SELECT amount FROM v_fields WHERE value = '1903-07-24'")[0])
    assert [row["amount"] for row in answered["rows"]] == [None]
    for words, told in (
        (("query", "--record", "--field", "day>1903-13-01"), "nor a date such as 1903-07-24"),
        (("correct", f"{one['id']}.day", "1903-07-24"), "write a date such as 24 10 1929"),
        (("correct", f"{one['id']}.day", "31 6 1929"), "'31 6 1929' is no value of day"),
    ):
        _, err = said(*words, code=2)
        assert told in err and err.count("\n") == 1, err


def test_an_amount_is_corrected_as_it_is_written(folder: Path, said: Said) -> None:
    Path("cents.toml").write_text(
        Path("ledger.toml").read_text().replace('"amount"', '"amount"\ndecimals = 2')
    )
    said("form", "apply", "cents.toml", "scans/page.png")
    (found,) = records_in(said, "--field", "no=550")
    fee = f"{found['id']}.fee"
    for written, known in (("22,50", "22.50"), ("1 200", "1200"), ("1.200 50", "1200.50"), ("0017", "17")):
        said("correct", fee, written)
        value = records_in(said, "--field", "no=550")[0]["fields"]["fee"]
        assert (value["text"], value["value"]) == (written, known)
        assert [row["id"] for row in records_in(said, "--field", f"fee={known}")] == [found["id"]]
        assert [row["id"] for row in records_in(said, "--field", f"fee={written}")] == [found["id"]]
    said("correct", fee, "5.115")
    assert [row["id"] for row in records_in(said, "--field", "fee=5.115")] == [found["id"]]
    assert [row["id"] for row in records_in(said, "--field", "fee=5115")] == [found["id"]]
    for field, written in (("fee", "22 5"), ("fee", "22,"), ("fee", "2-5"), ("no", "5.115"), ("day", "4/11")):
        _, err = said("correct", f"{found['id']}.{field}", written, code=2)
        assert f"{written!r} is no value of {field}: write digits" in err and err.count("\n") == 1


def test_ids_of_an_older_run_are_refused_with_a_line(folder: Path, said: Said) -> None:
    said("form", "apply", "ledger.toml", "scans/page.png")
    (found,) = records_in(said, "--field", "no=550")
    said("reprocess", "page.png")
    _, err = said("correct", f"{found['id']}.fee", "71", code=2)
    assert "is of an older run of its page" in err and err.count("\n") == 1


def test_what_is_no_scan_any_more_is_not_read_once_more(folder: Path, read: Path, said: Said) -> None:
    away = (read / "scans/turned.png").rename(read / "away.png")
    try:
        _, err = said("reprocess", "turned.png", code=2)
        assert "none of these scans is there" in err and err.count("\n") == 1
        _, err = said("reprocess")
        assert "1 scan not there" in err and "1 page read" in err
    finally:
        away.rename(read / "scans/turned.png")
    _, err = said("reprocess", "nothing", code=2)
    assert "no document" in err


def test_a_page_whose_scan_is_away_is_said_and_the_others_go_on(folder: Path, read: Path, said: Said) -> None:
    away = (read / "scans/turned.png").rename(read / "away.png")
    try:
        out, err = said("form", "apply", "ledger.toml", "--json", code=4)
    finally:
        away.rename(read / "scans/turned.png")
    assert json.loads(out)["n_pages"] == 1 and json.loads(out)["n_pages_not_seen"] == 1
    assert "turned.png" in err


def test_a_wish_is_a_field_a_sign_and_a_value() -> None:
    assert parse_wish(" no = 0042 ") == FieldWish("no", "=", "0042")
    assert parse_wish("fee<=3.75") == FieldWish("fee", "<=", "3.75")
    assert parse_wish("date<1903-07-24") == FieldWish("date", "<", "1903-07-24")
    assert parse_wish("day of deed>3") == FieldWish("day of deed", ">", "3")
    for wrong in ("", "no", "=5", "no=", "fee>x", "fee=>5", "date>1903-02-30", "date<19030724T00"):
        with pytest.raises(UsageError):
            parse_wish(wrong)
    assert parse_id("12.3") == (12, 2, None) and parse_id("12.0.year") == (12, -1, "year")
    assert parse_id("1.2.a.b") == (1, 1, "a.b")
    for wrong in ("12", "12.", "a.3", "12.x.fee", "1" * 30 + ".1"):
        with pytest.raises(UsageError):
            parse_id(wrong)


def test_records_that_are_gone_leave_no_fields(folder: Path, said: Said) -> None:
    """A form whose rows are elsewhere replaces the records that another made."""
    said("form", "apply", "ledger.toml", "scans/page.png")
    text = Path("ledger.toml").read_text().replace('name = "ledger"', 'name = "days"')
    Path("days.toml").write_text(text.replace('rows = "no"', 'rows = "day"'))
    said("form", "apply", "days.toml", "scans/page.png")
    records = records_in(said)
    assert {row["form"] for row in records} == {"days"} and len(records) == 22
    assert np.unique([row["id"] for row in records]).size == 22
