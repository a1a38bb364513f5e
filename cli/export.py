"""`archive export`: what was read, as files for other programs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from cli.options import common_options, database_of
from cli.output import STDOUT, Utf8, replacing, replacing_folder
from cli.terminal import counted, say
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.export_xml import ReadBy
    from pipeline.exported_pages import ArchivedPage
    from pipeline.record_finding import RecordRow

to_file = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE",
    help="The file to write, whole or not at all; - for stdout.",
)
to_folder = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="The folder to write, whole or not at all; it is new, or empty.",
)

of_records = click.option(
    "--records", is_flag=True, help="Write rows of registers with their fields, not numbers."
)


@click.group()
@common_options
def export() -> None:
    """Write what was read to a file.

    Pages that are not done are left out, and counted.

    \b
    Examples:
      archive export csv -o numbers.csv
      archive export csv --records -o records.csv
      archive export parquet --digits -o digits.parquet
      archive export alto -o alto
    """


@export.command("digits")
@to_file
@common_options
@click.pass_context
def export_digits(ctx: click.Context, output: Path) -> None:
    """Write every digit with its box: one JSON object a page, one page a line.

    Boxes are in pixels of the page as it is shown.  `number` tells which
    digits of a page belong together.

    \b
    Examples:
      archive export digits -o digits.jsonl
      archive export digits -o - | head -n 1
    """
    from pipeline.export_digits import digits_line
    from pipeline.exported_pages import exported_pages

    n_pages = n_digits = 0
    with _archive(ctx) as conn:
        with replacing(output) as file:
            for page in exported_pages(conn):
                file.write(digits_line(page).encode())
                n_pages += 1
                n_digits += len(page.digits)
        _say(conn, f"{counted(n_pages, 'page')}, {counted(n_digits, 'digit')}", output)


@export.command("csv")
@to_file
@of_records
@common_options
@click.pass_context
def export_csv(ctx: click.Context, output: Path, records: bool) -> None:
    """Write every number with its place, or every record, as CSV.

    The columns are those of `archive query --csv`.  Text is quoted: read the
    column `number` as text, or 0042 becomes 42.  Of a record a field `fee`
    has columns `fee` (its value), `fee_text` (as it is written), and others.

    \b
    Examples:
      archive export csv -o numbers.csv
      archive export csv --records -o records.csv
      archive export csv -o - | head -n 3
    """
    from pipeline.export_csv import write_csv
    from pipeline.export_records import write_records_csv
    from pipeline.finding import Filter, find_numbers

    if records:
        _write_records(ctx, output, lambda file, rows, names: write_records_csv(Utf8(file), rows, names))
        return
    with _archive(ctx) as conn:
        with replacing(output) as file:
            n_numbers = write_csv(Utf8(file), find_numbers(conn, Filter()))
        _say(conn, counted(n_numbers, "number"), output)


@export.command("jsonl")
@to_file
@of_records
@common_options
@click.pass_context
def export_jsonl(ctx: click.Context, output: Path, records: bool) -> None:
    """Write every number with its place, or every record: one JSON object a line.

    The objects are those of `archive query --json`.

    \b
    Examples:
      archive export jsonl -o numbers.jsonl
      archive export jsonl --records -o records.jsonl
      archive export jsonl -o - | head -n 1
    """
    from pipeline.export_jsonl import write_jsonl
    from pipeline.export_records import write_records_jsonl
    from pipeline.finding import Filter, find_numbers

    if records:
        _write_records(ctx, output, lambda file, rows, names: write_records_jsonl(Utf8(file), rows))
        return
    with _archive(ctx) as conn:
        with replacing(output) as file:
            n_numbers = write_jsonl(Utf8(file), find_numbers(conn, Filter()))
        _say(conn, counted(n_numbers, "number"), output)


@export.command("parquet")
@to_file
@click.option("--digits", is_flag=True, help="Write digits with their boxes, not numbers.")
@of_records
@common_options
@click.pass_context
def export_parquet(ctx: click.Context, output: Path, digits: bool, records: bool) -> None:
    """Write every number with its place, digit or record, as Parquet.

    Numbers are text, so that leading zeros stay.

    \b
    Examples:
      archive export parquet -o numbers.parquet
      archive export parquet --digits -o digits.parquet
      archive export parquet --records -o records.parquet
    """
    from pipeline.export_parquet import write_digits, write_numbers, write_records
    from pipeline.exported_pages import exported_pages
    from pipeline.finding import Filter, find_numbers

    if records and digits:
        raise UsageError("--digits and --records: one of them")
    if records:
        _write_records(ctx, output, write_records)
        return
    with _archive(ctx) as conn:
        with replacing(output) as file:
            if digits:
                n_rows = write_digits(file, exported_pages(conn))
            else:
                n_rows = write_numbers(file, find_numbers(conn, Filter()))
        _say(conn, counted(n_rows, "digit" if digits else "number"), output)


@export.command("alto")
@to_folder
@common_options
@click.pass_context
def export_alto(ctx: click.Context, output: Path) -> None:
    """Write an ALTO 4 file a page: numbers are lines, digits their glyphs.

    Files are named after their images, in the folders of the scans.

    \b
    Examples:
      archive export alto -o alto
    """
    from pipeline.export_alto import alto_page

    _write_files(ctx, output, alto_page)


@export.command("page")
@to_folder
@common_options
@click.pass_context
def export_page(ctx: click.Context, output: Path) -> None:
    """Write a PAGE 2019 file a page: numbers are lines, digits their glyphs.

    Files are named after their images, in the folders of the scans.

    \b
    Examples:
      archive export page -o page
    """
    from pipeline.export_page import page_page

    _write_files(ctx, output, page_page)


@export.command("coco")
@to_file
@common_options
@click.pass_context
def export_coco(ctx: click.Context, output: Path) -> None:
    """Write every digit with its box as one COCO file: an image a page.

    Categories are the digits 0 to 9; annotations have the detector's score.

    \b
    Examples:
      archive export coco -o digits.json
    """
    from pipeline.export_coco import write_coco
    from pipeline.exported_pages import exported_pages

    with _archive(ctx) as conn:
        with replacing(output) as file:
            n_pages, n_digits = write_coco(Utf8(file), exported_pages(conn))
        _say(conn, f"{counted(n_pages, 'page')}, {counted(n_digits, 'digit')}", output)


@contextmanager
def _archive(ctx: click.Context) -> "Iterator[Connection]":
    """Give a transaction that sees one state of the database throughout, whatever is read meanwhile."""
    from pipeline.database import reading

    with database_of(ctx) as db, reading(db) as conn:
        yield conn


def _write_files(
    ctx: click.Context, output: Path, as_bytes: "Callable[[ArchivedPage, ReadBy], bytes]"
) -> None:
    """Write a file a page, as `as_bytes` has it."""
    from importlib.metadata import version

    from pipeline.export_xml import ReadBy, common_folder, write_page_file
    from pipeline.exported_pages import exported_pages, networks_of_runs

    if output == STDOUT:
        raise UsageError("a file a page goes to a folder, not to stdout: name one with -o")
    n_pages = n_digits = 0
    with _archive(ctx) as conn:
        with replacing_folder(output) as folder:
            root, of_runs, our_version = common_folder(conn), networks_of_runs(conn), version("archive")
            for page in exported_pages(conn):
                by = ReadBy(our_version, of_runs[page.run_id].that_read(page.kind))
                write_page_file(folder, root, page, as_bytes(page, by))
                n_pages += 1
                n_digits += len(page.digits)
        _say(conn, f"{counted(n_pages, 'page')}, {counted(n_digits, 'digit')}", output)


def _write_records(
    ctx: click.Context,
    output: Path,
    write: "Callable[[BinaryIO, Iterator[RecordRow], Sequence[str]], int]",
) -> None:
    """Write records as `write` has them, and say how many, and which pages have none."""
    from pipeline.record_finding import RecordFilter, field_names, find_records, n_forms, n_without_records

    every = RecordFilter()
    with _archive(ctx) as conn:
        names = field_names(conn, every)  # refuses, before a file is begun, where no form was applied yet
        with replacing(output) as file, closing(find_records(conn, every)) as rows:
            n_records = write(file, rows, names)
        _say(conn, counted(n_records, "record"), output)
        if without := n_without_records(conn):
            say(f"{counted(without, 'page')} read, but without records: archive form apply makes them")
        if (several := n_forms(conn)) > 1:
            say(f"records of {several} forms have the fields of all; `form` says which made each")


def _say(conn: "Connection", what: str, output: Path) -> None:
    """Say what was written, where, and how many pages were left out."""
    from pipeline.exported_pages import n_not_done

    where = "" if output == STDOUT else f" → {output}"
    left_out = n_not_done(conn)
    without = f"; {counted(left_out, 'page')} not done, left out" if left_out else ""
    say(f"{what}{where}{without}")
