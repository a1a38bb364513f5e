"""What a command that read scans says at its end: on stderr for people, as JSON for programs."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

import click

from cli.reading import Outcome
from cli.registering import Passed, Tally
from cli.terminal import SCHEMA_VERSION, counted, duration, say, shown_path
from pipeline.errors import PagesFailedError

MAX_SHOWN = 8


def tell_outcome(outcome: Outcome, *, verbose: bool) -> None:
    """Say what was read, what was not and why, and what to do next."""
    tally = outcome.tally
    if tally.n_new or tally.n_known or tally.n_failed:
        say(_documents_line(tally))
    say(_queued_line(outcome) if outcome.queued and outcome.n_open else _pages_line(outcome))
    if outcome.recorded.n_pages:
        known = counted(outcome.recorded.n_pages, "page")
        say(f"{known} read before: {counted(outcome.recorded.n_records, 'record')}")
    if outcome.n_skipped:
        say(f"{counted(outcome.n_skipped, 'page')} skipped, by kind")
    if outcome.n_person:
        say(f"{counted(outcome.n_person, 'page')} for a person to sort: archive sort")
    tell_passed(tally, verbose=verbose)
    if outcome.failures:
        say(f"{counted(len(outcome.failures), 'page')} failed:")
        _tell_each(
            [Passed(f"{failure.path}, page {failure.page}", failure.reason) for failure in outcome.failures],
            verbose=verbose,
        )
    if outcome.n_failed_before:
        say(f"{outcome.n_failed_before:,} more failed before, and stay so until they are tried again")
    if outcome.n_failed_now or outcome.n_failed_before:
        say("why:      archive failed list")
        say("again:    archive failed retry --all")
    if outcome.signal is not None:
        say(f"stopped with {counted(outcome.n_open, 'page')} left")
        say(f"go on:    {shlex.join(['archive', *sys.argv[1:]])}")
    elif outcome.queued and outcome.n_open:
        say("how far:  archive status")
    else:
        if outcome.n_numbers:
            say("numbers:  archive query")
        if outcome.n_records or outcome.recorded.n_records:
            say("records:  archive query --record")


def tell_plan(tally: Tally, *, verbose: bool) -> None:
    """Say what would be read."""
    say(f"would read {counted(tally.n_pages, 'page')} of {counted(tally.n_new, 'document')}")
    if tally.n_known:
        say(f"{counted(tally.n_known, 'document')} known already")
    tell_passed(tally, verbose=verbose)


def tell_passed(tally: Tally, *, verbose: bool) -> None:
    """Say which files gave nothing, and why; what is no scan is counted by reason, and named with -v."""
    if tally.skipped:
        say(f"{counted(len(tally.skipped), 'file')} skipped" + (":" if verbose else " (-v names them):"))
        if verbose:
            _tell_each(tally.skipped, verbose=True)
        else:
            for reason, count in tally.reasons()[:MAX_SHOWN]:
                say(f"  {count:,} × {reason}")
    if tally.failed:
        say(f"{counted(len(tally.failed), 'file')} could not be read:")
        _tell_each(tally.failed, verbose=verbose)


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome as `--json` prints it; counts are of this command only."""
    tally = outcome.tally
    return {
        "schema_version": SCHEMA_VERSION,
        "documents": {"new": tally.n_new, "known": tally.n_known, "failed": tally.n_failed},
        "pages": {
            "new": tally.n_pages,
            "done": outcome.n_done,
            "skipped": outcome.n_skipped,
            "person": outcome.n_person,
            "failed": len(outcome.failures),
            "left": outcome.n_open,
        },
        "failed_before": outcome.n_failed_before,
        "digits": outcome.n_digits,
        "numbers": outcome.n_numbers,
        "records": outcome.n_records + outcome.recorded.n_records,
        "seconds": round(outcome.seconds, 3),
        "pages_per_s": round(outcome.pages_per_s, 3),
        "stopped": outcome.signal is not None,
        **_passed_json(tally),
        "failed_pages": [
            {
                "id": failure.ledger_id,
                "document": failure.path,
                "page": failure.page,
                "reason": failure.reason,
            }
            for failure in outcome.failures
        ],
    }


def plan_json(tally: Tally) -> dict[str, Any]:
    """Return what `--dry-run --json` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "dry_run": True,
        "documents": {"new": tally.n_new, "known": tally.n_known, "failed": tally.n_failed},
        "pages": {"new": tally.n_pages},
        **_passed_json(tally),
    }


def leave(ctx: click.Context, outcome: Outcome) -> None:
    """End the command with the exit code that its outcome asks for."""
    if outcome.signal is not None:
        ctx.exit(128 + outcome.signal)
    if outcome.n_failed_now or outcome.recorded.n_failed:
        ctx.exit(PagesFailedError.exit_code)


def _documents_line(tally: Tally) -> str:
    parts = [f"{tally.n_new:,} new"]
    if tally.n_known:
        parts.append(f"{tally.n_known:,} known already")
    if tally.n_failed:
        parts.append(f"{tally.n_failed:,} unreadable")
    return f"{counted(tally.n_new + tally.n_known + tally.n_failed, 'document')}: {', '.join(parts)}"


def _pages_line(outcome: Outcome) -> str:
    if not outcome.n_done and not outcome.failures:
        came = outcome.n_skipped + outcome.n_person
        return "no page was left to read" if not outcome.n_open and not came else "no page was read"
    records = f", {counted(outcome.n_records, 'record')}" if outcome.n_records else ""
    seconds = f"{duration(outcome.seconds)} ({outcome.pages_per_s:.2f} pages/s)"
    return (
        f"{counted(outcome.n_done, 'page')} read in {seconds}:"
        f" {counted(outcome.n_digits, 'digit')}, {counted(outcome.n_numbers, 'number')}{records}"
    )


def _queued_line(outcome: Outcome) -> str:
    more = f"; {counted(outcome.n_done, 'page')} read meanwhile" if outcome.n_done else ""
    return f"{counted(outcome.n_open, 'page')} wait for workers{more}"


def _tell_each(passed: Sequence[Passed], *, verbose: bool) -> None:
    shown = passed if verbose else passed[:MAX_SHOWN]
    for one in shown:
        say(f"  {shown_path(one.path)}: {one.reason}")
    if len(passed) > len(shown):
        say(f"  … and {len(passed) - len(shown):,} more")


def _passed_json(tally: Tally) -> dict[str, Any]:
    return {
        "skipped": dict(tally.reasons()),
        "skipped_files": [{"path": one.path, "reason": one.reason} for one in tally.skipped],
        "failed_files": [{"path": one.path, "reason": one.reason} for one in tally.failed],
    }
