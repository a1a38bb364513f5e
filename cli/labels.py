"""`archive labels`: labelled digits from transcriptions, or from drawn pages."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import FILE, FOLDER, common_options, json_option, labelling_options, settings_of
from cli.terminal import SCHEMA_VERSION, Column, counted, print_json, print_table, say

if TYPE_CHECKING:
    from pipeline.label_report import Report, Yield


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=FILE, required=True, metavar="FOLDER", help="Where they go.")
@click.option(
    "--ink-only", is_flag=True, help="Label lines that are all number by their ink, without networks."
)
@click.option(
    "--drawn", type=click.IntRange(1), metavar="N", help="Draw N pages instead of reading transcriptions."
)
@click.option(
    "--from-set", type=FOLDER, metavar="FOLDER", help="Take the pages of a label set, to paste into."
)
@click.option(
    "--paste",
    type=FOLDER,
    multiple=True,
    metavar="FOLDER",
    help="Set numbers of these hands into blank places: MNIST's folder, or pictures with a PATH;NUM csv."
    "  May be given again, and counts as often.",
)
@click.option(
    "--numbers",
    type=click.IntRange(1),
    default=70,
    show_default=True,
    metavar="N",
    help="Paste so many on a page, where there is room.",
)
@click.option(
    "--rewrite",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Write this share of a page's own numbers anew in the hands of --paste.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draw, paste and sample by this seed.")
@json_option
@labelling_options
@common_options
@click.pass_context
def labels(
    ctx: click.Context,
    paths: tuple[Path, ...],
    output: Path,
    ink_only: bool,
    drawn: int | None,
    from_set: Path | None,
    paste: tuple[Path, ...],
    numbers: int,
    rewrite: float,
    seed: int,
    json: bool,
) -> None:
    """Make labelled digits from transcriptions.

    PATHS are ALTO 4 or PAGE XML files, or folders of them, each with its page image beside it.  What
    the networks read on a line is aligned with its text: each digit that is found gets a box.  With
    --ink-only, lines that are all number are labelled where their parts of ink match the digits.
    The folder gets one picture a page, labels.jsonl, and for each collection (the folder a page was in)
    a contact sheet that shows what the labels are like; `archive train` reads it.
    An image that can't be read is named and left out, and the exit code is 4.

    \b
    Examples:
      archive labels registers/train -o labels
      archive labels --from-set labels --paste mnist --rewrite 0.5 -o pasted
      archive labels --drawn 150 --seed 1 -o drawn
    """
    # here and not at the top: --help must not wait for them
    from cli.transcribed import find_pages
    from pipeline.drawn_labels import drawn_label_set
    from pipeline.errors import PagesFailedError
    from pipeline.hands import pooled, read_hands
    from pipeline.label_report import Report
    from pipeline.label_sets import each_page, write_label_set
    from pipeline.pasted import paste_pages

    settings = settings_of(ctx)
    _check(paths, drawn, from_set, paste, rewrite, output)
    hands = pooled([read_hands(folder) for folder in paste]) if paste else None
    failed: list[Path] = []
    if drawn:
        pages = drawn_label_set(drawn, seed)
    elif from_set:
        pages = each_page(from_set)
    else:
        transcribed = find_pages(paths, settings, ink_only=ink_only)
        pages, failed = transcribed.pages(), transcribed.failed
    if hands:
        pages = paste_pages(pages, hands, seed, numbers, rewrite)
    report = Report(seed)
    for page in write_label_set(output, pages):
        report.add(page)
        say(f"{page.name}: {len(page.digits) - page.n_pasted} of {page.n_written} digits")
    sheets = report.draw_sheets(output / "sheets")
    if json:
        _print_json(report, output, failed, sheets)
    else:
        _print_table(report)
    say(f"labels → {output}, contact sheets → {output / 'sheets'}" if sheets else f"labels → {output}")
    if failed:
        say(f"{counted(len(failed), 'image')} left out")
        ctx.exit(PagesFailedError.exit_code)


def _check(
    paths: tuple[Path, ...],
    drawn: int | None,
    from_set: Path | None,
    paste: tuple[Path, ...],
    rewrite: float,
    output: Path,
) -> None:
    """Raise UsageError for what can't be done together."""
    from pipeline.errors import UsageError

    if sum(map(bool, (paths, drawn, from_set))) != 1:
        raise UsageError("archive labels: give either transcriptions, --drawn N or --from-set FOLDER")
    if from_set and not paste:
        raise UsageError("--from-set: takes a label set to paste into; say what with --paste FOLDER")
    if rewrite and not paste:
        raise UsageError("--rewrite: takes the hands that --paste names")
    if from_set and output.resolve() == from_set.resolve():
        raise UsageError(f"{output}: is the label set itself; name another folder for the pasted one")


def _print_table(report: "Report") -> None:
    columns = [Column("COLLECTION", shortened=True)]
    columns += [Column(title, right=True) for title in ("PAGES", "IN NUMBERS", "", "IN TEXT", "", "PASTED")]
    rows = [(name, *_cells(counts)) for name, counts in report.yields.items()]
    if len(rows) > 1:
        rows.append(("all", *_cells(report.total)))
    print_table(columns, rows)


def _cells(counts: "Yield") -> Iterator[str]:
    yield f"{counts.n_pages:,}"
    for n_labelled, n in (
        (counts.n_labelled_in_numbers, counts.n_in_numbers),
        (counts.n_labelled_in_text, counts.n_in_text),
    ):
        yield f"{n_labelled:,} of {n:,}" if n else ""
        yield f"{n_labelled / n:.0%}" if n else ""
    yield f"{counts.n_pasted:,}" if counts.n_pasted else ""


def _print_json(report: "Report", output: Path, failed: list[Path], sheets: list[Path]) -> None:
    from pipeline.paths import path_to_text

    collections = [{"collection": name, **asdict(counts)} for name, counts in report.yields.items()]
    print_json(
        {
            "schema_version": SCHEMA_VERSION,
            "folder": path_to_text(output),
            "collections": collections,
            "total": asdict(report.total),
            "left_out": [path_to_text(image) for image in failed],
            "sheets": [path_to_text(sheet) for sheet in sheets],
        }
    )
