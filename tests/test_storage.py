import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import MissingError, SettingsError, StorageError
from pipeline.storage import Files


@pytest.fixture(params=["folder", "file url", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    if request.param == "memory":
        yield Files("memory://crops of a test")
        fsspec.filesystem("memory").store.clear()
        return
    place = tmp_path / "the files"
    yield Files(str(place) if request.param == "folder" else f"file://{place}")


def test_what_was_put_is_got_again(files: Files) -> None:
    files.put("crops/1-abc.npz", b"one")
    files.put("crops/2-def.npz", b"")
    files.put("crops/1-abc.npz", b"other")
    assert files.get("crops/1-abc.npz") == b"other"
    assert files.get("crops/2-def.npz") == b""
    assert list(files.names()) == ["crops/1-abc.npz", "crops/2-def.npz"]
    assert list(files.names("crops/2")) == ["crops/2-def.npz"]


def test_what_is_gone_is_gone(files: Files) -> None:
    assert list(files.names()) == []
    assert list(files.names("crops/")) == []
    with pytest.raises(FileNotFoundError):
        files.get("crops/1.npz")
    files.delete("crops/1.npz")
    files.put("crops/1.npz", b"one")
    files.delete("crops/1.npz")
    files.delete("crops/1.npz")
    with pytest.raises(FileNotFoundError):
        files.get("crops/1.npz")
    assert list(files.names("crops/")) == []


def test_only_what_is_needed_is_kept(files: Files) -> None:
    for name in ("crops/1.npz", "crops/2.npz", "crops/3.npz.0123.part", "weights/4"):
        files.put(name, b"x")
    assert files.keep_only("crops/", lambda: {"crops/2.npz"}, unfinished=True) == 2
    assert list(files.names()) == ["crops/2.npz", "weights/4"]
    assert files.keep_only("crops/", set, unfinished=True) == 1
    assert files.keep_only("crops/", set, unfinished=True) == 0


def test_what_others_write_meanwhile_is_left_alone(files: Files) -> None:
    files.put("crops/1.npz", b"x")
    files.put("crops/2.npz.0123.part", b"x")

    def wanted() -> set[str]:
        files.put("crops/3.npz", b"x")
        return set()

    assert files.keep_only("crops/", wanted, unfinished=False) == 1
    assert files.keep_only("crops/", lambda: {"crops/3.npz"}, unfinished=True) == 1
    assert list(files.names()) == ["crops/3.npz"]


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "crops/../../out", ""])
def test_a_name_never_leads_out_of_the_place(files: Files, name: str) -> None:
    with pytest.raises(AssertionError):
        files.put(name, b"x")


def test_a_place_that_needs_another_package_or_that_nobody_knows_is_refused() -> None:
    with pytest.raises(SettingsError, match="nonsense"):
        Files("nonsense://here")
    with pytest.raises(MissingError, match="paramiko"):
        Files("sftp://host/place")


def test_a_place_that_is_no_folder_is_storage_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    files = Files(str(tmp_path / "file"))
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        files.put("crops/1.npz", b"one")


def test_readers_never_see_half_of_what_is_written(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    wholes = {bytes([n]) * 300_000 for n in range(8)}
    files.put("blob", bytes(300_000))
    writers = [
        threading.Thread(target=lambda whole=whole: [files.put("blob", whole) for _ in range(5)])
        for whole in wholes
    ]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(files.get("blob"))
    for writer in writers:
        writer.join()
    assert seen <= wholes
    assert list(files.names()) == ["blob"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no rights to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_storage_trouble_and_nothing_is_left_behind(small_disk: Path) -> None:
    files = Files(str(small_disk))
    files.put("crops/1.npz", bytes(600_000))
    with pytest.raises(StorageError, match="No space left"):
        files.put("crops/1.npz", bytes(700_000))
    with pytest.raises(StorageError, match="No space left"):
        files.put("crops/2.npz", bytes(700_000))
    assert files.get("crops/1.npz") == bytes(600_000)
    assert [path.name for path in (small_disk / "crops").iterdir()] == ["1.npz"]


def test_a_writer_that_is_killed_leaves_no_half_blob(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.storage import Files\n"
        "files = Files(sys.argv[1]); print('go', flush=True)\n"
        "while True: files.put('crops/1.npz', b'x' * 3_000_000)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "go\n"
    files = Files(str(tmp_path))
    while not (tmp_path / "crops" / "1.npz").exists():
        os.sched_yield()
    child.kill()
    child.communicate()
    assert files.get("crops/1.npz") == b"x" * 3_000_000
    assert list(files.names()) == ["crops/1.npz"]
    files.keep_only("crops/", lambda: {"crops/1.npz"}, unfinished=True)
    assert [path.name for path in (tmp_path / "crops").iterdir()] == ["1.npz"]


def test_a_password_never_stands_in_an_error_of_files() -> None:
    with pytest.raises(SettingsError) as error:
        Files("sftpx://archive:s3cret@host/x")
    assert "s3cret" not in str(error.value) and "archive:***@host" in str(error.value)
