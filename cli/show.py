"""`archive show`: a page with what was read drawn into it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import common_options, database_of, settings_of
from cli.output import STDOUT, replacing
from cli.scans import page_pixels, refuse_scan, split_page
from cli.terminal import counted, say
from pipeline.errors import SourceError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.catalogue import PageSource
    from pipeline.settings import Settings

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@click.command()
@click.argument("document", metavar="DOCUMENT[:PAGE]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE",
    help="The picture to write, .png or .jpg; - for stdout.",
)
@common_options
@click.pass_context
def show(ctx: click.Context, document: str, output: Path) -> None:
    """Draw a page with its boxes, digits and doubts.

    DOCUMENT is a path, the end of one, or the beginning of a hash; pages
    count from 1.  The scan itself is never written to.

    \b
    Examples:
      archive show scans/p7.jpg -o p7.png
      archive show ledger-3.pdf:12 -o page-12.png
      archive show 9f86d081:2 -o page.jpg
    """
    from pipeline import queries
    from pipeline.database import reading

    format = "PNG" if output == STDOUT else FORMATS.get(output.suffix.lower())
    if format is None:
        raise UsageError(f"{output}: which kind of picture? name it .png or .jpg")
    settings = settings_of(ctx, promoted=False)
    name, page_named = split_page(document)
    page = page_named or 1
    with database_of(ctx) as db, reading(db) as conn:
        source = queries.page_of(conn, name, page)
        result = queries.page_result(conn, source.page_id)
        refuse_scan(conn, output)
        dpi = _render_dpi(conn, result.run_id, settings)
    if result.state == "failed":
        raise SourceError(f"{name}, page {page}, could not be read: {result.reason}")
    if result.state == "skipped":
        raise UsageError(f"{name}, page {page}, is of a kind that is not read; `archive sort` says another")
    if result.state == "person":
        raise UsageError(f"{name}, page {page}, waits for a person to say its kind: `archive sort`")
    if result.state != "done":
        raise UsageError(f"{name}, page {page}, is not read yet; `archive ingest` reads on")

    from PIL import Image

    from pipeline.overlay import draw_overlay

    # what could be read can be drawn, however large it is
    max_pixels = max(settings.max_pixels, (result.width or 0) * (result.height or 0))
    try:
        pixels = page_pixels(source, max_pixels, dpi)
    except SourceError as error:
        raise SourceError(f"{_shown(source, name)}, page {page}: {error}") from error
    if result.width is not None and pixels.shape[:2] != (result.height, result.width):
        raise SourceError(
            f"{name}, page {page}, is not of the size it was read at; run `archive ingest --again`"
        )
    drawn = draw_overlay(pixels, result.detections, result.readings, result.numbers)
    with replacing(output) as file:
        Image.fromarray(drawn).save(file, format)
    n_digits = sum(reading.digit is not None for reading in result.readings)
    where = "" if output == STDOUT else f" → {output}"
    say(f"{counted(n_digits, 'digit')}, {counted(len(result.numbers), 'number')}{where}")


def _render_dpi(conn: "Connection", run_id: int, settings: "Settings") -> int:
    """Return the dpi of the run, for the boxes are in the pixels of its pages."""
    from sqlalchemy import select

    from pipeline.tables import runs

    written = conn.scalar(select(runs.c.settings).where(runs.c.id == run_id))
    return int(json.loads(written or "{}").get("render_dpi", settings.render_dpi))


def _shown(source: "PageSource", name: str) -> str:
    from pipeline.paths import path_to_text, printable

    return printable(path_to_text(source.paths[0].path)) if source.paths else name
