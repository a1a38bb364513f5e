"""`archive worker`: work on pages that were ingested with a broker, on any machine."""

import logging
import sys

import click

from cli.options import common_options, reading_options, settings_of, worker_options
from cli.signals import stop_requests
from pipeline.errors import SettingsError

STAGES = ("detect", "classify")


@click.command()
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice(STAGES),
    help="Work on this stage only; can be given twice.  [default: all]",
)
@click.option(
    "--feeder/--no-feeder", default=True, help="Feed the queues where nobody else does.  [default: feeder]"
)
@worker_options
@reading_options
@common_options
@click.pass_context
def worker(ctx: click.Context, stages: tuple[str, ...], feeder: bool) -> None:
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
    """
    from pipeline.sharing import require_shared
    from workers.supervise import supervise

    settings = settings_of(ctx)
    if not settings.broker_url:
        raise SettingsError(
            "a worker needs the broker that pages are queued on: --broker, or ARCHIVE_BROKER_URL"
        )
    require_shared(settings)
    chosen = tuple(stage for stage in STAGES if stage in stages) or STAGES
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    with stop_requests() as request:
        supervise(settings, chosen, feeds=feeder, should_stop=lambda: request.number is not None)
    ctx.exit(0)
