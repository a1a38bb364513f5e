"""`archive sql`: a person's own SQL on views that stay as they are."""

import csv as csv_format
import json as json_format
import sys
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from cli.options import common_options, database_of, json_option
from cli.terminal import (
    N_ROWS_MEASURED,
    SCHEMA_VERSION,
    Column,
    counted,
    print_json,
    print_json_rows,
    print_table,
    print_wrapped,
    say,
    shown_path,
)
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.sql_reading import Answer


@click.command()
@click.argument("query", required=False)
@json_option
@click.option("--csv", is_flag=True, help="Print CSV; text is quoted, so that 0042 stays text.")
@common_options
@click.pass_context
def sql(ctx: click.Context, query: str | None, json: bool, csv: bool) -> None:
    """Ask the archive in SQL, which can't change anything.

    QUERY is one statement, on views whose columns stay as they are.
    Without it: the views and their columns.

    \b
    Examples:
      archive sql
      archive sql 'SELECT number, document FROM v_numbers LIMIT 5'
      archive sql --csv 'SELECT * FROM v_fields' > fields.csv
      archive sql --json 'SELECT state, count(*) AS n FROM v_pages GROUP BY 1'
    """
    if json and csv:
        raise UsageError("--json and --csv: one of them")
    if query is None:
        _print_views(json=json, csv=csv)
        return
    from pipeline.sql_reading import answer

    with database_of(ctx) as db, answer(db, query) as found:
        if json:
            _print_json(found)
        elif csv:
            _print_csv(found.columns, found.rows)
        else:
            _print_table(found)


def _print_views(*, json: bool, csv: bool) -> None:
    from pipeline.views import VIEWS

    if csv:
        rows = ((view.name, name, about) for view in VIEWS for name, about in view.columns)
        _print_csv(("view", "column", "about"), rows)
        return
    if json:
        views = [
            {
                "name": view.name,
                "about": view.about,
                "columns": [{"name": name, "about": about} for name, about in view.columns],
            }
            for view in VIEWS
        ]
        print_json({"schema_version": SCHEMA_VERSION, "views": views})
        return
    width = max(len(name) for view in VIEWS for name, _ in view.columns)
    for view in VIEWS:
        print(f"{view.name}: {view.about}")
        for name, about in view.columns:
            print_wrapped(f"  {name:{width}}  ", about)
    say("docs/sql.md has examples")


def _print_table(found: "Answer") -> None:
    first = list(islice(found.rows, N_ROWS_MEASURED))
    columns = [
        Column(
            name.upper(),
            right=all(not isinstance(row[position], str) for row in first),
            shortened=any(isinstance(row[position], str) for row in first),
        )
        for position, name in enumerate(found.columns)
    ]
    n_rows = print_table(columns, (tuple(map(_cell, row)) for row in chain(first, found.rows)))
    say(counted(n_rows, "row"))


def _print_csv(columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    out = csv_format.writer(sys.stdout, quoting=csv_format.QUOTE_NONNUMERIC, lineterminator="\n")
    out.writerow(columns)
    out.writerows(rows)


def _print_json(found: "Answer") -> None:
    twice = sorted({name for name in found.columns if found.columns.count(name) > 1})
    if twice:
        raise UsageError(
            f"several columns are called {', '.join(twice)}: JSON needs other names, given with AS"
        )
    lines = (
        json_format.dumps(dict(zip(found.columns, row, strict=True)), ensure_ascii=False)
        for row in found.rows
    )
    print_json_rows("rows", lines, columns=found.columns)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return shown_path(str(value))
