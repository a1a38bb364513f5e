"""`archive evaluate`: how well the networks read pages whose truth is known."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import common_options, json_option, network_options, settings_of
from cli.terminal import counted, say

if TYPE_CHECKING:
    from cli.report import Report
    from pipeline.settings import Settings


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them, each in a range."""

    name = "numbers"

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the numbers; a usage error for what is none or out of range."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 0.7,1.4", param, ctx)
        if any(not self._low <= number <= self._high for number in numbers):
            self.fail(f"{value!r}: each must be from {self._low:g} to {self._high:g}", param, ctx)
        return numbers


class Bars(click.ParamType[dict[str, float]]):
    """Figures with what is required of them: f1=0.88,cells=0.80."""

    name = "bars"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, float]:
        """Return the bars by name; a usage error for what can't be understood."""
        if isinstance(value, dict):
            return value
        try:
            pairs = [part.split("=") for part in str(value).split(",")]
            bars = {name.strip(): float(bar) for name, bar in pairs}
        except ValueError:
            bars = {}
        if not bars or any(math.isnan(bar) for bar in bars.values()):
            self.fail(f"{value!r} is no list of bars such as f1=0.88,cells=0.80", param, ctx)
        return bars


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write pictures, digits and figures there.",
)
@click.option("--part", default="val", show_default=True, help="Which part of a COCO folder.")
@click.option(
    "--sizes", type=Numbers(0.05, 20), metavar="N,N…", default=(), help="Read pages at these sizes too."
)
@click.option(
    "--turns",
    type=Numbers(-360, 360),
    metavar="DEGREES,…",
    default=(),
    help="Read pages turned clockwise too.",
)
@click.option(
    "--require",
    type=Bars(),
    metavar="FIGURE=BAR,…",
    default={},
    help="Exit with 7 where a figure misses its bar.",
)
@json_option
@network_options
@common_options
@click.pass_context
def evaluate(
    ctx: click.Context,
    folder: Path,
    output: Path | None,
    part: str,
    sizes: tuple[float, ...],
    turns: tuple[float, ...],
    require: dict[str, float],
    json: bool,
) -> None:
    """Measure how well pages are read whose truth is known.

    FOLDER holds one of these:

    \b
      page images with ALTO 4 or PAGE XML beside them, also in sub-folders
      a COCO set: annotations/instances_*.json and images/, a class a digit
      MNIST's four idx files
      printed tables: images/, and their values in data/*.csv

    A page that can't be read is named and left out, and the exit code is 4.

    \b
    Examples:
      archive evaluate registers/dev
      archive evaluate registers/dev --sizes 0.5,0.7,1.4,2 --turns 90,180,3
      archive evaluate registers/dev -o report --require f1=0.88,cells=0.80
      archive evaluate cheque-fields --part val --json
    """
    # here and not at the top: --help must not wait for them
    from cli.report import check_bars, print_report, write_report
    from cli.report import require as must_reach
    from pipeline.errors import PagesFailedError, UsageError

    settings = settings_of(ctx)
    kind = _kind(folder)
    if kind != "pages" and (sizes or turns):
        raise UsageError("archive evaluate: --sizes and --turns are for pages with transcriptions")
    check_bars(kind, require, with_loss=bool(sizes or turns))
    report, n_failed = _measured(kind, settings, folder, part, sizes, turns)
    print_report(report, as_json=json)
    if output is not None:
        say(f"{', '.join(write_report(report, output))} → {output}")
    must_reach(report, require)
    if n_failed:
        say(f"{counted(n_failed, 'page')} left out")
        ctx.exit(PagesFailedError.exit_code)


def _kind(folder: Path) -> str:
    """Return what kind of truth a folder holds; SourceError where it holds none."""
    from pipeline.coco import coco_parts
    from pipeline.errors import SourceError
    from pipeline.printed import find_printed
    from pipeline.transcriptions import find_transcribed

    if (folder / "t10k-images-idx3-ubyte.gz").exists():
        return "digits"
    if coco_parts(folder):
        return "fields"
    if find_printed(folder):
        return "tables"
    if find_transcribed(folder):
        return "pages"
    raise SourceError(
        f"{folder}: holds no truth: neither transcriptions (.xml) with their page images, nor a COCO set, "
        "nor MNIST, nor images/ with data/*.csv"
    )


def _measured(
    kind: str,
    settings: "Settings",
    folder: Path,
    part: str,
    sizes: tuple[float, ...],
    turns: tuple[float, ...],
) -> tuple["Report", int]:
    """Return the report on a folder, and how many of its pages could not be read."""
    from cli.evaluating import evaluate_pages
    from cli.evaluating_sets import evaluate_digits, evaluate_fields, evaluate_tables
    from models.loaded import load_classifier
    from models.whole import load_chain

    if kind == "digits":
        return evaluate_digits(load_classifier(settings.classifier, settings.device), folder), 0
    chain = load_chain(settings)
    if kind == "fields":
        return evaluate_fields(chain, settings, folder, part)
    if kind == "tables":
        return evaluate_tables(chain, settings, folder)
    return evaluate_pages(chain, settings, folder, sizes, turns)
