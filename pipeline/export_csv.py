"""Numbers as CSV: text quoted and counts not, so that whoever reads it can tell "0042" from 42."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.export_jsonl import TextOut
from pipeline.finding import NumberRow

TITLES = (
    *("number", "confidence", "document", "page", "line", "position", "x0", "y0", "x1", "y1"),
    *("kind", "document_id", "run_id", "written"),
)
_WHOLE = ("page", "line", "position", "document_id", "run_id")


def write_csv(out: TextOut, rows: Iterable[NumberRow]) -> int:
    """Write numbers below their titles, and return how many."""
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(TITLES)
    n_rows = 0
    for row in rows:
        values = row.values()
        edges = dict(zip(("x0", "y0", "x1", "y1"), values["box"], strict=True))
        writer.writerow([{**values, **edges}[title] for title in TITLES])
        n_rows += 1
    return n_rows


def read_csv(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield each number as `NumberRow.values` gives it; files are to be opened with newline=""."""
    for row in csv.DictReader(lines, quoting=csv.QUOTE_NONNUMERIC):
        whole = {title: int(row[title]) for title in _WHOLE}
        box = [row[edge] for edge in ("x0", "y0", "x1", "y1")]
        others = {title: row[title] for title in ("number", "confidence", "document")}
        yield {**others, **whole, "box": box, "kind": row["kind"] or None, "written": row["written"] or None}
