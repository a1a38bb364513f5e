"""`archive verify`: whether scans are unchanged, what was read of them is whole, and networks are there."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cli.options import common_options, database_of, json_option, settings_of
from cli.terminal import SCHEMA_VERSION, counted, print_json, say, shown_path
from pipeline.errors import MissingError, StorageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.settings import Settings
    from pipeline.wholeness import Problem, Scope

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
    from pipeline.wholeness import Scope, n_documents_and_pages

    settings, scope = settings_of(ctx, promoted=False), Scope(documents)
    counts: dict[str, int] = {}
    problems: list[Problem] = []
    with database_of(ctx) as db:
        with reading(db) as conn:
            counts["n_documents"], counts["n_pages"] = n_documents_and_pages(conn, scope)
        for problem in _problems(db, settings, scope, counts, quick=quick):
            problems.append(problem)
            if not json:  # one by one: hashing takes a while
                print(_line(problem), flush=True)
    if json:
        told = {"ok": not problems, **counts, "problems": [_as_json(problem) for problem in problems]}
        print_json({"schema_version": SCHEMA_VERSION, **told})
    elif not problems:
        numbers = counts["n_documents"], counts["n_pages"], counts["n_networks"]
        parts = (counted(n, word) for n, word in zip(numbers, ("document", "page", "network"), strict=True))
        print(f"all is well: {', '.join(parts)}")
    if problems:
        say(f"{counted(len(problems), 'thing')} to mend")
        only_networks = all(problem.kind == NETWORK for problem in problems)
        ctx.exit(MissingError.exit_code if only_networks else StorageError.exit_code)


def _problems(
    db: "Engine", settings: "Settings", scope: "Scope", counts: dict[str, int], *, quick: bool
) -> Iterator["Problem"]:
    """Yield all that is wrong; `counts` gets the number of networks."""
    from cli.verifying import checks_of
    from pipeline.database import reading
    from pipeline.originals import changed_originals
    from pipeline.wholeness import Problem, broken_rows, networks_that_read

    with reading(db) as conn:
        yield from broken_rows(conn, scope)
        needed = networks_that_read(conn, scope)
    counts["n_networks"] = len(needed)
    for check in checks_of(settings, needed, load=not quick):
        if check.state != "ok":
            yield Problem(NETWORK, None, None, f"{check.name} {check.found}", check.mend)
    yield from changed_originals(db, scope, quick=quick)


def _line(problem: "Problem") -> str:
    where = "" if problem.path is None else shown_path(problem.path)
    if problem.page is not None:
        where += f", page {problem.page}"
    return f"{problem.kind:<10}  {where}{': ' if where else ''}{problem.found} → {problem.mend}"


def _as_json(problem: "Problem") -> dict[str, Any]:
    return asdict(problem)
