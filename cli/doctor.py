"""`archive doctor`: what is needed, what is wrong, and how to mend it."""

import click

from cli.options import broker_option, common_options, json_option, reading_options, settings_of
from pipeline.errors import MissingError


@click.command()
@json_option
@broker_option
@reading_options
@common_options
@click.pass_context
def doctor(ctx: click.Context, json: bool) -> None:
    """Check what is needed, and say how to mend it.

    Looks at versions, machine, database, disk, queue and weights, and reads
    no page.  Where there is a database, its lock is taken for a moment and
    a file is written beside the crops and removed; like every command it
    upgrades a database of an older version.  Ends with exit code 3 if
    something is wrong.

    \b
    Examples:
      archive doctor
      archive doctor --json
      archive --database postgresql://server/archive doctor
    """
    from cli.checks import every_check, print_checks

    trouble = ""
    try:
        settings = settings_of(ctx)
    except MissingError as error:  # of a promoted network: everything else is looked at all the same
        settings, trouble = settings_of(ctx, promoted=False), str(error)
    if print_checks(every_check(settings, trouble), as_json=json):
        ctx.exit(MissingError.exit_code)
