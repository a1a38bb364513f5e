import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from pipeline.database import OwnerLock, open_database, reading, writing
from pipeline.errors import BusyError, MissingError, SettingsError, StorageError
from pipeline.tables import runs

RUN = {"started_at": 1.0, "detector_sha256": "d" * 64, "classifier_sha256": "c" * 64, "settings": "{}"}


@pytest.fixture
def db(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def n_runs(db: Engine) -> int:
    with reading(db) as conn:
        return int(conn.scalar(text("SELECT count(*) FROM runs")) or 0)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def python(code: str, *args: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def test_sqlite_is_set_up_as_the_ledger_needs_it(tmp_path: Path) -> None:
    db = open_database(f"sqlite:///{tmp_path}/archive.db")
    with reading(db) as conn:
        values = {
            name: conn.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    db.dispose()
    assert values == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 30000}


def test_what_was_written_stays_and_what_failed_halfway_does_not(db: Engine) -> None:
    with writing(db) as conn:
        conn.execute(runs.insert(), RUN)
    with pytest.raises(KeyboardInterrupt), writing(db) as conn:
        conn.execute(runs.insert(), RUN)
        raise KeyboardInterrupt
    assert n_runs(db) == 1


def test_a_reader_sees_one_state_while_others_write(db: Engine) -> None:
    with reading(db) as conn:
        assert conn.scalar(text("SELECT count(*) FROM runs")) == 0
        with writing(db) as other:
            other.execute(runs.insert(), RUN)
        assert conn.scalar(text("SELECT count(*) FROM runs")) == 0
    assert n_runs(db) == 1


def test_threads_and_processes_that_write_at_once_lose_nothing(database_url: str) -> None:
    db = open_database(database_url)
    with writing(db) as conn:
        conn.execute(runs.insert(), RUN)
    code = (
        "import sys, threading; from pipeline.database import open_database, writing\n"
        "from sqlalchemy import select, text; from pipeline.tables import runs\n"
        "db = open_database(sys.argv[1])\n"
        "def work():\n"
        "    for _ in range(20):\n"
        "        with writing(db) as conn:\n"
        "            seen = conn.scalar(select(runs.c.started_at).with_for_update())\n"
        "            conn.execute(text('UPDATE runs SET started_at = :n'), {'n': seen + 1})\n"
        "threads = [threading.Thread(target=work) for _ in range(3)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
    )
    children = [python(code, database_url) for _ in range(2)]
    assert [child.communicate() for child in children] == [("", "")] * 2
    with reading(db) as conn:
        assert conn.scalar(text("SELECT started_at FROM runs")) == 1 + 2 * 3 * 20
    db.dispose()


def test_a_database_that_is_not_there_is_only_made_when_asked(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="archive ingest"):
        open_database(f"sqlite:///{tmp_path}/archive.db", create=False)
    (tmp_path / "empty.db").touch()
    with pytest.raises(MissingError, match="is empty"):
        open_database(f"sqlite:///{tmp_path}/empty.db", create=False)
    with pytest.raises(StorageError, match=r"no folder .*/nowhere"):
        open_database(f"sqlite:///{tmp_path}/nowhere/archive.db")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]


@pytest.mark.postgres
def test_an_empty_postgres_database_is_only_filled_when_asked(postgres_url: str) -> None:
    with pytest.raises(MissingError, match="is empty"):
        open_database(postgres_url, create=False)


@pytest.mark.parametrize(
    "url", ["archive.db", "sqlite://", "sqlite:///:memory:", "mysql://host/archive", "", "sqlite://host/a.db"]
)
def test_a_url_that_names_no_database_of_ours_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="database"):
        open_database(url)


@pytest.mark.parametrize("url", ["postgresql://archive:s3cret@db:54x2/a", "mysql://archive:s3cret@db/a"])
def test_a_password_never_stands_in_an_error(url: str) -> None:
    with pytest.raises(SettingsError) as error:
        open_database(url)
    assert "s3cret" not in one_line(error) and "archive:***@db" in one_line(error)


def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "places.db"
    with sqlite3.connect(file) as theirs:
        theirs.execute("CREATE TABLE bookmarks (id INTEGER)")
    theirs.close()
    before = file.read_bytes()
    with pytest.raises(SettingsError, match=r"another program.*bookmarks"):
        open_database(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "letter.db"
    file.write_text("Dear Sir, " * 1000)
    with pytest.raises(StorageError) as error:
        open_database(f"sqlite:///{file}")
    assert "is no database" in one_line(error)
    assert file.read_text() == "Dear Sir, " * 1000


def test_a_damaged_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    file = tmp_path / "archive.db"
    db = open_database(f"sqlite:///{file}")
    with writing(db) as conn:
        conn.execute(runs.insert(), [RUN] * 500)
    db.dispose()
    raw = bytearray(file.read_bytes())
    raw[4096 * 2 :] = os.urandom(len(raw) - 4096 * 2)
    file.write_bytes(raw)
    with pytest.raises(StorageError) as error:
        n_runs(open_database(f"sqlite:///{file}"))
    assert "damaged" in one_line(error)


def test_a_database_that_another_program_keeps_locked_is_said_to_be(tmp_path: Path) -> None:
    db = open_database(f"sqlite:///{tmp_path}/archive.db")
    with reading(db) as conn:
        conn.exec_driver_sql("PRAGMA busy_timeout=20")  # the pool gives this connection out again
    other = sqlite3.connect(tmp_path / "archive.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError) as error, writing(db) as conn:
        conn.execute(runs.insert(), RUN)
    assert "locked" in one_line(error)
    other.close()
    with writing(db) as conn:
        conn.execute(runs.insert(), RUN)
    assert n_runs(db) == 1
    db.dispose()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own; where we may not mount one, the test is left to the next one."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no rights to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_said_to_be_full_and_loses_nothing(small_disk: Path) -> None:
    filler = small_disk / "filler"
    db = open_database(f"sqlite:///{small_disk}/archive.db")
    with writing(db) as conn:
        conn.execute(runs.insert(), RUN)
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    with pytest.raises(StorageError) as error, writing(db) as conn:
        conn.execute(runs.insert(), [RUN | {"settings": "x" * 2000}] * 500)
    assert "disk is full" in one_line(error)
    assert n_runs(db) == 1
    filler.unlink()
    with writing(db) as conn:
        conn.execute(runs.insert(), RUN)
    assert n_runs(db) == 2
    db.dispose()


def test_a_file_that_may_not_grow_is_storage_trouble(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.database import open_database, writing; from pipeline.tables import runs\n"
        "from pipeline.errors import StorageError\n"
        "db = open_database(sys.argv[1])\n"
        "row = dict(started_at=1.0, detector_sha256='d', classifier_sha256='c', settings='x' * 100_000)\n"
        "try:\n"
        "    with writing(db) as conn: conn.execute(runs.insert(), [row] * 100)\n"
        "except StorageError as error: print(error)\n"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    child = python(code, f"sqlite:///{tmp_path}/archive.db", preexec_fn=limit)
    out, err = child.communicate()
    assert err == ""
    assert "disk" in out
    assert out.count("\n") == 1


def mounts(tmp_path: Path, *lines: str) -> Path:
    table = tmp_path / "mounts"
    table.write_text("\n".join(("/dev/sda1 / ext4 rw 0 0", *lines)) + "\n")
    return table


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_database_on_a_network_share_is_refused(tmp_path: Path, kind: str) -> None:
    share = tmp_path / "the share"
    share.mkdir()
    place = str(share).replace(" ", r"\040")
    table = mounts(tmp_path, f"server:/scans {place} {kind} rw 0 0")
    with pytest.raises(SettingsError) as error:
        open_database(f"sqlite:///{share}/archive.db", mounts=table)
    assert f"network share ({kind})" in one_line(error)
    assert list(share.iterdir()) == []


def test_only_the_mount_that_holds_the_file_counts(tmp_path: Path) -> None:
    for name in ("share", "share/local", "share2"):
        (tmp_path / name).mkdir()
    table = mounts(
        tmp_path,
        f"server:/scans {tmp_path}/share nfs4 rw 0 0",
        f"/dev/sdb1 {tmp_path}/share/local ext4 rw 0 0",
    )
    for name in ("share2", "share/local"):
        open_database(f"sqlite:///{tmp_path}/{name}/archive.db", mounts=table).dispose()
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "share" / "archive.db")
    with pytest.raises(SettingsError, match="network share"):
        open_database(f"sqlite:///{link}", mounts=table)


def test_a_server_that_is_away_is_storage_trouble() -> None:
    with pytest.raises(StorageError) as error:
        open_database("postgresql://archive:secret@127.0.0.1:9/archive")
    assert "can't be reached" in one_line(error)
    assert "secret" not in one_line(error)


@pytest.mark.postgres
def test_a_connection_that_is_cut_is_storage_trouble_and_the_next_one_works(postgres_url: str) -> None:
    db = open_database(postgres_url)
    with pytest.raises(StorageError) as error, writing(db) as conn:
        pid = conn.scalar(text("SELECT pg_backend_pid()"))
        with writing(db) as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        conn.execute(runs.insert(), RUN)
    assert "gave up" in one_line(error)
    assert n_runs(db) == 0
    db.dispose()


@pytest.mark.postgres
def test_a_server_looks_for_us_soon_after_we_vanish_and_a_url_may_say_otherwise(postgres_url: str) -> None:
    for url, seconds in (
        (postgres_url, "30"),
        (f"{postgres_url}?options=-c%20tcp_keepalives_idle%3D77", "77"),
    ):
        db = open_database(url)
        with reading(db) as conn:
            assert conn.scalar(text("SHOW tcp_keepalives_idle")) == seconds
        db.dispose()


@pytest.mark.postgres
def test_a_connection_that_the_server_closed_is_not_used_again(postgres_url: str) -> None:
    db = open_database(postgres_url)
    with reading(db) as conn:
        pid = conn.scalar(text("SELECT pg_backend_pid()"))
    other = open_database(postgres_url)
    with writing(other) as conn:
        conn.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    other.dispose()
    end = time.monotonic() + 10
    while not _is_gone(postgres_url, pid):
        assert time.monotonic() < end
    assert n_runs(db) == 0
    db.dispose()


def _is_gone(url: str, pid: int) -> bool:
    db = open_database(url)
    with reading(db) as conn:
        found = conn.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"), {"pid": pid})
    db.dispose()
    return not found


def test_sql_that_is_wrong_is_a_bug_and_no_trouble_of_storage(db: Engine) -> None:
    with pytest.raises(Exception, match="nonsense") as error, reading(db) as conn:
        conn.execute(text("SELECT nonsense FROM runs"))
    assert not isinstance(error.value, StorageError)


HOLD = (
    "import sys, time; from pipeline.database import OwnerLock\n"
    "with OwnerLock(sys.argv[1]): print('mine', flush=True); sys.stdin.readline()\n"
)


def start_owner(url: str) -> subprocess.Popen[str]:
    owner = python(HOLD, url)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "mine\n"
    return owner


def finish(owner: subprocess.Popen[str], how: Callable[[], object]) -> None:
    how()
    owner.communicate()


def test_a_second_owner_is_kept_out_and_told_why(database_url: str) -> None:
    owner = start_owner(database_url)
    with pytest.raises(BusyError) as error:
        OwnerLock(database_url).acquire()
    if database_url.startswith("sqlite"):
        assert f"process {owner.pid} is at work" in one_line(error)
    else:
        assert "connection" in one_line(error)
    finish(owner, lambda: owner.communicate("go\n"))
    with OwnerLock(database_url):
        pass


def test_the_lock_of_a_killed_owner_is_free(database_url: str) -> None:
    owner = start_owner(database_url)
    finish(owner, owner.kill)
    with OwnerLock(database_url):
        pass


def test_two_names_of_a_database_mean_one_lock(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "archive.db")
    with (
        OwnerLock(f"sqlite:///{tmp_path}/archive.db"),
        pytest.raises(BusyError, match=f"process {os.getpid()} "),
    ):
        OwnerLock(f"sqlite:///{tmp_path}/link.db").acquire()


def test_an_engine_without_its_command_keeps_the_lock_until_it_leaves(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/archive.db"
    command = (
        "import subprocess, sys; from pipeline.database import OwnerLock\n"
        "lock = OwnerLock(sys.argv[1]); lock.acquire()\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'],\n"
        "                         pass_fds=[lock.fd])\n"
        "print(child.pid, flush=True); child.wait()\n"
    )
    ours, engines = os.pipe()  # the engine leaves when we close our end
    parent = subprocess.Popen(
        [sys.executable, "-c", command, url], stdin=ours, stdout=subprocess.PIPE, text=True
    )
    os.close(ours)
    assert parent.stdout is not None
    assert parent.stdout.readline().strip().isdigit()
    parent.kill()
    parent.wait()  # not communicate(): the engine holds the pipe too
    parent.stdout.close()
    with pytest.raises(BusyError, match="an engine without its command"):
        OwnerLock(url, patience_s=0.3).acquire()
    leaving = threading.Timer(0.5, os.close, (engines,))
    leaving.start()
    with OwnerLock(url) as lock:  # waits for it
        assert lock.fd is not None
        assert not leaving.is_alive()
        leaving.join()


def test_a_child_keeps_the_lock_after_its_parent_lets_go(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/archive.db"
    lock = OwnerLock(url)
    lock.acquire()
    assert lock.fd is not None
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[lock.fd]
    )
    lock.release()
    with pytest.raises(BusyError):
        OwnerLock(url, patience_s=0.2).acquire()
    child.communicate()
    with OwnerLock(url) as again:
        assert again.fd is not None
