"""`archive worker`: work on pages that were ingested with a broker, on any machine."""

import logging
import socket
import sys
import time
from typing import TYPE_CHECKING

import click

from cli.options import common_options, reading_options, settings_of, worker_options
from cli.signals import stop_requests
from pipeline.errors import MissingError, SettingsError

if TYPE_CHECKING:
    from pipeline.settings import Settings

STAGES = ("sort", "detect", "classify")


@click.command()
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice(STAGES),
    help="Work on this stage only; can be given more than once.  [default: all]",
)
@click.option(
    "--feeder/--no-feeder", default=True, help="Feed the queues where nobody else does.  [default: feeder]"
)
@click.option(
    "--healthy", is_flag=True, help="Say whether a worker of this machine is alive; exit code 3 if not."
)
@worker_options
@reading_options
@common_options
@click.pass_context
def worker(ctx: click.Context, stages: tuple[str, ...], feeder: bool, healthy: bool) -> None:
    """Work on the pages that other machines ingested.

    Takes pages from the queues of a broker, and writes what it reads to the
    database, until it is stopped.  Any number of machines can do so at a time.
    The first signal (Ctrl-C) finishes or hands back the pages in hand, the
    second one leaves at once.  A page that crashes it costs a restart.

    \b
    Examples:
      export ARCHIVE_BROKER_URL=redis://:secret@queue.example/0
      export ARCHIVE_DATABASE_URL=postgresql://archive:secret@db.example/archive
      export ARCHIVE_FILES_URL=/mnt/archive
      archive worker
      archive worker --stage detect --device cuda:0
      archive worker --healthy
    """
    from workers.supervise import supervise

    settings = settings_of_many(ctx, promoted=not healthy)
    if healthy:
        _tell_health(settings)
        return
    chosen = tuple(stage for stage in STAGES if stage in stages) or STAGES
    log_to_stderr()
    with stop_requests() as request:
        supervise(settings, chosen, feeds=feeder, should_stop=lambda: request.number is not None)
    ctx.exit(0)


def settings_of_many(ctx: click.Context, *, promoted: bool) -> "Settings":
    """Return the settings of a process that works for other machines; SettingsError where one is missing.

    `promoted` and what else it raises are as for `settings_of`.
    """
    from pipeline.sharing import require_shared

    settings = settings_of(ctx, promoted=promoted)
    if not settings.broker_url:
        raise SettingsError(
            "the broker that pages are queued on is not named: --broker, or ARCHIVE_BROKER_URL"
        )
    require_shared(settings)
    return settings


def log_to_stderr() -> None:
    """Let people see what goes on: a process that works for days says it as a log."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )


def _tell_health(settings: "Settings") -> None:
    from pipeline.database import open_database, reading
    from pipeline.roster import ALIVE_S, living

    # not upgraded: a monitor of one machine must not change what the others work with
    db = open_database(settings.database_url, create=False, upgrade=False)
    with reading(db) as conn:
        heard = [seen for seen in living(conn, now=time.time()) if seen.worker.host == socket.gethostname()]
    db.dispose()
    if not heard:
        raise MissingError(f"no worker of this machine gave a sign of life in the last {ALIVE_S:g} s")
    for seen in heard:
        print(f"process {seen.worker.pid}, {time.time() - seen.seen_at:.0f} s ago")
