"""`archive form`: what a page's columns and fields are, begun from a scan and tried on others."""

from pathlib import Path

import click

from cli.form_apply import apply
from cli.options import A_FILE, FILE, common_options, json_option, scan_options, settings_of
from cli.scans import split_page
from pipeline.errors import UsageError


@click.group()
@common_options
def form() -> None:
    """Say what stands in which column of a printed table.

    A form is a TOML file: columns and fields as shares of the table's frame,
    so that it fits every scan of such a page.  docs/forms.md has its keys.

    \b
    Examples:
      archive form new scans/p7.jpg -o notary.toml
      archive form check notary.toml scans/
      archive form apply notary.toml
    """


@form.command("new")
@click.argument("page", metavar="SCAN[:PAGE]")
@click.option("-o", "--output", type=A_FILE, metavar="FILE", help="Where the form goes.  [default: stdout]")
@click.option("--picture", type=A_FILE, metavar="FILE", help="Draw the columns on the page, .png or .jpg.")
@scan_options
@common_options
@click.pass_context
def new_form(ctx: click.Context, page: str, output: Path | None, picture: Path | None) -> None:
    """Begin a form with the rules of a scan.

    Finds the frame of the printed table and its columns, and writes them as
    a form with comments: give the columns their names and types by hand, and
    leave out those that hold no numbers.

    \b
    Examples:
      archive form new scans/p7.jpg -o notary.toml
      archive form new ledger.pdf:12 --picture columns.png -o ledger.toml
    """
    from cli.forming import propose_form

    name, number = split_page(page)
    if output is not None and output.exists():
        raise UsageError(f"{output} is there already, and may have been written by hand; name another file")
    propose_form(settings_of(ctx, promoted=False), Path(name), number or 1, output, picture)


@form.command("check")
@click.argument("form_file", metavar="FORM", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("pages", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=FILE, metavar="FOLDER", help="Draw the form on each page there.")
@json_option
@scan_options
@common_options
@click.pass_context
def check_form(
    ctx: click.Context, form_file: Path, pages: tuple[Path, ...], output: Path | None, json: bool
) -> None:
    """Try a form on pages: files, folders, every page of them.

    Says for each page whether a printed table was found, and how many of the
    places where the form's columns begin or end lie on a rule of the page.
    A page fits where four of five do; if one doesn't, the exit code is 7.

    \b
    Examples:
      archive form check notary.toml scans/
      archive form check notary.toml scans/p7.jpg ledger.pdf -o drawn
      archive form check notary.toml scans/ --json
    """
    from cli.forming import try_form

    if output is not None and output.exists() and not output.is_dir():
        raise UsageError(f"{output} is no folder; name one for the pictures")
    try_form(settings_of(ctx, promoted=False), form_file, pages, output, as_json=json)


form.add_command(apply)
