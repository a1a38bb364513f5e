"""`archive form apply`: records of pages that were read, by a form."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from cli.options import A_FILE, common_options, database_of, json_option, settings_of
from cli.scans import split_page
from cli.terminal import SCHEMA_VERSION, counted, print_json, say, shown_path
from pipeline.errors import PagesFailedError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from cli.recording import Recorded
    from pipeline.forms import Form


@click.command()
@click.argument("form", type=A_FILE)
@click.argument("pages", nargs=-1, metavar="[DOCUMENT[:PAGE]...]")
@click.option("--kind", metavar="KIND", help="Only pages of this kind, as a sorter or a person said.")
@json_option
@common_options
@click.pass_context
def apply(ctx: click.Context, form: Path, pages: tuple[str, ...], kind: str | None, json: bool) -> None:
    """Make records of pages that were read, by a form.

    Each row of the printed table becomes a record with its fields, and the
    form's rules flag what can't be, or choose among what the networks read.
    Records that a page had are replaced; what a person corrected stays.
    It is their form from then on: whoever reads them makes records by it.
    Without pages: all that were read.

    \b
    Examples:
      archive form apply notary.toml
      archive form apply notary.toml scans/1903 ledger-3.pdf:12
      archive form apply notary.toml --kind table-register
    """
    from cli.recording import keep_forms, record_pages
    from pipeline.database import reading
    from pipeline.form_files import load_form
    from pipeline.page_forms import ANY, KeptForm
    from pipeline.recording import read_pages

    settings = settings_of(ctx, promoted=False)
    file = load_form(form)
    with database_of(ctx) as db:
        with reading(db) as conn:
            found = read_pages(conn, [split_page(name) for name in pages], kind)
        kept = KeptForm(keep_forms(db, {ANY: file})[ANY], file.form)
        tally = record_pages(db, settings, found, kept, of_kind=kind is not None)
        without = _name(db, tally.without) if tally.n_without else ""
    if json:
        _print(tally, file.form)
    else:
        _tell(tally, file.form, form, without)
    if tally.n_failed:
        ctx.exit(PagesFailedError.exit_code)


def _print(tally: "Recorded", form: "Form") -> None:
    print_json(
        {
            "schema_version": SCHEMA_VERSION,
            "form": form.name,
            "n_pages": tally.n_pages,
            "n_records": tally.n_records,
            "n_flagged": tally.n_flagged,
            "n_chosen_by_rules": tally.n_by_rules,
            "n_pages_without_records": tally.n_without,
            "n_pages_not_seen": tally.n_failed,
        }
    )


def _tell(tally: "Recorded", form: "Form", file: Path, without: str) -> None:
    """Say what was made; `without` names the first page on which no row was found."""
    say(f"{counted(tally.n_pages, 'page')}, {counted(tally.n_records, 'record')} by form {form.name}")
    if tally.n_by_rules:
        say(f"{counted(tally.n_by_rules, 'value')} chosen by rules among what was read")
    if tally.n_flagged:
        say(f"{counted(tally.n_flagged, 'record')} flagged: archive query --record --flagged")
    if tally.n_without:
        draw = f"archive form check {quote(str(file))} {quote(without)} -o DRAWN"
        such_as = "" if tally.n_without == 1 else " of the first"
        say(f"{counted(tally.n_without, 'page')} without a row: {draw} draws why{such_as}")


def _name(db: "Engine", page_id: int) -> str:
    """Return what commands call a page: its document's path, and which page of it that is."""
    from pipeline.catalogue import page_source
    from pipeline.database import reading
    from pipeline.paths import path_to_text

    with reading(db) as conn:
        source = page_source(conn, page_id)
    shown = shown_path(path_to_text(source.paths[0].path))
    return f"{shown}:{source.page_index + 1}" if source.page_index else shown
