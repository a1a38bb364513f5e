"""What queue and ledger cost a page: everything of a worker but its networks, its scans and its blobs.

    python benchmarks/queue_cost.py [--broker redis|rabbitmq] [--pages 3000] [--threads 4] [--apart]

A real broker, a real PostgreSQL, the feeder and a Celery consumer in one process, which holds as many pages
as a worker does: each is queued, claimed, and finished, in both stages; with `--apart` it is queued and
claimed for each of them.  Once with pages that have no digits: queue and ledger alone.  Once with 150 digits
and 38 numbers a page: what is written of them included.  The time of everything, servers included, by the
pages.  Prints machine and commit.
"""

import argparse
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from machine import describe_machine
from servers import Postgres, RabbitMQ, Redis, Server, end_in_order
from sqlalchemy import Engine, text

from pipeline import catalogue, ledger
from pipeline.bulk import add_documents
from pipeline.database import open_database, reading, writing
from pipeline.ledger import Claim
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.settings import Settings
from pipeline.sources import Document, PageRef
from pipeline.storage import Files
from workers import stages, tasks
from workers.app import QUEUES, consumer, create_app
from workers.broker import Broker
from workers.feeding import queue_feeder
from workers.in_hand import InHand
from workers.networks import Networks
from workers.stages import Bench
from workers.trouble import Trouble

BROKERS: dict[str, type[Server]] = {"redis": Redis, "rabbitmq": RabbitMQ}
LEASE_S = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--broker", choices=sorted(BROKERS), default="redis")
    parser.add_argument("--pages", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--apart", action="store_true", help="each stage a message: as workers of one")
    options = parser.parse_args()
    print(describe_machine())
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="archive-queue-") as place, ExitStack() as stack:
        folder = Path(place)
        folder.chmod(0o755)  # PostgreSQL runs as another user
        for name in ("postgres", "broker"):
            (folder / name).mkdir()
        postgres, broker = Postgres(folder / "postgres"), BROKERS[options.broker](folder / "broker")
        for server in (postgres, broker):
            stack.callback(server.stop)
            server.start()
        settings = Settings(database_url=postgres.url, broker_url=broker.url, files_url=str(folder / "files"))
        chain = Chain(settings, options.threads, apart=options.apart)
        for n_digits in (0, 150):
            ms = chain.cost_ms(options.pages, n_digits)
            print(f"{options.broker}, {options.pages:,} pages of {n_digits} digits: {ms:.2f} ms a page")


class Chain:
    """The feeder, the broker and a consumer, with stages that only end."""

    def __init__(self, settings: Settings, n_threads: int, *, apart: bool) -> None:
        self.db = open_database(settings.database_url)
        app = create_app(settings.broker_url)
        broker, trouble, in_hand = Broker(app), Trouble(10.0), InHand(settings.page_deadline_s)
        files, networks = Files(settings.files), Networks(settings)
        both = () if apart else QUEUES
        bench = Bench(self.db, files, networks, settings, in_hand, LEASE_S, LEASE_S, both)
        self.what = made_up(0)
        stages.detect, stages.classify, stages.detect_and_classify = self.detect, self.classify, self.both
        tasks.add_tasks(app, bench, trouble, broker)
        feeder = queue_feeder(settings, self.db, broker)
        worker = consumer(app, QUEUES, n_threads, "bench")
        threading.Thread(target=worker.start, daemon=True).start()
        threading.Thread(target=feeder.run, args=(threading.Event(), in_hand, trouble), daemon=True).start()

    def detect(self, bench: Bench, claim: Claim) -> str | None:
        found, _, _ = self.what
        size = {"width": 2000, "height": 3000}
        ours = ledger.finish_detect(
            self.db, claim, found, **size, blob="crops/made-up", now=time.time(), lease_s=LEASE_S
        )
        return ledger.DETECTED if ours else None

    def both(self, bench: Bench, claim: Claim) -> str | None:
        found, _, _ = self.what
        size = {"width": 2000, "height": 3000}
        kept = ledger.keep_detected(self.db, claim, found, **size, now=time.time(), lease_s=LEASE_S)
        return None if kept is None else self.classify(bench, kept)

    def classify(self, bench: Bench, claim: Claim) -> str | None:
        _, read, numbers = self.what
        return ledger.DONE if ledger.finish_classify(self.db, claim, read, numbers, now=time.time()) else None

    def cost_ms(self, n_pages: int, n_digits: int) -> float:
        """Return the milliseconds that a page takes from its row to its end."""
        self.what = made_up(n_digits)
        before = self.n_done()
        register(self.db, n_pages, f"{n_digits} digits")
        self.wait_for(before + n_pages // 10)  # until all is warm
        began, first = time.perf_counter(), self.n_done()
        self.wait_for(before + n_pages)
        return 1000 * (time.perf_counter() - began) / (before + n_pages - first)

    def wait_for(self, n: int) -> None:
        while self.n_done() < n:
            time.sleep(0.05)

    def n_done(self) -> int:
        with reading(self.db) as conn:
            return int(conn.scalar(text("SELECT count(*) FROM ledger WHERE state = 'done'")) or 0)


def register(db: Engine, n_pages: int, name: str) -> None:
    """Make rows of pages that are nowhere."""
    with writing(db) as conn:
        run_id = catalogue.current_run(conn, "d" * 64, "c" * 64, "{}", new=False, now=time.time())
        scans = [
            Document(
                Path(f"/{name}/{k}.tif"),
                f"{name} {k:050d}".ljust(64, "0"),
                "tiff",
                1,
                1.0,
                (PageRef(0, None, 0),),
            )
            for k in range(n_pages)
        ]
        add_documents(conn, scans, run_id, again=False, now=time.time())


def made_up(n_digits: int) -> tuple[PageDetections, list[Reading], list[Number]]:
    """Return what is found and read on every page: numbers of up to four digits."""
    boxes = [Box(20.0 * k, 10.0, 20.0 * k + 15.0, 30.0) for k in range(n_digits)]
    read = [Reading(k % 10, 0.97, ((k % 10, 0.01), (None, 0.01))) for k in range(n_digits)]
    numbers = []
    for start in range(0, n_digits, 4):
        members = tuple(range(start, min(start + 4, n_digits)))
        words = "".join(str(read[k].digit) for k in members)
        numbers.append(Number(words, 0.95, boxes[start], start, members))
    return PageDetections(tuple(Detection(box, 0.9) for box in boxes), 1.0), read, numbers


if __name__ == "__main__":
    main()
