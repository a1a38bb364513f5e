"""`archive status`: how far the archive is read."""

import gc
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.options import broker_option, common_options, database_of, json_option, settings_of
from cli.terminal import SCHEMA_VERSION, Column, counted, print_json, print_table
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.status import OfKind, Status

KINDS = (
    Column("KIND"),
    *(Column(title, right=True) for title in ("PAGES", "DONE", "SKIPPED", "PERSON", "FAILED", "NUMBERS")),
)


@click.command()
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@json_option
@broker_option
@common_options
@click.pass_context
def status(ctx: click.Context, watch: bool, json: bool) -> None:
    """Show how far the archive is read.

    Pages by state, documents, digits and numbers, and how fast it goes.
    A page waits, its digits are found, it is done; or it failed.  Where pages are
    sorted, also by kind, and how many wait for a person.  With --watch
    also the workers, what waits in the queues, and how long it will take.

    \b
    Examples:
      archive status
      archive --database room7.db status
      archive status --watch
      archive status --json
    """
    if watch:
        if json:
            raise UsageError("--watch is for people; --json looks once")
        _watch(ctx)
        return
    # a tenth of a second of half a one: looking for cycles among what is only imported
    gc.disable()
    from pipeline.database import reading
    from pipeline.status import status as count_all

    with database_of(ctx) as db, reading(db) as conn:
        found = count_all(conn, now=time.time())
    if json:
        print_json({"schema_version": SCHEMA_VERSION, **asdict(found)})
    else:
        _print(
            found, "`archive worker`" if settings_of(ctx, promoted=False).broker_url else "`archive ingest`"
        )


def _watch(ctx: click.Context) -> None:
    from cli.signals import stop_requests
    from cli.watching import watch

    with database_of(ctx) as db, stop_requests() as request:
        watch(db, settings_of(ctx, promoted=False), lambda: request.number is not None)


def _print(found: "Status", reader: str) -> None:
    lines = [
        ("documents", found.n_documents, _failed_documents(found.n_failed_documents)),
        ("pages", found.n_pages, ""),
        *([("  to sort", found.n_unsorted, f"{reader} reads on")] if found.n_unsorted else []),
        ("  waiting", found.n_waiting, "" if not found.n_waiting else f"{reader} reads on"),
        ("  found", found.n_detected, "" if not found.n_detected else "digits found, not yet read"),
        ("  done", found.n_done, ""),
        *([("  skipped", found.n_skipped, "their kind is not read")] if found.n_skipped else []),
        *([("  person", found.n_person, "`archive sort` lists them")] if found.n_person else []),
        ("  failed", found.n_failed, "" if not found.n_failed else "`archive failed list` says why"),
        ("digits", found.n_digits, ""),
        ("numbers", found.n_numbers, ""),
    ]
    width = max(len(f"{count:,}") for _, count, _ in lines)
    for name, count, remark in lines:
        print(f"{name:<10} {count:>{width},}  {remark}".rstrip())
    if found.kinds:
        print()
        print_table(KINDS, [_kind_row(of_kind) for of_kind in found.kinds])
        print()
    if found.n_finished_lately:
        lately = counted(found.n_finished_lately, "page")
        print(f"{'rate':<10} {found.pages_per_s:.2f} pages/s ({lately} in the last {found.lately_s:.0f} s)")


def _kind_row(of_kind: "OfKind") -> tuple[str, ...]:
    counts = (of_kind.n_pages, of_kind.n_done, of_kind.n_skipped, of_kind.n_person, of_kind.n_failed)
    return of_kind.kind, *(f"{n:,}" for n in (*counts, of_kind.n_numbers))


def _failed_documents(n: int) -> str:
    return f"{n:,} of them could not be read: `archive failed list`" if n else ""
