"""Pages through the real feeder and a real broker, while threads do what workers do but read nothing."""

import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import redis
from celery import Celery  # type: ignore[import-untyped]
from servers import Redis
from sqlalchemy import Engine, text

from pipeline import ledger
from pipeline.database import writing
from pipeline.ledger import Due
from pipeline.page import Box, Detection, Number, PageDetections, Reading
from pipeline.settings import Settings
from workers.app import CLASSIFY, DETECT, QUEUES, create_app
from workers.broker import Broker
from workers.feeder import Feeder

N_WORKERS = 4
LEASE_S = 600.0
LOOK_EVERY_S = 0.05
# what is found on every page: six numbers, 20 digits
NUMBERS = tuple(
    Number(text, 0.9876543210123456, Box(0.5, 0.5, 9.5, 9.5), line, members)
    for line, (text, members) in enumerate(
        (
            ("123456", (0, 1, 2, 3, 4, 5)),
            ("1890", (6, 7, 8, 9)),
            ("12", (10, 11)),
            ("250", (12, 13, 14)),
            ("07", (15, 16)),
            ("980", (17, 18, 19)),
        )
    )
)
DETECTIONS = tuple(Detection(Box(k + 0.5, 0.25, k + 9.5, 20.75), 0.87654321) for k in range(20))
READINGS = tuple(
    Reading(int(figure), 0.9876543210123456, ((7, 0.0087654321012345), (None, 0.0023456789012345)))
    for number in NUMBERS
    for figure in number.text
)


def feed(db: Engine, n_pages: int) -> None:
    """Let the feeder publish while threads take messages, claim their pages and finish them."""
    limit = Settings().max_in_flight
    with tempfile.TemporaryDirectory(prefix="archive-redis-") as folder:
        server = Redis(Path(folder))
        server.start()
        try:
            app = create_app(server.url)
            broker = Broker(app)
            feeder = Feeder(
                db,
                broker.publish,
                limit=limit,
                queue_lease_s=LEASE_S,
                max_deaths=3,
                n_waiting=broker.n_waiting,
                n_hands=lambda: N_WORKERS,
            )
            seen: list[tuple[int, int]] = []
            done: list[int] = []
            stop = threading.Event()
            jobs: list[Callable[[], None]] = [
                lambda: sample(server.url, seen, stop),
                lambda: keep_feeding(feeder, stop),
            ]
            jobs += [lambda: work(db, app, broker, done, stop)] * N_WORKERS
            threads = [threading.Thread(target=job) for job in jobs]
            started = time.perf_counter()
            for thread in threads:
                thread.start()
            while len(done) < n_pages:
                time.sleep(0.05)
            took_s = time.perf_counter() - started
            stop.set()
            for thread in threads:
                thread.join()
            broker.close()
            most, most_in_all = (max(counts) for counts in zip(*seen, strict=True))
            print(
                f"  broker: {len(done):,} pages through both queues in {took_s:.1f} s; at most {most:,}"
                f" messages waited in it, {most_in_all:,} with those in hand (max_in_flight {limit:,};"
                f" looked {len(seen):,} times)",
                flush=True,
            )
        finally:
            server.kill()


def forget(db: Engine) -> None:
    """Take back what was published, and the results."""
    ledger.void_leases(db, now=time.time(), max_deaths=3)
    with writing(db) as conn:
        conn.execute(text("TRUNCATE detections, readings, numbers"))


def sample(url: str, seen: list[tuple[int, int]], stop: threading.Event) -> None:
    """Count again and again what waits in the queues, and this with what was delivered and not acknowledged.

    A page whose next message is sent before its last one is acknowledged counts twice in the second.
    """
    with closing(redis.Redis.from_url(url)) as client:
        while not stop.is_set():
            with client.pipeline(transaction=True) as look:  # one moment
                for queue in QUEUES:
                    look.llen(queue)
                look.hlen("unacked")
                *waiting, unacknowledged = look.execute()
            seen.append((sum(waiting), sum(waiting) + unacknowledged))
            time.sleep(0.002)


def keep_feeding(feeder: Feeder, stop: threading.Event) -> None:
    while not stop.is_set():
        feeder.step()
        stop.wait(LOOK_EVERY_S)


def work(db: Engine, app: Celery, broker: Broker, done: list[int], stop: threading.Event) -> None:
    """Do with messages what a worker does, but for reading the page."""
    with app.connection_for_read() as connection:
        queues = {name: connection.SimpleQueue(name) for name in (CLASSIFY, DETECT)}
        while not stop.is_set():
            for name, queue in queues.items():
                with suppress(queue.Empty):
                    message = queue.get(timeout=0.01)
                    [ledger_id], _, _ = message.payload
                    finish(db, broker, ledger_id, name, done)
                    message.ack()
        for queue in queues.values():
            queue.close()


def finish(db: Engine, broker: Broker, ledger_id: int, stage: str, done: list[int]) -> None:
    now = time.time()
    state = ledger.WAITING if stage == DETECT else ledger.DETECTED
    claim = ledger.claim(db, ledger_id, state=state, now=now, lease_s=LEASE_S)
    if claim is None:
        return
    if stage == DETECT:
        found = PageDetections(DETECTIONS, 1.0)
        size: dict[str, Any] = {"width": 2000, "height": 3000, "blob": None}
        if ledger.finish_detect(db, claim, found, **size, now=now, lease_s=LEASE_S):
            broker.publish(Due(ledger_id, ledger.DETECTED))
    elif ledger.finish_classify(db, claim, READINGS, NUMBERS, now=now):
        done.append(ledger_id)
