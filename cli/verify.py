"""`archive verify`: whether scans are unchanged, what was read of them is whole, and networks are there."""

import json as json_format
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.options import common_options, database_of, json_option, settings_of
from cli.terminal import counted, print_json_rows, say, shown_path
from pipeline.errors import MissingError, StorageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.scope import Problem, Scope
    from pipeline.settings import Settings

NETWORK = "network"


@click.command()
@click.argument("documents", nargs=-1, metavar="[DOCUMENT...]")
@click.option("--quick", is_flag=True, help="Hash no scan: compare sizes and times only.")
@json_option
@common_options
@click.pass_context
def verify(ctx: click.Context, documents: tuple[str, ...], quick: bool, json: bool) -> None:
    """Check that scans are unchanged, and what was read of them is whole.

    Hashes the file of every document, or of those named; counts whether
    each page has the digits, numbers and records that it is said to have;
    looks for every network that read them.  Says of each thing that is
    wrong what it is and what to do, and changes nothing.

    Ends with exit code 5 if a scan or rows are wrong, 3 if only networks.

    \b
    Examples:
      archive verify
      archive verify --quick
      archive verify scans/1890 ledger-3.pdf --json
    """
    from pipeline.database import reading
    from pipeline.scope import n_documents_and_pages, networks_that_read, scope_of

    settings = settings_of(ctx, promoted=False)
    kinds: Counter[str] = Counter()
    with database_of(ctx) as db:
        with reading(db) as conn:
            scope = scope_of(conn, documents)
            n_documents, n_pages = n_documents_and_pages(conn, scope)
            needed = networks_that_read(conn, scope)
        problems = _counted(_problems(db, settings, scope, needed, quick=quick), kinds)
        if json:
            counts = {"n_documents": n_documents, "n_pages": n_pages, "n_networks": len(needed)}
            print_json_rows("problems", map(_json, problems), after=lambda: {"ok": not kinds}, **counts)
        else:
            for problem in problems:  # one by one: hashing takes a while
                print(_line(problem), flush=True)
    if not json and not kinds:
        numbers = (n_documents, "document"), (n_pages, "page"), (len(needed), "network")
        print(f"all is well: {', '.join(counted(n, word) for n, word in numbers)}")
    if kinds:
        say(f"{counted(kinds.total(), 'thing')} to mend")
        ctx.exit(MissingError.exit_code if set(kinds) == {NETWORK} else StorageError.exit_code)


def _problems(
    db: "Engine",
    settings: "Settings",
    scope: "Scope",
    needed: "Mapping[tuple[str, str], int]",
    *,
    quick: bool,
) -> Iterator["Problem"]:
    """Yield all that is wrong; `needed` are networks that read pages, as `networks_that_read` has them."""
    from cli.verifying import checks_of
    from pipeline.database import reading
    from pipeline.originals import changed_originals
    from pipeline.scope import Problem
    from pipeline.wholeness import broken_rows

    with reading(db) as conn:
        yield from broken_rows(conn, scope)
    for check in checks_of(settings, needed, load=not quick):
        if check.state != "ok":
            yield Problem(NETWORK, None, None, f"{check.name} {check.found}", check.mend)
    yield from changed_originals(db, scope, quick=quick)


def _counted(problems: Iterator["Problem"], kinds: Counter[str]) -> Iterator["Problem"]:
    """Yield problems, and count them by their kinds: a million need not be in memory."""
    for problem in problems:
        kinds[problem.kind] += 1
        yield problem


def _line(problem: "Problem") -> str:
    where = "" if problem.path is None else shown_path(problem.path)
    if problem.page is not None:
        where += f", page {problem.page}"
    return f"{problem.kind:<10}  {where}{': ' if where else ''}{problem.found} → {problem.mend}"


def _json(problem: "Problem") -> str:
    return json_format.dumps(asdict(problem), ensure_ascii=False)
