"""How fast records are found among those of ten million digits.

    python benchmarks/records_scale.py [--digits 10000000] [--folder /tmp] [--databases sqlite postgresql]

Fills a database with made-up register pages of 25 rows with four fields (an entry that counts up, a year, a
day, a fee), in bulk, with their numbers and digits, and times what `archive query --record` asks, in this
process, 51 rows each as the command asks for.  Fails where a median is 200 ms or more.  Takes some GB of
disk a database, and leaves nothing behind.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import made_up
from machine import describe_machine
from measures import server_of, timed
from million_pages import set_up
from servers import Postgres, end_in_order
from sqlalchemy import Engine, text

from cli.registering import BATCH_FILES
from pipeline.bulk import add_documents
from pipeline.catalogue import current_run
from pipeline.database import open_database, reading, writing
from pipeline.forms import Column, Form, Values
from pipeline.record_filter import RecordFilter
from pipeline.record_finding import find_records, parse_wish
from pipeline.record_store import keep_form

MOST_MS = 200.0
TIMES = 5
N_ROWS = 25
DIGITS_OF_PAGE = 376  # of 25 rows
FILL = 4_000  # pages in one statement
FIELDS = ("no", "year", "day", "fee")
FORM = Form(
    "notary", tuple(Column(name, k / 4, (k + 1) / 4, Values()) for k, name in enumerate(FIELDS)), (), "no"
)


def _series(name: str, n: int) -> str:
    return " UNION ALL ".join(f"SELECT {k} AS {name}" for k in range(n))


# every value of a row is a number of its page; entries count up and years go up from page to page
NUMBERS = f"""
INSERT INTO numbers (ledger_id, position, text, sort_key, confidence, line, x0, y0, x1, y1, alternatives)
SELECT ledger_id, position, CAST(value AS TEXT),
  '000' || CAST(length(CAST(value AS TEXT)) AS TEXT) || CAST(value AS TEXT),
  1 - u * u * u, entry, 200.25 + 310 * place, 400.5 + 60 * entry, 290.75 + 310 * place, 440.5 + 60 * entry,
  '[["1' || CAST(value AS TEXT) || '", ' || CAST(u * u * u / 2 AS TEXT) || ', [1, 2, 3, 4]]]'
FROM (
  SELECT ledger_id, entry, place, entry * 4 + place AS position, (hash % 999983 + 0.5) / 999983.0 AS u,
    CASE place
      WHEN 0 THEN 1 + (ledger_id - 1) * {N_ROWS} + entry
      WHEN 1 THEN {made_up.FIRST_YEAR} + (ledger_id - 1) * {made_up.N_YEARS} / :n_pages
      WHEN 2 THEN 1 + hash % 31
      ELSE 10 + hash % 9990
    END AS value
  FROM (
    SELECT ledger.id AS ledger_id, entry, place,
      ((ledger.id * {N_ROWS} + entry) * 4 + place) * 7368787 % 1000000007 AS hash
    FROM ledger, ({_series("entry", N_ROWS)}) AS entries, ({_series("place", 4)}) AS places
    WHERE ledger.id BETWEEN :first AND :last
  ) AS drawn
) AS valued
"""

# one record in a hundred breaks a rule
RECORDS = f"""
INSERT INTO records (ledger_id, position, form_id, start, "end", confidence, flagged)
SELECT ledger_id, position / 4, 1,
  position / 4 / {N_ROWS}.0, (position / 4 + 1) / {N_ROWS}.0, min(confidence),
  (ledger_id * {N_ROWS} + position / 4) % 101 = 0
FROM numbers WHERE ledger_id BETWEEN :first AND :last
GROUP BY ledger_id, position / 4
"""

OF_FIELDS = f"""
INSERT INTO fields (ledger_id, record, name, place, text, value, sort_key, confidence, made_by, flag,
  x0, y0, x1, y1, numbers, members, alternatives)
SELECT ledger_id, position / 4,
  CASE position % 4 {"".join(f"WHEN {k} THEN '{name}' " for k, name in enumerate(FIELDS))}END,
  position % 4, text, text, sort_key, confidence, 'network',
  CASE WHEN position % 4 = 3 AND (ledger_id * {N_ROWS} + position / 4) % 101 = 0 THEN 'below min' END,
  x0, y0, x1, y1, '[' || CAST(position AS TEXT) || ']', '[101, 102, 103, 104]', alternatives
FROM numbers WHERE ledger_id BETWEEN :first AND :last
"""

LEDGER = """
UPDATE ledger SET state = 'done', queued = :no, attempt_token = NULL, lease_until = 0, n_numbers = 100,
  n_digits = (SELECT sum(length(text)) FROM numbers WHERE ledger_id = ledger.id), finished_at = :now
WHERE id BETWEEN :first AND :last
"""

STATEMENTS = (NUMBERS, made_up.DETECTIONS, made_up.READINGS, RECORDS, OF_FIELDS, LEDGER)


def wanted(*wishes: str, **more: Any) -> RecordFilter:
    """Return what the command asks for: one more than it shows."""
    return RecordFilter(tuple(map(parse_wish, wishes)), limit=51, **more)


QUERIES = {
    "no=12345, one record": wanted("no=12345"),
    "day=12, common": wanted("day=12"),
    "year=1930, side by side": wanted("year=1930"),
    "fee=5000.5, with a point, not there": wanted("fee=5000.5"),
    "no=99999999, not there": wanted("no=99999999"),
    "fee>=9900 --order -fee": wanted("fee>=9900", order="-fee"),
    "fee>=100 --order -fee, most": wanted("fee>=100", order="-fee"),
    "--order fee, all": wanted(order="fee"),
    "fee>=9990, rare": wanted("fee>=9990"),
    "year=1930 day=12": wanted("year=1930", "day=12"),
    "fee>=9000 day<=10": wanted("fee>=9000", "day<=10"),
    "fee>=9000 day=12 --order -fee": wanted("fee>=9000", "day=12", order="-fee"),
    "year=1930 day=12 --order fee": wanted("year=1930", "day=12", order="fee"),
    "no=12345 --order fee, one": wanted("no=12345", order="fee"),
    "fee>=5000 fee<=5010": wanted("fee>=5000", "fee<=5010"),
    "no>=600000 no<=600100": wanted("no>=600000", "no<=600100"),
    "no>=640000, at the end": wanted("no>=640000"),
    "year>=1935, at the end": wanted("year>=1935"),
    "fee>=9710, as many as are sorted": wanted("fee>=9710"),
    "three fields": wanted("fee>=5000", "day=12", "year=1930"),
    "fee>=9900 day=12, in doubt": wanted("fee>=9900", "day=12", max_confidence=0.01),
    "year=1930 --doubtful 1": wanted("year=1930", max_confidence=1.0, order="confidence"),
    "year=1930 fee=5000, few": wanted("year=1930", "fee=5000"),
    "--flagged": wanted(flagged=True),
    "--flagged year=1930": wanted("year=1930", flagged=True),
    "--confidence <0.5": wanted(max_confidence=0.5),
    "--confidence <0.001, rare": wanted(max_confidence=0.001),
    "--doubtful 0.5": wanted(max_confidence=0.5, order="confidence"),
    "--document, one page": wanted(document="page 0001234.jpg"),
    "--document, 1,000 pages": wanted(document="box 0001"),
    "--document, 1,000 pages, day=12": wanted("day=12", document="box 0001"),
    "all of them": wanted(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--digits", type=int, default=10_000_000)
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where there is room")
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    options = parser.parse_args()
    print(describe_machine())
    end_in_order()
    slow = [
        f"{database}: {name}"
        for database in options.databases
        for name in asked_of(database, options.folder, options.digits // DIGITS_OF_PAGE + 1)
    ]
    assert not slow, slow


def asked_of(database: str, below: str, n_pages: int) -> list[str]:
    """Fill a database, ask it, and return what took too long."""
    with tempfile.TemporaryDirectory(prefix="archive-records-", dir=below) as folder:
        Path(folder).chmod(0o755)  # as root PostgreSQL runs as another user
        if database == "sqlite":
            return filled_and_asked(f"sqlite:///{folder}/archive.db", n_pages)
        server = Postgres(Path(folder))
        server.start()
        try:
            set_up(server)
            return filled_and_asked(server.url, n_pages)
        finally:
            server.stop()


def filled_and_asked(url: str, n_pages: int) -> list[str]:
    db = open_database(url)
    print(server_of(db))
    fill(db, n_pages)
    with reading(db) as conn:
        counts = {name: conn.scalar(text(f"SELECT count(*) FROM {name}")) for name in ("records", "fields")}
        n_digits = conn.scalar(text("SELECT sum(n_digits) FROM ledger"))
    print(
        f"  {n_pages:,} pages, {n_digits:,} digits,", ", ".join(f"{n:,} {name}" for name, n in counts.items())
    )
    print(f"  median of {TIMES} (first time):")
    slow = [name for name, asked in QUERIES.items() if tell(name, db, asked) >= MOST_MS]
    db.dispose()
    return slow


def fill(db: Engine, n_pages: int) -> None:
    with timed("register"):
        for start in range(0, n_pages, BATCH_FILES):
            found = list(made_up.documents(start, min(start + BATCH_FILES, n_pages)))
            with writing(db) as conn:
                run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=time.time())
                add_documents(conn, found, run_id, again=False, now=time.time())
    with timed("make up records (bulk SQL)", n_pages):
        with writing(db) as conn:
            assert keep_form(conn, FORM, "", now=time.time()) == 1
        for first in range(1, n_pages + 1, FILL):
            part = {"first": first, "last": min(first + FILL - 1, n_pages), "n_pages": n_pages}
            with writing(db) as conn:
                if db.dialect.name == "postgresql":
                    conn.execute(text("SET LOCAL session_replication_role = replica"))
                for statement in STATEMENTS:
                    conn.execute(text(statement), part | {"no": False, "now": time.time()})
    if db.dialect.name == "postgresql":
        with (
            timed("VACUUM ANALYZE"),
            db.connect().execution_options(isolation_level="AUTOCOMMIT") as conn,
        ):
            conn.execute(text("VACUUM ANALYZE"))  # as the server does by itself after a while


def tell(name: str, db: Engine, asked: RecordFilter) -> float:
    """Time a query on a warm database and return the median, in milliseconds."""
    took_ms = []
    for _ in range(TIMES + 1):
        started = time.perf_counter()
        with reading(db) as conn:
            n_rows = sum(1 for _ in find_records(conn, asked))
        took_ms.append((time.perf_counter() - started) * 1000)
    usual = median(took_ms[1:])
    mark = " !" if usual >= MOST_MS else ""
    print(f"    {name:32} {usual:8.1f} ms ({took_ms[0]:.1f})  {n_rows:,} rows{mark}", flush=True)
    return usual


if __name__ == "__main__":
    main()
