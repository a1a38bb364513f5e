"""Texts as they are written, made values: what to compare, sort and count by.

A text is digits with what parts them: the rule that the form prints in an amount, marks that a clerk wrote
between digits, and a blank between the numbers of one line.
"""

import datetime
import re
from collections.abc import Sequence
from itertools import pairwise

from pipeline.forms import Values
from pipeline.page import MARKS
from pipeline.results import sort_key

RULE_MARK = "|"  # between whole units and cents, where the form prints a rule there
_NO_CENTS = re.compile(r"(?<=\d)[.,] ?-+$")  # what a clerk writes where there are none: 12.-
_PARTING = ".,"  # marks of thousands, and before cents
_OF_DATES = re.compile(r"[ .,/-]")
_MARKED = ("number", "amount", "date")
DATES = "D"  # dates sort behind all numbers, whose keys begin with a digit
_DMY = "dmy"  # what the letters of an order stand for


def has_marks(values: Values) -> bool:
    """Whether the text of a value has the marks between its digits, and blanks between its numbers."""
    return values.type in _MARKED


def with_rule(text: str, n_whole: int) -> str:
    """Return a text with the form's rule behind so many of its digits, in the place of what stands there.

    >>> with_rule("1.200,50", 4), with_rule("22 5", 2), with_rule("50", 0)
    ('1.200|50', '22|5', '|50')
    """
    ends = [0, *(place for place, char in enumerate(text, 1) if char.isdigit())]
    whole, cents = text[: ends[n_whole]], text[ends[n_whole] :]
    return whole + RULE_MARK + cents.lstrip(" " + "".join(MARKS))


def normalised(text: str, values: Values) -> str:
    """Return the value of a text: what to compare by; empty where the text has no sure value.

    Numbers are digits without leading zeros, an amount's cents behind a point; a date is as ISO 8601 has it.
    A serial number and a code keep their zeros.

    >>> normalised("1.200,50", Values("amount", decimals=2)), normalised("22 5", Values("amount", decimals=2))
    ('1200.50', '')
    >>> normalised("24 10 1929", Values("date")), normalised("5.115", Values("number"))
    ('1929-10-24', '5115')
    """
    match values.type:
        case "serial" | "code":
            return digits_of(text)
        case "day":  # the month may stand behind a mark
            return _without_zeros(re.split(r"[^0-9]", text)[0])
        case "number":
            return _whole(text) or ""
        case "amount":
            return _amount(text, values.decimals) or ""
        case "date":
            found = _date(text, values)
            return "" if found is None else found.isoformat()


def value_key(value: str) -> str:
    """Return the key that sorts values as they are: numbers by `sort_key`, and dates behind them.

    >>> value_key("22.50"), value_key("1929-10-24")
    ('000222.5', 'D1929-10-24')
    """
    return DATES + value if is_date(value) else sort_key(value)


def is_date(text: str) -> bool:
    """Whether it is a date as ISO 8601 has it: 1903-07-24."""
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def digits_of(text: str) -> str:
    """Return the digits of a text."""
    return "".join(char for char in text if char.isdigit())


def _without_zeros(digits: str) -> str:
    return digits.lstrip("0") or digits[:1]


def _whole(text: str) -> str | None:
    """Return a whole number: blanks say nothing in it, and marks part its thousands."""
    return _thousands(text.replace(" ", ""))


def _thousands(text: str) -> str | None:
    """Return a whole number whose groups of three digits are parted, all by the same; None for another."""
    first, *others = groups = re.split(r"[ .,]", text)
    if not all(one.isdigit() for one in groups):
        return None
    if not others:
        return _without_zeros(first)
    alike = len({char for char in text if not char.isdigit()}) == 1
    fit = 1 <= len(first) <= 3 and not first.startswith("0") and all(len(one) == 3 for one in others)
    return "".join(groups) if alike and fit else None


def _amount(text: str, decimals: int) -> str | None:
    text = _NO_CENTS.sub("", text)
    whole, rule, cents = text.partition(RULE_MARK)
    if rule:
        return _ruled(whole, cents.replace(" ", ""), decimals)
    *_, last = re.split(r"[ .,]", text)
    before = text[: -len(last) - 1]
    marks = [char for char in text if char in _PARTING]
    # the mark of the thousands is not that of the cents, where three digits may be both
    thousands_alone = decimals == 3 and len(marks) > 1 and len(set(text) - set("0123456789")) == 1
    if decimals and before and last.isdigit() and len(last) == decimals and not thousands_alone:
        units = _thousands(before)
        return None if units is None else f"{units}.{last}"
    return _thousands(text)


def _ruled(whole: str, cents: str, decimals: int) -> str | None:
    """Return an amount of what stands on the two sides of the form's rule."""
    if not digits_of(whole + cents):
        return None
    if not cents:  # they may stand before the rule: behind a mark they do, behind a blank they may
        marked = any(mark in whole for mark in _PARTING)
        return _amount(whole, decimals) if marked else _thousands(whole)
    units = _whole(whole) if whole else "0"
    fits = cents.isdigit() and len(cents) <= decimals
    return f"{units}.{cents.ljust(decimals, '0')}" if units is not None and fits else None


def _date(text: str, values: Values) -> datetime.date | None:
    groups = _OF_DATES.split(text)
    if len(groups) == 1 and len(text) in (6, 8):
        lengths = [len(text) - 4 if letter == "y" else 2 for letter in values.order]
        ends = [sum(lengths[:n]) for n in range(4)]
        groups = [text[start:end] for start, end in pairwise(ends)]
    if len(groups) != 3 or not all(group.isdigit() for group in groups):
        return None
    day, month, year = (groups[values.order.index(letter)] for letter in _DMY)
    if len(day) > 2 or len(month) > 2 or len(year) not in (2, 4):
        return None
    years = [int(year)] if len(year) == 4 else [century + int(year) for century in _centuries(values)]
    found = [one for y in years if (one := _day_of(y, int(month), int(day))) is not None]
    if len(years) > 1:
        found = [one for one in found if values.min <= one <= values.max]  # type: ignore[operator]  # both dates
    return found[0] if len(found) == 1 else None


def _centuries(values: Values) -> Sequence[int]:
    """Return the years that a year of two digits may be added to."""
    low, high = values.min, values.max
    if values.century is not None:
        return (values.century,)
    if not isinstance(low, datetime.date) or not isinstance(high, datetime.date):
        return ()
    return range(low.year // 100 * 100, high.year + 1, 100)


def _day_of(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None
