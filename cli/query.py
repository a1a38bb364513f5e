"""`archive query`: find numbers that were read, and rows of registers."""

import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from typing import TYPE_CHECKING, cast

import click

from cli.options import common_options, database_of, json_option
from cli.terminal import Column, print_json_rows, print_table, say, shown_path
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.queries import NumberRow, Order
    from pipeline.record_filter import RecordFilter

TABLE_LIMIT = 50
ORDERS = ("reading", "text", "number", "confidence")
Bound = tuple[float | None, float | None]  # at least, at most
COLUMNS = (
    Column("NUMBER", right=True),
    Column("CONFIDENCE", right=True),
    Column("PAGE", right=True),
    Column("LINE", right=True),
    Column("DOCUMENT", shortened=True),
)


def _confidence(ctx: click.Context, param: click.Parameter, value: str | None) -> Bound | None:
    """Return the bounds that `0.9` or `>=0.9`, at least, or `<0.9` or `<=0.9`, at most, set."""
    if value is None:
        return None
    text = value.strip()
    bare = text.lstrip("<>=").strip()
    try:
        bound = float(bare)
    except ValueError:
        bound = -1.0
    if not 0 <= bound <= 1 or text[: len(text) - len(bare)].strip() not in ("", "<", "<=", ">", ">="):
        raise click.BadParameter(f"{value} is no confidence: write 0.9 for at least, or '<0.9' for less")
    return (None, bound) if text.startswith("<") else (bound, None)


@click.command()
@click.argument("number", required=False)
@click.option("--prefix", metavar="DIGITS", help="Numbers that start like this.")
@click.option("--pattern", metavar="TEXT", help="With ? for any digit and * for any digits.")
@click.option("--min", metavar="N", help="Numbers from N on, whatever their leading zeros.")
@click.option("--max", metavar="N", help="Numbers up to N.")
@click.option("--document", metavar="NAME", help="In this document or folder: a path, or the end of one.")
@click.option("--kind", metavar="KIND", help="On pages of this kind, as a sorter or a person said.")
@click.option("--page", type=click.IntRange(1), metavar="N", help="On this page of its document.")
@click.option(
    "--confidence", callback=_confidence, metavar="C", help="At least this sure (0 to 1); '<0.9' at most."
)
@click.option("--doubtful", type=click.FloatRange(0, 1), metavar="C", help="At most this sure; worst first.")
@click.option("--record", is_flag=True, help="Rows of registers with their fields, as a form makes them.")
@click.option("--field", "wishes", multiple=True, metavar="WISH", help="With no=1899 or 'fee>=3.75' in it.")
@click.option("--form", metavar="NAME", help="Records made by this form.")
@click.option("--flagged", is_flag=True, help="Records in which a rule finds something wrong.")
@click.option(
    "--order",
    metavar="ORDER",
    help="reading, text, number, confidence; of records also a field, -fee from high to low.",
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
    confidence: "Bound | None",
    doubtful: float | None,
    record: bool,
    wishes: tuple[str, ...],
    form: str | None,
    flagged: bool,
    order: str | None,
    limit: int | None,
    json: bool,
    csv: bool,
) -> None:
    """Find numbers that were read, where they stand, and rows of registers.

    NUMBER is looked for by its digits, leading zeros included; marks between
    them make no difference.
    All that is asked for must hold.  Without anything: every number.
    With --record: rows of registers, which `archive form apply` made.

    \b
    Examples:
      archive query 0042
      archive query --prefix 18 --document ledger-3.pdf --page 12
      archive query --pattern '19?7'
      archive query --min 100 --max 250 --order number
      archive query --kind table-register 1899
      archive query --doubtful 0.8            what a person should look at
      archive query --csv --limit 0 > numbers.csv
      archive query --record --field no=1899
      archive query --record --field 'fee>=3.75' --order -fee
      archive query --record --flagged --confidence '<0.9'
    """
    from pipeline.database import reading
    from pipeline.export_csv import write_csv
    from pipeline.export_jsonl import number_json
    from pipeline.queries import Filter, find_numbers
    from pipeline.record_filter import RecordFilter
    from pipeline.record_finding import parse_wish

    if json and csv:
        raise UsageError("--json and --csv: one of them")
    if number is not None and ("*" in number or "?" in number):
        raise UsageError(f"{number} is a pattern: archive query --pattern '{number}'")
    in_table = not (json or csv)
    if limit is None and in_table:
        limit = TABLE_LIMIT
    at_least, at_most = (None, None) if confidence is None else confidence
    if doubtful is not None:
        at_most = doubtful if at_most is None or doubtful < at_most else at_most
    # one more, to know whether there are more
    most = None if not limit else limit + 1 if in_table else limit
    if record or wishes or form is not None or flagged:
        for name, given in (("NUMBER", number), ("--prefix", prefix), ("--pattern", pattern)):
            if given is not None:
                raise UsageError(f"{name} is for numbers: of records ask with --field, as in no=1899")
        for name, given in (("--min", min), ("--max", max)):
            if given is not None:
                raise UsageError(f"{name} is for numbers: of records ask with --field, as in 'no>=1890'")
        of_records = RecordFilter(
            tuple(map(parse_wish, wishes)),
            document,
            kind,
            page,
            form,
            flagged,
            at_least,
            at_most,
            order or ("reading" if doubtful is None else "confidence"),
            most,
        )
        _query_records(ctx, of_records, limit or None, json=json, csv=csv)
        return
    if order not in (None, *ORDERS):
        raise UsageError(f"--order {order}: {', '.join(ORDERS[:-1])} or {ORDERS[-1]}; fields are of --record")
    wanted = Filter(
        text=number,
        prefix=prefix,
        pattern=pattern,
        at_least=min,
        at_most=max,
        document=document,
        kind=kind,
        page=page,
        min_confidence=at_least,
        max_confidence=at_most,
        order=cast("Order", order or ("reading" if doubtful is None else "confidence")),
        limit=most,
    )
    # closed before the database is: a table stops halfway through the rows
    with database_of(ctx) as db, reading(db) as conn, closing(find_numbers(conn, wanted)) as rows:
        if json:
            print_json_rows("numbers", map(number_json, rows))
        elif csv:
            write_csv(sys.stdout, rows)
        else:
            _print_table(rows, limit or None)


def _query_records(
    ctx: click.Context, wanted: "RecordFilter", limit: int | None, *, json: bool, csv: bool
) -> None:
    from cli.query_records import print_records, print_records_csv, print_records_json
    from pipeline.database import reading
    from pipeline.record_finding import field_names, find_records

    with database_of(ctx) as db, reading(db) as conn, closing(find_records(conn, wanted)) as rows:
        if json:
            print_records_json(rows)
        elif csv:
            print_records_csv(rows, field_names(conn, wanted))
        else:
            print_records(rows, limit)


def _print_table(rows: "Iterator[NumberRow]", limit: int | None) -> None:
    cells = (
        (row.written or row.text, f"{row.confidence:.2f}", str(row.page), str(row.line), shown_path(row.path))
        for row in islice(rows, limit)
    )
    first = next(cells, None)
    if first is None:
        say("no number is like that")
        return
    n_rows = print_table(COLUMNS, chain([first], cells))
    if next(rows, None) is not None:
        say(f"… more than these {n_rows}: --limit 0 shows all")
