"""Open the database, upgraded; transactions that turn the driver's troubles into StorageError; the owner's lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from sqlalchemy import Connection, Engine

MOUNTS = Path("/proc/mounts")


def open_database(url: str, *, create: bool = True, mounts: Path = MOUNTS) -> Engine:
    """Return an engine on the database at `url`, upgraded to this version's tables.

    `sqlite:///file.db` or `postgresql://…`.  With `create=False` a database that isn't there is a MissingError.
    Raises SettingsError (a URL we can't use, a network share, another program's database), MissingError
    (nothing there; made by a newer version), StorageError (can't be reached, full, damaged).
    """
    raise NotImplementedError


@contextmanager
def writing(db: Engine) -> Iterator[Connection]:
    """One transaction that may write: commits at the end, rolls back on any exception.

    Raises StorageError where the driver reports trouble (full, locked, lost, read-only, damaged).
    """
    raise NotImplementedError


@contextmanager
def reading(db: Engine) -> Iterator[Connection]:
    """One transaction that only reads, and sees one state of the database throughout."""
    raise NotImplementedError


class OwnerLock:
    """One embedded engine a database: `with OwnerLock(url) as lock: …`; raises BusyError where another has it.

    SQLite: flock on `<db>.lock`; hand `lock.fd` to the child (`pass_fds`) and the lock lives until both are
    gone.  PostgreSQL: an advisory lock on a connection of its own; `fd` is None.
    """

    fd: int | None

    def __init__(self, url: str, *, patience_s: float = 15.0) -> None:
        raise NotImplementedError

    def acquire(self) -> None:
        """Take the lock, waiting `patience_s` for an engine whose owner is dead; raises BusyError."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go of our share of the lock; a child that holds the fd keeps it until it leaves."""
        raise NotImplementedError

    def __enter__(self) -> "OwnerLock":
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError
