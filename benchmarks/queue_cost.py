"""What queue and ledger cost a page: everything of a worker but its networks, its scans and its blobs.

    python benchmarks/queue_cost.py [--broker redis|rabbitmq] [--pages 3000]

A real broker, a real PostgreSQL, the feeder and a Celery consumer in one process, which holds as many pages
as a worker does: each is queued, claimed, and finished, in both stages.  Once with pages that have no digits:
queue and ledger alone.  Once with 150 digits and 38 numbers a page: what is written of them included.  The
time of everything, servers included, by the pages.  Prints machine and commit.
"""

import argparse
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from machine import describe_machine
from servers import Postgres, RabbitMQ, Redis, Server
from sqlalchemy import Engine, text

from pipeline import catalogue, ledger
from pipeline.bulk import add_documents
from pipeline.database import open_database, reading, writing
from pipeline.ledger import Claim, Due
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.settings import Settings
from pipeline.sources import Document, PageRef
from pipeline.storage import Files
from workers import tasks
from workers.app import CLASSIFY, DETECT, QUEUES, consumer, create_app
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
    options = parser.parse_args()
    print(describe_machine())
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
        db = open_database(settings.database_url)
        for n_digits in (0, 150):
            ms = cost_ms(settings, db, options.pages, n_digits, options.threads)
            print(f"{options.broker}, {options.pages:,} pages of {n_digits} digits: {ms:.2f} ms a page")


def cost_ms(settings: Settings, db: Engine, n_pages: int, n_digits: int, n_threads: int) -> float:
    """Return the milliseconds that a page takes from its row to its end."""
    register(db, n_pages, f"{n_digits} digits")
    found, read, numbers = made_up(n_digits)

    def detect(bench: Bench, claim: Claim) -> bool:
        return ledger.finish_detect(
            db, claim, found, width=2000, height=3000, blob="crops/made-up", now=time.time(), lease_s=LEASE_S
        )

    def classify(bench: Bench, claim: Claim) -> bool:
        return ledger.finish_classify(db, claim, read, numbers, now=time.time())

    app = create_app(settings.broker_url)
    broker, trouble = Broker(app), Trouble(10.0)
    bench = Bench(
        db=db,
        files=Files(settings.files),
        networks=Networks(settings),
        settings=settings,
        in_hand=InHand(settings.page_deadline_s),
        lease_s=LEASE_S,
    )

    def on_detect(ledger_id: int, alone: bool = False) -> None:
        if tasks.work_on(bench, trouble, Due(ledger_id, ledger.WAITING, alone), detect):
            broker.publish(Due(ledger_id, ledger.DETECTED))

    def on_classify(ledger_id: int, alone: bool = False) -> None:
        tasks.work_on(bench, trouble, Due(ledger_id, ledger.DETECTED, alone), classify)

    app.task(name=DETECT, shared=False)(on_detect)
    app.task(name=CLASSIFY, shared=False)(on_classify)
    stop = threading.Event()
    feeder = queue_feeder(settings, db, broker)
    worker = consumer(app, QUEUES, n_threads, "bench")
    threads = [
        threading.Thread(target=worker.start, daemon=True),
        threading.Thread(target=feeder.run, args=(stop, bench.in_hand, trouble), daemon=True),
    ]
    before = n_done(db)
    for thread in threads:
        thread.start()
    while n_done(db) < before + n_pages // 10:  # until all is warm
        time.sleep(0.02)
    began, first = time.perf_counter(), n_done(db)
    while n_done(db) < before + n_pages:
        time.sleep(0.1)
    took_s = time.perf_counter() - began
    stop.set()
    worker.stop()
    threads[1].join()
    return 1000 * took_s / (before + n_pages - first)


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
        numbers.append(Number(words, 0.95, members, boxes[start], start))
    return PageDetections(tuple(Detection(box, 0.9) for box in boxes), 1.0), read, numbers


def n_done(db: Engine) -> int:
    """Return how many pages are done."""
    with reading(db) as conn:
        return int(conn.scalar(text("SELECT count(*) FROM ledger WHERE state = 'done'")) or 0)


if __name__ == "__main__":
    main()
