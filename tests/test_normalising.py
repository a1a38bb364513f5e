"""Texts as they are written become values: amounts by their marks, dates in each order, or none."""

import datetime
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.forms import Values
from pipeline.normalising import normalised, with_rule

DATES = Values("date", datetime.date(1904, 1, 1), datetime.date(1939, 12, 31))


def test_a_value_keeps_its_zeros_where_they_say_something() -> None:
    assert normalised("0042", Values("code")) == "0042" == normalised("0042", Values("serial"))
    assert normalised("0042", Values("number")) == "42" and normalised("000", Values("number")) == "0"
    amount = Values("amount", rule=0.5, decimals=2)
    assert normalised("022|5", amount) == "22.50" and normalised("|05", amount) == "0.05"
    assert (
        normalised("22|", amount) == "22" and normalised("|", amount) == "" and normalised("7", amount) == "7"
    )


@pytest.mark.parametrize(
    ("text", "decimals", "known"),
    [
        ("22,50", 2, "22.50"),
        ("22.50", 2, "22.50"),
        ("022 50", 2, "22.50"),
        ("22|5", 2, "22.50"),
        ("1.200,50", 2, "1200.50"),
        ("1 200 50", 2, "1200.50"),
        ("1.200.50", 2, "1200.50"),
        ("1 200|50", 2, "1200.50"),
        ("2 2|5 0", 2, "22.50"),  # the rule says what each digit is
        ("22,50|", 2, "22.50"),
        ("22 50|", 2, ""),  # cents that a clerk wrote before the rule, or a number that came apart
        ("1 200|", 2, "1200"),
        ("5.115|", 3, "5.115"),
        ("12.-", 2, "12"),
        ("1.200,-", 2, "1200"),
        ("12-38", 2, ""),
        ("-", 2, ""),
        ("5.115", 2, "5115"),
        ("1.200.000", 2, "1200000"),
        ("1 200", 2, "1200"),
        ("0,05", 2, "0.05"),
        ("5.115", 3, "5.115"),  # it may be either: decimals say that there are cents
        ("1.200.000", 3, "1200000"),
        ("1.200,000", 3, "1200.000"),
        ("1 200 500", 3, "1200.500"),
        ("22 5", 1, "22.5"),
        ("1 200", 0, "1200"),
        ("22 5", 2, ""),
        ("22 50", 0, ""),
        ("1.20.5", 2, ""),
        ("1.200,000", 2, ""),
        ("0.115", 2, ""),
        ("1234.567", 2, ""),
        ("83|847", 2, ""),
        ("22,5|0", 2, ""),
        ("22,", 0, ""),
        ("1200", 2, "1200"),
    ],
)
def test_an_amount_is_its_marks_or_none(text: str, decimals: int, known: str) -> None:
    assert normalised(text, Values("amount", rule=0.5, decimals=decimals)) == known


def test_marks_and_blanks_in_what_is_no_amount() -> None:
    number = Values("number")
    texts = ("5.115", "1 200", "12 5", "1.200 000", "22,50", "0.115")
    assert [normalised(text, number) for text in texts] == ["5115", "1200", "125", "", "", ""]
    assert normalised("2.365", Values("serial")) == "2365" and normalised("0.07", Values("code")) == "007"
    assert normalised("04.11", Values("day")) == "4" and normalised("", Values("day")) == ""
    assert with_rule("1 200,50", 4) == "1 200|50" and with_rule("1.200", 4) == "1.200|"


@settings(max_examples=300)
@given(
    st.integers(0, 10**12),
    st.integers(0, 4),
    st.sampled_from(["", ".", ",", " "]),
    st.sampled_from([".", ",", " ", "|"]),
    st.booleans(),
)
def test_an_amount_comes_back_however_it_is_marked(
    cents: int, decimals: int, thousands: str, mark: str, whole: bool
) -> None:
    amount = Decimal(cents).scaleb(-decimals)
    units = f"{int(amount):,}".replace(",", thousands)
    if whole or decimals == 0:
        alone = (
            thousands
            and decimals == 3
            and units.count(thousands) in ((1,) if thousands != " " else range(1, 9))
        )
        text, amount = (str(int(amount)) if alone else units), Decimal(int(amount))
    else:
        same = decimals == 3 and mark == thousands != " "
        text = f"{str(int(amount)) if same else units}{mark}{cents % 10**decimals:0{decimals}}"
    values = Values("amount", rule=0.5 if "|" in text else None, decimals=decimals)
    assert Decimal(normalised(text, values)) == amount


@settings(max_examples=300)
@given(
    st.dates(datetime.date(1000, 1, 1)),
    st.sampled_from(["dmy", "mdy", "ymd"]),
    st.sampled_from(["", " ", ".", "-", "/"]),
    st.booleans(),
)
def test_a_date_comes_back_in_each_order(date: datetime.date, order: str, mark: str, short: bool) -> None:
    year = f"{date.year % 100:02}" if short else str(date.year)
    parts = {"d": str(date.day), "m": str(date.month), "y": year}
    if not mark:
        parts |= {key: parts[key].zfill(2) for key in "dm"}
    text = mark.join(parts[letter] for letter in order)
    century = date.year // 100 * 100
    values = Values("date", order=order, century=century)  # type: ignore[arg-type]  # one of the three
    assert normalised(text, values) == date.isoformat()
    if short:
        assert normalised(text, replace(values, century=None)) == ""
        ends = datetime.date(century, 1, 1), datetime.date(century + 99, 12, 31)
        bounded = replace(values, century=None, min=ends[0], max=ends[1])
        assert normalised(text, bounded) == date.isoformat()


def test_a_year_of_two_digits_is_of_the_one_century_that_bounds_allow() -> None:
    over = Values("date", datetime.date(1880, 1, 1), datetime.date(1920, 12, 31))
    texts = ("1 2 90", "1 2 10", "1 2 50", "1 2 1990")
    assert [normalised(text, over) for text in texts] == ["1890-02-01", "1910-02-01", "", "1990-02-01"]
    long = replace(over, max=datetime.date(1985, 12, 31))
    assert normalised("1 2 82", long) == "" and normalised("1 2 86", long) == "1886-02-01"
    assert normalised("1 2 50", DATES) == "1950-02-01", "it is flagged, but no other century may be"
    assert normalised("1 2 50", replace(over, max=None)) == ""
    for text in ("29 2 1929", "29 2", "1 2 3 1929", "2410192", "1 2 929", "001 2 1929", "8 13 1929"):
        assert normalised(text, DATES) == "", text
