"""`archive export`: what was read, as files for other programs."""

import json
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import common_options, database_of
from cli.output import STDOUT, replacing
from cli.terminal import counted, say

if TYPE_CHECKING:
    from pipeline.queries import ExportedPage


@click.group()
@common_options
def export() -> None:
    """Write what was read to a file.

    \b
    Examples:
      archive export digits -o digits.jsonl
    """


@export.command("digits")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE",
    help="The file to write, whole or not at all; - for stdout.",
)
@common_options
@click.pass_context
def export_digits(ctx: click.Context, output: Path) -> None:
    """Write every digit with its box: one JSON object a page, one page a line.

    Boxes are in pixels of the page as it is shown.  `number` tells which
    digits of a page belong together.

    \b
    Examples:
      archive export digits -o digits.jsonl
      archive export digits -o - | head -n 1
    """
    from pipeline import queries
    from pipeline.database import reading

    n_pages = n_digits = 0
    with database_of(ctx) as db, reading(db) as conn, replacing(output) as file:
        for page in queries.exported_pages(conn):
            file.write(digits_line(page).encode())
            n_pages += 1
            n_digits += len(page.digits)
    where = "" if output == STDOUT else f" → {output}"
    say(f"{counted(n_pages, 'page')}, {counted(n_digits, 'digit')}{where}")


def digits_line(page: "ExportedPage") -> str:
    """Return a page as one line of JSON, its end included."""
    value = {
        "image": page.image,
        "page": page.page_index,
        "width": page.width,
        "height": page.height,
        "turned": page.turned,
        "digits": [
            {
                "box": [round(edge, 2) for edge in astuple(digit.box)],
                "digit": digit.digit,
                "confidence": round(digit.confidence, 6),
                "score": round(digit.score, 6),
                "number": digit.number,
            }
            for digit in page.digits
        ],
    }
    return json.dumps(value, ensure_ascii=False) + "\n"
