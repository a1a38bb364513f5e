"""Many workers while everything goes wrong round them: nothing is lost, nothing done twice.

    python benchmarks/chaos.py --broker redis --pages 2000 --kills 12

Starts a broker and PostgreSQL, queues drawn pages, and lets worker processes read them; the first has both
stages, the next two have one each, and so on.  Meanwhile workers are killed (-9, each at a random moment),
the broker is killed and started again and emptied, PostgreSQL is restarted, messages come twice, and some
pages crash or hang whoever opens them.  The same pages are then read once more, quietly, by one command
(`--quiet` keeps that run's rows, for the same pages are drawn each time).  Exit code 0 only if every good
page was done exactly once, exactly the bad ones were set aside, and every row is equal.
"""

import argparse
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis
from machine import describe_machine
from mischief import drawn_scans, install, page, slow_jpeg
from servers import Postgres, RabbitMQ, Redis, Server, end_in_order

from pipeline.errors import BrokerError
from pipeline.ledger import Due
from workers.app import create_app
from workers.broker import Broker

ARCHIVE = Path(sys.executable).with_name("archive")
DEADLINE_S = 15.0  # of a page: what hangs costs so long, three times; an innocent one never takes it
BROKERS: dict[str, type[Server]] = {"redis": Redis, "rabbitmq": RabbitMQ}
# of workers, by turns: one keeps its pages from stage to stage, the others send them on
STAGES = ((), ("--stage", "detect"), ("--stage", "classify"))

# the database itself keeps a record of every page that ended, in order
RECORD = """
CREATE TABLE record (seq bigserial PRIMARY KEY, ledger_id bigint, state text);
CREATE FUNCTION note() RETURNS trigger AS $$ BEGIN
  INSERT INTO record (ledger_id, state) VALUES (NEW.id, NEW.state); RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE TRIGGER ended AFTER UPDATE OF state ON ledger FOR EACH ROW
  WHEN (NEW.state IN ('done', 'failed') AND OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION note();
"""
# what was read, by the bytes of the page and not by ids, which differ between databases
ROWS = {
    "detections": "x0, y0, x1, y1, score",
    "readings": "digit, confidence, runners_up, number, place",
    "numbers": "text, sort_key, confidence, line, x0, y0, x1, y1",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--broker", choices=sorted(BROKERS), default="redis")
    parser.add_argument("--pages", type=int, default=2000, help="good ones")
    parser.add_argument("--kills", type=int, default=12, help="of workers, or of their parents, by turns")
    parser.add_argument("--broker-kills", type=int, default=2)
    parser.add_argument("--flushes", type=int, default=1, help="FLUSHALL, or every queue purged")
    parser.add_argument("--restarts", type=int, default=1, help="of PostgreSQL")
    parser.add_argument("--duplicates", type=int, default=1000, help="messages that are sent again")
    parser.add_argument("--crash", type=int, default=5, help="pages that crash their worker")
    parser.add_argument("--hang", type=int, default=2, help="pages that hang it")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--threads", type=int, default=8, help="pages in hand, of each worker")
    parser.add_argument("--device", default="cpu", help="on a GPU rows are equal up to rounding only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--quiet", type=Path, help="keep the rows of the quiet run there, or take them from there"
    )
    parser.add_argument("--limit-s", type=float, default=3600)
    options = parser.parse_args()
    print(describe_machine())
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="archive-chaos-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user
        return Chaos(Path(folder), options, stack).run()


class Chaos:
    """One run: its servers, its workers, and what is done to them."""

    def __init__(self, folder: Path, options: argparse.Namespace, stack: ExitStack) -> None:
        self.folder, self.options, self.stack = folder, options, stack
        self.rng = random.Random(options.seed)
        self.began = time.monotonic()
        self.workers: list[subprocess.Popen[bytes] | None] = [None] * options.workers
        self.n_sent_twice = 0

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {line}", flush=True)

    def run(self) -> int:
        """Do it all; return the exit code."""
        options = self.options
        scans = self.draw()
        self.start_servers()
        self.archive("ingest", scans)
        self.query(RECORD)
        n_all = self.query("SELECT count(*) FROM ledger")[0][0]
        self.say(f"{n_all} pages wait")
        events = self.plan()
        reading_since = time.monotonic()
        for k in range(options.workers):
            self.start_worker(k)
        twice = threading.Thread(target=self.send_twice, daemon=True)
        twice.start()
        while True:
            states = self.states()
            n_over = sum(states.get(state, 0) for state in ("done", "failed"))
            while events and n_over >= events[0][0] * n_all:
                _, words, event = events.pop(0)
                self.say(f"{n_over} over: {words}")
                event()
            if n_over == n_all and not events:
                break
            if time.monotonic() - reading_since > options.limit_s:
                self.say(f"not at its end after {options.limit_s:g} s: {states}")
                return 1
            for k in range(options.workers):
                self.start_worker(k)  # as systemd would
            time.sleep(0.2)
        seconds = time.monotonic() - reading_since
        speed = f"{n_all / seconds:.1f} pages/s"
        self.say(f"all over in {seconds:.0f} s ({speed}); {self.n_sent_twice} messages sent twice")
        self.stop_workers()
        return self.judge(scans)

    def draw(self) -> Path:
        options = self.options
        scans = drawn_scans(self.folder, options.pages)
        for k in range(options.crash):
            page(scans / f"crash{k}.png", 1_000_000 + k, mischief="crash")
        for k in range(options.hang):
            (scans / f"hang{k}.jpg").write_bytes(slow_jpeg(6000 + 8 * k, 12_000))
        self.say(f"{options.pages} pages drawn, and {options.crash + options.hang} that do harm")
        return scans

    def start_servers(self) -> None:
        for name in ("postgres", "broker"):
            (self.folder / name).mkdir()
        self.postgres = Postgres(self.folder / "postgres")
        self.broker = BROKERS[self.options.broker](self.folder / "broker")
        for server in (self.postgres, self.broker):
            self.stack.callback(server.stop)
            server.start()
        self.stack.callback(self.kill_workers)

    @property
    def environment(self) -> dict[str, str]:
        threads = self.options.threads
        return os.environ | {
            "ARCHIVE_DATABASE_URL": self.postgres.url,
            "ARCHIVE_BROKER_URL": self.broker.url,
            "ARCHIVE_FILES_URL": str(self.folder / "files"),
            "ARCHIVE_CACHE": str(self.folder / "cache"),
            "ARCHIVE_DEVICE": self.options.device,
            "ARCHIVE_THREADS": str(threads),
            "ARCHIVE_PAGE_DEADLINE_S": str(DEADLINE_S),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": install(self.folder / "site"),
        }

    def archive(self, *words: str | Path, **other: str) -> None:
        done = subprocess.run([ARCHIVE, *words], env=self.environment | other, capture_output=True, text=True)
        for line in done.stderr.splitlines():
            if not re.match(r"[\d,]+ of [\d,]+ pages", line):  # how far it is
                self.say(f"  {line}")

    def start_worker(self, k: int) -> None:
        """Start a worker where there is none, and again where its parent was killed."""
        process = self.workers[k]
        if process is None or process.poll() is not None:
            with (self.folder / f"worker{k}.log").open("ab") as log:
                self.workers[k] = subprocess.Popen(
                    [ARCHIVE, "worker", *STAGES[k % len(STAGES)]],
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def plan(self) -> list[tuple[float, str, Callable[[], None]]]:
        """Return what happens when which share of the pages is over."""
        options = self.options
        events: list[tuple[float, str, Callable[[], None]]] = []

        def at_random(n: int, words: str, event: Callable[[], None]) -> None:
            events.extend((self.rng.uniform(0.03, 0.9), words, event) for _ in range(n))

        for turn in range(options.kills):
            whole = turn % 3 == 2
            words = "a worker and its parent are killed" if whole else "a worker is killed"
            at_random(1, words, lambda whole=whole: self.kill_worker(whole=whole))  # type: ignore[misc]
        at_random(options.broker_kills, "the broker is killed and started again", self.kill_broker)
        at_random(options.flushes, "the broker forgets everything", self.flush)
        at_random(options.restarts, "PostgreSQL is restarted", self.postgres.restart)
        return sorted(events, key=lambda event: event[0])

    def kill_worker(self, *, whole: bool) -> None:
        living = [process for process in self.workers if process is not None and process.poll() is None]
        process = self.rng.choice(living)
        time.sleep(self.rng.random() * 0.3)
        children = psutil.Process(process.pid).children()
        if whole:
            process.kill()
            process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def kill_broker(self) -> None:
        self.broker.kill()
        time.sleep(self.rng.random() * 5)
        self.broker.start()

    def flush(self) -> None:
        if self.options.broker == "redis":
            redis.Redis.from_url(self.broker.url).flushall()
            return
        with create_app(self.broker.url).connection_for_write() as connection:
            for queue in ("detect", "classify"):
                connection.channel().queue_purge(queue)

    def send_twice(self) -> None:
        """Send messages of pages that are anywhere, all through the first half of the run."""
        rng = random.Random(self.options.seed + 1)
        with suppress(psycopg.Error):
            ids = [row[0] for row in self.query("SELECT id FROM ledger")]
        broker = Broker(create_app(self.broker.url))
        while self.n_sent_twice < self.options.duplicates:
            try:
                state, alone = rng.choice(("waiting", "detected")), rng.random() < 0.2
                broker.publish(Due(rng.choice(ids), state, alone))
            except BrokerError:
                time.sleep(0.5)
                continue
            self.n_sent_twice += 1
            time.sleep(0.02)

    def stop_workers(self) -> None:
        """Stop in order, as a person would."""
        for process in self.workers:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        codes = [process.wait(60) for process in self.workers if process is not None]
        self.say(f"workers stopped with {codes}")

    def kill_workers(self) -> None:
        for process in self.workers:
            if process is not None and process.poll() is None:
                for child in psutil.Process(process.pid).children():
                    child.kill()
                process.kill()
                process.wait()

    def query(self, statement: str, url: str = "") -> list[tuple[Any, ...]]:
        while True:
            try:
                with psycopg.connect(url or self.postgres.url) as connection:
                    cursor = connection.execute(statement)
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:  # it is just being restarted
                time.sleep(0.2)

    def states(self) -> dict[str, int]:
        return dict(self.query("SELECT state, count(*) FROM ledger GROUP BY state"))

    def judge(self, scans: Path) -> int:
        """Compare with a quiet run, and say what is not as it must be."""
        options = self.options
        wrong = []
        states = self.states()
        if states != {"done": options.pages, "failed": options.crash + options.hang}:
            wrong.append(f"the pages are {states}")
        failed = self.query(
            "SELECT p.path, l.reason FROM ledger l JOIN pages g ON g.id = l.page_id"
            " JOIN paths p ON p.document_id = g.document_id WHERE l.state = 'failed'"
        )
        for path, reason in sorted(failed):
            self.say(f"  set aside: {Path(path).name}: {reason}")
        innocent = [path for path, _ in failed if not Path(path).name.startswith(("crash", "hang"))]
        if innocent:
            wrong.append(f"innocent, but set aside: {innocent}")
        again = self.query("SELECT ledger_id FROM record GROUP BY ledger_id HAVING count(*) > 1")
        if again:
            wrong.append(f"{len(again)} pages ended more than once")
        crops = [*(self.folder / "files" / "crops").glob("*")]
        self.say(f"{len(crops)} stray blobs of crops are left for the sweep")
        quiet = self.quiet(scans)
        for table in ROWS:
            one, other = self.rows(table, self.postgres.url), quiet[table]
            self.say(f"{table}: {len(one)} rows, {len(other)} of the quiet run")
            if one != other:
                wrong.append(f"{table}: {len(one ^ other)} rows differ")
        for words in wrong:
            self.say(f"WRONG: {words}")
        self.say("as it must be" if not wrong else f"{len(wrong)} things are wrong")
        return 1 if wrong else 0

    def quiet(self, scans: Path) -> dict[str, set[tuple[Any, ...]]]:
        """Return the rows of a quiet run: the good pages read by one command, in a database of its own."""
        kept = self.options.quiet
        if kept is not None and kept.exists():
            self.say(f"rows of the quiet run are those in {kept.name}")
            rows: dict[str, set[tuple[Any, ...]]] = pickle.loads(kept.read_bytes())
            return rows
        for harm in [*scans.glob("crash*"), *scans.glob("hang*")]:
            harm.unlink()
        self.query_alone("CREATE DATABASE quiet")
        url = self.postgres.url.replace("/archive", "/quiet")
        files = str(self.folder / "quiet-files")
        self.archive(
            "ingest", scans, ARCHIVE_DATABASE_URL=url, ARCHIVE_BROKER_URL="", ARCHIVE_FILES_URL=files
        )
        rows = {table: self.rows(table, url) for table in ROWS}
        if kept is not None:
            kept.write_bytes(pickle.dumps(rows))
        return rows

    def query_alone(self, statement: str) -> None:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(statement)

    def rows(self, table: str, url: str) -> set[tuple[Any, ...]]:
        return set(
            self.query(
                f"SELECT d.sha256, g.page_index, t.position, {ROWS[table]} FROM {table} t"
                " JOIN ledger l ON l.id = t.ledger_id JOIN pages g ON g.id = l.page_id"
                " JOIN documents d ON d.id = g.document_id WHERE l.state = 'done'",
                url,
            )
        )


if __name__ == "__main__":
    sys.exit(main())
