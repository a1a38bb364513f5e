"""`archive form apply`: records of pages that were read, by a form."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from cli.options import A_FILE, common_options, database_of, json_option, settings_of
from cli.scans import render_dpi, split_page
from cli.terminal import SCHEMA_VERSION, counted, print_json, say, shown_path
from pipeline.errors import SourceError, StorageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.forms import Form
    from pipeline.frames import Frame
    from pipeline.recording import ReadPage
    from pipeline.settings import Settings

_AT_A_TIME = 32  # pages whose frames are looked for before their records are written


@dataclass(slots=True)
class _Tally:
    n_pages: int = 0
    n_records: int = 0
    n_flagged: int = 0
    n_by_rules: int = 0
    n_without: int = 0  # pages on which no row was found
    without: int = 0  # the first of them
    n_failed: int = 0


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
    Without pages: all that were read.

    \b
    Examples:
      archive form apply notary.toml
      archive form apply notary.toml scans/1903 ledger-3.pdf:12
      archive form apply notary.toml --kind table-register
    """
    from pipeline.database import reading, writing
    from pipeline.form_files import read_form
    from pipeline.record_store import keep_form
    from pipeline.recording import read_pages

    settings = settings_of(ctx, promoted=False)
    checked = read_form(form)
    source = form.read_text(encoding="utf-8")
    tally = _Tally()
    with database_of(ctx) as db:
        with reading(db) as conn:
            found = read_pages(conn, [split_page(name) for name in pages], kind)
        with writing(db) as conn:
            form_id = keep_form(conn, checked, source, now=time.time())
        with ThreadPoolExecutor(settings.threads or 1) as pool:
            for start in range(0, len(found), _AT_A_TIME):
                some = found[start : start + _AT_A_TIME]
                frames = list(pool.map(lambda page: _frame(db, settings, page), some))
                for page, frame in zip(some, frames, strict=True):
                    if frame is None:
                        tally.n_failed += 1
                    else:
                        _record(db, page, form_id, checked, frame, tally)
        without = _name(db, tally.without) if tally.n_without else ""
    if json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "form": checked.name,
                "n_pages": tally.n_pages,
                "n_records": tally.n_records,
                "n_flagged": tally.n_flagged,
                "n_chosen_by_rules": tally.n_by_rules,
                "n_pages_without_records": tally.n_without,
                "n_pages_not_seen": tally.n_failed,
            }
        )
        return
    say(f"{counted(tally.n_pages, 'page')}, {counted(tally.n_records, 'record')} by form {checked.name}")
    if tally.n_by_rules:
        say(f"{counted(tally.n_by_rules, 'value')} chosen by rules among what was read")
    if tally.n_flagged:
        say(f"{counted(tally.n_flagged, 'record')} flagged: archive query --record --flagged")
    if tally.n_without:
        draw = f"archive form check {quote(str(form))} {quote(without)} -o DRAWN"
        such_as = "" if tally.n_without == 1 else " of the first"
        say(f"{counted(tally.n_without, 'page')} without a row: {draw} draws why{such_as}")


def _frame(db: "Engine", settings: "Settings", page: "ReadPage") -> "Frame | None":
    """Return the frame of a page, looked for on its scan if nobody has; None, said, where that is away."""
    from pipeline.catalogue import page_source
    from pipeline.database import reading
    from pipeline.frames import find_frame
    from pipeline.paths import path_to_text
    from pipeline.record_store import read_frame
    from pipeline.sources import read_page
    from workers.whereabouts import where_is

    with reading(db) as conn:
        known = read_frame(conn, page.ledger_id)
        source = page_source(conn, page.page_id)
        dpi = render_dpi(conn, page.run_id, settings)
    if known is not None:
        return known
    try:
        grey = read_page(
            where_is(source),
            source.format,
            source.member,
            source.frame,
            max_pixels=settings.max_pixels,
            render_dpi=dpi,
        )
    except (SourceError, StorageError) as error:
        shown = shown_path(path_to_text(source.paths[0].path)) if source.paths else f"page {page.page_id}"
        say(f"{shown}: {error}")
        return None
    return find_frame(grey)


def _name(db: "Engine", page_id: int) -> str:
    """Return what commands call a page: its document's path, and which page of it that is."""
    from pipeline.catalogue import page_source
    from pipeline.database import reading
    from pipeline.paths import path_to_text

    with reading(db) as conn:
        source = page_source(conn, page_id)
    shown = shown_path(path_to_text(source.paths[0].path))
    return f"{shown}:{source.page_index + 1}" if source.page_index else shown


def _record(
    db: "Engine", page: "ReadPage", form_id: int, form: "Form", frame: "Frame", tally: _Tally
) -> None:
    from pipeline.database import writing
    from pipeline.record_store import write_frame
    from pipeline.recording import apply_form
    from pipeline.records import PAGE, RULE
    from pipeline.shown import lock_runs

    with writing(db) as conn:
        lock_runs(conn, page.page_id)
        write_frame(conn, page.ledger_id, frame)
        made = apply_form(conn, page.ledger_id, form_id, form, frame)
    tally.n_pages += 1
    rows = [record for record in made if record.position != PAGE]
    tally.n_records += len(rows)
    tally.n_flagged += sum(record.flagged for record in made)
    tally.n_by_rules += sum(value.made_by == RULE for record in made for value in record.values)
    if form.rows and not rows:
        tally.n_without += 1
        tally.without = tally.without or page.page_id
