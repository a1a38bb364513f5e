"""Reading what a command put back: here, or by workers where a broker is set."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
from sqlalchemy import Engine

from cli.options import database_of, is_verbose, settings_of
from cli.queueing import queue_scans
from cli.reading import find_weights, read_scans
from cli.sorting import find_sorting
from cli.summary import leave, outcome_json, tell_outcome
from cli.terminal import print_json
from pipeline.database import OwnerLock
from pipeline.sharing import require_shared


@dataclass(frozen=True, slots=True)
class PutBack:
    """What is to be read again: `roots` are files to be registered, `scans` those of pages that are.

    `as_new_run`: what is known of `roots` is read once more, as a run of its own.
    """

    roots: Sequence[Path]
    scans: Sequence[Path]
    as_new_run: bool = False


def read_again(ctx: click.Context, put_back: Callable[[Engine], PutBack | None], *, json: bool) -> None:
    """Have `put_back` change the ledger, and read what is due then; nothing where it returns None.

    Networks are looked for before: nothing is put back that could not be read.
    """
    settings = settings_of(ctx)
    weights, sorting = find_weights(settings), find_sorting(settings)
    if settings.broker_url:
        require_shared(settings)
    with ExitStack() as stack:
        db = stack.enter_context(database_of(ctx))
        lock = None if settings.broker_url else stack.enter_context(OwnerLock(settings.database_url))
        back = put_back(db)
        if back is None:
            return
        if lock is None:  # what is put back is brought to where workers find it
            roots = [*back.roots, *sorted(path for path in set(back.scans) if path.exists())]
            outcome = queue_scans(db, settings, weights, sorting, roots, again=back.as_new_run, wait=False)
        else:
            outcome = read_scans(db, settings, weights, sorting, back.roots, lock, again=back.as_new_run)
    if json:
        print_json(outcome_json(outcome))
    tell_outcome(outcome, verbose=is_verbose(ctx))
    leave(ctx, outcome)
