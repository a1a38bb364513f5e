"""`archive reprocess`: documents of the archive read once more, by today's networks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.options import common_options, json_option, queue_options, reading_options, sorting_options
from cli.terminal import counted, say
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from cli.again import PutBack


@click.command()
@click.argument("documents", nargs=-1, metavar="[DOCUMENT...]")
@sorting_options
@json_option
@queue_options
@reading_options
@common_options
@click.pass_context
def reprocess(ctx: click.Context, documents: tuple[str, ...], json: bool) -> None:
    """Read documents of the archive once more, by today's networks.

    As a run of its own: what was read before stays beside it, for `archive
    compare`, and each page is shown as it was until the new run has read it.
    Records are made anew by the same forms, and what a person corrected
    stays.  Without documents: all of them.

    \b
    Examples:
      archive reprocess
      archive reprocess scans/1903 ledger-3.pdf
      archive reprocess --classifier mine.safetensors ledger-3.pdf
    """
    from cli.again import read_again

    read_again(ctx, lambda db: _put_back(db, documents), json=json)


def _put_back(db: "Engine", names: Sequence[str]) -> "PutBack":
    from cli.again import PutBack
    from pipeline.catalogue import scans_of
    from pipeline.database import reading

    with reading(db) as conn:
        scans = scans_of(conn, names)
    found = [next((path for path in paths if path.exists()), None) for paths in scans]
    there = [path for path in found if path is not None]
    if not there:
        raise UsageError("none of these scans is there: mount their folder, and try again")
    if n_away := len(scans) - len(there):
        say(f"{counted(n_away, 'scan')} not there, left as before; `archive verify` says which")
    return PutBack(roots=there, scans=(), as_new_run=True)
