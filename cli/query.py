"""`archive query`: find numbers that were read."""

import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

import click

from cli.options import common_options, database_of, json_option
from cli.terminal import SCHEMA_VERSION, Column, print_table, say, shown_path
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.queries import NumberRow, Order

TABLE_LIMIT = 50
COLUMNS = (
    Column("NUMBER", right=True),
    Column("CONFIDENCE", right=True),
    Column("PAGE", right=True),
    Column("LINE", right=True),
    Column("DOCUMENT", shortened=True),
)


@click.command()
@click.argument("number", required=False)
@click.option("--prefix", metavar="DIGITS", help="Numbers that start like this.")
@click.option("--pattern", metavar="TEXT", help="With ? for any digit and * for any digits.")
@click.option("--min", metavar="N", help="Numbers from N on, whatever their leading zeros.")
@click.option("--max", metavar="N", help="Numbers up to N.")
@click.option("--document", metavar="NAME", help="In this document or folder: a path, or the end of one.")
@click.option("--kind", metavar="KIND", help="On pages of this kind, as a sorter or a person said.")
@click.option("--page", type=click.IntRange(1), metavar="N", help="On this page of its document.")
@click.option("--confidence", type=click.FloatRange(0, 1), metavar="C", help="At least this sure (0 to 1).")
@click.option("--doubtful", type=click.FloatRange(0, 1), metavar="C", help="At most this sure; worst first.")
@click.option(
    "--order",
    type=click.Choice(["reading", "text", "number", "confidence"]),
    metavar="ORDER",
    help="reading, text, number or confidence.  [default: reading]",
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    metavar="N",
    help=f"At most N; 0 for all.  [default: {TABLE_LIMIT} in a table, else all]",
)
@json_option
@click.option("--csv", is_flag=True, help="Print CSV; numbers are quoted, so that they stay text.")
@common_options
@click.pass_context
def query(
    ctx: click.Context,
    number: str | None,
    prefix: str | None,
    pattern: str | None,
    min: str | None,
    max: str | None,
    document: str | None,
    kind: str | None,
    page: int | None,
    confidence: float | None,
    doubtful: float | None,
    order: "Order | None",
    limit: int | None,
    json: bool,
    csv: bool,
) -> None:
    """Find numbers that were read, and where they stand.

    NUMBER is looked for as it is written, leading zeros included.
    All that is asked for must hold.  Without anything: every number.

    \b
    Examples:
      archive query 0042
      archive query --prefix 18 --document ledger-3.pdf --page 12
      archive query --pattern '19?7'
      archive query --min 100 --max 250 --order number
      archive query --kind table-register 1899
      archive query --doubtful 0.8            what a person should look at
      archive query --csv --limit 0 > numbers.csv
    """
    from pipeline.database import reading
    from pipeline.export_csv import write_csv
    from pipeline.queries import Filter, find_numbers

    if json and csv:
        raise UsageError("--json and --csv: one of them")
    if number is not None and ("*" in number or "?" in number):
        raise UsageError(f"{number} is a pattern: archive query --pattern '{number}'")
    in_table = not (json or csv)
    if limit is None and in_table:
        limit = TABLE_LIMIT
    wanted = Filter(
        text=number,
        prefix=prefix,
        pattern=pattern,
        at_least=min,
        at_most=max,
        document=document,
        kind=kind,
        page=page,
        min_confidence=confidence,
        max_confidence=doubtful,
        order=order or ("reading" if doubtful is None else "confidence"),
        # one more, to know whether there are more
        limit=None if not limit else limit + 1 if in_table else limit,
    )
    # closed before the database is: a table stops halfway through the rows
    with database_of(ctx) as db, reading(db) as conn, closing(find_numbers(conn, wanted)) as rows:
        if json:
            _print_json(rows)
        elif csv:
            write_csv(sys.stdout, rows)
        else:
            _print_table(rows, limit or None)


def _print_table(rows: "Iterator[NumberRow]", limit: int | None) -> None:
    cells = (
        (row.text, f"{row.confidence:.2f}", str(row.page), str(row.line), shown_path(row.path))
        for row in islice(rows, limit)
    )
    first = next(cells, None)
    if first is None:
        say("no number is like that")
        return
    n_rows = print_table(COLUMNS, _with(first, cells))
    if next(rows, None) is not None:
        say(f"… more than these {n_rows}: --limit 0 shows all")


def _print_json(rows: "Iterator[NumberRow]") -> None:
    from pipeline.export_jsonl import number_json

    # by hand, one number a line: a million numbers need not be in memory to be printed
    print(f'{{"schema_version": {SCHEMA_VERSION}, "numbers": [', end="")
    between = "\n"
    for row in rows:
        print(between + number_json(row), end="")
        between = ",\n"
    print("\n]}")


def _with(first: tuple[str, ...], rest: Iterator[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    yield first
    yield from rest
