"""Which network of each kind was promoted when, and on what figures: `promoted.json` of the store.

Events are only ever appended.  A promotion puts a network on top of what read before, a rollback takes it
off; below all of them is the shipped one, which is None here.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import BusyError, MissingError
from pipeline.network_store import (
    HISTORY,
    SHOWN_HASH,
    file_hash,
    is_sha256,
    locked,
    network_file,
    now,
    write_whole,
)

PROMOTED, ROLLED_BACK = "promoted", "rolled back"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Event:
    """A promotion or a rollback: which network reads since then, which did before, and the test's figures."""

    action: str
    sha256: str | None
    replaced: str | None
    at: str
    figures: dict[str, Any] = field(default_factory=dict)


History = dict[str, tuple[Event, ...]]  # by kind, oldest first


def read_history(folder: Path) -> History:
    """Return every event of a store, none where there is no store; MissingError where it is damaged."""
    file = folder / HISTORY
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"it has version {values['schema_version']!r}, not {SCHEMA_VERSION}")
        return {kind: tuple(_event(event) for event in events) for kind, events in values["history"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MissingError(
            f"{file}: says which networks were promoted, and can't be read ({error}): bring it back from a"
            " backup, or `archive models rollback KIND` to set it aside and read with the shipped ones"
        ) from error


def in_place(events: Sequence[Event]) -> str | None:
    """Return the hash of the network that is promoted; None: none is, the shipped one reads."""
    return _stack(events)[-1]


def was_promoted(events: Sequence[Event]) -> set[str]:
    """Return the hashes of all networks that were promoted at some time."""
    return {event.sha256 for event in events if event.action == PROMOTED and event.sha256 is not None}


def promoted_files(folder: Path, kinds: Collection[str]) -> dict[str, Path]:
    """Return the files of the promoted networks of these kinds, of those that have one.

    Raises MissingError where one is missing, or has other bytes than were measured.
    """
    history = read_history(folder)
    files = {}
    for kind in kinds:
        sha256 = in_place(history.get(kind, ()))
        if sha256 is None:
            continue
        file = network_file(folder, kind, sha256)
        if (found := file_hash(file)) != sha256:
            trouble = "is missing" if found is None else "is damaged"
            raise MissingError(
                f"the promoted {kind} {sha256[:SHOWN_HASH]} {trouble} ({file}): `archive models verify` says"
                f" more, `archive models rollback {kind}` goes back to what read before"
            )
        files[kind] = file
    return files


def promote(
    folder: Path, kind: str, sha256: str, *, over: str | None, replaced: str, figures: dict[str, Any]
) -> None:
    """Write down that a network reads from now on.

    `over` is the network that was promoted when it was measured, and must be so still: BusyError.
    `replaced` is the hash of what it replaces, be it promoted or shipped.
    """
    with locked(folder):
        history = read_history(folder)
        events = history.get(kind, ())
        if in_place(events) != over:
            raise BusyError(f"another {kind} was promoted meanwhile; measure against that one")
        _write(folder, history | {kind: (*events, Event(PROMOTED, sha256, replaced, now(), figures))})


def roll_back(folder: Path, kind: str) -> Event | None:
    """Go back to the network that read before the promoted one; None where none is promoted."""
    with locked(folder):
        history = read_history(folder)
        events = history.get(kind, ())
        stack = _stack(events)
        if len(stack) == 1:
            return None
        event = Event(ROLLED_BACK, stack[-2], stack[-1], now())
        _write(folder, history | {kind: (*events, event)})
        return event


def set_aside(folder: Path) -> Path | None:
    """Move a history that can't be read out of the way; return where to, None where it can be read."""
    with locked(folder):
        try:
            read_history(folder)
        except MissingError:
            file = folder / HISTORY
            return file.replace(file.with_name(f"{HISTORY}.damaged-{now().replace(':', '')}"))
        return None


def _stack(events: Sequence[Event]) -> list[str | None]:
    stack: list[str | None] = [None]
    for event in events:
        if event.action == PROMOTED:
            stack.append(event.sha256)
        elif len(stack) > 1:
            stack.pop()
    return stack


def _event(values: dict[str, Any]) -> Event:
    event = Event(**values)
    if event.action not in (PROMOTED, ROLLED_BACK):
        raise ValueError(f"an action {event.action!r} is unknown")
    if not all(hash is None or is_sha256(hash) for hash in (event.sha256, event.replaced)):
        raise ValueError("a hash is none")
    if not isinstance(event.figures, dict):
        raise TypeError("figures are none")
    return event


def _write(folder: Path, history: History) -> None:
    values = {kind: [asdict(event) for event in events] for kind, events in history.items()}
    said = {"schema_version": SCHEMA_VERSION, "history": values}
    write_whole(folder / HISTORY, (json.dumps(said, ensure_ascii=False, indent=2) + "\n").encode())
