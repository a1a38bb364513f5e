"""Sharing: what workers on other machines need is reached through the files URL, by its hash.

Scans that lie in no folder that every machine sees, and the networks of a run.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import SettingsError, SourceGoneError, StorageError
from pipeline.settings import Settings
from pipeline.storage import Files

SCANS, WEIGHTS = "scans/", "weights/"  # what the names begin with
IN_USE_S = 900.0  # longer than a page takes


def require_shared(settings: Settings) -> None:
    """Raise SettingsError where the settings name what no other machine reaches."""
    if settings.database_url.startswith("sqlite"):
        raise SettingsError(
            "with a broker the database is PostgreSQL, which many machines reach: --database"
            " postgresql://…, or ARCHIVE_DATABASE_URL"
        )
    if not settings.files_url:
        raise SettingsError(
            "with a broker the files must be where every worker reaches them: --files with a shared folder"
            " or an fsspec URL, or ARCHIVE_FILES_URL"
        )


def is_shared(path: Path, folders: Sequence[Path]) -> bool:
    """Tell whether a path lies in one of the folders that every machine sees at the same place."""
    return any(path.is_relative_to(folder) for folder in folders)


def share_scan(files: Files, path: Path, sha256: str) -> None:
    """Copy a scan to where workers find it by its hash, if it is not there.

    Raises SourceGoneError where its bytes are no longer those of the hash, StorageError.
    """
    name = SCANS + sha256
    try:
        if files.size(name) == path.stat().st_size:
            return  # one that a power cut cut short is copied again
        found = files.put_file(name, path)
    except FileNotFoundError as error:
        raise SourceGoneError(f"{path} is gone") from error
    if found != sha256:
        files.delete(name)
        raise SourceGoneError(f"{path} was changed while it was copied; run `archive ingest` on it again")


def share_weights(files: Files, networks: Mapping[str, Path]) -> None:
    """Copy networks, by their hash, to where workers find them; raises StorageError."""
    for sha256, path in networks.items():
        if files.size(WEIGHTS + sha256) != path.stat().st_size:
            files.put_file(WEIGHTS + sha256, path)


def _look(file: Path) -> None:
    """Raise FileNotFoundError where a file is not in its folder, StorageError where that is away."""
    try:
        file.stat()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and file.parent.is_dir():
            raise
        raise StorageError(f"files: {file.parent} is away ({error.strerror or error})") from error


class Cache:
    """A folder of this machine that keeps what was fetched, by hash; the oldest go when it is too large.

    What was fetched or used lately stays, however large it is.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def fetch(self, files: Files, name: str, sha256: str) -> Path:
        """Return a file with the bytes of that hash; FileNotFoundError where there are none.

        One in a folder of this machine is taken at its word.  Raises StorageError where they can't be had, or
        what was fetched has others.
        """
        here = files.local_path(name)
        if here is not None:
            _look(here)
            return here
        kept = self._folder / name
        with suppress(FileNotFoundError):
            os.utime(kept)  # used now
            return kept
        part = kept.with_name(f"{kept.name}.{uuid.uuid4().hex}.part")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(name, part)
            with part.open("rb") as fetched:
                found = hashlib.file_digest(fetched, "sha256").hexdigest()
            if found != sha256:
                raise StorageError(
                    f"files: {name} has other bytes than its name says; delete it, ingest again"
                )
            part.replace(kept)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(f"{self._folder}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)
        self._shrink()
        return kept

    def _shrink(self) -> None:
        """Remove what was not used for longest, but nothing that somebody may just be about to open."""
        found = []
        for file in self._folder.rglob("*"):
            with suppress(FileNotFoundError):  # another process shrinks too
                stat = file.stat()
                if file.is_file():
                    found.append((stat.st_mtime, stat.st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= self._most_bytes:
                break
            with suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime < IN_USE_S:
                    continue  # used again meanwhile, or not whole yet
                file.unlink()
            total -= size
