"""TOML files that people write: each mistake is a SettingsError of one line, with the line that it is on.

tomllib keeps no lines, so that a key is looked for in the text, statement by statement, and only where
something is wrong with it.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError
from pipeline.paths import printable
from pipeline.settings import did_you_mean

# what tomllib says behind its message
_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")

Keys = tuple[str, ...]  # the way to a value: ("kinds", "cover", "path")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A TOML file, its text and what it says."""

    file: Path
    text: str
    values: dict[str, Any]

    def refuse_other_than_table(self, keys: Keys, value: Any) -> None:
        """Raise SettingsError where what stands at `keys` is no table."""
        if not isinstance(value, dict):
            raise self.wrong(keys, f"{'.'.join(keys)} is {value!r}, not a table")

    def refuse_unknown(self, keys: Keys, values: Mapping[str, Any], known: Keys) -> None:
        """Raise SettingsError where the table at `keys` has another key than the known ones."""
        for key in values:
            if key not in known:
                raise self.wrong((*keys, key), f"unknown key {key!r}{hint(key, known)}")

    def wrong(self, keys: Keys, message: str) -> SettingsError:
        """Return the error of what stands at `keys`, or at the nearest table around them that is there."""
        while True:
            for line, values in _statements(self.text):
                if values and _has(values, keys):
                    return _error(self.file, line, message)
            if not keys:
                return _error(self.file, 1, message)
            keys = keys[:-1]


def read_toml(file: Path) -> TomlFile:
    """Read a TOML file; SettingsError where it can't be read or is no TOML."""
    text = _text_of(file)
    return TomlFile(file, text, _parsed(file, text))


def hint(name: str, known: Collection[str]) -> str:
    """Return the end of a message about a name that nobody knows: the one meant, or all there are."""
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"


def _text_of(file: Path) -> str:
    """Return the text of a file, with newlines as TOML counts them and one at its end."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SettingsError(printable(f"{file}: can't be read: {error.strerror}")) from error
    try:
        text = data.decode("utf-8-sig")  # some editors put a mark in front
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error(file, line, "this is not UTF-8; save the file as UTF-8") from error
    return text.replace("\r\n", "\n") + "\n"


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; a number too long, nested too deep
        place = _PLACE.search(str(error))
        if place and place[1]:
            line = int(place[1])
        else:  # it says at most that the text ended too early: what has no end begins further up
            line = next((line for line, values in _statements(text) if values is None), text.count("\n"))
        raise _error(file, line, _PLACE.sub("", str(error))) from error


def _statements(text: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield each statement: the line that it begins on, and what it sets, from the top; None: it has no end.

    A statement is whole where it can be parsed, by itself or under the last [header].  So each is parsed
    once, but for those of several lines, once for each of their lines.
    """
    header = statement = ""
    first = 1
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        statement += line + "\n"
        is_header = statement.lstrip().startswith("[")
        try:
            values = tomllib.loads(statement if is_header else header + statement)
        except (ValueError, RecursionError):
            continue
        yield first, values
        header = statement if is_header else header
        statement, first = "", number + 1
    if statement:
        yield first, None


def _has(values: Any, keys: Keys) -> bool:
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def _error(file: Path, line: int, message: str) -> SettingsError:
    return SettingsError(printable(f"{file}:{line}: {message}"))
