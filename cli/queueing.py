"""Queueing scans: register files, and bring them and the networks to where workers reach them."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine

from cli.progress import Progress, make_progress
from cli.reading import (
    Outcome,
    Weights,
    begin_run,
    count_records,
    forms_given,
    outcome_of,
    record_known,
)
from cli.recording import Recorded, keep_forms
from cli.registering import Registration
from cli.signals import StopRequest, stop_requests
from cli.sorting import NamedSorting, share_sortings
from pipeline import ledger
from pipeline.form_files import FormFile
from pipeline.ledger import Counts
from pipeline.settings import Settings
from pipeline.sharing import is_shared, share_scan, share_weights
from pipeline.storage import Files

LOOK_EVERY_S = 0.5
STEP_S = 0.1


def queue_scans(
    db: Engine,
    settings: Settings,
    weights: Weights,
    sorting: NamedSorting | None,
    roots: Sequence[Path],
    *,
    again: bool,
    wait: bool,
    form: FormFile | None = None,
) -> Outcome:
    """Register what is under `roots` for workers to read; with `wait` stay until every page is read.

    `sorting` and `form` are as of `read_scans`.
    Raises StorageError; a page that can't be read is no error.
    """
    started, since = time.monotonic(), time.time()
    before = ledger.counts(db)
    failed_before = ledger.failed_ids(db)
    files = Files(settings.files)
    folders = [Path(folder).resolve() for folder in settings.shared_folders.split(os.pathsep) if folder]

    def share(path: Path, sha256: str) -> None:
        if not is_shared(path.resolve(), folders):
            share_scan(files, path, sha256)

    share_weights(files, {sha256: getattr(settings, kind) for kind, sha256 in weights.items()})
    if sorting is not None:
        sorting.keep(settings.networks)
        share_weights(files, {sha256: file for (_, sha256), file in sorting.files.items()})
    share_sortings(db, settings, files)
    run_id = begin_run(db, settings, weights, sorting, again=again)
    form_ids = keep_forms(db, forms_given(form, sorting))
    registration = Registration(roots, settings, db, run_id, again=again, share=share, form_ids=form_ids)
    with stop_requests() as request, make_progress() as progress:
        registration.start()
        try:
            _watch(db, registration, before, progress, request, wait=wait)
        finally:
            registration.stop()
    if registration.error is not None:
        raise registration.error
    seconds = time.monotonic() - started
    n_records = count_records(db, since)
    recorded = Recorded() if request.number is not None else record_known(db, settings, registration)
    return outcome_of(
        db,
        registration.tally,
        before,
        failed_before,
        seconds,
        request.number,
        n_records,
        recorded,
        queued=True,
    )


def _watch(
    db: Engine,
    registration: Registration,
    before: Counts,
    progress: Progress,
    request: StopRequest,
    *,
    wait: bool,
) -> None:
    """Show how far it is, until all is registered, or read."""
    while request.number is None and registration.error is None:
        complete = registration.finished
        if complete and not wait:
            return
        began = time.monotonic()
        counts = ledger.counts(db)
        took_s = time.monotonic() - began
        n_over = counts.n_over - before.n_over
        progress.update(n_over, n_over + counts.n_open, complete=complete)
        if complete and not counts.n_open:
            return
        # counting takes a tenth of the time at most, at any size of the ledger
        look_at = time.monotonic() + max(LOOK_EVERY_S, 10 * took_s)
        while request.number is None and time.monotonic() < look_at:
            time.sleep(STEP_S)
