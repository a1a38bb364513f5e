"""How an archive of a million pages fills and answers.

    python benchmarks/million_pages.py [--pages 1000000] [--sqlite] [--database URL [--filled]]

Starts a PostgreSQL of its own (or takes a new SQLite file, or the empty database at URL), registers one-page
documents as ingest does once their files are hashed, lets the feeder publish to a Redis of its own while
threads work as workers do, and counts the messages in it.  Then results are made up in bulk, about 20 digits
and six numbers a page, and the commands are timed.  Prints machine, commit, settings of the server and sizes;
takes about 10 GB of disk for a million pages and leaves nothing behind.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asking
import made_up
import through_broker
from machine import describe_machine
from measures import SERVER, logged, print_sizes, server_of
from servers import Postgres, end_in_order
from sqlalchemy import Engine

from cli.registering import BATCH_FILES
from pipeline.bulk import add_documents
from pipeline.catalogue import current_run
from pipeline.database import open_database, writing


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=1_000_000)
    parser.add_argument("--fed", type=int, default=5_000, help="pages that go through the broker")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--database", default="", help="an empty database, in place of one of its own")
    parser.add_argument("--filled", action="store_true", help="the database is full already: only ask")
    options = parser.parse_args()
    print(describe_machine())
    end_in_order()
    with database(options.database, sqlite=options.sqlite) as url:
        db = open_database(url)
        print(f"{server_of(db)}, {options.pages:,} pages")
        if not options.filled:
            with logged(db, options.pages):
                register(db, options.pages)
            if db.dialect.name == "postgresql":
                n_fed = min(options.fed, options.pages)
                with logged(db, n_fed):
                    through_broker.feed(db, n_fed)
                through_broker.forget(db)
            made_up.fill(db, options.pages)
            print_sizes(db, options.pages)
        asking.ask(db)
        asking.whole_commands(url)
        db.dispose()


@contextmanager
def database(url: str, *, sqlite: bool) -> Iterator[str]:
    """Give the URL of an empty database."""
    if url:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="archive-million-") as folder:
        Path(folder).chmod(0o755)  # as root PostgreSQL runs as another user
        if sqlite:
            yield f"sqlite:///{folder}/archive.db"
            return
        server = Postgres(Path(folder))
        server.start()
        try:
            set_up(server)
            yield server.url
        finally:
            server.stop()


def set_up(server: Postgres) -> None:
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        for name, value in SERVER.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    server.restart()


def register(db: Engine, n_pages: int) -> None:
    """Time what ingest does with files whose hashes are known: one transaction a batch."""
    took_s, every_s = 0.0, []
    for start in range(0, n_pages, BATCH_FILES):
        found = list(made_up.documents(start, min(start + BATCH_FILES, n_pages)))
        started = time.perf_counter()
        with writing(db) as conn:
            run_id = current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=time.time())
            add_documents(conn, found, run_id, again=False, now=time.time())
        took_s += (every := time.perf_counter() - started)
        every_s.append(every)
    tenth = max(1, len(every_s) // 10)
    first, last = (BATCH_FILES * len(some) / sum(some) for some in (every_s[:tenth], every_s[-tenth:]))
    print(
        f"  register, one connection, {BATCH_FILES} documents a transaction: {took_s:.1f} s,"
        f" {n_pages / took_s:,.0f} pages a second (first tenth {first:,.0f}, last tenth {last:,.0f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
