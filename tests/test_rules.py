"""Rules flag what can't be, or take another reading, and never write what no network read."""

import datetime
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.forms import Column, Field, Form, Sum, Values
from pipeline.page import Alternative
from pipeline.records import NETWORK, PAGE, PERSON, RULE, Record, Value
from pipeline.rules import apply_rules

Readings = tuple[str, Sequence[tuple[str, float]]]


def value(column: str, text: str, others: Sequence[tuple[str, float]] = (), sure: float = 0.9) -> Value:
    alternatives = tuple(Alternative(other, chance, ()) for other, chance in others)
    return Value(column, text, text, sure if text else 0.0, None, alternatives=alternatives)


def ruled(values: Values, rows: Sequence[Readings], sure: float = 0.9) -> list[Value]:
    form = Form("f", (Column("no", 0.0, 0.1, values),), (), "no")
    records = [
        Record(k, k / 100, (k + 1) / 100, (value("no", text, others, sure),))
        for k, (text, others) in enumerate(rows)
    ]
    return [record["no"] for record in apply_rules(records, form)]


SERIAL = Values("serial", gaps=True)


def test_a_serial_number_that_breaks_the_row_is_replaced_by_the_only_reading_that_fits() -> None:
    rows = [("605", ()), ("606", ()), ("607", ()), ("668", [("608", 0.04), ("688", 0.02)]), ("609", ())]
    after = ruled(SERIAL, rows)
    assert [one.text for one in after] == ["605", "606", "607", "608", "609"]
    chosen = after[3]
    assert (chosen.made_by, chosen.replaced, chosen.flag) == (RULE, "668", None)
    assert all(one.made_by == NETWORK and one.flag is None for k, one in enumerate(after) if k != 3)


def test_a_serial_number_that_no_network_read_right_is_flagged_and_stays() -> None:
    after = ruled(SERIAL, [("605", ()), ("606", ()), ("36", [("361", 0.1)]), ("608", ()), ("609", ())])
    assert [one.text for one in after] == ["605", "606", "36", "608", "609"]
    assert after[2].flag == "607 is expected here" and after[2].made_by == NETWORK


def test_what_a_person_said_is_held_to() -> None:
    form = Form("f", (Column("no", 0.0, 0.1, SERIAL),), (), "no")
    texts = ("605", "606", "36", "668")
    rows = [value("no", text, [("608", 0.08)] if text == "668" else []) for text in texts]
    rows[2] = replace(rows[2], text="607", value="607", made_by=PERSON, replaced="36", confidence=1.0)
    made = [Record(k, k / 10, (k + 1) / 10, (one,)) for k, one in enumerate(rows)]
    after = [record["no"] for record in apply_rules(made, form)]
    assert [one.text for one in after] == ["605", "606", "607", "608"] and after[2] == rows[2]
    alone = apply_rules([Record(0, 0, 1, (replace(value("no", "81"), made_by=PERSON),))], form)
    assert alone[0]["no"].flag is None and alone[0]["no"].text == "81"


def test_numbers_that_were_left_out_are_no_mistake_where_gaps_are_allowed() -> None:
    rows = [("2787", ()), ("2788", ()), ("2789", [("2790", 0.03)]), ("2792", [("2790", 0.01)]), ("2793", ())]
    after = ruled(SERIAL, rows)
    assert [one.text for one in after] == ["2787", "2788", "2789", "2792", "2793"]
    assert not any(one.flag for one in after)
    strict = ruled(Values("serial"), rows)
    assert any(one.flag for one in strict)


def test_a_serial_that_goes_up_by_two_has_no_odd_number() -> None:
    after = ruled(
        Values("serial", step=2, gaps=True), [("2", ()), ("4", ()), ("9", ()), ("8", ()), ("14", ())]
    )
    assert [one.flag for one in after] == [None, None, "6 is expected here", None, None]


def test_a_stain_between_two_rows_moves_no_number() -> None:
    rows = [("11", ()), ("12", ()), ("7", ()), ("13", ()), ("19", [("14", 0.05), ("15", 0.04)]), ("15", ())]
    after = ruled(SERIAL, rows)
    assert [one.text for one in after] == ["11", "12", "7", "13", "14", "15"]
    assert after[2].flag is not None


@settings(max_examples=60)
@given(st.data())
def test_a_rule_writes_only_what_was_read_and_leaves_a_whole_row_of_right_numbers(
    data: st.DataObject,
) -> None:
    start = data.draw(st.integers(1, 5000))
    steps = data.draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 5]), min_size=2, max_size=12))
    truth = [start]
    for step in steps:
        truth.append(truth[-1] + step)
    others = st.lists(st.tuples(st.integers(0, 6000).map(str), st.floats(1e-4, 0.05)), max_size=3)
    rows: list[Readings] = [(str(n), data.draw(others)) for n in truth]
    assert [one.text for one in ruled(SERIAL, rows, sure=0.99)] == [str(n) for n in truth]
    wrong = [
        (data.draw(st.integers(0, 6000).map(str)) if data.draw(st.booleans()) else text, more)
        for text, more in rows
    ]
    for one, (text, more) in zip(ruled(SERIAL, wrong), wrong, strict=True):
        assert one.text in {text, *(other for other, _ in more)}
        assert (one.replaced == text) if one.made_by == RULE else (one.text == text)


DATES = Values("date", datetime.date(1904, 1, 1), datetime.date(1939, 12, 31))


@pytest.mark.parametrize(
    ("values", "text", "others", "after", "flag"),
    [
        (Values("day", 1, 31), "21", [], "21", None),
        (Values("day", 1, 31), "81", [], "81", "81 is above 31"),
        (Values("day", 1, 31), "81", [("31", 0.1)], "31", None),
        (Values("day", 1, 31), "81", [("31", 0.1), ("11", 0.1)], "81", "81 is above 31"),
        (Values("day", 1, 31), "00", [], "00", "00 is below 1"),
        (Values("code", codes=("07", "12")), "7", [("07", 0.2)], "07", None),
        (Values("code", codes=("07", "12")), "13", [], "13", "13 is none of its codes"),
        (Values("amount", max=100, rule=0.05, decimals=2), "100|50", [], "100|50", "100|50 is above 100"),
        (Values("amount", max=100, rule=0.05, decimals=2), "99|50", [], "99|50", None),
        (Values("amount", max=1_234_567, decimals=2), "1234568", [], "1234568", "1234568 is above 1234567"),
        (Values("amount", decimals=2), "22 5", [], "22 5", "22 5 is no amount"),
        (Values("amount", decimals=2), "22 5", [("22 50", 0.1), ("22 7", 0.2)], "22 50", None),
        (Values("amount", min=1, decimals=2), "0,50", [("2 50", 0.1), ("0 70", 0.2)], "2 50", None),
        (Values("number"), "22,50", [], "22,50", "22,50 is no number"),
        (DATES, "24 10 1929", [], "24 10 1929", None),
        (DATES, "31 12 1903", [], "31 12 1903", "1903-12-31 is below 1904-01-01"),
        (DATES, "1 1 1940", [], "1 1 1940", "1940-01-01 is above 1939-12-31"),
        (DATES, "31 6 1929", [("30 6 1929", 0.1), ("81 6 1929", 0.2), ("30 6 1829", 0.2)], "30 6 1929", None),
        (DATES, "31 6 1929", [("30 6 1929", 0.1), ("21 6 1929", 0.1)], "31 6 1929", "31 6 1929 is no date"),
        (Values("date"), "24 10 29", [], "24 10 29", "24 10 29 is no date"),
    ],
)
def test_ranges_and_codes(
    values: Values, text: str, others: list[tuple[str, float]], after: str, flag: str | None
) -> None:
    (one,) = ruled(values, [(text, others)])
    assert (one.text, one.flag) == (after, flag)


def test_a_column_adds_up_to_its_total_or_the_total_is_flagged() -> None:
    form = Form(
        "f",
        (Column("fee", 0.0, 0.1, Values("amount")),),
        (Field("total", (0, 0, 1, 0.1), Values("amount")),),
        "fee",
        (Sum("s", "fee", "total"),),
    )

    def page(fees: Sequence[Value], total: Value) -> tuple[Record, ...]:
        rows = [Record(k, k / 10, (k + 1) / 10, (fee,)) for k, fee in enumerate(fees)]
        return apply_rules([Record(PAGE, 0, 0, (total,)), *rows], form)

    fees = [value("fee", "10"), value("fee", "25"), value("fee", "7", [("1", 0.1)])]
    right = page(fees, value("total", "42"))
    assert not any(record.flagged for record in right)
    mended = page(fees, value("total", "36"))
    assert [record["fee"].text for record in mended[1:]] == ["10", "25", "1"]
    assert mended[3]["fee"].made_by == RULE and not mended[0].flagged
    wrong = page(fees, value("total", "99", [("90", 0.1)]))
    assert wrong[0]["total"].flag == "fee adds up to 42, not 99"
    assert page(fees, value("total", "12", [("42", 0.3)]))[0]["total"].text == "42"
    # a fee that was not found may be what is missing
    unknown = page(
        [value("fee", "10"), value("fee", "20", [("50", 0.1)]), value("fee", "")], value("total", "60")
    )
    assert unknown[2]["fee"].text == "20" and unknown[0]["total"].flag == "fee adds up to 30, not 60"
    told = page([value("fee", "10"), value("fee", "20")], replace(value("total", "50"), made_by=PERSON))
    assert told[0]["total"].flag is None and told[1]["fee"].flag == "fee adds up to 30, not 50"


def test_what_a_rule_may_not_do() -> None:
    # a person's word is held to, though the others agree
    strict = Form("f", (Column("no", 0.0, 0.1, Values("serial")),), (), "no")
    said = replace(value("no", "505"), made_by=PERSON)
    rows = [said, value("no", "606", [("506", 0.05)]), value("no", "607", [("507", 0.05)])]
    made = [Record(k, k / 10, (k + 1) / 10, (one,)) for k, one in enumerate(rows)]
    assert [record["no"].text for record in apply_rules(made, strict)] == ["505", "506", "507"]
    # what breaks a range is no choice
    ranged = ruled(Values("serial", min=100), [("99", ()), ("199", [("99", 0.1)]), ("101", ()), ("102", ())])
    assert ranged[1].text == "199" and ranged[1].flag is not None
    # what hardly anybody read is none, at the end of a page least of all
    assert ruled(SERIAL, [("605", ()), ("607", [("606", 1e-6)]), ("607", ())], sure=0.9)[1].text == "607"
    assert ruled(SERIAL, [("11", ()), ("12", ()), ("12", [("13", 0.02)])])[2].text == "12"
    (kept,) = ruled(Values("number", max=31), [("45", [("", 0.3)])])
    assert kept.text == "45" and kept.flag == "45 is above 31"
    (cents,) = ruled(Values("amount", rule=0.05, decimals=2), [("83|847", ())])
    assert cents.flag == "83|847 has 3 digits of cents, not 2"


DAYS = Values("day", 1, 31, ascending=True)


def days(*rows: str | Readings, sure: float = 0.9) -> list[tuple[str, str | None]]:
    told = ruled(DAYS, [(row, ()) if isinstance(row, str) else row for row in rows], sure)
    return [(one.text, one.flag) for one in told]


def test_a_day_that_goes_back_is_the_one_reading_that_fits_or_flagged() -> None:
    told = days("24", "25", ("2", [("25", 0.2), ("21", 0.1), ("7", 0.1)]), "25", "", "27")
    assert told == [("24", None), ("25", None), ("25", None), ("25", None), ("", None), ("27", None)]
    # not where two fit, or none, nor at an end, nor what is far less likely: a clerk may go back
    assert days("24", "24", ("2", [("25", 0.2), ("26", 0.1)]), "26")[2] == ("2", "24 to 26 is expected here")
    assert days("24", "24", ("2", [("21", 0.2)]), "24")[2] == ("2", "24 is expected here")
    assert days("24", "25", ("12", [("25", 0.2)]))[2] == ("12", "25 or more is expected here")
    assert days(("29", [("9", 0.2)]), "9", "10")[0] == ("29", "9 or less is expected here")
    assert days("3", "3", ("5", [("3", 0.04)]), "3")[2] == ("5", "3 is expected here")
    # what is no day at all doesn't bear on those beside it
    assert days("24", ("72", [("25", 0.1), ("12", 0.1)]), "25")[1] == ("25", None)


def test_days_fall_where_a_month_begins() -> None:
    for rows in (
        ("28", "30", "30", "2", "3"),
        ("31", "1"),
        ("25", "27", "4", "5", "5"),
    ):
        assert [flag for _, flag in days(*rows)] == [None] * len(rows)
    told = days("29", "30", ("14", [("31", 0.1), ("7", 0.1)]), "2", "3")
    assert told[2] == ("31", None), "a day is of the month that ends or of the one that begins"
    told = days("29", "30", ("14", [("31", 0.1), ("1", 0.1)]), "2", "3")
    assert told[2] == ("14", "30 or more, 2 or less is expected here")


def test_what_a_person_says_holds_against_days_beside_it() -> None:
    form = Form("f", (Column("no", 0.0, 0.1, DAYS),), (), "no")
    rows = [value("no", text, [("12", 0.3)] if text == "22" else []) for text in ("11", "22", "12")]
    rows[2] = replace(rows[2], made_by=PERSON, confidence=1.0)
    made = [Record(k, k / 10, (k + 1) / 10, (one,)) for k, one in enumerate((*rows, value("no", "13")))]
    after = [record["no"] for record in apply_rules(made, form)]
    assert [one.text for one in after] == ["11", "12", "12", "13"] and after[2] == rows[2]


def test_numbers_and_dates_that_ascend_never_fall() -> None:
    numbers = ruled(
        Values("number", ascending=True), [("9.998", ()), ("10.002", ()), ("2", ()), ("10 003", ())]
    )
    assert [one.flag for one in numbers] == [None, None, "10002 to 10003 is expected here", None]
    rows: list[Readings] = [
        ("31 12 1928", ()),
        ("2 1 1928", [("2 1 1929", 0.2), ("2 1 1923", 0.1)]),
        ("3 1 1929", ()),
        ("30 1 1926", ()),
        ("5 1 1929", ()),
    ]
    dates = ruled(replace(DATES, ascending=True), rows)
    assert [one.text for one in dates] == ["31 12 1928", "2 1 1929", "3 1 1929", "30 1 1926", "5 1 1929"]
    assert (dates[1].made_by, dates[1].value) == (RULE, "1929-01-02")
    assert dates[3].flag == "1929-01-03 to 1929-01-05 is expected here"


@settings(max_examples=60)
@given(st.data())
def test_days_in_order_stay_whatever_else_was_read(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, 4]), min_size=2, max_size=20))
    truth = [data.draw(st.integers(1, 31))]
    for step in steps:
        truth.append(truth[-1] + step if truth[-1] + step <= 31 else 1)
    others = st.lists(st.tuples(st.integers(1, 31).map(str), st.floats(1e-4, 0.03)), max_size=3)
    rows: list[Readings] = [(str(day), data.draw(others)) for day in truth]
    assert days(*rows, sure=0.99) == [(str(day), None) for day in truth]
    wrong = [(data.draw(st.integers(0, 99).map(str)), more) for _, more in rows]
    for one, (text, more) in zip(ruled(DAYS, wrong), wrong, strict=True):
        assert one.text in {text, *(other for other, _ in more)}
        assert (one.replaced == text) if one.made_by == RULE else (one.text == text)
