"""`archive compare`: what changed between two runs over the same pages; without runs, which there are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import common_options, database_of, json_option, settings_of
from cli.terminal import SCHEMA_VERSION, counted, print_json, say, shown_path
from pipeline.errors import SourceError, StorageError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.changes import Change
    from pipeline.compared import Compared
    from pipeline.contact_sheets import Strip
    from pipeline.runs import NamedPage, Run

SHEET_LIMIT, MOST_ON_SHEET = 200, 1000


@click.command()
@click.argument("runs", nargs=-1, type=int, metavar="[RUN_A RUN_B]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="SHEET.png",
    help="Draw the most confident changes, A beside B.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, MOST_ON_SHEET),
    default=SHEET_LIMIT,
    metavar="N",
    help=f"Changes on the sheet.  [default: {SHEET_LIMIT}]",
)
@json_option
@common_options
@click.pass_context
def compare(ctx: click.Context, runs: tuple[int, ...], output: Path | None, limit: int, json: bool) -> None:
    """Say what changed between two runs, digit by digit.

    A run is one set of networks and settings; `archive ingest --again` with
    other networks makes a second one beside the first.  Without runs: a
    list of them, with their numbers.  Pages that both have done are compared.

    \b
    Examples:
      archive compare
      archive compare 1 2
      archive compare 1 2 -o changes.png --limit 50
      archive compare 1 2 --json
    """
    if len(runs) not in (0, 2):
        raise UsageError("name two runs, or none for a list of them")
    if output is not None and not runs:
        raise UsageError("a sheet is drawn of two runs: name them")
    if output is not None and output.suffix.lower() != ".png":
        raise UsageError(f"{output}: the sheet is a PNG; name it .png")
    from cli.differences import print_runs, run_json
    from pipeline.database import reading
    from pipeline.runs import all_runs

    with database_of(ctx) as db, reading(db) as conn:
        known = all_runs(conn)
        if runs:
            a, b = _two_runs(known, *runs)
            _compare(ctx, conn, a, b, output, limit, json)
        elif json:
            print_json({"schema_version": SCHEMA_VERSION, "runs": [run_json(run) for run in known]})
        elif known:
            print_runs(known)
        else:
            say("there is no run yet; `archive ingest` makes one")


def _two_runs(known: Sequence["Run"], run_a: int, run_b: int) -> tuple["Run", "Run"]:
    """Return two runs by their numbers; UsageError where one is not there, or both are the same."""
    if run_a == run_b:
        raise UsageError(f"run {run_a} is named twice; `archive compare` lists the runs")
    by_number = {run.run_id: run for run in known}
    for number in (run_a, run_b):
        if number not in by_number:
            raise UsageError(f"there is no run {number}; `archive compare` lists the runs")
    return by_number[run_a], by_number[run_b]


def _compare(
    ctx: click.Context, conn: "Connection", a: "Run", b: "Run", output: Path | None, limit: int, json: bool
) -> None:
    from cli.differences import comparison_json, print_comparison
    from cli.progress import make_progress
    from cli.scans import refuse_scan
    from pipeline.compared import compare_runs
    from pipeline.runs import n_pages_of_both, named_pages

    if output is not None:
        refuse_scan(conn, output)
    n_both = n_pages_of_both(conn, a.run_id, b.run_id)
    if not n_both:
        raise UsageError(
            f"runs {a.run_id} and {b.run_id} have done no page both; "
            "`archive ingest --again` reads known pages with other networks"
        )
    n_kept = 0 if output is None else limit
    with make_progress() as progress:
        found = compare_runs(
            conn, a, b, n_kept, lambda n_pages: progress.update(n_pages, n_both, complete=True)
        )
    if not found.tally.n_pages:
        raise UsageError(
            f"runs {a.run_id} and {b.run_id} have done no page both but those of PDFs, which they rendered "
            "at another dpi: their boxes can't be compared"
        )
    left_out = (found.only_a, found.only_b, found.other_dpi)
    names = named_pages(conn, [page_id for pages in left_out for page_id in pages.page_ids])
    n_drawn = None if output is None else _draw(ctx, conn, (a, b), found, output)
    if json:
        said = comparison_json(a, b, found, names)
        print_json({"schema_version": SCHEMA_VERSION, **said, "n_drawn": n_drawn})
    else:
        print_comparison(a, b, found, names)


def _draw(
    ctx: click.Context, conn: "Connection", runs: tuple["Run", "Run"], found: "Compared", output: Path
) -> int:
    """Write the sheet of changes and return how many it shows; it says of which the scan can't be read."""
    from cli.output import replacing
    from pipeline.change_sheet import DOUBTFUL, changes_png
    from pipeline.runs import named_pages

    a, b = runs
    places: dict[int, list[int]] = {}
    for place, change in enumerate(found.changes):
        places.setdefault(change.page_id, []).append(place)
    names = named_pages(conn, list(places))
    strips: dict[int, Strip] = {}
    gone: list[str] = []
    for page_id, of_page in places.items():
        name = names[page_id]
        try:
            drawn = _strips(ctx, conn, a, page_id, [found.changes[place] for place in of_page], name)
        except (SourceError, StorageError) as error:
            gone.append(f"{shown_path(name.path)}, page {name.page}: {error}")
        else:
            strips |= zip(of_page, drawn, strict=True)
    title = (
        f"Left run {a.run_id}, right run {b.run_id}: {len(strips):,} of "
        f"{counted(found.tally.n_changes, 'change')}, the surest first; red: less than {DOUBTFUL:.0%} sure"
    )
    with replacing(output) as file:
        file.write(changes_png([strips[place] for place in sorted(strips)], title))
    if gone:
        more = f" (and {counted(len(gone) - 1, 'more page')})" if len(gone) > 1 else ""
        n_left_out = counted(len(found.changes) - len(strips), "change")
        say(f"{n_left_out} not drawn: {gone[0]}{more}")
    say(f"{len(strips):,} of {counted(found.tally.n_changes, 'change')} → {output}")
    return len(strips)


def _strips(
    ctx: click.Context,
    conn: "Connection",
    run: "Run",
    page_id: int,
    changes: Sequence["Change"],
    name: "NamedPage",
) -> list["Strip"]:
    """Return the changes of a page as they are drawn; raises as `page_pixels` does."""
    from cli.scans import page_pixels
    from pipeline.change_sheet import change_strip
    from pipeline.runs import scan_of

    settings = settings_of(ctx, promoted=False)
    scan = scan_of(conn, page_id)
    # what could be read can be drawn, however large it is
    max_pixels = max(settings.max_pixels, scan.n_pixels)
    dpi = int(run.settings.get("render_dpi", settings.render_dpi))
    pixels = page_pixels(scan.source, max_pixels, dpi)
    shown = f"{Path(name.path).name}:{name.page}"
    return [change_strip(pixels, change, shown) for change in changes]
