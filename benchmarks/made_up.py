"""An archive of made-up pages: documents as probing gives them, and results as SQL of both databases.

A page has six numbers, as a row of a register has: an entry that counts up, a year, a day, a fee, a folio
with a leading zero, an amount.  Years go up from box to box, as they do where registers stand in order, so
that the pages of a year lie side by side; all else is spread evenly.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from measures import timed
from sqlalchemy import Engine, text

from pipeline.database import writing
from pipeline.sources import Document, PageRef

PAGES_OF_DOCUMENT = (PageRef(0, None, 0),)  # one page a file costs most to register
FIRST_YEAR, N_YEARS = 1800, 140
FILL = 50_000  # pages in one statement


def _series(name: str) -> str:
    return " UNION ALL ".join(f"SELECT {n} AS {name}" for n in range(6))


def documents(start: int, stop: int) -> Iterator[Document]:
    """Yield one-page documents by their count; their hashes are spread as hashes are."""
    for k in range(start, stop):
        sha256 = f"{k * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4
        path = Path(f"/srv/scans/box {k // 1000:04d}/page {k:07d}.jpg")
        yield Document(path, sha256, "jpeg", 1_000_000, 1.5e9 + k, PAGES_OF_DOCUMENT)


# One page in a hundred failed, one waits; the rest was done at ten pages a second until now.
LEDGER = """
UPDATE ledger SET
  state = CASE WHEN id % 100 = 0 THEN 'failed' WHEN id % 100 = 1 THEN 'waiting' ELSE 'done' END,
  failed_in = CASE WHEN id % 100 = 0 THEN 'waiting' END,
  reason = CASE WHEN id % 100 = 0 THEN 'the image is cut short' END,
  queued = :no, attempt_token = NULL, lease_until = 0,
  n_digits = CASE WHEN id % 100 < 2 THEN 0 ELSE
    (SELECT sum(length(text)) FROM numbers WHERE ledger_id = ledger.id) END,
  n_numbers = CASE WHEN id % 100 < 2 THEN 0 ELSE 6 END,
  finished_at = CASE WHEN id % 100 < 2 THEN NULL ELSE :now - (:n_pages - id) * 0.1 END
WHERE id BETWEEN :first AND :last
"""

NUMBERS = f"""
INSERT INTO numbers (ledger_id, position, text, sort_key, confidence, line, x0, y0, x1, y1)
SELECT ledger_id, position, CASE WHEN position = 4 THEN '0' ELSE '' END || CAST(value AS TEXT),
  '000' || CAST(length(CAST(value AS TEXT)) AS TEXT) || CAST(value AS TEXT),
  1 - u * u * u, position / 3, 200.25 + 310 * (position % 3), 400.5 + 60 * (position / 3),
  310.75 + 310 * (position % 3), 440.5 + 60 * (position / 3)
FROM (
  SELECT ledger_id, position, (hash % 999983 + 0.5) / 999983.0 AS u,
    CASE position
      WHEN 0 THEN 1 + ledger_id % 999999
      WHEN 1 THEN {FIRST_YEAR} + (ledger_id - 1) * {N_YEARS} / :n_pages
      WHEN 2 THEN 1 + hash % 31
      WHEN 3 THEN 10 + hash % 990
      WHEN 4 THEN 1 + hash % 400
      ELSE 100 + hash % 99900
    END AS value
  FROM (
    SELECT ledger.id AS ledger_id, position, (ledger.id * 6 + position) * 7368787 % 1000000007 AS hash
    FROM ledger, ({_series("position")}) AS positions
    WHERE ledger.id BETWEEN :first AND :last AND ledger.id % 100 > 1
  ) AS drawn
) AS valued
"""

# a digit's place in its number, and its position among all of its page, which the primary key wants
_DIGITS = f"""
  SELECT ledger_id, numbers.position AS number, place, text, confidence, x0, y0,
    row_number() OVER (PARTITION BY ledger_id ORDER BY numbers.position, place) - 1 AS position,
    substr(text, place + 1, 1) AS digit
  FROM numbers, ({_series("place")}) AS places
  WHERE place < length(text) AND ledger_id BETWEEN :first AND :last
"""

DETECTIONS = f"""
INSERT INTO detections (ledger_id, position, x0, y0, x1, y1, score)
SELECT ledger_id, position, x0 + 18.125 * place, y0, x0 + 18.125 * place + 17.5, y0 + 38.75, confidence * 0.97
FROM ({_DIGITS}) AS digits
"""

READINGS = f"""
INSERT INTO readings (ledger_id, position, digit, confidence, runners_up, number, place)
SELECT ledger_id, position, CAST(digit AS INTEGER), confidence,
  '[[' || CAST((CAST(digit AS INTEGER) + 7) % 10 AS TEXT) || ', 0.00' || CAST(ledger_id * 7919 AS TEXT)
  || '], [null, 0.000' || CAST(ledger_id * 6271 AS TEXT) || ']]', number, place
FROM ({_DIGITS}) AS digits
"""

STATEMENTS = (NUMBERS, DETECTIONS, READINGS, LEDGER)


def fill(db: Engine, n_pages: int) -> None:
    now = time.time()
    with timed("make up results (bulk SQL)", n_pages):
        for first in range(1, n_pages + 1, FILL):
            part = {
                "first": first,
                "last": min(first + FILL - 1, n_pages),
                "n_pages": n_pages,
                "now": now,
                "no": False,
            }
            with writing(db) as conn:
                if db.dialect.name == "postgresql":
                    conn.execute(text("SET LOCAL session_replication_role = replica"))
                for statement in STATEMENTS:
                    conn.execute(text(statement), part)
    if db.dialect.name == "postgresql":
        with (
            timed("VACUUM ANALYZE"),
            db.connect().execution_options(isolation_level="AUTOCOMMIT") as conn,
        ):
            conn.execute(text("VACUUM ANALYZE"))  # as the server does by itself after a while
