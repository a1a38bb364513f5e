"""Leadership: of many workers on a PostgreSQL database one feeds the queues."""

import contextlib

from sqlalchemy import Connection, text

from pipeline.engines import make_engine, parse_url, storage_trouble
from pipeline.errors import StorageError

FEEDER_KEY = int.from_bytes(b"feeder", "big")  # advisory locks are per database


class Leadership:
    """An advisory lock on a connection of its own: the server takes it back when the connection ends.

    For one thread.
    """

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self._engine = make_engine(self._url).execution_options(isolation_level="AUTOCOMMIT")
        self._connection: Connection | None = None
        self._leads = False

    @property
    def held(self) -> bool:
        """Whether it led when it was last asked."""
        return self._leads

    def leads(self) -> bool:
        """Tell whether this process leads now, trying to where nobody does; raises StorageError."""
        try:
            with storage_trouble(self._url):
                if self._connection is None:
                    self._connection = self._engine.connect()
                if self._leads:
                    self._connection.execute(text("SELECT 1"))  # the lock lasts as long as the connection
                else:
                    tried = text("SELECT pg_try_advisory_lock(:key)")
                    self._leads = bool(self._connection.scalar(tried, {"key": FEEDER_KEY}))
                return self._leads
        except StorageError:
            self.resign()
            raise

    def resign(self) -> None:
        """Let another one lead."""
        self._leads = False
        if self._connection is not None:
            with contextlib.suppress(Exception):  # it may be gone already
                self._connection.invalidate()  # closed, and not kept for later: the lock would be kept too
                self._connection.close()
            self._connection = None
