"""What `archive query --record` prints: rows of registers with their fields."""

import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

from cli.terminal import (
    GAP,
    LEAST_WIDTH,
    Column,
    print_json_rows,
    print_table,
    say,
    shorten,
    shown_path,
    terminal_width,
    text_width,
)

if TYPE_CHECKING:
    from pipeline.record_finding import RecordRow
    from pipeline.records import Value

_MARKS = {"rule": "*", "person": "!"}  # behind a value that no network says like this
_FIRST = 50  # so many records say which columns a table has
_LEAST_TITLE = 6


def print_records(rows: "Iterator[RecordRow]", limit: int | None) -> None:
    """Print records as a table, a column for each field of the first ones."""
    first = list(islice(rows, _FIRST))
    if not first:
        say("no record is like that")
        return
    names = _names(first)
    columns = (
        Column("ID"),
        *(Column(title, right=True) for title in _titles(names, [_cells(row, names) for row in first])),
        Column("SURE", right=True),
        Column("PAGE", right=True),
        Column("DOCUMENT", shortened=True),
    )
    n_rows = print_table(columns, (_cells(row, names) for row in islice(chain(first, rows), limit)))
    shown = first[:limit]
    if any(value.made_by == "rule" for row in shown for value in row.values):
        say("* a rule chose this reading; archive why ID says what was read first")
    if any(row.flagged for row in shown):
        say("? a rule finds something wrong; archive why ID says what")
    if (limit is not None and len(first) > limit) or next(rows, None) is not None:
        say(f"… more than these {n_rows}: --limit 0 shows all")


def print_records_json(rows: "Iterator[RecordRow]") -> None:
    """Print records as JSON, one a line."""
    from pipeline.export_records import record_line

    print_json_rows("records", map(record_line, rows))


def print_records_csv(rows: "Iterator[RecordRow]", names: Sequence[str]) -> None:
    """Print records as CSV, as the export has them: a column for each field of these names, and its like."""
    from pipeline.export_records import write_records_csv

    write_records_csv(sys.stdout, rows, names)


def _names(rows: "Sequence[RecordRow]") -> list[str]:
    return list(dict.fromkeys(value.column for row in rows for value in row.values))


def _titles(names: Sequence[str], cells: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the titles of fields; where the terminal is too narrow they are short, and values stay whole."""
    titles = [name.upper() for name in names]
    room = terminal_width()
    whole = ("ID", *titles, "SURE", "PAGE")
    widths = [max(map(text_width, column)) for column in zip(*cells, strict=True)][: len(whole)]
    wanted = sum(max(width, text_width(title)) + len(GAP) for width, title in zip(widths, whole, strict=True))
    if room is None or wanted + LEAST_WIDTH <= room:
        return titles
    return [
        shorten(title, max(_LEAST_TITLE, width)) for title, width in zip(titles, widths[1:], strict=False)
    ]


def _cells(row: "RecordRow", names: Sequence[str]) -> tuple[str, ...]:
    of = {value.column: value for value in row.values}
    shown = (_shown(of[name]) if name in of else "" for name in names)
    return row.id, *shown, f"{row.confidence:.2f}", str(row.page), shown_path(row.path)


def _shown(value: "Value") -> str:
    return value.text + _MARKS.get(value.made_by, "") + ("?" if value.flag else "")
