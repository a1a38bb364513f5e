"""`archive threshold`: how much can be accepted without a person at the accuracy that is asked for."""

from pathlib import Path

import click

from cli.options import FOLDER, common_options, json_option, network_options, settings_of
from cli.terminal import counted, print_json, say


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--target",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    default=0.99,
    show_default=True,
    help="So much of what is accepted must be right.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write pictures, every threshold and the figures there.",
)
@json_option
@network_options
@common_options
@click.pass_context
def threshold(ctx: click.Context, folder: Path, target: float, output: Path | None, json: bool) -> None:
    """Say how much can be accepted without a person, and how sure it must be.

    FOLDER holds page images with ALTO 4 or PAGE XML beside them, also in
    sub-folders: best some of the pages that are to be read, transcribed.

    The threshold is the lowest confidence at which enough of what is kept
    is right.  It is also tried on pages that it was not chosen on: each half
    of the pages is judged by what was learned on the other.  What the
    transcription has wrong or lacks counts as wrong: see surest-wrong.png.

    A page that can't be read is named and left out, and the exit code is 4.

    \b
    Examples:
      archive threshold registers/dev
      archive threshold registers/dev --target 0.98 -o report
      archive threshold registers/dev --json
    """
    # here and not at the top: --help must not wait for them
    from cli.accepting import find_accepted
    from cli.accepting_report import accepted_json, print_accepted, write_accepted
    from pipeline.errors import PagesFailedError

    found, n_left_out = find_accepted(settings_of(ctx), folder, target)
    if json:
        print_json(accepted_json(found, n_left_out))
    else:
        print_accepted(found)
    if output is not None:
        say(f"{', '.join(write_accepted(found, n_left_out, output))} → {output}")
    if n_left_out:
        say(f"{counted(n_left_out, 'page')} left out")
        ctx.exit(PagesFailedError.exit_code)
