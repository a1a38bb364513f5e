"""Open the database, upgraded to this version's tables, and the transactions everything runs in.

pipeline/engines.py has what differs between SQLite and PostgreSQL, pipeline/owner.py the owner's lock.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, inspect, text

from pipeline.engines import (
    BUSY_TIMEOUT_S,
    ONLY_READS,
    make_engine,
    name_of,
    parse_url,
    refuse_network_share,
    sqlite_file,
    storage_trouble,
)
from pipeline.errors import MissingError, SettingsError, StorageError
from pipeline.owner import OwnerLock
from pipeline.tables import metadata

__all__ = ["HEAD", "OwnerLock", "open_database", "reading", "writing"]

MOUNTS = Path("/proc/mounts")
SCRIPTS = Path(__file__).with_name("migrations")
# The newest of the scripts: a database that has it is opened without importing Alembic, which is slow.
HEAD = "0008"
# A name of our own, for a PostgreSQL database may be shared with another program that uses Alembic.
VERSION_TABLE = "archive_version"
_NOT_DURABLE = text("SET LOCAL synchronous_commit = off")
_UPGRADE_KEY = int.from_bytes(b"upgrade", "big")  # of PostgreSQL's advisory lock

_write_locks: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()


def open_database(url: str, *, create: bool = True, upgrade: bool = True, mounts: Path = MOUNTS) -> Engine:
    """Return an engine on the database at `url`, upgraded to this version's tables.

    `sqlite:///file.db` or `postgresql://…`; `mounts` is the mount table.  Without `upgrade` tables of another
    version are refused: others work with them.  Raises MissingError (nothing there
    with `create=False`; made by a newer version), SettingsError (a URL we can't use, a network share, another
    program's database), StorageError (can't be reached, full, damaged).
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        file = sqlite_file(parsed)
        refuse_network_share(file, mounts)
        if not file.exists() and not create:
            raise MissingError(
                f"there is no database {file}; `archive ingest` makes it, --database names another"
            )
        if not file.parent.is_dir():
            raise StorageError(f"database {file}: there is no folder {file.parent}; make it first")
    db = make_engine(parsed)
    if parsed.get_backend_name() == "sqlite":
        _write_locks[db] = threading.Lock()
    try:
        with reading(db) as conn:
            found = _revision(conn)
        if found is None and not create:
            raise MissingError(f"database {name_of(parsed)} is empty; `archive ingest` fills it")
        with storage_trouble(parsed):
            _use_wal(db)
        if found is not None and not upgrade:
            _refuse_others(parsed, found)
        if found != HEAD:
            _upgrade(db)
    except BaseException:
        db.dispose()
        raise
    return db


def refuse_other_tables(db: Engine) -> None:
    """Raise MissingError where the tables are no longer those of this version."""
    with reading(db) as conn:
        _refuse_others(db.url, str(conn.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))))


def _refuse_others(url: URL, found: str) -> None:
    if found != HEAD:
        raise MissingError(
            f"database {name_of(url)} has tables of version {found}, and this archive works with {HEAD}:"
            " all machines need one version; the newer one's `archive ingest` upgrades the tables"
        )


@contextmanager
def writing(db: Engine, *, durable: bool = True) -> Iterator[Connection]:
    """One transaction that may write: commits at the end, rolls back on any exception.

    Not to be nested: on SQLite a process writes one transaction at a time.  One that is not `durable` does
    not wait for PostgreSQL's disk: its last second may be forgotten after a power cut.  Raises StorageError
    where the driver reports trouble (full, locked, lost, read-only, damaged).
    """
    with _write_locks.get(db, nullcontext()), storage_trouble(db.url), db.connect() as conn, conn.begin():
        if not durable and db.dialect.name == "postgresql":
            conn.execute(_NOT_DURABLE)
        yield conn


@contextmanager
def reading(db: Engine) -> Iterator[Connection]:
    """One transaction that only reads, and sees one state of the database throughout.

    Raises StorageError as `writing` does.
    """
    with storage_trouble(db.url), db.connect() as conn:
        if db.dialect.name == "sqlite":
            conn = conn.execution_options(**{ONLY_READS: True})
        else:
            conn = conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with conn.begin():
            yield conn


def _revision(conn: Connection) -> str | None:
    """Return the revision of the tables, None where there are none yet."""
    look = inspect(conn)
    if look.has_table(VERSION_TABLE):
        found = conn.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
        return None if found is None else str(found)
    theirs = set(look.get_table_names())
    if conn.dialect.name != "sqlite":
        theirs &= set(metadata.tables)  # a server's database may well be shared
    if theirs:
        raise SettingsError(
            f"database {name_of(conn.engine.url)} belongs to another program (it has a table"
            f" {min(theirs)!r}); choose another with --database"
        )
    return None


def _use_wal(db: Engine) -> None:
    if db.dialect.name != "sqlite":
        return
    raw = db.raw_connection()
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    try:
        while True:
            cursor = raw.cursor()
            try:
                mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
                if mode != "wal":
                    mode = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            except sqlite3.OperationalError as error:
                # SQLite doesn't wait for this lock by itself, and two commands may start together
                if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            if mode != "wal":
                raise StorageError(f"database {name_of(db.url)}: write-ahead logs don't work here ({mode})")
            return
    finally:
        raw.close()


def _upgrade(db: Engine) -> None:
    """Run the scripts that are missing, in one transaction, while no other process does."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    with writing(db) as conn:
        if db.dialect.name == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_KEY})
        found = _revision(conn)  # another process may have been faster
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
        config.set_main_option("path_separator", "newline")
        config.attributes["connection"] = conn
        config.attributes["version_table"] = VERSION_TABLE
        if found is not None:
            try:
                ScriptDirectory.from_config(config).get_revision(found)
            except CommandError as error:
                raise MissingError(
                    f"database {name_of(db.url)} was made by a newer version of archive (its tables are"
                    f" {found}, ours {HEAD}); update archive, or choose another with --database"
                ) from error
        command.upgrade(config, "head")
