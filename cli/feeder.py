"""`archive feeder`: feed the queues from a process that reads no page itself."""

import click

from cli.options import common_options, feeder_options


@click.command()
@feeder_options
@common_options
@click.pass_context
def feeder(ctx: click.Context) -> None:
    """Feed the queues that workers take pages from.

    Workers do that by themselves, one of them at a time.  Alone it suits a
    machine that stays, while workers come and go; give those --no-feeder.
    However many feeders there are, one feeds, and the others take over when
    it is gone.

    \b
    Examples:
      archive feeder
      archive feeder --max-in-flight 5000
    """
    from cli.signals import stop_requests
    from cli.worker import log_to_stderr, settings_of_many
    from workers.feeding import feed

    settings = settings_of_many(ctx, promoted=False)
    log_to_stderr()
    with stop_requests() as request:
        feed(settings, lambda: request.number is not None)
    ctx.exit(0)
