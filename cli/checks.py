"""The checks of `archive doctor`: each looks at one thing and says how to mend it."""

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

from cli.sorting import find_sorting
from cli.terminal import SCHEMA_VERSION, counted, print_json, print_wrapped, say, size
from pipeline.database import HEAD, OwnerLock, open_database, reading
from pipeline.engines import name_of, parse_url, sqlite_file
from pipeline.errors import ArchiveError, BusyError
from pipeline.roster import living
from pipeline.settings import NETWORKS, Settings
from pipeline.sharing import require_shared
from pipeline.storage import Files
from workers.agreed import n_cores
from workers.app import create_app
from workers.broker import Broker
from workers.broker import name_of as broker_name

LIBRARIES = ("celery", "torch", "sqlalchemy", "pillow", "pypdfium2", "numpy")
LEAST_MEMORY_BYTES = 2_000_000_000  # what an A3 page at 600 dpi needs
LEAST_DISK_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: how it is, and how to mend it where it isn't ok."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""


def print_checks(checks: Iterable[Check], *, as_json: bool) -> int:
    """Print checks as they come; return how many failed."""
    done = []
    for check in checks:
        done.append(check)
        if not as_json:  # one by one: loading the weights takes a while
            print_wrapped(f"{check.state:<5} {check.name:<11} ", check.found)
            if check.mend:
                print_wrapped(f"      {'':<11} → ", check.mend)
            sys.stdout.flush()
    n_wrong = sum(check.state == "fail" for check in done)
    if as_json:
        values = [asdict(check) for check in done]
        print_json({"schema_version": SCHEMA_VERSION, "ok": not n_wrong, "checks": values})
    if n_wrong:
        say(f"{counted(n_wrong, 'thing')} to mend")
    return n_wrong


def every_check(settings: Settings, trouble: str = "") -> Iterator[Check]:
    """Look at one thing after the other; whatever goes wrong is a check that failed.

    `trouble` is what is the matter with the promoted networks, which `settings` then leave out.
    """
    yield Check("archive", "ok", f"{metadata.version('archive')}, Python {platform.python_version()}")
    yield _libraries()
    yield _machine()
    yield _memory()
    yield _tried("device", lambda: _device(settings), "give --device cpu")
    yield _tried("database", lambda: _database(settings), "")
    yield _tried("files", lambda: _files(settings), "make the folder writable, or name another with --files")
    yield _tried("disk", lambda: _disk(settings), "")
    if settings.broker_url:
        yield _tried("queue", lambda: _broker(settings), "start the broker, or name another with --broker")
        yield _tried("workers", lambda: _workers(settings), "")
    else:
        yield _tried("queue", _queue, "install again: pip install --force-reinstall celery kombu")
    if trouble:
        yield Check("promoted", "fail", trouble)
    for kind in NETWORKS:
        yield _tried(kind, partial(_weights, kind, settings), f"install again, or --{kind}")
    if settings.sorter or settings.paths is not None:
        yield _tried("sorter", lambda: _sorter(settings), "")


def _sorter(settings: Settings) -> Check:
    named = find_sorting(settings)
    assert named is not None
    kinds = named.sorting.final_kinds()
    return Check("sorter", "ok", f"{settings.sorter}, {counted(len(kinds), 'kind')}: {', '.join(kinds)}")


def _tried(name: str, check: Callable[[], Check], mend: str) -> Check:
    try:
        return check()
    except ArchiveError as error:
        return Check(name, "fail", str(error), mend)  # our messages say themselves what to do
    except Exception as error:
        return Check(name, "fail", f"{type(error).__name__}: {error}", mend)


def _libraries() -> Check:
    versions, missing = [], []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("libraries", "fail", f"{', '.join(missing)} missing", f"pip install {' '.join(missing)}")
    return Check("libraries", "ok", ", ".join(versions))


def _machine() -> Check:
    return Check("machine", "ok", f"{counted(n_cores(), 'core')}, {platform.platform()}")


def _memory() -> Check:
    available = _available_bytes()
    if available is None:
        return Check("memory", "ok", "unknown on this system")
    found = f"{size(available)} free"
    if available < LEAST_MEMORY_BYTES:
        return Check(
            "memory",
            "warn",
            found,
            f"close other programs: a large page needs {size(LEAST_MEMORY_BYTES)}",
        )
    return Check("memory", "ok", found)


def _available_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    try:  # a container may allow less than the machine has
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except OSError:
        return available
    return available if limit == "max" else min(available, int(limit) - used)


def _device(settings: Settings) -> Check:
    import torch

    from models.device import pick_device

    device = pick_device(settings.device)
    on_gpu = device.type == "cuda"
    detail = torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads"
    return Check("device", "ok", f"{device} ({detail})")


def _database(settings: Settings) -> Check:
    url = parse_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not sqlite_file(url).exists():
        folder = sqlite_file(url).parent
        if not os.access(folder, os.W_OK):
            return Check(
                "database",
                "fail",
                f"nothing can be written in {folder}",
                "name another place with --database",
            )
        return Check("database", "ok", f"{name_of(url)}: not there yet, `archive ingest` makes it")
    open_database(settings.database_url, create=False).dispose()
    found = f"{name_of(url)}: tables {HEAD}, up to date"
    try:
        with OwnerLock(settings.database_url, patience_s=0):
            pass
    except BusyError:
        found += "; a command is reading pages right now"
    return Check("database", "ok", found)


def _files(settings: Settings) -> Check:
    where = settings.files
    if "://" not in where and not Path(where).exists():
        return Check("files", "ok", f"{where}: not there yet, `archive ingest` makes it")
    files = Files(where)
    files.put("doctor", b"?")
    files.delete("doctor")
    return Check("files", "ok", f"{where}: can be written")


def _disk(settings: Settings) -> Check:
    url = parse_url(settings.database_url)
    folder = sqlite_file(url).parent if url.get_backend_name() == "sqlite" else Path.cwd()
    free = shutil.disk_usage(folder).free
    if free < LEAST_DISK_BYTES:
        return Check(
            "disk", "warn", f"{size(free)} free in {folder}", "free some space before the next ingest"
        )
    return Check("disk", "ok", f"{size(free)} free in {folder}")


def _queue() -> Check:
    with create_app().connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
    return Check("queue", "ok", "built in (memory://), nothing to install or start")


def _broker(settings: Settings) -> Check:
    require_shared(settings)
    app = create_app(settings.broker_url)
    with closing(Broker(app)) as broker:
        n = broker.n_waiting()
    return Check("queue", "ok", f"{broker_name(app)}: answers, {counted(n, 'message')} waiting")


def _workers(settings: Settings) -> Check:
    db = open_database(settings.database_url, create=False)
    with reading(db) as conn:
        n = len(living(conn, now=time.time()))
    db.dispose()
    if not n:
        return Check("workers", "warn", "none is alive", "start one: `archive worker`")
    return Check("workers", "ok", f"{n:,} alive")


def _weights(kind: str, settings: Settings) -> Check:
    from models.any_network import load_any

    file: Path = getattr(settings, kind)
    sha256 = load_any(kind, file, settings.device).sha256
    promoted = ", promoted" if file.is_relative_to(settings.networks) else ""
    return Check(
        kind, "ok", f"{file.name}{promoted}, {size(file.stat().st_size)}, sha256 {sha256[:16]}…, loads"
    )
