"""What SQL could do beside reading, above all as a superuser of PostgreSQL: it is refused, or undone."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from servers import Server
from sqlalchemy import make_url

from pipeline.database import open_database

Said = Callable[..., tuple[str, str]]
Address = dict[str, Any]
DOCS = Path(__file__).resolve().parent.parent / "docs/sql.md"


@pytest.fixture
def superuser(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[psycopg.Connection]:
    """A superuser's connection to an archive on PostgreSQL, which is that of `archive sql` too."""
    monkeypatch.setenv("ARCHIVE_DATABASE_URL", postgres_url)
    monkeypatch.chdir(tmp_path)
    open_database(postgres_url).dispose()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for extension in ("dblink", "adminpack"):
            connection.execute(f"CREATE EXTENSION {extension}")
        connection.execute("CREATE TABLE hurt (a int)")
        yield connection


def address_of(connection: psycopg.Connection) -> str:
    info = connection.info
    return f"host={info.host} port={info.port} user={info.user} dbname={info.dbname}"


def refused(said: Said, *queries: str, code: int = 2) -> list[str]:
    """What is said of each statement: one line."""
    lines = []
    for query in queries:
        out, err = said("sql", query, code=code)
        assert out == "" and err.count("\n") == 1 and err.startswith("archive: "), err
        lines.append(err)
    return lines


@pytest.mark.postgres
def test_a_superuser_gets_at_no_file_of_the_server(
    superuser: psycopg.Connection, said: Said, postgres_server: Server
) -> None:
    written = postgres_server.folder / "written"
    told = refused(
        said,
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_read_binary_file('/etc/passwd')",
        "SELECT * FROM pg_ls_dir('/')",
        "SELECT size FROM pg_stat_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        f"SELECT lo_export(lo_from_bytea(0, 'abc'), '{written}')",
        f"SELECT pg_file_write('{written}', 'abc', false)",
        "WITH a AS (SELECT pg_read_file('/etc/passwd') AS b) SELECT b FROM a",
        "VALUES (pg_read_file('/etc/passwd'))",
    )
    assert all("archive sql may not do that: permission denied for function " in line for line in told), told
    assert not written.exists()
    told = refused(said, "COPY hurt TO '/tmp/hurt'", f"COPY hurt TO PROGRAM 'touch {written}'")
    assert all("'COPY' is none of them" in line for line in told) and not written.exists()


@pytest.mark.postgres
def test_a_superuser_disturbs_no_server(superuser: psycopg.Connection, said: Said) -> None:
    pid = superuser.info.backend_pid
    told = refused(
        said,
        f"SELECT pg_terminate_backend({pid})",
        f"SELECT pg_cancel_backend({pid})",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {pid}",
        "SELECT pg_reload_conf()",
        "SELECT pg_rotate_logfile()",
        "SELECT pg_switch_wal()",
        "SELECT pg_stat_reset()",
        "SELECT pg_backup_start('a')",
        "SELECT pg_create_restore_point('a')",
        "SELECT pg_create_physical_replication_slot('a', true)",
        "SELECT pg_replication_origin_create('a')",
        "SELECT setval('runs_id_seq', 99)",
        "SELECT nextval('runs_id_seq')",
    )
    assert all("archive sql may not do that: " in line for line in told), told
    assert superuser.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)


@pytest.mark.postgres
def test_nothing_leads_back_to_a_superuser_s_rights(superuser: psycopg.Connection, said: Said) -> None:
    pid, read = (
        superuser.info.backend_pid,
        "query_to_xml('SELECT pg_read_file(''/etc/passwd'')', true, false, '')",
    )
    reset = "set_config('role', 'none', true)"
    in_text = "'SELECT set_' || 'config(''role'', ''none'', true)'"
    told = refused(
        said,
        f"SELECT {reset}, pg_terminate_backend({pid})",
        f"SELECT SET_Config ('role', 'none', true), pg_terminate_backend({pid})",
        f"SELECT \"pg_catalog\" . \"set_config\"('role', 'none', true), pg_terminate_backend({pid})",
        f"SELECT U&\"\\0073et_config\"('role', 'none', true), pg_terminate_backend({pid})",
        f"SELECT U&\"!0073et_config\" UESCAPE '!'('role', 'none', true), pg_terminate_backend({pid})",
        f"SELECT set_config('session_authorization', 'default', true), {read}",
        f"SELECT query_to_xml({in_text}, true, false, ''), pg_terminate_backend({pid})",
        f"SELECT query_to_xml_and_xmlschema({in_text}, true, false, ''), pg_terminate_backend({pid})",
        f"SELECT ts_rewrite('a'::tsquery, {in_text}), pg_terminate_backend({pid})",
        f"SELECT ts_stat({in_text}), pg_terminate_backend({pid})",
        "SELECT set_config('transaction_read_only', 'off', true)",
    )
    assert all("archive sql only reads, and " in line and line.endswith(" can do more\n") for line in told)
    told = refused(
        said,
        "SELECT 1; RESET ROLE",
        "SELECT 1; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; INSERT INTO hurt VALUES (1)",
        "SELECT 1; COMMIT; INSERT INTO hurt VALUES (1)",
        "SELECT 1; ROLLBACK; BEGIN; INSERT INTO hurt VALUES (1); COMMIT",
        "SELECT 1); INSERT INTO hurt VALUES (1); --",
        "SELECT * FROM hurt FOR UPDATE",
        "WITH a AS (INSERT INTO hurt VALUES (1) RETURNING a) SELECT * FROM a",
        "SELECT 1 AS a INTO hurt_2",
        *("RESET ROLE", "COMMIT", "SET ROLE postgres", "DO $$ BEGIN END $$", "CALL a()", "EXECUTE a"),
        *(
            "EXPLAIN ANALYZE DELETE FROM hurt",
            "LOCK TABLE hurt",
            "DECLARE a CURSOR FOR SELECT 1",
            "TABLE hurt",
        ),
    )
    assert superuser.execute("SELECT count(*) FROM hurt").fetchone() == (0,)


@pytest.mark.postgres
def test_no_connection_of_a_superuser_is_opened_from_within(
    superuser: psycopg.Connection, said: Said
) -> None:
    insert = f"'{address_of(superuser)}', 'INSERT INTO hurt VALUES (1)'"
    told = refused(said, f"SELECT dblink_exec({insert})", code=5)
    told += refused(said, f"SELECT * FROM dblink({insert}) AS a(b text)", code=5)
    assert all("password is required" in line for line in told), told
    (told_too,) = refused(said, f"SELECT dblink_connect_u('{address_of(superuser)}')")
    assert "permission denied for function dblink_connect_u" in told_too
    assert superuser.execute("SELECT count(*) FROM hurt").fetchone() == (0,)


@pytest.mark.postgres
def test_what_a_function_did_all_the_same_is_undone(superuser: psycopg.Connection, said: Said) -> None:
    """PostgreSQL 15 lets anybody make large objects, in a transaction that only reads too."""
    superuser.execute("LISTEN news")
    said("sql", "SELECT lo_from_bytea(4242, 'abc'), lo_create(4243), pg_notify('news', 'a')")
    assert superuser.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone() == (0,)
    assert not list(superuser.notifies(timeout=0.1))


@pytest.mark.postgres
def test_a_superuser_still_reads_everything(superuser: psycopg.Connection, said: Said) -> None:
    out, _ = said("sql", "--csv", "SELECT current_user AS a, (SELECT count(*) FROM v_numbers) AS b FROM hurt")
    assert out == '"a","b"\n'
    out, _ = said("sql", "--csv", "SELECT current_user AS a, session_user AS b")
    assert out == '"a","b"\n"pg_read_all_data","postgres"\n'


@pytest.mark.postgres
def test_tables_in_a_schema_of_the_user_s_name_are_found(
    postgres_url: str, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA postgres")
    open_database(postgres_url).dispose()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert connection.execute(
            "SELECT schemaname FROM pg_views WHERE viewname = 'v_numbers'"
        ).fetchall() == [("postgres",)]
    monkeypatch.setenv("ARCHIVE_DATABASE_URL", postgres_url)
    assert said("sql", "--csv", "SELECT count(*) AS n FROM v_numbers")[0] == '"n"\n0\n'


@pytest.mark.postgres
def test_the_login_that_the_documentation_advises_can_only_read(
    superuser: psycopg.Connection, said: Said, postgres_url: str
) -> None:
    lines = DOCS.read_text(encoding="utf-8").partition("<<'SQL'\n")[2].partition("\nSQL\n")[0]
    assert lines.count("\n") == 2, "three lines"
    try:
        superuser.execute(lines)
        url = make_url(postgres_url).set(username="reader", password="choose-one")
        asked = ("--database", url.render_as_string(hide_password=False), "sql")
        for view in ("documents", "pages", "numbers", "records", "fields", "corrections"):
            assert said(*asked, "--csv", f"SELECT count(*) AS n FROM v_{view}")[0] == '"n"\n0\n'
        for query, told in (
            ("SELECT * FROM numbers", "archive sql may not do that: permission denied for table numbers"),
            ("SELECT * FROM pg_authid", "permission denied for table pg_authid"),
            (f"SELECT pg_terminate_backend({superuser.info.backend_pid})", "may not do that"),
            ("SELECT pg_read_file('/etc/passwd')", "permission denied for function pg_read_file"),
        ):
            out, err = said(*asked, query, code=2)
            assert out == "" and told in err and err.count("\n") == 1
        with (
            psycopg.connect(url.render_as_string(hide_password=False)) as other,
            pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
        ):
            other.execute("CREATE TABLE a (b int)")
    finally:
        superuser.execute("DROP OWNED BY reader")
        superuser.execute("DROP ROLE reader")


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An archive's database file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARCHIVE_DATABASE_URL", raising=False)
    open_database("sqlite:///archive.db").dispose()
    with sqlite3.connect("other.db") as other:
        other.execute("CREATE TABLE hurt (a)")
    other.close()
    return tmp_path / "archive.db"


def test_sqlite_opens_no_other_file_and_loads_nothing(file: Path, said: Said) -> None:
    before = sorted(path.name for path in Path().iterdir()), file.read_bytes()
    for query, told in (
        ("ATTACH 'other.db' AS other", "'ATTACH' is none of them"),
        ("SELECT 1; ATTACH 'other.db' AS other", "one statement"),
        ("WITH a AS (SELECT 1) ATTACH 'other.db' AS other", "syntax error"),
        ("DETACH main", "'DETACH' is none of them"),
        ("PRAGMA writable_schema = on", "'PRAGMA' is none of them"),
        ("SELECT 1; PRAGMA query_only = off", "one statement"),
        ("SELECT * FROM pragma_query_only", "not authorized"),
        ("SELECT * FROM pragma_table_info('numbers')", "not authorized"),
        ("SELECT * FROM pragma_database_list", "not authorized"),
        ("VACUUM INTO 'copy.db'", "'VACUUM' is none of them"),
        ("SELECT load_extension('other.db')", "not authorized"),
        ("SELECT Load_Extension('other.db', 'a')", "not authorized"),
        ("SELECT writefile('copy.db', 'a')", "no such function"),
        ("SELECT readfile('/etc/passwd')", "no such function"),
        ("SELECT edit('a', 'touch copy.db')", "no such function"),
        ("SELECT FTS3_Tokenizer('simple', x'4141414141414141')", "not authorized"),
        ("WITH a AS (SELECT 1) INSERT INTO runs SELECT * FROM a", "only reads"),
        ("WITH a AS (SELECT 1) UPDATE ledger SET kind = 'a'", "only reads"),
        ("WITH a AS (SELECT 1) DELETE FROM ledger RETURNING 1", "only reads"),
        ("SELECT 1; DELETE FROM runs", "one statement"),
    ):
        (line,) = refused(said, query)
        assert told in line, line
    assert (sorted(path.name for path in Path().iterdir()), file.read_bytes()) == before
