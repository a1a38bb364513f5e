"""`archive correct`: what a person says a value is."""

import getpass
import time

import click

from cli.options import common_options, database_of
from cli.terminal import say
from pipeline.errors import UsageError


@click.command()
@click.argument("id", metavar="ID")
@click.argument("value")
@click.option("--who", metavar="NAME", help="Who says so.  [default: your name on this machine]")
@common_options
@click.pass_context
def correct(ctx: click.Context, id: str, value: str, who: str | None) -> None:
    """Say what a value of a record is; what it was, who and when is kept.

    ID is a value of `archive query --record`, as 12.3.fee.  VALUE is written
    as on the page: digits, and | where the form prints a rule in an amount.
    It stays when the page is read again or another form is applied to it, as
    long as that has a field of this name in this place.

    \b
    Examples:
      archive correct 12.3.number 2365
      archive correct 12.3.fee '22|50' --who miriam
    """
    from pipeline.correcting import correct_value
    from pipeline.database import writing

    try:
        name = who or getpass.getuser()
    except (KeyError, OSError) as error:  # a container may have no user of that number
        raise UsageError("who says so? this machine has no name for you: give --who") from error
    with database_of(ctx) as db, writing(db) as conn:
        was = correct_value(conn, id, value, name, now=time.time())
    say(f"{id} is {value or 'empty'} now; it was {was or 'empty'}")
