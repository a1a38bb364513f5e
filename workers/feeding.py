"""The feeder of a queue that many machines work on: inside a worker, or alone (`archive feeder`)."""

import logging
import math
import threading
import time
from collections.abc import Callable

from sqlalchemy import Engine

from pipeline.database import open_database, refuse_other_tables
from pipeline.errors import StorageError
from pipeline.leadership import Leadership
from pipeline.settings import Settings
from pipeline.storage import Files
from workers.app import create_app
from workers.broker import Broker
from workers.deaths import Deaths
from workers.feeder import Feeder
from workers.in_hand import InHand
from workers.stages import sweep
from workers.trouble import LONGEST_PAUSE_S, Trouble

log = logging.getLogger(__name__)

QUEUE_LEASE_S = 600.0  # of a message on a broker of many machines
STEP_S = 0.1
BUSY_S = 0.5  # so many messages last longer than that
SWEEP_EVERY_S = 3600.0
LOOK_EVERY_S = 5.0  # whether the tables are still of this version


def queue_feeder(settings: Settings, db: Engine, broker: Broker) -> Feeder:
    """Return a feeder that keeps no more messages in the broker than the settings allow."""
    deaths = Deaths(db, settings.max_deaths)
    return Feeder(
        db,
        broker.publish,
        limit=settings.max_in_flight,
        queue_lease_s=QUEUE_LEASE_S,
        max_deaths=settings.max_deaths,
        bury=deaths.look,
        n_waiting=broker.n_waiting,
        n_processes=lambda: max(1, deaths.n_alive),
        n_hands=lambda: deaths.n_hands,
        busy_s=BUSY_S,
    )


def feed(settings: Settings, should_stop: Callable[[], bool]) -> None:
    """Feed the queues until `should_stop()`, whenever nobody else does.

    Waits where database or broker can't be reached.  Raises MissingError where the tables are of another
    version, SettingsError.
    """
    db = _opened(settings, should_stop)
    if db is None:
        return
    feeder = queue_feeder(settings, db, Broker(create_app(settings.broker_url)))
    leadership = Leadership(settings.database_url)
    stop = threading.Event()
    in_hand, trouble = InHand(settings.page_deadline_s), Trouble(math.inf)
    thread = threading.Thread(target=feeder.run, args=(stop, in_hand, trouble, leadership.leads), daemon=True)
    sweeping = (db, Files(settings.files), leadership, stop)
    sweeper = threading.Thread(target=sweep_now_and_then, args=sweeping, daemon=True)
    for one in (thread, sweeper):
        one.start()
    log.info("the feeder is ready")
    look_at = 0.0
    try:
        while thread.is_alive() and not should_stop():
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_EVERY_S
                _refuse_other_tables(db)
            time.sleep(STEP_S)
    finally:
        ended = not thread.is_alive()
        stop.set()
        thread.join(LOOK_EVERY_S)
    assert not ended, "the feeder ended by itself; its traceback is above"


def sweep_now_and_then(db: Engine, files: Files, leadership: Leadership, stop: threading.Event) -> None:
    """Remove stray crops until `stop`, as long as this process leads."""
    while not stop.wait(SWEEP_EVERY_S):
        try:
            if leadership.held:
                log.info("%d stray blobs removed", sweep(db, files, alone=False))
        except StorageError as error:
            log.warning("stray blobs stay: %s", error)


def _opened(settings: Settings, should_stop: Callable[[], bool]) -> Engine | None:
    """Open the database as soon as it can be reached; None where that is to stop before."""
    again_at = 0.0
    while not should_stop():
        if time.monotonic() >= again_at:
            try:
                return open_database(settings.database_url, upgrade=False)
            except StorageError as error:
                log.warning("waiting %g s: %s", LONGEST_PAUSE_S, error)
                again_at = time.monotonic() + LONGEST_PAUSE_S
        time.sleep(STEP_S)
    return None


def _refuse_other_tables(db: Engine) -> None:
    try:
        refuse_other_tables(db)
    except StorageError as error:
        log.warning("the tables were not looked at: %s", error)
