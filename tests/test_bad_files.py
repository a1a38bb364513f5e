"""Bad files: each gives one clear reason, whatever is wrong with it, and the rest is read."""

import io
import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import zipfile
import zlib
from pathlib import Path

import psutil
import pytest

from cli.registering import Tally, Unread, look
from pipeline.errors import NotAScanError, SourceError, SourceGoneError
from pipeline.probing import Prober
from pipeline.settings import Settings
from pipeline.sources import Document, DocumentError, Unreadable, find_files, probe, read_page

MAX_PIXELS = 150_000_000


def read(document: Document, position: int = 0):
    page = document.pages[position]
    return read_page(
        document.path, document.format, page.member, page.frame, max_pixels=MAX_PIXELS, render_dpi=100
    )


def outcome(path: Path | Unreadable, prober: Prober) -> tuple[str, list[str], int]:
    """What became of a file: its kind, the reasons given, the pages read."""
    if isinstance(path, Unreadable):
        return ("skipped" if path.skipped else "failed file"), [path.reason], 0
    try:
        document = prober.probe(path)
    except NotAScanError as error:
        return "skipped", [str(error)], 0
    except DocumentError as error:
        assert len(error.document.sha256) == 64
        assert error.document.size_bytes == path.stat().st_size
        return "failed document", [str(error)], 0
    reasons = []
    for position in range(len(document.pages)):
        try:
            read(document, position)
        except SourceError as error:
            reasons.append(str(error))
    return ("failed page" if reasons else "good"), reasons, len(document.pages) - len(reasons)


def test_each_file_of_the_corpus_becomes_what_it_should(bad_corpus):
    folder, expected = bad_corpus
    with Prober(max_pixels=MAX_PIXELS) as prober:
        found = {}
        for item in find_files([folder]):
            name = (item.path if isinstance(item, Unreadable) else item).name
            assert name not in found
            found[name] = outcome(item, prober)
    assert found.keys() == expected.keys()
    for name, (kind, reasons, n_good) in found.items():
        wanted = expected[name]
        assert (kind, n_good) == (wanted.kind, wanted.n_good), (name, reasons)
        assert len(reasons) == (kind != "good"), (name, reasons)
        for reason in reasons:
            assert re.search(wanted.reason, reason), (name, reason)
            assert reason.isprintable() and len(reason) < 250, (name, reason)


def test_the_corpus_is_read_in_bounded_memory(bad_corpus):
    folder, _ = bad_corpus
    script = """
        import re, sys
        from pathlib import Path
        from pipeline.errors import SourceError
        from pipeline.sources import Unreadable, find_files, probe, read_page
        n_pages = 0
        for path in find_files([Path(sys.argv[1])]):
            try:
                document = None if isinstance(path, Unreadable) else probe(path, max_pixels=150_000_000)
            except SourceError:
                continue
            for page in document.pages if document else ():
                try:
                    read_page(path, document.format, page.member, page.frame,
                              max_pixels=150_000_000, render_dpi=100)
                    n_pages += 1
                except SourceError:
                    pass
        # not ru_maxrss: that counts the process which started this one too
        peak_kb = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
        print(n_pages, int(peak_kb) // 1024)
    """
    n_pages, peak_mb = map(int, python(script, str(folder)).split())
    assert n_pages >= 10
    assert peak_mb < 400  # the bombs would take 450 MB, 3,600 MB and 3,900 MB


def python(script: str, *arguments: str, **options) -> str:
    """Run a script in a process of its own, and return what it printed; a crash fails the test."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        **options,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stdout[-2000:]} {done.stderr[-3000:]}"
    return done.stdout


def test_a_file_that_vanishes_is_gone_and_can_come_back(bad_corpus):
    folder, _ = bad_corpus
    document = probe(folder / "page2.png", max_pixels=MAX_PIXELS)
    document.path.rename(folder / "away.png")
    for again in (lambda: read(document), lambda: probe(document.path, max_pixels=MAX_PIXELS)):
        with pytest.raises(SourceGoneError, match="is gone") as caught:
            again()
        assert caught.value.retryable
    (folder / "away.png").rename(document.path)
    assert read(document).shape == (150, 110)


def test_a_kind_that_no_decoder_knows_is_not_called_damaged(tmp_path):
    tags = [(256, 8), (257, 8), (258, 5), (259, 1), (262, 1), (273, 8), (277, 1), (278, 8), (279, 64)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 72) + bytes(64)
    (tmp_path / "odd.tif").write_bytes(head + struct.pack("<H", len(tags)) + entries + bytes(4))
    with pytest.raises(SourceError, match=r"of a kind that is not read .*convert it"):
        read(probe(tmp_path / "odd.tif", max_pixels=MAX_PIXELS))


def test_a_page_that_is_no_longer_there_says_so(bad_corpus, make_pdf):
    folder, _ = bad_corpus
    for name, member, frame, reason in [
        ("page10.tif", None, 5, "has only 1 images now"),
        ("scan.pdf", None, 5, "has only 1 pages now"),
        ("climbing.zip", "nobody.png", 0, "no longer in the ZIP"),
    ]:
        format = probe(folder / name, max_pixels=MAX_PIXELS).format
        with pytest.raises(SourceError, match=reason):
            read_page(folder / name, format, member, frame, max_pixels=MAX_PIXELS, render_dpi=100)


def test_a_file_that_is_being_written_is_left_for_later(tmp_path):
    path = tmp_path / "scan.bmp"
    path.write_bytes(b"BM" + bytes(50_000_000))
    done = threading.Event()

    def write() -> None:
        with path.open("ab") as file:
            while not done.wait(0.001):
                file.write(bytes(1000))
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(SourceGoneError, match="still being written"):
            probe(path, max_pixels=MAX_PIXELS)
    finally:
        done.set()
        writer.join()


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(NotAScanError):
        probe(tmp_path / "pipe.jpg", max_pixels=MAX_PIXELS)  # would wait for a writer for ever
    with pytest.raises(NotAScanError):
        read_page(tmp_path / "pipe.jpg", "jpeg", None, 0, max_pixels=MAX_PIXELS, render_dpi=100)


def test_what_may_not_be_read_is_reported_and_the_rest_goes_on(tmp_path, bad_corpus):
    scans, _ = bad_corpus
    folder = tmp_path / "private"
    (folder / "closed").mkdir(parents=True)
    for name in ("closed/page1.png", "page2.png", "page3.png"):
        (folder / name).write_bytes((scans / "page2.png").read_bytes())
    (folder / "closed").chmod(0)
    (folder / "page2.png").chmod(0)
    tmp_path.chmod(0o755)
    script = """
        import os, sys
        from pathlib import Path
        from pipeline.errors import SourceGoneError
        from pipeline.sources import Unreadable, find_files, probe
        if os.getuid() == 0:  # nothing is forbidden to root
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        for item in find_files([Path(sys.argv[1])]):
            if isinstance(item, Unreadable):
                print(item.path.name, item.reason, item.skipped)
            else:
                try:
                    print(item.name, probe(item, max_pixels=10**8).format)
                except SourceGoneError as error:
                    print(item.name, error)
    """
    parents = [parent for parent in folder.parents if not parent.stat().st_mode & 0o001]
    modes = [parent.stat().st_mode for parent in parents]
    try:
        for parent in parents:
            parent.chmod(parent.stat().st_mode | 0o001)
        printed = python(script, str(folder))
    finally:
        for parent, mode in zip(parents, modes, strict=True):
            parent.chmod(mode)
        (folder / "closed").chmod(0o755)
    assert printed.splitlines() == [
        "closed can't be opened: no permission False",
        "page2.png can't be opened: no permission",
        "page3.png png",
    ]


@pytest.fixture
def slow_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ZIP that takes minutes to open: TIFFs of 500 MB each, which have to be inflated to be counted."""
    monkeypatch.setattr("pipeline.probing._BYTES_PER_S", 1 << 40)  # so large it gets no more time
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(struct.pack("<2sHI", b"II", 42, 499_999_990)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(20_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    data += again * 25 + packer.flush(zlib.Z_FINISH)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for position in range(200):
            archive.writestr(f"{position}.tif", data)
    raw = bytearray(file.getvalue())
    # what was stored as it is, says that it is deflated and what it inflates to
    for match in re.finditer(rb"PK\x03\x04|PK\x01\x02", raw):
        at = match.start() + (8 if match[0] == b"PK\3\4" else 10)
        struct.pack_into("<H", raw, at, 8)
        struct.pack_into("<I", raw, at + 14, 500_000_008)
    path = tmp_path / "slow.zip"
    path.write_bytes(raw)
    return path


def test_a_file_that_hangs_is_one_failed_document(bad_corpus, slow_zip):
    folder, _ = bad_corpus
    with Prober(max_pixels=MAX_PIXELS, deadline_s=2) as prober:
        with pytest.raises(DocumentError, match="took longer than 2 s to open") as caught:
            prober.probe(slow_zip)
        assert caught.value.document.size_bytes == slow_zip.stat().st_size
        assert len(prober.probe(folder / "loop.tif").pages) == 3


def test_a_large_file_may_take_longer_to_open(slow_zip, monkeypatch):
    monkeypatch.setattr("pipeline.probing._BYTES_PER_S", slow_zip.stat().st_size // 2)
    with (
        Prober(max_pixels=MAX_PIXELS, deadline_s=1) as prober,
        pytest.raises(DocumentError, match="took longer than 3 s to open"),
    ):
        prober.probe(slow_zip)


def test_the_deadline_of_a_page_is_that_of_a_file(slow_zip):
    found = list(look([slow_zip], Settings(page_deadline_s=1), None, Tally(), threading.Event()))
    reasons = [item.reason for item in found if isinstance(item, Unread)]
    assert reasons == ["took longer than 1 s to open"]


def test_a_file_that_crashes_its_decoder_is_one_failed_document(bad_corpus, slow_zip):
    folder, _ = bad_corpus
    others = psutil.Process().children()  # servers of other tests
    with Prober(max_pixels=MAX_PIXELS) as prober:
        prober.probe(folder / "scan.pdf")
        (child,) = set(psutil.Process().children()) - set(others)
        assert os.getsid(child.pid) != os.getsid(0)  # a terminal's Ctrl-C does not reach it
        killer = threading.Timer(1, child.send_signal, [signal.SIGSEGV])
        killer.start()
        with pytest.raises(DocumentError, match=r"crashed the decoder .*SIGSEGV"):
            prober.probe(slow_zip)
        assert len(prober.probe(folder / "scan.pdf").pages) == 1
    assert psutil.Process().children() == others


def test_the_process_that_opens_files_leaves_with_its_parent(bad_corpus):
    folder, _ = bad_corpus
    script = """
        import sys, time
        from pathlib import Path
        from pipeline.probing import Prober
        prober = Prober(max_pixels=10**8)
        prober.probe(Path(sys.argv[1]))
        print("ready", flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder / "scan.pdf")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"ready\n"
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert not alive


FUZZ = """
    import random, sys
    from pathlib import Path
    from pipeline.errors import SourceError
    from pipeline.formats import sniff
    from pipeline.sources import probe, read_page
    folder, n_trials = Path(sys.argv[1]), int(sys.argv[2])
    n_read = n_refused = 0
    for whole in sorted(folder.glob("whole*")):
        data = whole.read_bytes()
        for seed in range(n_trials):
            chance = random.Random(f"{whole.suffix}{seed}")
            bad = bytearray(data)
            for _ in range(chance.choice([1, 1, 2, 5, 20])):
                # half of the flips hit what stands in front, which is where the structure is
                end = chance.choice([min(len(bad), 200), len(bad)])
                bad[chance.randrange(end)] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
            if chance.random() < 0.3:
                del bad[chance.randrange(len(bad)):]
            path = folder / f"bad{whole.suffix}"
            path.write_bytes(bad)
            print(whole.name, seed, file=sys.stderr)
            try:
                document = probe(path, max_pixels=2_000_000)
                for page in document.pages[:3]:
                    pixels = read_page(path, document.format, page.member, page.frame,
                                       max_pixels=2_000_000, render_dpi=50, colour=seed % 2 == 1)
                    assert pixels.dtype == "uint8" and pixels.size <= 6_000_000
                    n_read += 1
            except SourceError as error:
                assert str(error).isprintable(), error
                n_refused += 1
    print(n_read, n_refused)
"""


def fuzz(tmp_path: Path, scans: Path, n_trials: int) -> None:
    folder = tmp_path / "fuzz"
    folder.mkdir()
    whole = ("page1.jpg", "page2.png", "page10.tif", "scan.pdf", "climbing.zip", "loop.tif")
    for position, name in enumerate(whole):
        (folder / f"whole{position}{Path(name).suffix}").write_bytes((scans / name).read_bytes())
    n_read, n_refused = map(int, python(FUZZ, str(folder), str(n_trials)).split())
    assert n_read > 0 and n_refused > 0


def test_changed_bytes_give_an_array_or_a_reason_and_nothing_else(tmp_path, bad_corpus):
    fuzz(tmp_path, bad_corpus[0], 40)
