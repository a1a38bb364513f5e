"""`archive export`: what was read, as files for other programs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import click

from cli.exporting import (
    OF_RECORDS,
    TO_FILE,
    TO_FOLDER,
    Asked,
    export_command,
    pages_and_digits,
    write_files,
    write_numbers,
    write_pages,
    write_records,
)
from cli.options import common_options
from cli.output import Utf8
from cli.terminal import counted
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.exported_pages import ArchivedPage


@click.group()
@common_options
def export() -> None:
    """Write what was read to a file.

    Pages that are not done are left out, and counted.

    \b
    Examples:
      archive export csv -o numbers.csv
      archive export csv --records -o records.csv
      archive export csv --document scans/1890 --kind register -o 1890.csv
      archive export parquet --digits -o digits.parquet
      archive export alto -o alto
    """


@export_command(export, "digits", TO_FILE)
def export_digits(asked: Asked) -> None:
    """Write every digit with its box: one JSON object a page, one page a line.

    Boxes are in pixels of the page as it is shown.  `number` tells which
    digits of a page belong together.

    \b
    Examples:
      archive export digits -o digits.jsonl
      archive export digits --document ledger-3.pdf -o ledger-3.jsonl
      archive export digits -o - | head -n 1
    """
    from pipeline.export_digits import digits_line

    def write(file: BinaryIO, pages: "Iterator[ArchivedPage]") -> str:
        n_pages = n_digits = 0
        for page in pages:
            file.write(digits_line(page).encode())
            n_pages += 1
            n_digits += len(page.digits)
        return pages_and_digits(n_pages, n_digits)

    write_pages(asked, write)


@export_command(export, "csv", TO_FILE, OF_RECORDS)
def export_csv(asked: Asked, records: bool) -> None:
    """Write every number with its place, or every record, as CSV.

    The columns are those of `archive query --csv`.  Text is quoted: read the
    column `number` as text, or 0042 becomes 42.  Of a record a field `fee`
    has columns `fee` (its value), `fee_text` (as it is written), and others.

    \b
    Examples:
      archive export csv -o numbers.csv
      archive export csv --records -o records.csv
      archive export csv --records --document scans/1890 -o 1890.csv
      archive export csv -o - | head -n 3
    """
    from pipeline.export_csv import write_csv
    from pipeline.export_records import write_records_csv

    if records:
        write_records(asked, lambda file, rows, names: write_records_csv(Utf8(file), rows, names))
    else:
        write_numbers(asked, lambda file, rows: write_csv(Utf8(file), rows))


@export_command(export, "jsonl", TO_FILE, OF_RECORDS)
def export_jsonl(asked: Asked, records: bool) -> None:
    """Write every number with its place, or every record: one JSON object a line.

    The objects are those of `archive query --json`.

    \b
    Examples:
      archive export jsonl -o numbers.jsonl
      archive export jsonl --records -o records.jsonl
      archive export jsonl --kind register -o registers.jsonl
      archive export jsonl -o - | head -n 1
    """
    from pipeline.export_jsonl import write_jsonl
    from pipeline.export_records import write_records_jsonl

    if records:
        write_records(asked, lambda file, rows, names: write_records_jsonl(Utf8(file), rows))
    else:
        write_numbers(asked, lambda file, rows: write_jsonl(Utf8(file), rows))


@export_command(
    export,
    "parquet",
    TO_FILE,
    click.option("--digits", is_flag=True, help="Write digits with their boxes, not numbers."),
    OF_RECORDS,
)
def export_parquet(asked: Asked, digits: bool, records: bool) -> None:
    """Write every number with its place, digit or record, as Parquet.

    Numbers are text, so that leading zeros stay.

    \b
    Examples:
      archive export parquet -o numbers.parquet
      archive export parquet --digits -o digits.parquet
      archive export parquet --records -o records.parquet
      archive export parquet --kind register -o registers.parquet
    """
    from pipeline import export_parquet as parquet

    if records and digits:
        raise UsageError("--digits and --records: one of them")
    if records:
        write_records(asked, parquet.write_records)
    elif digits:
        write_pages(asked, lambda file, pages: counted(parquet.write_digits(file, pages), "digit"))
    else:
        write_numbers(asked, parquet.write_numbers)


@export_command(export, "alto", TO_FOLDER)
def export_alto(asked: Asked) -> None:
    """Write an ALTO 4 file a page: numbers are lines, digits their glyphs.

    Files are named after their images, in the folders of the scans.

    \b
    Examples:
      archive export alto -o alto
      archive export alto --document scans/1890 -o alto-1890
    """
    from pipeline.export_alto import alto_page

    write_files(asked, alto_page)


@export_command(export, "page", TO_FOLDER)
def export_page(asked: Asked) -> None:
    """Write a PAGE 2019 file a page: numbers are lines, digits their glyphs.

    Files are named after their images, in the folders of the scans.

    \b
    Examples:
      archive export page -o page
      archive export page --kind register -o registers
    """
    from pipeline.export_page import page_page

    write_files(asked, page_page)


@export_command(export, "coco", TO_FILE)
def export_coco(asked: Asked) -> None:
    """Write every digit with its box as one COCO file: an image a page.

    Categories are the digits 0 to 9; annotations have the detector's score.

    \b
    Examples:
      archive export coco -o digits.json
      archive export coco --document 'register-19*' -o digits.json
    """
    from pipeline.export_coco import write_coco

    write_pages(asked, lambda file, pages: pages_and_digits(*write_coco(Utf8(file), pages)))
