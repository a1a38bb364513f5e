"""The broker: where ids of pages wait for a worker.

What it loses or repeats changes nothing in the ledger.
"""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from celery import Celery  # type: ignore[import-untyped]
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from kombu.utils.url import maybe_sanitize_url

from pipeline import ledger
from pipeline.errors import BrokerError
from pipeline.ledger import Due
from workers.app import CLASSIFY, DETECT, QUEUES, SORT

TASKS = {ledger.UNSORTED: SORT, ledger.WAITING: DETECT, ledger.DETECTED: CLASSIFY}


class Broker:
    """Sends messages and counts those that wait; safe to use from several threads.

    Raises BrokerError where the broker can't be reached.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._connection: Connection | None = None  # for counting; a dead one is made anew

    def publish(self, due: Due) -> None:
        """Send the message that this page's stage can start."""
        with self._trouble():
            self._app.send_task(TASKS[due.state], (due.ledger_id,), {"alone": due.alone})

    def n_waiting(self, queues: Collection[str] = QUEUES) -> int:
        """Return how many messages wait in queues, for no worker has asked for them yet."""
        with self._lock:
            try:
                with self._trouble():
                    if self._connection is None:
                        self._connection = self._app.connection_for_read()
                    return sum(_length(self._connection, name) for name in queues)
            except BrokerError:
                self._forget()
                raise

    def close(self) -> None:
        """Let go of every connection, those for sending too."""
        with self._lock:
            self._forget()
        self._app.pool.force_close_all()

    def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect()  # type: ignore[no-untyped-call]

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, OSError) as error:
            raise BrokerError(f"broker {name_of(self._app)}: can't be reached ({_words(error)})") from error
        except Exception as error:
            if isinstance(error, self._app.connection_for_read().recoverable_connection_errors):
                raise BrokerError(f"broker {name_of(self._app)}: gave up ({_words(error)})") from error
            raise


def name_of(app: Celery) -> str:
    """Return the broker's URL without its password."""
    return str(maybe_sanitize_url(app.conf.broker_url))


def _length(connection: Connection, queue: str) -> int:
    """Return how many messages wait in a queue; 0 where there is none yet."""
    with connection.channel() as channel:  # type: ignore[no-untyped-call]
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
