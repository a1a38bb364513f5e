"""One statement of SQL that a person wrote, run where it can change nothing."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, text
from sqlalchemy.pool import NullPool

from pipeline.database import reading
from pipeline.engines import BUSY_TIMEOUT_S, sqlite_file
from pipeline.errors import UsageError

READS = ("SELECT", "WITH", "VALUES")
_AS_IT_IS = {"no_parameters": True, "stream_results": True, "yield_per": 500}
_BLANK = re.compile(r"(\s|;|\(|--[^\n]*(\n|$)|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"\w+|\S")
_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_TAKE_CODE = {"load_extension", "fts3_tokenizer"}  # SQLite's functions that are given code to run
_STEPS_BETWEEN = 100_000  # of SQLite's machine: a few milliseconds
# PostgreSQL's words for a statement that would write: in a transaction that only reads, or in a cursor
_WRITES = {"25006", "0A000"}
_NO_RIGHT = "42501"
# Until the transaction ends whoever may, a superuser above all, has the rights of a role that can only read
# tables: not the server's files, not other connections.  What "$user" is in the search path stays.
_DROP_RIGHTS = text("""
SELECT
  set_config('search_path',
    (SELECT string_agg(quote_ident(name), ', ') FROM unnest(current_schemas(false)) AS name), true),
  set_config('role', 'pg_read_all_data', true)
WHERE EXISTS (
  SELECT FROM pg_roles
  WHERE (rolname = current_user AND rolsuper)
    OR (rolname = 'pg_read_all_data' AND pg_has_role(oid, 'MEMBER'))
)
""")
# the first would bring the rights back, the next three run it from a text, and the last can spell any of them
_REGAINS = re.compile(r'set_config\b|query_to_xml|ts_stat\b|ts_rewrite\b|u&"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """The names of the columns, and rows as they come: whole numbers, floats, text, None."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def answer(db: Engine, query: str) -> Iterator[Answer]:
    """Give what one statement finds, which can only read.

    Raises UsageError for more than one, one that writes, and whatever the database finds wrong with it.
    """
    found = _WORD.match(query, _BLANK.match(query).end())  # type: ignore[union-attr]  # it matches nothing too
    if found is None:
        raise UsageError(f"there is no statement: write one with {_listed()}")
    if found[0].upper() not in READS:
        raise UsageError(f"archive sql only reads, with {_listed()}: {found[0]!r} is none of them")
    is_sqlite = db.dialect.name == "sqlite"
    if not is_sqlite and (named := _REGAINS.search(query)):
        raise UsageError(f"archive sql only reads, and {named[0]} can do more")
    own = _sqlite_engine(db) if is_sqlite else db
    try:
        with reading(own) as conn, _only_reading(conn):
            try:
                result = conn.execution_options(**_AS_IT_IS).exec_driver_sql(query)
                with result:
                    yield Answer(tuple(result.keys()), (tuple(map(_plain, row)) for row in result))
            except exc.DBAPIError as error:
                state = getattr(error.orig, "sqlstate", None)
                if state in _WRITES:
                    raise UsageError(f"archive sql only reads: {_first_line(error)}") from error
                if state == _NO_RIGHT:
                    raise UsageError(f"archive sql may not do that: {_first_line(error)}") from error
                raise
    except sqlite3.Warning as error:  # no error for SQLAlchemy; from Python 3.12 on it is one
        raise UsageError(f"the database says: {error}") from error
    except exc.DBAPIError as error:  # what is no trouble of the database itself is the statement's
        name = getattr(error.orig, "sqlite_errorname", "")
        if (
            name == "SQLITE_INTERRUPT"
        ):  # a signal came while SQLite was at work, which swallows what it raises
            raise KeyboardInterrupt from error
        if name == "SQLITE_AUTH":
            raise UsageError("archive sql only reads: this statement does more than that") from error
        raise UsageError(f"the database says: {_first_line(error)}") from error
    finally:
        if own is not db:
            own.dispose()


def _listed() -> str:
    return ", ".join(READS[:-1]) + f" or {READS[-1]}"


def _first_line(error: exc.DBAPIError) -> str:
    said = next((line.strip() for line in str(error.orig).splitlines() if line.strip()), "no reason given")
    return said.replace("DECLARE CURSOR", "a statement")  # PostgreSQL's cursor is our own doing


def _plain(value: Any) -> Any:
    """Return what both databases give alike: whole numbers for booleans, and no Decimal."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if value is None or isinstance(value, int | float | str):
        return value
    return value.hex() if isinstance(value, bytes | memoryview) else str(value)


def _sqlite_engine(db: Engine) -> Engine:
    """Return an engine whose connections open the file for reading."""
    address = f"{sqlite_file(db.url).as_uri()}?mode=ro"

    def connect() -> sqlite3.Connection:
        raw = sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        raw.execute("PRAGMA query_only=ON")
        # without it no signal ends a statement before the database does
        raw.set_progress_handler(lambda: 0, _STEPS_BETWEEN)
        return raw

    engine = create_engine(db.url, creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN"))
    return engine


@contextmanager
def _only_reading(conn: Connection) -> Iterator[None]:
    """Let the database refuse what is no reading; what a function did all the same is undone.

    SQLite refuses ATTACH, PRAGMA and writing, PostgreSQL what the role may not do that only reads.
    """
    raw = conn.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        raw.set_authorizer(_may)
    else:
        conn.execute(_DROP_RIGHTS)
    try:
        yield
    finally:
        if isinstance(raw, sqlite3.Connection):
            raw.set_authorizer(None)
        conn.rollback()


def _may(action: int, _first: str | None, name: str | None, *_where: object) -> int:
    is_code = action == sqlite3.SQLITE_FUNCTION and name in _TAKE_CODE
    return sqlite3.SQLITE_OK if action in _ALLOWED and not is_code else sqlite3.SQLITE_DENY
