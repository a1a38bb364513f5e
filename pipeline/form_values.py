"""What the file of a form says of values: their type, how they are written, the rules for them.

Each mistake is a SettingsError of one line with the line of the file it is on.
"""

import datetime
import math
from typing import Any, cast

from pipeline.forms import RULES, Bound, Type, Values
from pipeline.toml_files import Keys, TomlFile, hint

FARTHEST = 0.5  # a field may lie this far outside of the frame: a page number above the table
# what may be said of a value, by its type: how it is written, and the rules for it
_RULES_OF: dict[str, Keys] = {
    "number": ("min", "max", "codes", "ascending"),
    "day": ("min", "max", "ascending"),
    "date": ("min", "max", "order", "century", "ascending"),
    "serial": ("min", "max", "step", "gaps"),
    "amount": ("min", "max", "rule", "decimals"),
    "code": ("min", "max", "codes"),
}
_LAST_DAY = 31
_ORDERS = ("dmy", "mdy", "ymd")
_CENTURIES = range(100, 10_000, 100)


def read_value_rules(toml: TomlFile, keys: Keys, given: dict[str, Any], others: Keys) -> Values:
    """Return what is said of the values of a column or field; `others` are its other keys."""
    toml.refuse_unknown(keys, given, (*others, *RULES))
    type = given.get("type", "number")
    if not isinstance(type, str) or type not in _RULES_OF:
        raise toml.wrong((*keys, "type"), f"unknown type {type!r}{hint(str(type), _RULES_OF)}")
    for key in given:
        if key in RULES and key not in _RULES_OF[type]:
            types = " and ".join(other for other in _RULES_OF if key in _RULES_OF[other])
            raise toml.wrong((*keys, key), f"{key} is for type {types}, but {keys[-1]} is of type {type}")
    low, high = (_bound(toml, (*keys, key), given.get(key), type) for key in ("min", "max"))
    if low is not None and high is not None and low > high:  # type: ignore[operator]  # two numbers or two dates
        raise toml.wrong((*keys, "max"), f"max of {keys[-1]} is {high}, and min is {low}")
    if type == "day":
        low, high = 1 if low is None else low, _LAST_DAY if high is None else high
    step = _whole(toml, (*keys, "step"), given.get("step", 1), "a whole number other than 0")
    if step == 0:
        raise toml.wrong((*keys, "step"), "step is 0: numbers that stay the same are no serial")
    gaps, ascending = (
        _true_or_false(toml, (*keys, key), given.get(key, False)) for key in ("gaps", "ascending")
    )
    rule = (
        read_share(toml, (*keys, "rule"), given["rule"], -FARTHEST, 1 + FARTHEST) if "rule" in given else None
    )
    decimals = _whole(
        toml, (*keys, "decimals"), given.get("decimals", 2 if type == "amount" else 0), "0 to 6 digits"
    )
    if not 0 <= decimals <= 6:
        raise toml.wrong((*keys, "decimals"), f"decimals is {decimals}, not 0 to 6 digits")
    if rule is not None and decimals == 0:
        raise toml.wrong((*keys, "rule"), "a rule parts whole units from cents, but decimals is 0")
    codes = _codes(toml, (*keys, "codes"), given["codes"], low, high) if "codes" in given else ()
    order = given.get("order", _ORDERS[0])
    if order not in _ORDERS:
        raise toml.wrong((*keys, "order"), f"order is {order!r}, not dmy, mdy or ymd: day, month and year")
    century = given.get("century")
    if (
        century is not None
        and _whole(toml, (*keys, "century"), century, "a year such as 1900") not in _CENTURIES
    ):
        raise toml.wrong((*keys, "century"), f"century is {century}, not a year such as 1900")
    return Values(cast(Type, type), low, high, codes, step, gaps, ascending, rule, decimals, order, century)


def _bound(toml: TomlFile, keys: Keys, value: Any, type: str) -> Bound | None:
    if value is None:
        return None
    if type == "date":
        if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
            raise toml.wrong(keys, f"{keys[-1]} is {value!r}, not a date such as 1903-07-24")
        return value
    fits = isinstance(value, int | float) if type == "amount" else isinstance(value, int)
    if isinstance(value, bool) or not fits or not math.isfinite(value) or value < 0:
        what = "an amount" if type == "amount" else "a whole number"
        raise toml.wrong(keys, f"{keys[-1]} is {value!r}, not {what} from 0 up")
    if type == "day" and not 1 <= value <= _LAST_DAY:
        raise toml.wrong(keys, f"{keys[-1]} is {value}: days are 1 to {_LAST_DAY}")
    return cast(Bound, value)


def _codes(toml: TomlFile, keys: Keys, value: Any, low: Bound | None, high: Bound | None) -> tuple[str, ...]:
    if not isinstance(value, list) or value == []:
        raise toml.wrong(keys, "codes is no list of values such as [1, 2, 9]")
    codes = []
    for code in value:
        text = str(code) if isinstance(code, int) and not isinstance(code, bool) else code
        if not isinstance(text, str) or not (text.isascii() and text.isdigit()):
            raise toml.wrong(keys, f"code {code!r} is no number; write 7, or '07' where zeros lead")
        for bound, key, outside in ((low, "min", -1), (high, "max", 1)):
            if isinstance(bound, int) and (int(text) - bound) * outside > 0:
                raise toml.wrong(keys, f"code {text} can't be: {key} is {bound}")
        if text in codes:
            raise toml.wrong(keys, f"code {text} stands there twice")
        codes.append(text)
    return tuple(codes)


def read_share(toml: TomlFile, keys: Keys, value: Any, low: float, high: float) -> float:
    """Return a share within bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise toml.wrong(keys, f"{keys[-1]} is {value!r}, not a share from {low:g} to {high:g}")
    return float(value)


def _true_or_false(toml: TomlFile, keys: Keys, value: Any) -> bool:
    if not isinstance(value, bool):
        raise toml.wrong(keys, f"{keys[-1]} is {value!r}, not true or false")
    return value


def _whole(toml: TomlFile, keys: Keys, value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise toml.wrong(keys, f"{keys[-1]} is {value!r}, not {what}")
    return value


def refuse_rule_outside(toml: TomlFile, keys: Keys, values: Values, left: float, right: float) -> None:
    """Raise SettingsError where an amount's rule is not between the sides of what holds it."""
    if values.rule is not None and not left < values.rule < right:
        raise toml.wrong(
            (*keys, "rule"),
            f"rule is {values.rule:g}, outside of {keys[-1]}, which is from {left:g} to {right:g}",
        )
