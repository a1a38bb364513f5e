"""What machines share: scans and networks by their hash, and the folder that keeps what was fetched."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from pipeline.errors import SettingsError, SourceGoneError, StorageError
from pipeline.settings import Settings
from pipeline.sharing import SCANS, Cache, is_shared, require_shared, share_scan, share_weights
from pipeline.storage import Files


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(params=["folder", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    """A store as a folder of this machine, and as a place that is none."""
    return Files(str(tmp_path / "files") if request.param == "folder" else f"memory://{tmp_path}")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    file = tmp_path / "scan.png"
    file.write_bytes(b"a scan")
    return file


def test_a_scan_is_copied_once_and_found_by_its_hash(files: Files, scan: Path, tmp_path: Path) -> None:
    name = sha256(b"a scan")
    share_scan(files, scan, name)
    share_scan(files, scan, name)
    scan.unlink()
    assert Cache(tmp_path / "cache", 10**9).fetch(files, SCANS + name, name).read_bytes() == b"a scan"


def test_a_copy_that_was_cut_short_is_made_anew(files: Files, scan: Path) -> None:
    name = sha256(b"a scan")
    files.put(SCANS + name, b"a s")
    share_scan(files, scan, name)
    assert files.get(SCANS + name) == b"a scan"


def test_a_scan_that_is_another_now_or_gone_is_not_shared(files: Files, scan: Path) -> None:
    with pytest.raises(SourceGoneError, match="was changed while it was copied"):
        share_scan(files, scan, sha256(b"another"))
    assert files.size(SCANS + sha256(b"another")) is None
    scan.unlink()
    with pytest.raises(SourceGoneError, match="is gone"):
        share_scan(files, scan, sha256(b"a scan"))


def test_networks_are_shared_by_their_hash(files: Files, scan: Path) -> None:
    share_weights(files, {sha256(b"a scan"): scan})
    assert files.get("weights/" + sha256(b"a scan")) == b"a scan"


def test_what_is_not_there_is_told_from_a_place_that_is_away(tmp_path: Path) -> None:
    files, cache = Files(str(tmp_path / "files")), Cache(tmp_path / "cache", 10**9)
    with pytest.raises(StorageError, match="scans is away"):
        cache.fetch(files, SCANS + "a" * 64, "a" * 64)
    files.put(SCANS + "b" * 64, b"b")
    with pytest.raises(FileNotFoundError):
        cache.fetch(files, SCANS + "a" * 64, "a" * 64)


def test_bytes_that_are_not_those_of_the_hash_are_not_kept(tmp_path: Path) -> None:
    files = Files(f"memory://{tmp_path}")
    files.put(SCANS + "a" * 64, b"others")
    with pytest.raises(StorageError, match="other bytes than its name says"):
        Cache(tmp_path / "cache", 10**9).fetch(files, SCANS + "a" * 64, "a" * 64)
    assert not [*(tmp_path / "cache").rglob("*.part")]


def test_a_full_cache_lets_go_of_what_was_not_used_for_long(tmp_path: Path) -> None:
    files, cache = Files(f"memory://{tmp_path}"), Cache(tmp_path / "cache", 500)
    names = []
    for k in range(3):
        data = bytes([k]) * 400
        names.append(sha256(data))
        files.put(SCANS + names[-1], data)
    first, second = (cache.fetch(files, SCANS + name, name) for name in names[:2])
    assert first.exists() and second.exists()  # both may be in use
    part = first.with_name("x.part")
    part.write_bytes(b"x" * 400)
    long_ago = time.time() - 3600
    os.utime(first, (long_ago, long_ago))
    os.utime(second, (long_ago, long_ago))
    cache.fetch(files, SCANS + names[1], names[1])  # used again
    third = cache.fetch(files, SCANS + names[2], names[2])
    assert not first.exists() and second.exists() and third.exists() and part.exists()


def test_a_folder_is_shared_with_all_that_is_below_it(tmp_path: Path) -> None:
    assert is_shared(tmp_path / "a" / "b.png", [tmp_path / "other", tmp_path])
    assert not is_shared(tmp_path.with_name(tmp_path.name + "x") / "b.png", [tmp_path])


@pytest.mark.parametrize(
    ("database_url", "files_url", "said"),
    [("here.db", "/mnt/files", "PostgreSQL"), ("postgresql://db/archive", "", "every worker reaches them")],
)
def test_what_no_other_machine_reaches_is_refused(database_url: str, files_url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        require_shared(Settings(database_url=database_url, files_url=files_url))
