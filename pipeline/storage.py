"""Blobs at the files URL (a folder, or whatever fsspec reaches): written whole or not at all."""

import hashlib
import os
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from fsspec.core import url_to_fs  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from pipeline.errors import MissingError, SettingsError, StorageError, without_password

# these write an object whole or not at all by themselves; the others get a name of their own first
_WHOLE = frozenset({"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "s3", "s3a"})
_BLOCK = 1 << 20
_PART = ".part"  # how the name of a file that isn't whole yet ends


class Files:
    """A store of named bytes; a name may hold `/`.  Safe to use from several threads and processes.

    Raises StorageError where the place is full or can't be reached, SettingsError for a URL nobody knows,
    MissingError where fsspec needs another package for it.
    """

    def __init__(self, url: str) -> None:
        self._url = without_password(url)
        try:
            self._fs, root = url_to_fs(url)
        except ImportError as error:
            raise MissingError(f"files {self._url}: {error}") from error
        except ValueError as error:
            raise SettingsError(f"files {self._url}: no such kind of place ({error}); see --files") from error
        self._local = isinstance(self._fs, LocalFileSystem)
        self._root = str(root).rstrip("/")
        kinds = self._fs.protocol
        self._whole = not _WHOLE.isdisjoint([kinds] if isinstance(kinds, str) else kinds)

    def put(self, name: str, data: bytes) -> None:
        """Write `data` under `name`, replacing what was there; leaves nothing behind if it fails."""
        place = self._place(name)
        part = f"{place}.{uuid.uuid4().hex}{_PART}"
        with self._trouble():
            if self._local:
                _put_local(Path(place), Path(part), data)
            elif self._whole:
                self._fs.pipe_file(place, data)
            else:
                self._put_in_two_steps(place, part, data)

    def get(self, name: str) -> bytes:
        """Return the bytes under `name`; FileNotFoundError if there are none."""
        place = self._place(name)
        with self._trouble(may_be_gone=True):
            return bytes(Path(place).read_bytes() if self._local else self._fs.cat_file(place))

    def size(self, name: str) -> int | None:
        """Return how many bytes there are under `name`; None if there is no such name."""
        with self._trouble():
            if not self._local:
                self._fs.invalidate_cache()  # others write here too
            try:
                return int(self._fs.size(self._place(name)))
            except FileNotFoundError:
                return None

    def put_file(self, name: str, file: Path) -> str:
        """Copy a file to `name`, whole or not at all; return the SHA-256 of what was copied.

        Raises FileNotFoundError if there is no such file.
        """
        place = self._place(name)
        part = f"{place}.{uuid.uuid4().hex}{_PART}"
        sha256 = hashlib.sha256()
        with file.open("rb") as source, self._trouble():
            target = place if self._whole else part
            self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
            try:
                with self._fs.open(target, "wb") as out:
                    while block := source.read(_BLOCK):
                        sha256.update(block)
                        out.write(block)
                    if self._local:
                        out.flush()
                        os.fsync(out.fileno())  # the ledger says next that it is there
                if target != place:
                    self._fs.mv(part, place)
            except BaseException:
                self._remove(target)
                raise
        return sha256.hexdigest()

    def get_file(self, name: str, file: Path) -> None:
        """Copy the bytes under `name` to a file; FileNotFoundError if there are none."""
        place = self._place(name)
        with self._trouble(may_be_gone=True):
            self._fs.get_file(place, str(file))

    def local_path(self, name: str) -> Path | None:
        """Return the file that `name` is where the place is a folder of this machine."""
        return Path(self._place(name)) if self._local else None

    def delete(self, name: str) -> None:
        """Remove `name`; that it is missing is fine."""
        self._remove(self._place(name))

    def names(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix`, in order."""
        return (name for name in self._all(prefix) if not name.endswith(_PART))

    def keep_only(self, prefix: str, wanted: Callable[[], Collection[str]], *, unfinished: bool) -> int:
        """Remove what starts with `prefix` and is not `wanted`; return how many.

        `wanted` is asked after the place was looked at: what others write meanwhile is left alone.
        `unfinished` files go too where nobody else writes, for then a killed process left them.
        """
        assert prefix, "not everything: the place may hold other people's files"
        found = self._all(prefix) if unfinished else list(self.names(prefix))
        names = wanted()
        left_over = [name for name in found if name not in names]
        for name in left_over:
            self.delete(name)
        return len(left_over)

    def _place(self, name: str) -> str:
        parts = PurePosixPath(name).parts
        assert parts and parts[0] != "/" and ".." not in parts, name
        return f"{self._root}/{name}"

    def _all(self, prefix: str) -> list[str]:
        folder = prefix.rpartition("/")[0]
        start = f"{self._root}/{folder}".rstrip("/")
        try:
            with self._trouble(may_be_gone=True):
                self._fs.invalidate_cache()  # others write here too
                found = self._fs.find(start)
        except FileNotFoundError:
            return []
        names = (str(path).removeprefix(self._root).lstrip("/") for path in found)
        return sorted(name for name in names if name.startswith(prefix))

    def _remove(self, place: str) -> None:
        with suppress(FileNotFoundError), self._trouble(may_be_gone=True):
            if self._local:
                Path(place).unlink()
            else:
                self._fs.rm_file(place)

    def _put_in_two_steps(self, place: str, part: str, data: bytes) -> None:
        self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
        try:
            self._fs.pipe_file(part, data)
            self._fs.mv(part, place)
        except BaseException:
            self._remove(part)
            raise

    @contextmanager
    def _trouble(self, *, may_be_gone: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if may_be_gone and isinstance(error, FileNotFoundError):
                raise
            words = error.strerror or str(error) or type(error).__name__
            raise StorageError(f"files {self._url}: {words}") from error
        except Exception as error:
            if self._local or isinstance(error, StorageError):
                raise
            # fsspec's remote places each raise errors of their own
            words = " ".join(str(error).split()) or type(error).__name__
            raise StorageError(f"files {self._url}: {words}") from error


def _put_local(place: Path, part: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # the ledger says next that it is there
        part.replace(place)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
