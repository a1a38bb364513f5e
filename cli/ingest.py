"""`archive ingest`: read scans."""

import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import (
    A_FILE,
    common_options,
    database_of,
    is_verbose,
    json_option,
    queue_options,
    reading_options,
    settings_of,
    sorting_options,
)
from cli.terminal import print_json
from pipeline.errors import MissingError, PagesFailedError, UsageError

if TYPE_CHECKING:
    from cli.reading import Weights
    from cli.sorting import NamedSorting
    from pipeline.form_files import FormFile
    from pipeline.settings import Settings


@click.command()
@click.argument(
    "scans",
    nargs=-1,
    required=True,
    metavar="SCANS...",
    type=click.Path(exists=True, readable=False, path_type=Path),
)
@click.option("--form", type=A_FILE, metavar="FORM", help="Make records of the pages by this form.")
@click.option("--again", is_flag=True, help="Read known pages once more, with today's weights, as a new run.")
@click.option("--wait", is_flag=True, help="With a broker: stay until workers have read every page.")
@click.option("--dry-run", is_flag=True, help="Say what would be read; write nothing.")
@sorting_options
@json_option
@queue_options
@reading_options
@common_options
@click.pass_context
def ingest(
    ctx: click.Context,
    scans: tuple[Path, ...],
    form: Path | None,
    again: bool,
    wait: bool,
    dry_run: bool,
    json: bool,
) -> None:
    """Read scans: files and folders, every page of them.

    Finds the digits of each page, reads them and keeps the numbers.  SCANS
    are files and folders of JPEG, PNG, WebP, BMP, JPEG 2000, TIFF, PDF, and
    ZIP of these; folders are read with all that is below them.

    A file that was read is not read again.  Stopped by Ctrl-C, a crash or a
    power cut, give the same command again: it goes on where it was, with
    --again too.

    With a sorter each page is first told by its kind, and --paths says what
    becomes of that: read by other networks, skipped, or left to a person
    (docs/sorting.md).

    With a form each row of the printed table becomes a record (docs/forms.md),
    also on pages of SCANS that were read before.

    With a broker set, pages are written down for `archive worker` to read,
    on any machine, and the command leaves.

    \b
    Examples:
      archive ingest scans/
      archive ingest ledger-3.pdf box-12.zip
      archive ingest --dry-run /media/archive/registers
      archive ingest --again scans/1890
      archive ingest --form notary.toml scans/
      archive ingest --sorter room7 --paths paths.toml room7/
      archive --database room7.db ingest room7/ --json > room7.json
    """
    from pipeline.form_files import load_form

    given = None if form is None else load_form(form)
    if dry_run:
        _dry_run(ctx, scans, again=again, json=json)
        return

    from cli.reading import find_weights, read_scans
    from cli.sorting import find_sorting
    from cli.summary import leave, outcome_json, tell_outcome
    from pipeline.database import OwnerLock

    settings = settings_of(ctx)
    weights = find_weights(settings)  # before a database is made that nothing could be read into
    sorting = find_sorting(settings)
    if settings.broker_url:
        _queue(ctx, settings, weights, sorting, scans, given, again=again, wait=wait, json=json)
        return
    if wait:
        raise UsageError("--wait is for pages that workers read; without a broker this command reads them")
    with database_of(ctx, create=True) as db, OwnerLock(settings.database_url) as lock:
        outcome = read_scans(db, settings, weights, sorting, scans, lock, again=again, form=given)
    if json:
        print_json(outcome_json(outcome))
    tell_outcome(outcome, verbose=is_verbose(ctx))
    leave(ctx, outcome)


def _queue(
    ctx: click.Context,
    settings: "Settings",
    weights: "Weights",
    sorting: "NamedSorting | None",
    scans: tuple[Path, ...],
    form: "FormFile | None",
    *,
    again: bool,
    wait: bool,
    json: bool,
) -> None:
    from cli.queueing import queue_scans
    from cli.summary import leave, outcome_json, tell_outcome
    from pipeline.sharing import require_shared

    require_shared(settings)
    with database_of(ctx, create=True) as db:
        outcome = queue_scans(db, settings, weights, sorting, scans, again=again, wait=wait, form=form)
    if json:
        print_json(outcome_json(outcome))
    tell_outcome(outcome, verbose=is_verbose(ctx))
    leave(ctx, outcome)


def _dry_run(ctx: click.Context, scans: tuple[Path, ...], *, again: bool, json: bool) -> None:
    from cli.registering import Tally, count_only, look
    from cli.sorting import find_sorting
    from cli.summary import plan_json, tell_plan

    settings = settings_of(ctx, promoted=False)
    find_sorting(settings)  # a mistake in the paths file is said now
    tally = Tally()
    with ExitStack() as stack:
        db = None  # where there is no database yet, a dry run makes none
        with suppress(MissingError):
            db = stack.enter_context(database_of(ctx))
        count_only(look(scans, settings, db, tally, threading.Event()), db, tally, again=again)
    if json:
        print_json(plan_json(tally))
    tell_plan(tally, verbose=is_verbose(ctx))
    if tally.failed:
        ctx.exit(PagesFailedError.exit_code)
