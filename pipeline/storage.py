"""Blobs at the files URL (a folder, or whatever fsspec reaches): written whole or not at all."""

from collections.abc import Iterator


class Files:
    """A flat store of named bytes; a name may hold `/`.  Safe to use from several threads and processes.

    Raises StorageError where the place is full or can't be reached, SettingsError for a URL nobody knows.
    """

    def __init__(self, url: str) -> None:
        raise NotImplementedError

    def put(self, name: str, data: bytes) -> None:
        """Write `data` under `name`, replacing what was there; leaves nothing behind if it fails."""
        raise NotImplementedError

    def get(self, name: str) -> bytes:
        """Return the bytes under `name`; FileNotFoundError if there are none."""
        raise NotImplementedError

    def delete(self, name: str) -> None:
        """Remove `name`; that it is missing is fine."""
        raise NotImplementedError

    def names(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix`, in order."""
        raise NotImplementedError
