"""`archive failed`: pages and documents that could not be read, why, and once more."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cli.options import (
    common_options,
    database_of,
    json_option,
    queue_options,
    reading_options,
)
from cli.terminal import SCHEMA_VERSION, counted, print_json, print_wrapped, say, shown_path
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.queries import Failure

STAGES = {
    "unsorted": "saying its kind",
    "waiting": "finding its digits",
    "detected": "reading its digits",
    None: "opening it",
}


@click.group()
@common_options
def failed() -> None:
    """List pages that could not be read, see why, try them again.

    A page is named by its number in the list, a document that gave no
    page by d and its number.

    \b
    Examples:
      archive failed list
      archive failed show 17
      archive failed retry 17 d3
      archive failed retry --all
    """


@failed.command("list")
@json_option
@common_options
@click.pass_context
def list_failed(ctx: click.Context, json: bool) -> None:
    """List what could not be read, with the reasons.

    \b
    Examples:
      archive failed list
      archive failed list --json
    """
    found = _failures(ctx)
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "failed": [_as_json(failure) for failure in found]})
        return
    width = max((len(_name(failure)) for failure in found), default=0)
    for failure in found:
        print_wrapped(f"{_name(failure):>{width}}  ", f"{_where(failure)}: {failure.reason}")
    say(
        f"{counted(len(found), 'failure')}; `archive failed retry --all` tries again"
        if found
        else "nothing failed"
    )


@failed.command("show")
@click.argument("names", nargs=-1, required=True, metavar="ID...")
@json_option
@common_options
@click.pass_context
def show_failed(ctx: click.Context, names: tuple[str, ...], json: bool) -> None:
    """Show all that is known of a failure.

    \b
    Examples:
      archive failed show 17
      archive failed show d3 --json
    """
    chosen = _chosen(_failures(ctx), names)
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "failed": [_as_json(failure) for failure in chosen]})
        return
    for failure in chosen:
        print(f"{_name(failure)}  {_where(failure)}")
        print_wrapped("    reason:  ", failure.reason)
        print(f"    failed:  {STAGES.get(failure.failed_in, failure.failed_in)}")
        if failure.attempts:
            print(f"    tries:   {failure.attempts}")
        print(f"    again:   archive failed retry {_name(failure)}")


@failed.command("retry")
@click.argument("names", nargs=-1, metavar="[ID...]")
@click.option("--all", is_flag=True, help="Everything that failed.")
@json_option
@queue_options
@reading_options
@common_options
@click.pass_context
def retry_failed(ctx: click.Context, names: tuple[str, ...], all: bool, json: bool) -> None:
    """Try failed pages and documents again, now.

    Mend what the reason says first: free memory, bring the share back,
    allow larger pages.  With a broker set workers try them.

    \b
    Examples:
      archive failed retry 17
      archive failed retry --all
      archive failed retry d3 --max-pixels 4000000000
    """
    if bool(names) == all:
        raise UsageError("name what to try again (`archive failed list` has the names), or give --all")

    from cli.again import PutBack, read_again
    from pipeline import ledger
    from pipeline.paths import text_to_path

    chosen = _failures(ctx)
    if names:
        chosen = _chosen(chosen, names)
    if not chosen:
        say("nothing failed")
        return

    def put_back(db: "Engine") -> PutBack:
        ledger.retry(
            db,
            everything=all,  # a list of a million would be too long for one statement
            ledger_ids=[one.ledger_id for one in chosen if one.ledger_id is not None and not all],
            document_ids=[one.document_id for one in chosen if one.ledger_id is None and not all],
            now=time.time(),
        )
        paths = [(text_to_path(failure.path), failure.ledger_id) for failure in chosen]
        return PutBack(
            roots=[path for path, ledger_id in paths if ledger_id is None],
            scans=[path for path, ledger_id in paths if ledger_id is not None],
        )

    read_again(ctx, put_back, json=json)


def _failures(ctx: click.Context) -> list["Failure"]:
    from pipeline import queries
    from pipeline.database import reading

    with database_of(ctx) as db, reading(db) as conn:
        return list(queries.failures(conn))


def _chosen(found: Sequence["Failure"], names: Sequence[str]) -> list["Failure"]:
    by_name = {_name(failure): failure for failure in found}
    for name in names:
        if name not in by_name:
            raise UsageError(f"no failure is called {name}; `archive failed list` has the names")
    return [by_name[name] for name in dict.fromkeys(names)]


def _name(failure: "Failure") -> str:
    return f"d{failure.document_id}" if failure.ledger_id is None else str(failure.ledger_id)


def _where(failure: "Failure") -> str:
    path = shown_path(failure.path)
    return path if failure.page is None else f"{path}, page {failure.page}"


def _as_json(failure: "Failure") -> dict[str, Any]:
    return {"id": _name(failure), **asdict(failure)}
