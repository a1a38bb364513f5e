"""`archive show`: a page with what was read drawn into it, or what else its numbers may be."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import common_options, database_of, json_option, settings_of
from cli.output import STDOUT, replacing
from cli.scans import page_pixels, refuse_scan, render_dpi, split_page
from cli.terminal import GAP, SCHEMA_VERSION, Column, counted, print_json, print_table, say, terminal_width
from pipeline.errors import SourceError, UsageError

if TYPE_CHECKING:
    from pipeline.catalogue import PageSource
    from pipeline.page import Alternative
    from pipeline.queries import PageResult

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
TITLES = "NUMBER", "CONFIDENCE", "ALTERNATIVES"


@click.command()
@click.argument("document", metavar="DOCUMENT[:PAGE]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="The picture to write, .png or .jpg; - for stdout.",
)
@click.option("--alternatives", is_flag=True, help="Print its numbers, and what else each of them may be.")
@json_option
@common_options
@click.pass_context
def show(ctx: click.Context, document: str, output: Path | None, alternatives: bool, json: bool) -> None:
    """Draw a page with its boxes, digits and doubts.

    DOCUMENT is a path, the end of one, or the beginning of a hash; pages
    count from 1.  The scan itself is never written to.

    \b
    Examples:
      archive show scans/p7.jpg -o p7.png
      archive show ledger-3.pdf:12 -o page-12.png
      archive show 9f86d081:2 -o page.jpg
      archive show scans/p7.jpg --alternatives
    """
    from pipeline import queries
    from pipeline.database import reading

    if output is None and not alternatives:
        raise UsageError("which picture is to be written? name it with --output, or ask for --alternatives")
    if json and not alternatives:
        raise UsageError("--json prints numbers: give --alternatives too")
    if alternatives and output == STDOUT:
        raise UsageError("--alternatives prints to stdout, where the picture would be: name a file for it")
    format = "PNG" if output in (None, STDOUT) else FORMATS.get(output.suffix.lower())
    if format is None:
        raise UsageError(f"{output}: which kind of picture? name it .png or .jpg")
    settings = settings_of(ctx, promoted=False)
    name, page_named = split_page(document)
    page = page_named or 1
    with database_of(ctx) as db, reading(db) as conn:
        source = queries.page_of(conn, name, page)
        result = queries.page_result(conn, source.page_id)
        if output is not None:
            refuse_scan(conn, output)
        dpi = render_dpi(conn, result.run_id, settings)
    if result.state == "failed":
        raise SourceError(f"{name}, page {page}, could not be read: {result.reason}")
    if result.state == "skipped":
        raise UsageError(f"{name}, page {page}, is of a kind that is not read; `archive sort` says another")
    if result.state == "person":
        raise UsageError(f"{name}, page {page}, waits for a person to say its kind: `archive sort`")
    if result.state != "done":
        raise UsageError(f"{name}, page {page}, is not read yet; `archive ingest` reads on")
    if output is not None:
        _draw(source, name, page, result, output, format, settings.max_pixels, dpi)
    if alternatives and json:
        _print_json(_shown(source, name), page, result)
    elif alternatives:
        _print_alternatives(result)


def _draw(
    source: "PageSource",
    name: str,
    page: int,
    result: "PageResult",
    output: Path,
    format: str,
    max_pixels: int,
    dpi: int,
) -> None:
    from PIL import Image

    from pipeline.overlay import draw_overlay

    # what could be read can be drawn, however large it is
    max_pixels = max(max_pixels, (result.width or 0) * (result.height or 0))
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


def _print_alternatives(result: "PageResult") -> None:
    if not result.numbers:
        say("no number was read on it")
        return
    longest = max(len(TITLES[0]), *(len(number.written or number.text) for number in result.numbers))
    terminal = terminal_width()
    room = None if terminal is None else terminal - longest - len(TITLES[1]) - 2 * len(GAP)
    columns = Column(TITLES[0], right=True), Column(TITLES[1], right=True), Column(TITLES[2])
    rows = (
        (
            number.written or number.text,
            f"{number.confidence:.3f}",
            _as_many_as_fit(number.alternatives, room),
        )
        for number in result.numbers
    )
    print_table(columns, rows)


def _as_many_as_fit(alternatives: Sequence["Alternative"], room: int | None) -> str:
    """Return the likeliest alternatives as one cell of a table, of at most so many columns."""
    shown = [f"{one.text} {one.probability:.3f}" for one in alternatives]
    while shown and room is not None and len(", ".join(shown)) > room:
        shown.pop()
    return ", ".join(shown)


def _print_json(document: str, page: int, result: "PageResult") -> None:
    def box_around(members: Sequence[int]) -> list[float]:
        x0, y0, x1, y1 = zip(*(result.detections[i].box.corners for i in members), strict=True)
        return [round(edge, 2) for edge in (min(x0), min(y0), max(x1), max(y1))]

    numbers = [
        {
            "number": number.text,
            "confidence": round(number.confidence, 6),
            "line": number.line + 1,
            "position": position,
            "box": [round(edge, 2) for edge in number.box.corners],
            "alternatives": [
                {"number": one.text, "probability": one.probability, "box": box_around(one.members)}
                for one in number.alternatives
            ],
            "written": number.written,
        }
        for position, number in enumerate(result.numbers)
    ]
    print_json({"schema_version": SCHEMA_VERSION, "document": document, "page": page, "numbers": numbers})


def _shown(source: "PageSource", name: str) -> str:
    from pipeline.paths import path_to_text, printable

    return printable(path_to_text(source.paths[0].path)) if source.paths else name
