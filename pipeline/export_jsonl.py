"""Numbers as JSON lines: an object a number, the same as in `archive query --json`."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from pipeline.finding import NumberRow


class TextOut(Protocol):
    """What text is written to."""

    def write(self, text: str, /) -> object:
        """Take a piece of text."""


def number_json(row: NumberRow) -> str:
    """Return a number as an object of JSON, on one line."""
    return json.dumps(row.values(), ensure_ascii=False)


def write_jsonl(out: TextOut, rows: Iterable[NumberRow]) -> int:
    """Write numbers, each on a line, and return how many."""
    n_rows = 0
    for row in rows:
        out.write(number_json(row) + "\n")
        n_rows += 1
    return n_rows


def read_jsonl(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield each number as `NumberRow.values` gives it."""
    for line in lines:
        yield json.loads(line)
