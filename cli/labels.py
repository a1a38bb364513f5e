"""`archive labels`: labelled digits from transcriptions, or from drawn pages."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import common_options, settings_of
from cli.terminal import counted, say

if TYPE_CHECKING:
    from pipeline.labels import LabelledPage


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="Where they go."
)
@click.option(
    "--drawn", type=click.IntRange(1), metavar="N", help="Draw N pages instead of reading transcriptions."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Drawn pages of this seed.")
@common_options
@click.pass_context
def labels(ctx: click.Context, paths: tuple[Path, ...], output: Path, drawn: int | None, seed: int) -> None:
    """Make labelled digits from transcriptions.

    PATHS are ALTO 4 or PAGE XML files, or folders of them, each with its page image beside it.  Lines
    that are all number, where the parts of ink match the digits, give a box for each digit.  The
    folder gets one picture a page and labels.jsonl; `archive train` reads it.
    An image that can't be read is named and left out, and the exit code is 4.

    \b
    Examples:
      archive labels registers/train -o labels
      archive labels --drawn 150 --seed 1 -o drawn
    """
    # here and not at the top: --help must not wait for them
    from pipeline.drawn_labels import drawn_label_set
    from pipeline.errors import PagesFailedError, UsageError
    from pipeline.label_sets import write_label_set

    settings = settings_of(ctx)
    if bool(paths) == bool(drawn):
        raise UsageError("archive labels: give either transcriptions or --drawn N")
    failed: list[Path] = []
    pages = drawn_label_set(drawn, seed) if drawn else _transcribed(paths, settings.max_pixels, failed)
    n_pages = n_digits = n_asked = 0
    for page in write_label_set(output, pages):
        n_pages, n_digits, n_asked = n_pages + 1, n_digits + len(page.digits), n_asked + page.n_number_digits
        click.echo(f"{page.name}: {len(page.digits)} of {page.n_number_digits} digits", err=True)
    share = f" ({n_digits / n_asked:.0%})" if n_asked else ""
    click.echo(f"{n_pages} pages, {n_digits} of {n_asked} digits of number lines{share} → {output}")
    if failed:
        say(f"{counted(len(failed), 'image')} left out")
        ctx.exit(PagesFailedError.exit_code)


def _transcribed(paths: tuple[Path, ...], max_pixels: int, failed: list[Path]) -> "Iterator[LabelledPage]":
    """Yield the pages; an image that can't be read goes on `failed`."""
    from pipeline.errors import SourceError
    from pipeline.transcriptions import find_transcribed

    pairs = [pair for path in paths for pair in find_transcribed(path)]
    if not pairs:
        raise SourceError(f"{paths[0]}: no transcription (.xml) with its page image beside it")
    for image, transcription in pairs:
        try:
            page = _labelled(image, transcription, max_pixels)
        except SourceError as error:
            say(str(error))
            failed.append(image)
        else:
            yield page


def _labelled(image: Path, transcription: Path, max_pixels: int) -> "LabelledPage":
    from pipeline.errors import SourceError
    from pipeline.ink import ink_map
    from pipeline.labels import label_page, label_scale
    from pipeline.paths import path_to_text, printable
    from pipeline.sources import probe, read_page
    from pipeline.transcriptions import read_lines

    lines = read_lines(transcription)
    try:
        format = probe(image, max_pixels=max_pixels).format
        grey = read_page(image, format, None, 0, max_pixels=max_pixels, render_dpi=300)
    except SourceError as error:
        raise SourceError(f"{printable(path_to_text(image))}: {error}") from error
    scale = label_scale(grey.shape[1], grey.shape[0])
    return label_page(f"{image.parent.name}-{image.stem}", ink_map(grey, scale), lines, scale)
