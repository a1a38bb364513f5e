"""Numbers, digits or records as Parquet: row groups as they come, numbers as text, packed by zstd.

The format is that of https://parquet.apache.org; values are rounded as in JSON and CSV.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export_records import record_cells, record_of_cells, record_titles
from pipeline.exported_pages import ArchivedPage
from pipeline.finding import NumberRow
from pipeline.record_finding import RecordRow

ROWS_OF_GROUP = 100_000
_RECORDS_OF_GROUP = 20_000  # they have several columns a field
_BOX = [(edge, pa.float64()) for edge in ("x0", "y0", "x1", "y1")]
_WHERE = [("kind", pa.string()), ("document_id", pa.int64()), ("run_id", pa.int64())]
NUMBERS = pa.schema(
    [
        ("number", pa.string()),
        ("confidence", pa.float64()),
        ("document", pa.string()),
        ("page", pa.int32()),
        ("line", pa.int32()),
        ("position", pa.int32()),
        *_BOX,
        *_WHERE,
        ("written", pa.string()),
    ]
)
DIGITS = pa.schema(
    [
        ("digit", pa.int8()),
        ("confidence", pa.float64()),
        ("score", pa.float64()),
        ("document", pa.string()),
        ("page", pa.int32()),
        ("position", pa.int32()),
        *_BOX,
        ("number", pa.int32()),  # `position` of its number
        ("place", pa.int32()),
        *_WHERE,
    ]
)


def write_numbers(file: BinaryIO, rows: Iterable[NumberRow]) -> int:
    """Write numbers, and return how many."""
    return _write(file, NUMBERS, map(_number_row, rows))


def write_digits(file: BinaryIO, pages: Iterable[ArchivedPage]) -> int:
    """Write the digits of pages, and return how many."""
    return _write(file, DIGITS, (row for page in pages for row in _digit_rows(page)))


def write_records(file: BinaryIO, rows: Iterable[RecordRow], names: Sequence[str]) -> int:
    """Write records, with columns for fields of these names, and return how many."""
    cells = (record_cells(row, names) for row in rows)
    return _write(file, _records_schema(names), cells, _RECORDS_OF_GROUP)


def read_records(file: Path | BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield each record as `export_records.record_json` gives it, but for boxes."""
    for row in read_parquet(file):
        yield record_of_cells(row, tuple(row))


def read_parquet(file: Path | BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield each row as its columns."""
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches():
            yield from batch.to_pylist()


def _records_schema(names: Sequence[str]) -> pa.Schema:
    types = dict.fromkeys(record_titles(names), pa.string())
    types |= dict.fromkeys(("confidence", *(f"{name}_confidence" for name in names)), pa.float64())
    types |= {"flagged": pa.bool_(), "page": pa.int32(), "row": pa.int32()}
    types |= {"document_id": pa.int64(), "run_id": pa.int64()}
    return pa.schema(list(types.items()))


def _number_row(row: NumberRow) -> tuple[Any, ...]:
    values = row.values()
    edges = dict(zip(("x0", "y0", "x1", "y1"), values["box"], strict=True))
    return tuple({**values, **edges}[name] for name in NUMBERS.names)


def _digit_rows(page: ArchivedPage) -> Iterator[tuple[Any, ...]]:
    for digit in page.digits:
        x0, y0, x1, y1 = digit.box.corners
        yield (
            digit.digit,
            round(digit.confidence, 6),
            round(digit.score, 6),
            page.path,
            page.page,
            digit.position,
            round(x0, 2),
            round(y0, 2),
            round(x1, 2),
            round(y1, 2),
            digit.number,
            digit.place,
            page.kind,
            page.document_id,
            page.run_id,
        )


def _write(
    file: BinaryIO, schema: pa.Schema, rows: Iterable[Sequence[Any]], rows_of_group: int = ROWS_OF_GROUP
) -> int:
    n_rows = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        group: list[Sequence[Any]] = []
        for row in rows:
            group.append(row)
            if len(group) == rows_of_group:
                writer.write_batch(_batch(group, schema))
                n_rows += len(group)
                group = []
        if group:
            writer.write_batch(_batch(group, schema))
    return n_rows + len(group)


def _batch(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
