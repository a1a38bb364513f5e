"""SQLAlchemy engines for SQLite and PostgreSQL, and what their drivers' errors mean to a person."""

import re
import select
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import make_url

from pipeline.errors import MissingError, SettingsError, StorageError, without_password

_SHARES = """
    9p afs beegfs ceph cifs coda davfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs smb2 smb3
    smbfs fuse.ceph fuse.curlftpfs fuse.davfs2 fuse.gcsfuse fuse.glusterfs fuse.goofys fuse.gvfsd-fuse
    fuse.juicefs fuse.rclone fuse.s3fs fuse.smbnetfs fuse.sshfs
"""
# WAL keeps its index in shared memory, which these don't share between machines
NETWORK_FILE_SYSTEMS = frozenset(_SHARES.split())
BUSY_TIMEOUT_S = 30
# an execution option of ours: the transaction only reads, so it must not wait for the write lock
ONLY_READS = "archive_only_reads"

_SQLITE_TROUBLE = {
    "SQLITE_FULL": "the disk is full; free some space and give the command again, nothing is lost",
    "SQLITE_BUSY": f"another program has kept it locked for {BUSY_TIMEOUT_S} s; give the command again later",
    "SQLITE_LOCKED": "another program keeps it locked; give the command again later",
    "SQLITE_READONLY": "it can't be written; check the permissions of the file and its folder",
    "SQLITE_CANTOPEN": "it can't be opened; check that its folder exists and who may read and write it",
    "SQLITE_PERM": "it can't be opened; check the permissions of the file and its folder",
    "SQLITE_NOTADB": "the file is no database; choose another name with --database",
    "SQLITE_CORRUPT": "the file is damaged; restore it from a backup",
    "SQLITE_IOERR": "the disk reports an error; check it (and its free space) and give the command again",
    "SQLITE_PROTOCOL": "its lock files don't work here; keep it on a disk of this machine",
    "SQLITE_NOMEM": "there is not enough memory",
}
_POSTGRES_TROUBLE = {
    "25006": "it is read-only",
    "28P01": "the password is wrong",
    "28000": "the server doesn't let this user in",
    "3D000": "there is no such database on the server; make it with `createdb`",
    "42501": "this user may not do that; ask for the rights",
    "53100": "the server's disk is full; free some space and give the command again, nothing is lost",
    "53300": "the server has no connection left; give the command again later",
    "XX001": "its data is damaged; restore it from a backup",
    "XX002": "an index is damaged; run REINDEX",
}


def parse_url(text: str) -> URL:
    """Return the URL with the driver we use; raises SettingsError for one that names no database of ours."""
    shown = without_password(text)
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError) as error:
        raise SettingsError(
            f"database {shown!r}: no database URL; give sqlite:///FILE or postgresql://…"
        ) from error
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        if url.host or not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise SettingsError(f"database {shown!r}: give a file, as in sqlite:///archive.db")
        return URL.create("sqlite+pysqlite", database=url.database)
    if url.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return url.set(drivername="postgresql+psycopg")
    raise SettingsError(
        f"database {shown!r}: {url.drivername} is not supported; give sqlite:///FILE or postgresql://…"
    )


def sqlite_file(url: URL) -> Path:
    """Return the database's file, links followed: every name of it means the same lock."""
    assert url.database is not None
    return Path(url.database).resolve()


def make_engine(url: URL) -> Engine:
    """Return an engine; nothing is connected yet.  Raises MissingError without PostgreSQL's driver."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, pool_size=16, max_overflow=48, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        engine = create_engine(
            url,
            pool_size=16,
            max_overflow=48,
            connect_args={"application_name": "archive", "connect_timeout": 10} | _keepalives(url),
        )
        event.listen(engine, "checkout", _refuse_closed)
        return engine
    except ImportError as error:
        raise MissingError("PostgreSQL's driver is missing: pip install 'archive[postgres]'") from error


def _keepalives(url: URL) -> dict[str, Any]:
    """Let both ends see within a minute that the other one lost its power: the server holds locks for us."""
    if "options" in url.query:
        return {}
    ours = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
    theirs = " ".join(f"-c tcp_{name}={value}" for name, value in ours.items())
    return ours | {"options": theirs}


def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """Let a server that was restarted cost no error: its end of the connection is closed.

    Looked at here, for asking the server costs as much as a statement.
    """
    readable, _, _ = select.select([connection.fileno()], [], [], 0)
    if readable:  # nothing was asked: the end, or the server's words about it
        raise exc.DisconnectionError


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin_sqlite does
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_S * 1000}", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(conn: Connection) -> None:
    # A writer that begins as a reader can't wait for the lock later (SQLITE_BUSY_SNAPSHOT).
    only_reads = conn.get_execution_options().get(ONLY_READS, False)
    conn.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


@contextmanager
def storage_trouble(url: URL) -> Iterator[None]:
    """Turn what the driver says of a database that is full, locked, lost or damaged into StorageError.

    What it says of our own SQL stays as it is: that is a bug.
    """
    try:
        yield
    except exc.DBAPIError as error:
        words = (
            _sqlite_trouble(error.orig) if isinstance(error.orig, sqlite3.Error) else _server_trouble(error)
        )
        if words is None:
            raise
        raise StorageError(f"database {name_of(url)}: {words}") from error
    except sqlite3.Error as error:
        words = _sqlite_trouble(error)
        if words is None:
            raise
        raise StorageError(f"database {name_of(url)}: {words}") from error
    except exc.TimeoutError as error:  # every connection of the pool is taken
        raise StorageError(f"database {name_of(url)}: too much at a time; give the command again") from error


def name_of(url: URL) -> str:
    """Return what people call the database: its file, or its URL without the password."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


def _sqlite_trouble(error: sqlite3.Error) -> str | None:
    name = getattr(error, "sqlite_errorname", "")
    return next((words for code, words in _SQLITE_TROUBLE.items() if name.startswith(code)), None)


def _server_trouble(error: exc.DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    if state in _POSTGRES_TROUBLE:
        return _POSTGRES_TROUBLE[state]
    if isinstance(error, exc.OperationalError | exc.InterfaceError) or error.connection_invalidated:
        said = next(
            (line.strip() for line in str(error.orig).splitlines() if line.strip()), "no reason given"
        )
        return f"the server can't be reached or gave up ({said}); give the command again when it is back"
    return None


def refuse_network_share(file: Path, mounts: Path) -> None:
    """Raise SettingsError where a SQLite file lies on a network file system.

    `mounts` is the mount table (`/proc/mounts`); without one (macOS) nothing is known and nothing is refused.
    """
    try:
        table = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    best: tuple[int, str, str] = (-1, "", "")
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[1])
        # of two mounts at one place the later one is seen
        if (file == Path(place) or Path(place) in file.parents) and len(place) >= best[0]:
            best = (len(place), place, fields[2])
    _, place, kind = best
    if kind in NETWORK_FILE_SYSTEMS:
        raise SettingsError(
            f"database {file}: {place} is a network share ({kind}), where SQLite loses data;"
            " keep it on a disk of this machine, or use PostgreSQL"
        )
