"""Reading scans from end to end: register files while the engine works, and tell what came of it."""

import hashlib
import json
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from cli.progress import Progress, make_progress
from cli.recording import Recorded, keep_forms, record_pages
from cli.registering import Registration, Tally
from cli.signals import StopRequest, stop_requests
from cli.sorting import NamedSorting
from cli.terminal import counted
from pipeline import catalogue, ledger, queries
from pipeline.adoption import adopt
from pipeline.database import OwnerLock, reading, writing
from pipeline.errors import BusyError, MissingError
from pipeline.form_files import FormFile
from pipeline.ledger import Counts, FailedId
from pipeline.page_forms import ANY
from pipeline.queries import Failure
from pipeline.recording import n_records_since, pages_without_records
from pipeline.roster import living
from pipeline.settings import NETWORKS, Settings
from pipeline.sorting import SORTING, as_json
from workers.watch import run_until_done

Weights = dict[str, str]  # the SHA-256 of each network's checkpoint, by the network's name


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one command did; `signal` is the one that stopped it, `n_open` what it left."""

    tally: Tally
    n_done: int  # pages
    n_skipped: int  # pages of a kind that is not read
    n_person: int  # pages whose kind a person is to say
    n_open: int
    n_failed_before: int  # pages and documents
    n_digits: int
    n_numbers: int
    n_records: int  # of pages that were read
    recorded: Recorded  # pages that were read before, whose records were made now
    seconds: float
    failures: tuple[Failure, ...]  # pages that failed now
    signal: int | None
    queued: bool  # workers read the pages, not this command

    @property
    def n_failed_now(self) -> int:
        """Pages and files that could not be read by this command."""
        return len(self.failures) + len(self.tally.failed)

    @property
    def pages_per_s(self) -> float:
        """Pages that came to an end, by the whole time."""
        n = self.n_done + self.n_skipped + self.n_person + len(self.failures)
        return n / self.seconds if self.seconds else 0.0


def read_scans(
    db: Engine,
    settings: Settings,
    weights: Weights,
    sorting: NamedSorting | None,
    roots: Sequence[Path],
    lock: OwnerLock,
    *,
    again: bool,
    form: FormFile | None = None,
) -> Outcome:
    """Register what is under `roots` and read every page that is left to do.

    `sorting` is how new pages are sorted before, and `form` the one that pages under `roots` get where their
    kind has none; those that were read before get their records too.  `lock` is the owner's, held by the
    caller.  `again` reads known pages once more, as a run of its own.
    Raises MissingError, StorageError; a page that can't be read is no error.
    """
    started, since = time.monotonic(), time.time()
    _refuse_workers(db)
    before = ledger.counts(db)
    failed_before = ledger.failed_ids(db)
    if sorting is not None:
        sorting.keep(settings.networks)
    run_id = begin_run(db, settings, weights, sorting, again=again)
    adopt(db, run_id, now=time.time())
    form_ids = keep_forms(db, forms_given(form, sorting))
    registration = Registration(roots, settings, db, run_id, again=again, form_ids=form_ids)
    with stop_requests() as request:
        with make_progress() as progress:
            watch = _Watch(registration, before, progress, request)
            if n_left := ledger.counts(db).n_open:
                progress.tell(f"{counted(n_left, 'page')} left from before, read too")
            registration.start()
            try:
                run_until_done(
                    db,
                    settings,
                    on_progress=watch.show,
                    should_stop=watch.should_stop,
                    registered=watch.registered,
                    on_news=progress.tell,
                    lock=lock,
                )
            finally:
                registration.stop()
        if registration.error is not None:
            raise registration.error
    # counted anew: the pages in hand were finished while the engine stopped
    seconds = time.monotonic() - started
    n_records = count_records(db, since)
    recorded = Recorded() if request.number is not None else record_known(db, settings, registration)
    return outcome_of(
        db, registration.tally, before, failed_before, seconds, request.number, n_records, recorded
    )


def forms_given(form: FormFile | None, sorting: NamedSorting | None) -> dict[str, FormFile]:
    """Return the forms that a command names, by the kinds of pages that they are for."""
    found = {} if form is None else {ANY: form}
    return found if sorting is None else {**found, **sorting.forms}


def record_known(db: Engine, settings: Settings, registration: Registration) -> Recorded:
    """Make the records of pages that got a form, but were read before it came."""
    with reading(db) as conn:
        found = pages_without_records(conn, registration.document_ids)
    return record_pages(db, settings, found)


def count_records(db: Engine, since: float) -> int:
    """Return how many records there are of pages that were read since then (seconds since 1970)."""
    with reading(db) as conn:
        return n_records_since(conn, since)


def _refuse_workers(db: Engine) -> None:
    """Raise BusyError where workers are alive: our engine would take back what they have in hand."""
    with reading(db) as conn:
        alive = [seen.worker for seen in living(conn, now=time.time())]
    if alive:
        raise BusyError(
            f"{counted(len(alive), 'worker')} of other commands read pages of this database (one on"
            f" {alive[0].host}); name their broker with --broker, or stop them"
        )


def outcome_of(
    db: Engine,
    tally: Tally,
    before: Counts,
    failed_before: Set[FailedId],
    seconds: float,
    signal: int | None,
    n_records: int,
    recorded: Recorded,
    *,
    queued: bool = False,
) -> Outcome:
    """Return what a command did, by the counts before it and now."""
    counts = ledger.counts(db)
    failed_now = ledger.failed_ids(db)
    return Outcome(
        tally=tally,
        n_done=counts.n_done - before.n_done,
        n_skipped=counts.n_skipped - before.n_skipped,
        n_person=counts.n_person - before.n_person,
        n_open=counts.n_open,
        n_failed_before=len(failed_now & failed_before),
        n_digits=counts.n_digits - before.n_digits,
        n_numbers=counts.n_numbers - before.n_numbers,
        n_records=n_records,
        recorded=recorded,
        seconds=seconds,
        failures=_failures(db, failed_now - failed_before),
        signal=signal,
        queued=queued,
    )


class _Watch:
    """What `run_until_done` asks twice a second."""

    def __init__(
        self, registration: Registration, before: Counts, progress: Progress, request: StopRequest
    ) -> None:
        self._registration, self._before = registration, before
        self._progress, self._request = progress, request
        self._told = False

    def registered(self) -> bool:
        return self._registration.finished

    def should_stop(self) -> bool:
        if self._request.number is not None and not self._told:
            self._told = True
            self._progress.tell("stopping after the pages in hand; once more to leave at once")
        return self._told or self._registration.error is not None

    def show(self, counts: Counts) -> None:
        n_over = counts.n_over - self._before.n_over
        self._progress.update(n_over, n_over + counts.n_open, complete=self._registration.finished)


def find_weights(settings: Settings) -> Weights:
    """Return the weights that the settings name; MissingError if they are not there."""
    return {kind: _sha256(getattr(settings, kind)) for kind in NETWORKS}


def _sha256(file: Path) -> str:
    # not models.checkpoint.file_sha256: that would make this process, too, wait for torch
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise MissingError(
            f"{file}: there are no weights to read ({error.strerror}); `archive doctor` says what is missing"
        ) from error


def begin_run(
    db: Engine, settings: Settings, weights: Weights, sorting: NamedSorting | None, *, again: bool
) -> int:
    """Return the run of these weights and settings; with `again` a fresh one."""
    # of the settings only these change what is read; the others say how fast, and what is refused
    changing: dict[str, Any] = {
        **{kind: sha256 for kind, sha256 in weights.items() if kind not in ("detector", "classifier")},
        "render_dpi": settings.render_dpi,
    }
    if sorting is not None:
        changing[SORTING] = as_json(sorting.sorting)
    with writing(db) as conn:
        return catalogue.current_run(
            conn,
            weights["detector"],
            weights["classifier"],
            json.dumps(changing, sort_keys=True),
            new=again,
            now=time.time(),
        )


def _failures(db: Engine, which: Set[FailedId]) -> tuple[Failure, ...]:
    """Return the failures of pages among `which`."""
    wanted = {ledger_id for ledger_id, _ in which if ledger_id is not None}
    if not wanted:  # the usual case, which should not look at all that failed before
        return ()
    with reading(db) as conn:
        return tuple(failure for failure in queries.failures(conn) if failure.ledger_id in wanted)
