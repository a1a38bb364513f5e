"""The owner's lock: one embedded engine works on a database at a time."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from sqlalchemy import URL, Connection, text

from pipeline.engines import make_engine, name_of, parse_url, sqlite_file, storage_trouble
from pipeline.errors import BusyError, StorageError

# "archive" in ASCII; advisory locks are per database, so one number does for all
LOCK_KEY = int.from_bytes(b"archive", "big")
LOOK_EVERY_S = 0.1
SERVER_PATIENCE_S = 3.0


class OwnerLock:
    """One embedded engine a database: `with OwnerLock(url) as lock: …`; BusyError where another has it.

    SQLite: flock on `<db>.lock`; hand `lock.fd` to the child (`pass_fds`) and the lock lives until both are
    gone.  PostgreSQL: an advisory lock on a connection of its own; `fd` is None.  `patience_s` is how long
    to wait for an engine whose owner is dead: it is leaving.
    """

    def __init__(self, url: str, *, patience_s: float = 15.0) -> None:
        self._url = parse_url(url)
        self._patience_s = patience_s
        self._connection: Connection | None = None
        self.fd: int | None = None

    def acquire(self) -> None:
        """Take the lock; BusyError where a living process has it, StorageError where it can't be had."""
        if self._url.get_backend_name() == "sqlite":
            file = sqlite_file(self._url)
            self.fd = _lock_file(file.with_name(file.name + ".lock"), self._url, self._patience_s)
        else:
            self._connection = _lock_server(self._url, self._patience_s)

    def release(self) -> None:
        """Let go of our share of the lock; a child that holds the fd keeps it until it leaves."""
        if self.fd is not None:
            # Not LOCK_UN: that would take it from the child too.  The empty file says that nobody
            # is to be blamed, only waited for.
            os.ftruncate(self.fd, 0)
            os.close(self.fd)
            self.fd = None
        if self._connection is not None:
            engine = self._connection.engine
            self._connection.close()
            engine.dispose()
            self._connection = None

    def __enter__(self) -> "OwnerLock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def refuse_owned(url: str) -> None:
    """Raise BusyError where an embedded engine owns a PostgreSQL database, and StorageError."""
    parsed = parse_url(url)
    engine = make_engine(parsed).execution_options(isolation_level="AUTOCOMMIT")
    try:
        # shared: many may ask at the same time; it ends with the connection
        with storage_trouble(parsed), engine.connect() as connection:
            if not connection.scalar(text("SELECT pg_try_advisory_lock_shared(:key)"), {"key": LOCK_KEY}):
                raise BusyError(
                    f"database {name_of(parsed)}: a command without a broker reads pages"
                    f" ({_holder(connection)}); workers wait until it is over"
                )
    finally:
        engine.dispose()


def _lock_file(path: Path, url: URL, patience_s: float) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StorageError(f"{path}: the lock can't be taken ({error.strerror})") from error
    try:
        deadline = time.monotonic() + patience_s
        while not _flock(fd):
            owner = _recorded_pid(fd)
            if owner is not None and _is_alive(owner):
                raise BusyError(
                    f"database {name_of(url)}: process {owner} is at work on it; wait for it, or stop it"
                )
            if time.monotonic() > deadline:
                raise BusyError(
                    f"database {name_of(url)}: an engine without its command still holds {path};"
                    " give the command again in a minute"
                )
            time.sleep(LOOK_EVERY_S)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(fd)
        raise StorageError(f"{path}: the lock can't be taken ({error.strerror})") from error
    except BaseException:
        os.close(fd)
        raise
    return fd


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _recorded_pid(fd: int) -> int | None:
    words = os.pread(fd, 32, 0).split()
    return int(words[0]) if words and words[0].isdigit() else None


def _is_alive(pid: int) -> bool:
    try:
        # a zombie is dead, though signals still find it
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (OSError, IndexError):
        pass  # no such process, or no /proc (macOS)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _lock_server(url: URL, patience_s: float) -> Connection:
    # Autocommit: an open transaction would hold back the server's vacuum for days.
    engine = make_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    connection: Connection | None = None
    try:
        with storage_trouble(url):
            connection = engine.connect()
            # the server needs a moment to see that a killed owner's connection is closed
            deadline = time.monotonic() + min(patience_s, SERVER_PATIENCE_S)
            while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}):
                if time.monotonic() > deadline:
                    raise BusyError(
                        f"database {name_of(url)}: another archive is at work on it ({_holder(connection)});"
                        " wait for it, or stop it"
                    )
                time.sleep(LOOK_EVERY_S)
            return connection
    except BaseException:
        if connection is not None:
            connection.close()
        engine.dispose()
        raise


def _holder(connection: Connection) -> str:
    row = connection.execute(_HOLDER, {"high": LOCK_KEY >> 32, "low": LOCK_KEY & 0xFFFFFFFF}).first()
    return f"connection {row.pid} from {row.address or 'this machine'}" if row else "it let go just now"


_HOLDER = text("""
    SELECT l.pid, host(a.client_addr) AS address
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database()
      AND l.classid::bigint = :high AND l.objid::bigint = :low
    LIMIT 1
""")
