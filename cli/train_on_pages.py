"""`archive train rescorer`, `judge` and `confidence`: learned from how transcribed pages are read."""

from collections.abc import Callable
from pathlib import Path

import click

from cli.options import (
    A_FILE,
    FOLDER,
    Decorated,
    common_options,
    judging_options,
    labelling_options,
    network_options,
    settings_of,
)
from cli.terminal import counted, say
from pipeline.errors import PagesFailedError


def _in_other_hands(minutes: float) -> Callable[[Decorated], Decorated]:
    """Return what adds the options of a training on pages that are read in other hands."""

    def add_options(command: Decorated) -> Decorated:
        for add in (
            click.option(
                "-o",
                "--output",
                type=A_FILE,
                required=True,
                metavar="FILE",
                help="The checkpoint to write.",
            ),
            click.option(
                "--minutes",
                type=click.FloatRange(0, min_open=True),
                default=minutes,
                show_default=True,
                help="How long to train once the pages are read.",
            ),
            click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same hands."),
            click.option(
                "--hands",
                type=click.IntRange(1),
                default=2,
                show_default=True,
                help="Readings of each page.",
            ),
            click.argument("pages", type=FOLDER),
        ):
            command = add(command)
        return command

    return add_options


@click.command()
@_in_other_hands(minutes=0.1)
@labelling_options
@common_options
@click.pass_context
def rescorer(ctx: click.Context, pages: Path, hands: int, seed: int, minutes: float, output: Path) -> None:
    """Train the network that tells digits by their neighbours.

    PAGES is a folder of ALTO 4 or PAGE XML files with their images, those that the other networks were
    trained on.  They are read as if other hands had written them, leaning and bent, so that
    they are as hard as new ones.

    \b
    Examples:
      archive train rescorer registers/train -o rescorer.safetensors
      archive train rescorer mine --detector d.safetensors --classifier c.safetensors -o r.safetensors
    """
    from cli.other_hands import OtherHands, train_rescorer

    _end(ctx, train_rescorer(OtherHands(settings_of(ctx), pages, output, hands, seed, minutes)))


@click.command()
@_in_other_hands(minutes=15.0)
@judging_options
@common_options
@click.pass_context
def judge(ctx: click.Context, pages: Path, hands: int, seed: int, minutes: float, output: Path) -> None:
    """Train the network that judges whole numbers.

    PAGES is as for `archive train rescorer`, and they are read in the same way: the judge learns which
    numbers the other networks read whole.

    \b
    Examples:
      archive train judge registers/train --hands 4 -o judge.safetensors
      archive train judge mine --rescorer r.safetensors -o judge.safetensors
    """
    from cli.other_hands import OtherHands, train_judge

    _end(ctx, train_judge(OtherHands(settings_of(ctx), pages, output, hands, seed, minutes)))


@click.command()
@click.argument("pages", type=FOLDER)
@click.option("-o", "--output", type=A_FILE, required=True, metavar="FILE", help="The checkpoint to write.")
@network_options
@common_options
@click.pass_context
def confidence(ctx: click.Context, pages: Path, output: Path) -> None:
    """Fit how sure digits and numbers are to transcribed pages.

    PAGES is a folder of ALTO 4 or PAGE XML files with their images, which no network was trained on.
    They are read, and the classifier is written anew with a confidence that says how often it was
    right on them.

    \b
    Examples:
      archive train confidence registers/dev -o classifier.safetensors
      archive train confidence mine --detector d.safetensors --classifier c.safetensors -o c2.safetensors
    """
    from cli.fitting import fit_on_pages

    said, n_failed = fit_on_pages(settings_of(ctx), pages, output)
    click.echo(said)
    _end(ctx, n_failed)


def _end(ctx: click.Context, n_failed: int) -> None:
    """End with exit code 4 where pages could not be read."""
    if n_failed:
        say(f"{counted(n_failed, 'page')} left out")
        ctx.exit(PagesFailedError.exit_code)
