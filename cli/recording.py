"""Records of pages that were read already: made by `archive form apply`, and where ingest brings a form."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy import Engine

from cli.scans import render_dpi
from cli.terminal import say, shown_path
from pipeline.catalogue import page_source
from pipeline.database import reading, writing
from pipeline.errors import SourceError, StorageError
from pipeline.form_files import FormFile
from pipeline.frames import Frame, find_frame
from pipeline.page_forms import ANY, KeptForm, form_of_row, give_to_page
from pipeline.paths import path_to_text
from pipeline.record_store import keep_form, read_frame, write_frame
from pipeline.recording import ReadPage, apply_form, lock_shown
from pipeline.records import PAGE, RULE, Record
from pipeline.settings import Settings
from pipeline.sources import read_page
from workers.whereabouts import where_is

_AT_A_TIME = 32  # pages whose frames are looked for before their records are written


@dataclass(slots=True)
class Recorded:
    """What became of pages of which records were to be made."""

    n_pages: int = 0
    n_records: int = 0
    n_flagged: int = 0
    n_by_rules: int = 0
    n_without: int = 0  # pages on which no row was found
    without: int = 0  # the first of them
    n_failed: int = 0  # pages whose scan can't be read now

    def add(self, page: ReadPage, form: KeptForm, made: Sequence[Record]) -> None:
        """Count what was made of a page."""
        rows = [record for record in made if record.position != PAGE]
        self.n_pages += 1
        self.n_records += len(rows)
        self.n_flagged += sum(record.flagged for record in made)
        self.n_by_rules += sum(value.made_by == RULE for record in made for value in record.values)
        if form.form.rows and not rows:
            self.n_without += 1
            self.without = self.without or page.page_id


def keep_forms(db: Engine, files: Mapping[str, FormFile]) -> dict[str, int]:
    """Return the ids of forms, by the kinds of pages that they are for, kept if they are new."""
    if not files:
        return {}
    with writing(db) as conn:
        now = time.time()
        return {kind: keep_form(conn, file.form, file.source, now=now) for kind, file in files.items()}


def record_pages(
    db: Engine,
    settings: Settings,
    found: Sequence[ReadPage],
    form: KeptForm | None = None,
    *,
    of_kind: bool = False,
) -> Recorded:
    """Make records of pages by a form, which is theirs from then on, or by those that they have.

    `of_kind`: it is theirs as pages of their kind.  A scan that can't be read is said, and the others go on.
    """
    tally = Recorded()
    with ThreadPoolExecutor(settings.threads or 1) as pool:
        for start in range(0, len(found), _AT_A_TIME):
            some = found[start : start + _AT_A_TIME]
            frames = list(pool.map(lambda page: _frame(db, settings, page), some))
            for page, frame in zip(some, frames, strict=True):
                _record(db, settings, page, frame, form, tally, of_kind=of_kind)
    return tally


def _record(
    db: Engine,
    settings: Settings,
    page: ReadPage,
    frame: Frame | None,
    form: KeptForm | None,
    tally: Recorded,
    *,
    of_kind: bool,
) -> None:
    """Make the records of a page; of the run that is shown by now, where the page was read meanwhile."""
    while frame is not None:
        with writing(db) as conn:
            now = lock_shown(conn, page.page_id)
            # a page that is just read anew gets its records then
            is_over = now is None or (of_kind and now.kind != page.kind)
            if form is not None and (is_over or now == page):
                give_to_page(conn, page.page_id, {(page.kind or ANY) if of_kind else ANY: form.form_id})
            if now is None or is_over:
                return
            if now == page:
                kept = form or form_of_row(conn, page.ledger_id)
                if kept is not None:
                    write_frame(conn, page.ledger_id, frame)
                    made = apply_form(conn, page.ledger_id, kept.form_id, kept.form, frame)
                    tally.add(page, kept, made)
                return
        page, frame = now, _frame(db, settings, now)
    tally.n_failed += 1


def _frame(db: Engine, settings: Settings, page: ReadPage) -> Frame | None:
    """Return the frame of a page, looked for on its scan if nobody has; None, said, where that is away."""
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
