"""Networks that were added, as files: `<kind>/<start of the hash>.safetensors`, each with a card beside it.

A network is in the store where its card is: the card is written last.  Files are written whole or not at
all and never changed, so that a job that reads with one keeps the same bytes, whatever is promoted meanwhile.
"""

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import BusyError, OutputError, SourceGoneError

HISTORY, LOCK = "promoted.json", ".lock"
ENDING, CARD_ENDING, PART_ENDING = ".safetensors", ".json", ".part"
SHOWN_HASH = 12  # so many figures of a hash are shown: enough to name one
_NAME_LENGTH = 16  # of a file: so much of its hash
_PATIENCE_S = 5.0
_LOOK_EVERY_S = 0.1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OWN_PART = re.compile(r"[0-9a-f]{16}\.(safetensors|json)\.part")


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of an added network beside what its checkpoint says; `added` is UTC, ISO 8601."""

    kind: str
    sha256: str
    name: str
    added: str
    source: str  # the file that it was added from, or the folder that it learned from
    note: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """The networks of a store, oldest first; cards that can't be read, with why; what a killed add left."""

    cards: tuple[Card, ...]
    damaged: tuple[tuple[Path, str], ...]
    left_over: tuple[Path, ...]


def network_file(folder: Path, kind: str, sha256: str) -> Path:
    """Return where the network of this hash is kept."""
    return folder / kind / (sha256[:_NAME_LENGTH] + ENDING)


def look_through(folder: Path, kinds: tuple[str, ...]) -> Shelf:
    """Return what the store holds of these kinds; nothing where there is no store."""
    cards, damaged, left_over = [], [], []
    for kind in kinds:
        known = set()
        for file in sorted((folder / kind).glob("*" + CARD_ENDING)):
            known.add(file.stem)
            try:
                cards.append(_read_card(file))
            except (OSError, ValueError, TypeError) as error:
                damaged.append((file, str(error)))
        for file in sorted((folder / kind).glob("*")):
            if file.suffix == PART_ENDING or (file.suffix == ENDING and file.stem not in known):
                left_over.append(file)
    return Shelf(tuple(sorted(cards, key=lambda card: card.added)), tuple(damaged), tuple(left_over))


def add(
    folder: Path, file: Path, kind: str, sha256: str, *, name: str, note: str, source: str = ""
) -> tuple[Card, bool]:
    """Copy a network of this hash into the store; return its card, and whether it is new there.

    `source` is where it comes from, if not from this file.  One that is there already keeps its card, and a
    damaged one is mended.  Raises SourceGoneError where the
    file's bytes are no longer those of the hash, BusyError, OutputError.
    """
    kept = network_file(folder, kind, sha256)
    card_file = kept.with_suffix(CARD_ENDING)
    with locked(folder):
        try:
            data = file.read_bytes()
        except OSError as error:
            raise SourceGoneError(f"{file}: can't be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise SourceGoneError(f"{file} was changed while it was looked at; give the command again")
        if file_hash(kept) != sha256:
            write_whole(kept, data)
        with suppress(OSError, ValueError, TypeError):
            return _read_card(card_file), False
        card = Card(kind, sha256, name, now(), source or str(file.resolve()), note)
        write_whole(card_file, _as_json(asdict(card)))
        return card, True


def file_hash(file: Path) -> str | None:
    """Return the SHA-256 of a file; None where it can't be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None


def is_sha256(value: object) -> bool:
    """Tell whether a value is the hexadecimal form of such a hash."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other commands from writing to the store; BusyError where one does, OutputError.

    What a killed command left half written is removed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise OutputError(f"{folder}: networks can't be kept here: {error.strerror}") from error
    try:
        _lock(fd, folder)
        (folder / (HISTORY + PART_ENDING)).unlink(missing_ok=True)
        for part in folder.glob("*/*" + PART_ENDING):
            if _OWN_PART.fullmatch(part.name):  # the folder may have other files too
                part.unlink(missing_ok=True)
        yield
    finally:
        os.close(fd)  # which lets go of the lock, as the end of the process does


def write_whole(file: Path, data: bytes) -> None:
    """Write a file whole or not at all, for good when this returns; OutputError."""
    part = file.with_name(file.name + PART_ENDING)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
        _sync(file.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise OutputError(f"{file}: can't be written: {error.strerror}") from error


def now() -> str:
    """Return the time, UTC, as cards and the history have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _lock(fd: int, folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise BusyError(
                    f"{folder}: another `archive models` command writes here; wait for it"
                ) from None
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def _sync(folder: Path) -> None:
    """Write the names of a folder to the disk."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read_card(file: Path) -> Card:
    """Return a card; OSError, ValueError or TypeError where it can't be read."""
    values = json.loads(file.read_text(encoding="utf-8"))
    card = Card(**values)
    if not all(isinstance(getattr(card, field.name), str) for field in fields(card)):
        raise ValueError("it has a value that is no text")
    if not is_sha256(card.sha256) or file.name != card.sha256[:_NAME_LENGTH] + CARD_ENDING:
        raise ValueError("it is the card of another file")
    if card.kind != file.parent.name:
        raise ValueError(f"it is the card of a {card.kind}")
    return card


def _as_json(values: dict[str, str]) -> bytes:
    return (json.dumps(values, ensure_ascii=False, indent=2) + "\n").encode()
