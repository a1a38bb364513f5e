"""`archive sort`: say which kind pages are, where a sorter is in doubt or wrong."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.options import common_options, database_of, json_option, queue_options, reading_options
from cli.scans import split_page
from cli.terminal import SCHEMA_VERSION, Column, counted, print_json, print_table, say, shown_path
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from cli.again import PutBack
    from pipeline.kinds import PageForPerson

COLUMNS = (
    Column("TAKEN FOR"),
    Column("CONFIDENCE", right=True),
    Column("PAGE", right=True),
    Column("DOCUMENT", shortened=True),
)


@click.command()
@click.argument("pages", nargs=-1, metavar="[DOCUMENT[:PAGE]...]")
@click.option("--kind", metavar="KIND", help="What they are; `archive sort` alone lists the kinds.")
@click.option("--dry-run", is_flag=True, help="Say which pages are meant; change nothing.")
@json_option
@queue_options
@reading_options
@common_options
@click.pass_context
def sort(ctx: click.Context, pages: tuple[str, ...], kind: str | None, dry_run: bool, json: bool) -> None:
    """Say which kind pages are, where a sorter is in doubt or wrong.

    Alone it lists the pages that wait for a person: what the sorter takes
    each for, and how sure it is.  With pages and their kind, they take the
    path of that kind anew: what was read of them is forgotten.  DOCUMENT
    without a page means all its pages, and a folder every scan below it.

    \b
    Examples:
      archive sort
      archive sort scans/p7.jpg --kind cover
      archive sort ledger-3.pdf:12 ledger-3.pdf:13 --kind register
      archive sort --dry-run scans/covers --kind cover
    """
    if not pages:
        if kind is not None:
            raise UsageError(f"which pages are {kind}? name them: archive sort scans/p7.jpg --kind {kind}")
        _list(ctx, json=json)
        return
    if kind is None:
        raise UsageError("what are they? --kind says it; `archive sort` alone lists the kinds")
    if dry_run:
        _dry_run(ctx, pages, kind, json=json)
        return

    from cli.again import read_again

    def put_back(db: "Engine") -> "PutBack | None":
        return _say(db, pages, kind, json=json)

    read_again(ctx, put_back, json=json)


def _say(db: "Engine", names: Sequence[str], kind: str, *, json: bool) -> "PutBack | None":
    from cli.again import PutBack
    from pipeline.catalogue import page_source
    from pipeline.database import writing
    from pipeline.kinds import say_kinds

    with writing(db) as conn:
        ids = _meant(conn, names)
        n_on = say_kinds(conn, ids, kind)
        # any path will do: whoever reads the page looks at all of them
        sources = [page_source(conn, page_id) for page_id in ids]
        scans = [source.paths[0].path for source in sources if source.paths]
    say(f"{counted(len(ids), 'page')} taken for {kind}")
    if n_on:
        return PutBack(roots=(), scans=scans)
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "kind": kind, "n_pages": len(ids), "n_to_read": 0})
    return None


def _dry_run(ctx: click.Context, names: Sequence[str], kind: str, *, json: bool) -> None:
    from pipeline.database import reading
    from pipeline.kinds import meant_by, state_of

    with database_of(ctx) as db, reading(db) as conn:
        meant = [meant_by(conn, page_id, kind) for page_id in _meant(conn, names)]
    n_to_read = sum(not page.is_on_it and state_of(page.path) == "waiting" for page in meant)
    if json:
        told = {"kind": kind, "n_pages": len(meant), "n_to_read": n_to_read}
        print_json({"schema_version": SCHEMA_VERSION, "dry_run": True, **told})
    say(f"would take {counted(len(meant), 'page')} for {kind}, and read {n_to_read:,}")


def _meant(conn: "Connection", names: Sequence[str]) -> list[int]:
    """Return the ids of the pages that are named, each once."""
    from pipeline import queries

    ids: dict[int, None] = {}
    for name in names:
        document, page = split_page(name)
        found = (
            queries.pages_of(conn, document)
            if page is None
            else (queries.page_of(conn, document, page).page_id,)
        )
        ids |= dict.fromkeys(found)
    return list(ids)


def _list(ctx: click.Context, *, json: bool) -> None:
    from pipeline.database import reading
    from pipeline.kinds import pages_for_person

    with database_of(ctx) as db, reading(db) as conn:
        found = list(pages_for_person(conn))
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "pages": [asdict(page) for page in found]})
        return
    if not found:
        say("no page waits for a person")
        return
    print_table(COLUMNS, [_row(page) for page in found])
    kinds = sorted({kind for page in found for kind in page.kinds})
    say(f"kinds:    {', '.join(kinds)}")
    example = shlex.join(["archive", "sort", f"{shown_path(found[0].path)}:{found[0].page}", "--kind"])
    say(f"say it:   {example} KIND")


def _row(page: "PageForPerson") -> tuple[str, ...]:
    return page.kind, f"{page.confidence:.2f}", str(page.page), shown_path(page.path)
