"""Records as JSON lines and as CSV, and what both and Parquet say of a record.

JSON has an object a record with its fields below `fields`.  CSV and Parquet have a column for each field's
value, and further columns for what else is known of it; of several forms they have the fields of all.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.export_jsonl import TextOut
from pipeline.forms import OF_FIELD, OF_RECORD
from pipeline.record_finding import RecordRow
from pipeline.records import NETWORK, Value

_WHOLE = ("page", "row", "document_id", "run_id")


def record_json(row: RecordRow) -> dict[str, Any]:
    """Return a record as JSON says it."""
    return {
        "id": row.id,
        "document": row.path,
        "page": row.page,
        "row": row.row,
        "form": row.form,
        "kind": row.kind,
        "confidence": round(row.confidence, 6),
        "flagged": row.flagged,
        "document_id": row.document_id,
        "run_id": row.run_id,
        "fields": {value.column: value_json(value) for value in row.values},
    }


def value_json(value: Value) -> dict[str, Any]:
    """Return the value of a field as JSON says it."""
    return {
        "text": value.text,
        "value": value.value,
        "confidence": round(value.confidence, 6),
        "made_by": value.made_by,
        "replaced": value.replaced,
        "flag": value.flag,
        "box": None if value.box is None else [round(edge, 2) for edge in value.box.corners],
    }


def record_line(row: RecordRow) -> str:
    """Return a record as an object of JSON, on one line."""
    return json.dumps(record_json(row), ensure_ascii=False)


def write_records_jsonl(out: TextOut, rows: Iterable[RecordRow]) -> int:
    """Write records, each on a line, and return how many; `export_jsonl.read_jsonl` reads them."""
    n_rows = 0
    for row in rows:
        out.write(record_line(row) + "\n")
        n_rows += 1
    return n_rows


def record_titles(names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of records with fields of these names: values first, what is known of them last."""
    first, *others = OF_RECORD
    return (first, *names, *others, *(f"{name}_{what}" for name in names for what in OF_FIELD))


def record_cells(row: RecordRow, names: Sequence[str]) -> tuple[Any, ...]:
    """Return what stands in the columns; None in those of a field that the record's form doesn't have."""
    told = record_json(row)
    fields: dict[str, dict[str, Any]] = told["fields"]
    first, *others = OF_RECORD
    return (
        told[first],
        *(fields[name]["value"] if name in fields else None for name in names),
        *(told[other] for other in others),
        *(fields[name][what] if name in fields else None for name in names for what in OF_FIELD),
    )


def write_records_csv(out: TextOut, rows: Iterable[RecordRow], names: Sequence[str]) -> int:
    """Write records below their titles, text quoted and counts not; return how many."""
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    titles = record_titles(names)
    flagged = titles.index("flagged")
    writer.writerow(titles)
    n_rows = 0
    for row in rows:
        cells = record_cells(row, names)
        writer.writerow((*cells[:flagged], int(cells[flagged]), *cells[flagged + 1 :]))
        n_rows += 1
    return n_rows


def read_records_csv(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield each record as `record_json` gives it, but for boxes; files are to be opened with newline=""."""
    reader = csv.DictReader(lines, quoting=csv.QUOTE_NONNUMERIC)
    for row in reader:
        whole = {title: int(row[title]) for title in _WHOLE}
        told = {**row, **whole, "flagged": bool(row["flagged"]), "kind": row["kind"] or None}
        yield record_of_cells(told, reader.fieldnames or ())


def record_of_cells(row: Mapping[str, Any], titles: Sequence[str]) -> dict[str, Any]:
    """Return a record as `record_json` gives it, but for boxes, from the columns of CSV or Parquet."""
    # no field has the name of a column of ours: `pipeline/form_files.py` refuses it
    names = titles[1 : titles.index(OF_RECORD[1])]
    there = [name for name in names if row[f"{name}_confidence"] not in ("", None)]
    return {title: row[title] for title in OF_RECORD} | {
        "fields": {name: _field_of_cells(row, name) for name in there}
    }


def _field_of_cells(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    told = {"value": row[name]} | {what: row[f"{name}_{what}"] for what in OF_FIELD}
    # CSV has no null: nothing was replaced by what networks read, and an empty flag is none
    replaced = None if told["made_by"] == NETWORK else told["replaced"]
    return told | {"replaced": replaced, "flag": told["flag"] or None}
