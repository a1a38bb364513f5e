import re
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, insert, inspect, select, text

from pipeline.database import HEAD, SCRIPTS, VERSION_TABLE, open_database, reading, writing
from pipeline.engines import make_engine, parse_url
from pipeline.errors import MissingError
from pipeline.page import Box, Number
from pipeline.results import read_readings
from pipeline.tables import documents, forms, ledger, metadata, page_forms, pages, records, runs

DOCUMENT = {"id": 1, "sha256": "a" * 64, "format": "png", "size_bytes": 1, "n_pages": 1, "added_at": 1.0}
DOCUMENT |= {"freed": False}
RUN = {
    "id": 1,
    "started_at": 1.0,
    "detector_sha256": "b" * 64,
    "classifier_sha256": "c" * 64,
    "settings": "{}",
}
LEDGER = {
    "id": 1,
    "page_id": 1,
    "run_id": 1,
    "current": True,
    "state": "done",
    "suspect": False,
    "attempts": 0,
}
LEDGER |= {"queued": False, "lease_until": 0.0, "turned": 0, "n_digits": 4, "n_numbers": 1}


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("path_separator", "newline")
    return ScriptDirectory.from_config(config)


def schema(db: Engine) -> list[tuple[str, ...]]:
    """All that the database says of its tables, columns, keys and indexes, in its own words."""
    if db.dialect.name == "sqlite":
        queries = ["SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'view'"]
    else:
        queries = [
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace",
            "SELECT table_name, column_name, data_type, is_nullable, collation_name, column_default"
            " FROM information_schema.columns JOIN information_schema.tables"
            " USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
        ]
    with reading(db) as conn:
        rows = [tuple(map(str, row)) for query in queries for row in conn.execute(text(query))]
    spaceless = [tuple(re.sub(r"[\s\"]+", " ", part).strip() for part in row) for row in rows]
    return sorted(row for row in spaceless if VERSION_TABLE not in " ".join(row))


def take_back_to(db: Engine, version: str) -> None:
    from alembic import command

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("path_separator", "newline")
    config.attributes["version_table"] = VERSION_TABLE
    with writing(db) as conn:
        config.attributes["connection"] = conn
        command.downgrade(config, version)


def test_the_scripts_make_the_tables_that_the_code_means(database_url: str) -> None:
    db = open_database(database_url)
    with reading(db) as conn:
        context = MigrationContext.configure(
            conn, opts={"version_table": VERSION_TABLE, "compare_type": True, "target_metadata": metadata}
        )
        assert compare_metadata(context, metadata) == []
    migrated = schema(db)
    with writing(db) as conn:
        for view in inspect(conn).get_view_names():  # scripts alone make them: tests/test_sql.py
            conn.execute(text(f"DROP VIEW {view}"))
        conn.execute(text(f"DROP TABLE {VERSION_TABLE}"))
        metadata.drop_all(conn)
    with writing(db) as conn:
        metadata.create_all(conn)
    meant = schema(db)
    db.dispose()
    assert [sorted(re.split(r"[ ,()]+", " ".join(row))) for row in migrated] == [
        sorted(re.split(r"[ ,()]+", " ".join(row))) for row in meant
    ]


def test_the_head_in_the_code_is_the_newest_script() -> None:
    assert scripts().get_heads() == [HEAD]


def test_every_script_can_be_taken_back(database_url: str) -> None:
    db = open_database(database_url)
    take_back_to(db, "base")
    with reading(db) as conn:
        assert inspect(conn).get_table_names() == [VERSION_TABLE] and not inspect(conn).get_view_names()
    db.dispose()
    open_database(database_url).dispose()  # and made again


def test_numbers_that_were_read_before_alternatives_were_kept_have_none(database_url: str) -> None:
    db = open_database(database_url)
    with writing(db) as conn:
        conn.execute(insert(documents).values(DOCUMENT))
        conn.execute(insert(pages).values(id=1, document_id=1, page_index=0, frame=0))
        conn.execute(insert(runs).values(RUN))
        conn.execute(insert(ledger).values(LEDGER))
    take_back_to(db, "0003")
    with writing(db) as conn:
        conn.execute(
            text(
                "INSERT INTO numbers (ledger_id, position, text, sort_key, confidence, line, x0, y0, x1, y1)"
                " VALUES (1, 0, '0042', '000242', 0.9, 0, 1, 2, 3, 4)"
            )
        )
    db.dispose()
    db = open_database(database_url)
    with reading(db) as conn:
        _, grouped = read_readings(conn, 1)
    db.dispose()
    assert grouped == (Number("0042", 0.9, Box(1, 2, 3, 4), 0, ()),)


def test_pages_that_have_records_keep_their_form(database_url: str) -> None:
    db = open_database(database_url)
    with writing(db) as conn:
        conn.execute(insert(documents).values(DOCUMENT))
        conn.execute(insert(runs), [RUN, RUN | {"id": 2}])
        form = {"name": "form", "form": "{}", "source": "", "added_at": 1.0}
        conn.execute(insert(forms), [form | {"id": k, "sha256": str(k) * 64} for k in (1, 2)])
        page_rows = [{"id": k, "document_id": 1, "page_index": k, "frame": 0} for k in (1, 2, 3)]
        conn.execute(insert(pages), page_rows)
        # the first page was read twice, the third one has no records
        rows = ((1, 1, 1, False), (2, 1, 2, True), (3, 2, 1, True), (4, 3, 1, True))
        for ledger_id, page_id, run_id, current in rows:
            its = {"id": ledger_id, "page_id": page_id, "run_id": run_id, "current": current}
            conn.execute(insert(ledger).values(LEDGER | its))
        made = {"start": 0.0, "end": 1.0, "confidence": 0.9, "flagged": False}
        for ledger_id, position, form_id in ((1, 0, 1), (2, 0, 2), (2, 1, 2), (3, 0, 1)):
            its = {"ledger_id": ledger_id, "position": position, "form_id": form_id}
            conn.execute(insert(records).values(made | its))
    take_back_to(db, "0006")
    db.dispose()
    db = open_database(database_url)
    with reading(db) as conn:
        found = conn.execute(select(page_forms).order_by(page_forms.c.page_id)).all()
    db.dispose()
    assert [tuple(row) for row in found] == [(1, "", 2), (2, "", 1)]


@pytest.mark.postgres
def test_who_could_read_a_view_still_can(postgres_url: str) -> None:
    """As docs/sql.md has it: a login that may read the views alone."""
    db = open_database(postgres_url)
    take_back_to(db, "0006")
    may = text("SELECT has_table_privilege('reader_of_views', 'v_numbers', 'SELECT')")
    with writing(db) as conn:
        conn.execute(text("CREATE ROLE reader_of_views"))
        conn.execute(text("GRANT SELECT ON v_numbers TO reader_of_views"))
    db.dispose()
    db = open_database(postgres_url)
    with writing(db) as conn:
        still = conn.scalar(may)
        conn.execute(text("DROP OWNED BY reader_of_views"))
        conn.execute(text("DROP ROLE reader_of_views"))
    db.dispose()
    assert still is True


def test_a_database_of_a_newer_version_is_left_alone(database_url: str) -> None:
    db = open_database(database_url)
    with writing(db) as conn:
        conn.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    db.dispose()
    with pytest.raises(MissingError, match=r"newer version.*9999.*update archive"):
        open_database(database_url)


def test_processes_that_open_a_new_database_together_all_find_it_whole(database_url: str) -> None:
    code = (
        "import sys; from pipeline.database import open_database, reading; from sqlalchemy import text\n"
        "sys.stdin.readline()\n"
        "db = open_database(sys.argv[1])\n"
        "with reading(db) as conn: print(conn.scalar(text('SELECT count(*) FROM ledger')))\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [child.communicate("go\n") for child in children]
    assert said == [("0\n", "")] * 4


def test_a_database_of_this_version_is_opened_without_alembic(database_url: str) -> None:
    open_database(database_url).dispose()
    engine = make_engine(parse_url(database_url))
    engine.dispose()
    code = (
        "import sys; from pipeline.database import open_database\n"
        "open_database(sys.argv[1]); print('alembic' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, database_url], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
