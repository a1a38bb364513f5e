"""`archive doctor`: what is needed, what is wrong, and how to mend it."""

import sys
from dataclasses import asdict

import click

from cli.options import broker_option, common_options, json_option, reading_options, settings_of
from cli.terminal import SCHEMA_VERSION, counted, print_json, print_wrapped, say
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
    from cli.checks import every_check

    checks = []
    for check in every_check(settings_of(ctx)):
        checks.append(check)
        if not json:  # one by one: loading the weights takes a while
            print_wrapped(f"{check.state:<5} {check.name:<11} ", check.found)
            if check.mend:
                print_wrapped(f"      {'':<11} → ", check.mend)
            sys.stdout.flush()
    n_wrong = sum(check.state == "fail" for check in checks)
    if json:
        values = [asdict(check) for check in checks]
        print_json({"schema_version": SCHEMA_VERSION, "ok": not n_wrong, "checks": values})
    if n_wrong:
        say(f"{counted(n_wrong, 'thing')} to mend")
        ctx.exit(MissingError.exit_code)
