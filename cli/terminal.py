"""What people read: tables, counts, times and paths that fit their terminal."""

import json
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pipeline.paths import printable

SCHEMA_VERSION = 1
# a long table's columns are as wide as its first rows ask for: it is printed as it comes
N_ROWS_MEASURED = 500
GAP = "  "
LEAST_WIDTH = 12


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numbers stand `right`; the one that is `shortened` gives way to the others."""

    title: str
    right: bool = False
    shortened: bool = False


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> int:
    """Print rows below their titles, as wide as the terminal (any width elsewhere); return how many rows."""
    coming = iter(rows)
    first = list(islice(coming, N_ROWS_MEASURED))
    titles = [column.title for column in columns]
    widths = [max(text_width(cell) for cell in cells) for cells in zip(titles, *first, strict=True)]
    room = terminal_width()
    if room is not None:
        taken = sum(widths) + len(GAP) * (len(widths) - 1)
        for position, column in enumerate(columns):
            if column.shortened and taken > room:
                left = min(widths[position], max(LEAST_WIDTH, widths[position] - (taken - room)))
                taken -= widths[position] - left
                widths[position] = left
    n_rows = 0
    print(_line(columns, titles, widths, room))
    for row in chain(first, coming):
        print(_line(columns, row, widths, room))
        n_rows += 1
    return n_rows


def print_wrapped(head: str, text: str) -> None:
    """Print a text behind its head; in a terminal it goes on below itself, elsewhere it is one line."""
    room = terminal_width()
    if room is None:
        print(head + text)
        return
    indent = " " * text_width(head)
    for line in textwrap.wrap(text, max(LEAST_WIDTH, room - len(indent)), break_on_hyphens=False):
        print(head + line)
        head = indent


def print_json(value: Any) -> None:
    """Print a value as JSON, with text in plain letters."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_json_rows(
    name: str, lines: Iterable[str], *, after: Callable[[], dict[str, Any]] = dict, **before: Any
) -> None:
    """Print an object of JSON with rows below a name, each a line: a million need not be in memory.

    `before` is told above the rows, and what `after` returns, once all are known, below them.
    """
    head = json.dumps({"schema_version": SCHEMA_VERSION, **before}, ensure_ascii=False)
    print(f'{head[:-1]}, "{name}": [', end="")
    between = "\n"
    for line in lines:
        print(between + line, end="")
        between = ",\n"
    tail = json.dumps(after(), ensure_ascii=False)[1:]
    print(f"\n], {tail}" if tail != "}" else "\n]}")


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON: the last line of a command that talks before."""
    print(json.dumps(value, ensure_ascii=False))


def say(line: str = "") -> None:
    """Print a line of talk on stderr, where it is in nobody's way."""
    print(line, file=sys.stderr, flush=True)


def terminal_width() -> int | None:
    """Return the width of the terminal that stdout is; None where it is none, and nothing need be short."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def shorten(text: str, width: int) -> str:
    """Return `text` in `width` columns, its middle left out: ends of paths tell them apart."""
    if text_width(text) <= width:
        return text
    n_tail = (width - 1) * 2 // 3
    head, tail = "", ""
    for character in text:
        if text_width(head + character) > width - 1 - n_tail:
            break
        head += character
    for character in reversed(text):
        if text_width(character + tail) > n_tail:
            break
        tail = character + tail
    return f"{head}…{tail}"


def text_width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def shown_path(text: str) -> str:
    """Return a path of the catalogue for people: on one line, short where it is in the current folder."""
    here = str(Path.cwd()).rstrip("/") + "/"
    return printable(text.removeprefix(here))


def counted(n: int, word: str, words: str | None = None) -> str:
    """Return a count with its word.

    >>> counted(1, "page"), counted(12000, "page")
    ('1 page', '12,000 pages')
    """
    return f"{n:,} {word if n == 1 else words or word + 's'}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(7.2), duration(95), duration(7260)
    ('7 s', '1 min 35 s', '2 h 1 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(n_bytes: float) -> str:
    """Return a number of bytes as people say it.

    >>> size(2_500_000)
    '2.5 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], room: int | None) -> str:
    shown = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        text = shorten(cell, width) if column.shortened and room is not None else cell
        padding = " " * (width - text_width(text))
        shown.append(padding + text if column.right else text + padding)
    return GAP.join(shown).rstrip()
