"""Fixtures that several tests share: PDFs written by hand, and a folder of bad files among good ones."""

import functools
import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from rack import Rack
from servers import MissingServerError, Postgres, RabbitMQ, Redis, Server
from small_kinds import write_kinds

from cli.main import run
from pipeline.drawn import DrawnPage
from workers.app import QUEUES, create_app

# A job that a script started in the background ignores SIGINT, and so would every process that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests and the processes they start share the cores: threads of arithmetic would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

GOOD, PAGE, DOCUMENT, FILE, SKIPPED = "good", "failed page", "failed document", "failed file", "skipped"
COVERS = b"q 600 0 0 800 0 0 cm /I0 Do Q"  # draws a PDF's image over the whole page


class Expected(NamedTuple):
    """What becomes of a file of the corpus.

    `kind` is one of the five above ("failed file": it can't be had at all, so there is no document);
    `reason` is a regex for the one reason that is given; `n_good` pages of the file are read.
    """

    kind: str
    reason: str = ""
    n_good: int = 0


@pytest.fixture(scope="session")
def write_transcribed() -> Callable[[Path, DrawnPage], None]:
    """Writes a drawn page as a PNG, and beside it what stands on it as ALTO."""

    def write(image: Path, page: DrawnPage) -> None:
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(page.pixels).save(image)
        lines = []
        for number in page.numbers:
            x0, y0, x1, y1 = number.box.x0 - 3, number.box.y0 - 3, number.box.x1 + 3, number.box.y1 + 3
            lines.append(
                f'<TextLine><Shape><Polygon POINTS="{x0} {y0} {x1} {y0} {x1} {y1} {x0} {y1}"/></Shape>'
                f'<String CONTENT="{number.text}"/></TextLine>'
            )
        image.with_suffix(".xml").write_text(f"<alto>{''.join(lines)}</alto>", encoding="utf-8")

    return write


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Run a command line and return what it said, on stdout and on stderr; `code` is its exit code."""

    def tell(*words: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        found = run(list(words))
        out, err = capsys.readouterr()
        assert found == code, err
        return out, err

    return tell


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    """PDF bytes of pages: dicts with `content`, and maybe `size`, `images` and `extra` entries."""
    return pdf_bytes


@pytest.fixture
def make_pdf_image() -> Callable[..., bytes]:
    """Return an image object for `make_pdf`, of (width, height), dictionary entries and data."""
    return image_object


@pytest.fixture
def bad_corpus(tmp_path: Path) -> tuple[Path, dict[str, Expected]]:
    """Write the corpus; return its folder and what is to become of each file name in it."""
    folder = tmp_path / "scans"
    folder.mkdir()
    return folder, write_bad_corpus(folder, tmp_path / "elsewhere")


def write_bad_corpus(folder: Path, elsewhere: Path) -> dict[str, Expected]:
    """Write every bad file that we know of and some good ones, and say what is to become of each."""
    expected: dict[str, Expected] = {}
    rows = [*good_files(), *cut_files(), *bombs(), *strange_files(), *bad_zips(), *bad_tiffs()]
    for name, data, kind, reason, n_good in rows:
        (folder / name).write_bytes(data)
        expected[name] = Expected(kind, reason, n_good)
    os.mkfifo(folder / "pipe.jpg")
    expected["pipe.jpg"] = Expected(SKIPPED, r"is a pipe")
    (folder / "gone.jpg").symlink_to("nothing.jpg")
    expected["gone.jpg"] = Expected(FILE, r"link to nothing")
    elsewhere.mkdir()
    (elsewhere / "page.png").write_bytes(encoded(11, "PNG"))
    (folder / "outside.png").symlink_to(elsewhere / "page.png")
    expected["outside.png"] = Expected(SKIPPED, r"out of the folder")
    return expected


Row = tuple[str, bytes, str, str, int]


def good_files() -> list[Row]:
    names = {
        "page1.jpg": encoded(20, "JPEG"),
        "page2.png": encoded(21, "PNG"),
        "page10.tif": encoded(22, "TIFF", compression="tiff_lzw"),
        "scan.pdf": scan_pdf(23),
        "really a png.jpg": encoded(24, "PNG"),
        "no ending": encoded(25, "JPEG"),
        "new\nline.png": encoded(26, "PNG"),
        os.fsdecode(b"caf\xe9 latin1.png"): encoded(27, "PNG"),
    }
    return [(name, data, GOOD, "", 1) for name, data in names.items()]


def cut_files() -> list[Row]:
    whole = {
        "jpg": encoded(30, "JPEG"),
        "png": encoded(31, "PNG"),
        "webp": encoded(32, "WEBP", lossless=True),
        "bmp": encoded(33, "BMP"),
        "jp2": encoded(34, "JPEG2000"),
        "j2k": encoded(35, "JPEG2000", no_jp2=True),
        "tif": encoded(36, "TIFF"),
        "lzw.tif": encoded(37, "TIFF", compression="tiff_lzw"),
        "g4.tif": fax(40),
        "pdf": scan_pdf(38),
        "zip": zip_of({"a.png": encoded(39, "PNG")}),
    }
    no_directory = {"pdf", "zip", "lzw.tif", "g4.tif"}  # it stands at the end, so that no page is known
    return [
        (
            f"cut at {percent}.{ending}",
            data[: len(data) * percent // 100],
            DOCUMENT if ending in no_directory else PAGE,
            r"is cut short|is damaged",
            0,
        )
        for ending, data in whole.items()
        for percent in (5, 20, 50, 80, 95)
    ]


def bombs() -> list[Row]:
    side = 60_000
    large = deflated_zeros(b"", side * side // 8, raw=False)
    tags = tiff_tags((side, side), len(large), bits=1, compression=8)
    entries = b"/ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /FlateDecode"
    page = {"content": COVERS, "images": [image_object((side, side), entries, large)]}
    poster = {"content": b"", "size": (99_999, 99_999)}
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 0, 0, 0, 54, 40, 100, 100, 1, 8, 0, 0, 0, 0, 0, 0)
    size = 243 * 16_000_000 + len(head)
    packed = deflated_zeros(head, size, raw=True)
    shared = [(f"{position}.bmp", packed, size) for position in range(50)]
    too_large = r"3,600 megapixels.*raise --max-pixels"
    return [
        ("bomb.png", png_with(side, side, large), PAGE, too_large, 0),
        ("bomb.tif", tiff_with([tags], large), PAGE, too_large, 0),
        ("bomb.pdf", pdf_bytes([page]), PAGE, too_large, 0),
        ("poster.pdf", pdf_bytes([poster]), PAGE, r"megapixels.*--render-dpi", 0),
        ("bomb in.zip", zip_of({"a.png": png_with(side, side + 1, large)}), PAGE, r"3,600 megapixels", 0),
        ("bomb.zip", zip_by_hand([("a.bmp", packed, size)]), PAGE, r"unpacks to 3,888 MB", 0),
        ("lying bomb.zip", zip_by_hand([("a.bmp", packed, 100_000)]), PAGE, r"damaged in the ZIP", 0),
        ("shared bomb.zip", zip_by_hand(shared, share=True), DOCUMENT, r"ZIP bomb", 0),
    ]


def strange_files() -> list[Row]:
    return [
        ("empty.jpg", b"", DOCUMENT, r"^is empty", 0),
        ("notes.jpg", "Seite fehlt, später nachscannen.\n".encode(), SKIPPED, r"^is no image", 0),
        ("table.csv", b"a;b\n1;2\n", SKIPPED, r"^is no image", 0),
        ("zeros.tif", bytes(5000), DOCUMENT, r"^is damaged", 0),
        ("ones.jpg", b"\xff" * 4096, DOCUMENT, r"^is damaged", 0),
        ("two bytes.jpg", b"\xff\xd8", DOCUMENT, r"^is damaged", 0),
        ("four bytes.png", b"\x89PNG", DOCUMENT, r"^is damaged", 0),
        ("wide.jpg", "Seite fehlt".encode("utf-16"), SKIPPED, r"^is no image but text", 0),
        ("long.jpg", "ä".encode() * 3000, SKIPPED, r"^is no image but text", 0),
        ("odd.jpg", b"x" + "ä".encode() * 3000, SKIPPED, r"^is no image but text", 0),
        ("photo.gif", encoded(1, "GIF"), SKIPPED, r"GIF.*convert", 0),
        ("locked.pdf", scan_pdf(2, password="secret"), DOCUMENT, r"password", 0),
        ("no pages.pdf", pdf_bytes([]), DOCUMENT, r"no pages", 0),
    ]


def bad_zips() -> list[Row]:
    png = [encoded(seed, "PNG") for seed in range(3, 10)]
    return [
        ("locked.zip", encrypted_zip("a.png", png[0]), PAGE, r"password", 0),
        ("nested.zip", zip_of({"in.zip": zip_of({"a.png": png[1]})}), SKIPPED, r"ZIP inside a ZIP", 0),
        ("climbing.zip", zip_of({"../../up.png": png[2], "/root.png": png[3]}), GOOD, "", 2),
        ("one bad.zip", zip_of({"1.png": png[4], "2.png": png[5][:3000]}), PAGE, r"cut short", 1),
        ("letter.docx", zip_of({"[Content_Types].xml": b"<a/>", "m/1.png": png[6]}), SKIPPED, r"office", 0),
    ]


def bad_tiffs() -> list[Row]:
    pixels = page_pixels(10).tobytes()
    tags = tiff_tags((110, 150), len(pixels))
    first = 8 + len(pixels)
    return [
        ("loop.tif", tiff_with([tags, tags], pixels, first), PAGE, r"directory loops", 2),
        ("loop at once.tif", tiff_with([tags], pixels[::-1], first), PAGE, r"directory loops", 1),
        ("broken chain.tif", tiff_with([tags], pixels[1:] + b"\0", 10**6), PAGE, r"cut short", 1),
    ]


def page_pixels(seed: int, height: int = 150, width: int = 110) -> np.ndarray:
    """Paper with its noise, so that no codec makes nothing of it: uint8 (H, W)."""
    return np.random.default_rng(seed).integers(225, 256, (height, width), dtype=np.uint8)


def encoded(seed: int, format: str, **options: object) -> bytes:
    """Encode a page in one of Pillow's formats."""
    file = io.BytesIO()
    Image.fromarray(page_pixels(seed)).save(file, format, **options)
    return file.getvalue()


def fax(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(page_pixels(seed) > 240).save(file, "TIFF", compression="group4")
    return file.getvalue()


def scan_pdf(seed: int, **options: str) -> bytes:
    """Return a PDF of one page that is nothing but a scan."""
    pixels = page_pixels(seed)
    entries = b"/ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /FlateDecode"
    image = image_object(pixels.shape[::-1], entries, zlib.compress(pixels.tobytes()))
    return pdf_bytes([{"content": COVERS, "images": [image]}], **options)


def image_object(size: tuple[int, int], entries: bytes, data: bytes) -> bytes:
    """Return an image object of a PDF; `size` is (width, height)."""
    head = b"<< /Type /XObject /Subtype /Image /Width %d /Height %d " % size
    return head + entries + b" /Length %d >>\nstream\n" % len(data) + data + b"\nendstream"


def pdf_bytes(pages: Sequence[dict], password: str | None = None) -> bytes:
    """Write a PDF: objects 1 and 2 are the catalogue and the pages, 3 a font, then what each page needs."""
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", font]
    kids = []
    for page in pages:
        names = []
        for position, image in enumerate(page.get("images", [])):
            objects.append(image)
            names.append(b"/I%d %d 0 R" % (position, len(objects)))
        content = page["content"]
        objects.append(b"<< /Length %d >>\nstream\n" % len(content) + content + b"\nendstream")
        box = b"/MediaBox [0 0 %d %d] /Contents %d 0 R" % (*page.get("size", (600, 800)), len(objects))
        resources = b"/Resources << /Font << /F1 3 0 R >> /XObject << %s >> >>" % b" ".join(names)
        extra = page.get("extra", b"")
        objects.append(b"<< /Type /Page /Parent 2 0 R %s %s %s >>" % (box, resources, extra))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    trailer = b""
    if password is not None:
        objects.append(encryption(password))
        trailer = b"/Encrypt %d 0 R /ID [<00> <00>]" % len(objects)
    out = b"%PDF-1.7\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    end = b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (count, trailer, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % count + table + end


def encryption(password: str) -> bytes:
    """Return the standard security handler, revision 2 (ISO 32000-1, 7.6.3), for a password to open."""
    padding = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
    padded = (password.encode() + padding)[:32]
    owner = rc4(hashlib.md5(padded).digest()[:5], padded)
    key = hashlib.md5(padded + owner + struct.pack("<i", -4) + b"\0").digest()[:5]
    keys = owner.hex().encode(), rc4(key, padding).hex().encode()
    return b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % keys


def rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


@functools.cache
def deflated_zeros(head: bytes, n_bytes: int, *, raw: bool) -> bytes:
    """Deflate `head` and `n_bytes` zeros (in whole blocks of 16 MB) behind it, without ever holding them."""
    block = bytes(16_000_000)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15 if raw else 15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    # from a full flush on, the same bytes in give the same bytes out
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * (n_bytes // len(block)) + packer.flush(zlib.Z_FINISH)


def png_with(width: int, height: int, data: bytes) -> bytes:
    """Return a PNG of one bit with this header, and this for its deflated rows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff_with(directories: Sequence[Sequence[tuple[int, int]]], data: bytes, after_last: int = 0) -> bytes:
    """Return a TIFF of directories of (tag, value), `data` at offset 8; the last leads to `after_last`."""
    data += b"\0" * (len(data) % 2)
    offset = 8 + len(data)
    out = struct.pack("<2sHI", b"II", 42, offset) + data
    for position, tags in enumerate(directories):
        offset += 2 + 12 * len(tags) + 4
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags))
        following = offset if position + 1 < len(directories) else after_last
        out += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return out


def tiff_tags(size: tuple[int, int], n_bytes: int, bits: int = 8, compression: int = 1) -> list:
    """Return the tags of a grey image of (width, height) in one strip at offset 8."""
    form = [(256, size[0]), (257, size[1]), (258, bits), (259, compression), (262, 1), (277, 1)]
    return [*form, (273, 8), (278, size[1]), (279, n_bytes)]


def zip_of(members: dict[str, bytes]) -> bytes:
    """Return a ZIP of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def zip_by_hand(members: Sequence[tuple[str, bytes, int]], *, share: bool = False) -> bytes:
    """Return a ZIP of members (name, deflated, size declared); `share`: all are the first one's bytes."""
    out, directory = b"", b""
    for name, deflated, size in members:
        facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(deflated), size, len(name), 0)
        offset = 0 if share else len(out)
        if not (share and out):
            out += b"PK\3\4" + facts + name.encode() + deflated
        directory += b"PK\1\2" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, offset)
        directory += name.encode()
    count = len(members)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(out), 0)
    return out + directory + b"PK\5\6" + end


def encrypted_zip(name: str, data: bytes) -> bytes:
    """Return a ZIP whose member says that it is encrypted."""
    whole = bytearray(zip_of({name: data}))
    whole[6] |= 1
    whole[whole.rfind(b"PK\1\2") + 8] |= 1
    return bytes(whole)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-servers", action="store_true", help="fail, and don't skip, where a server is not installed"
    )


@contextmanager
def running(request: pytest.FixtureRequest, kind: type[Server]) -> Iterator[Server]:
    """A server of its own, on a free port; skips where it is not installed."""
    # not below tmp_path: as root PostgreSQL runs as another user, who may not enter there
    with tempfile.TemporaryDirectory(prefix="archive-server-") as folder:
        Path(folder).chmod(0o755)
        try:
            server = kind(Path(folder))
            server.start()
        except MissingServerError as error:
            if request.config.getoption("--all-servers"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A PostgreSQL server of the test session's own."""
    with running(request, Postgres) as server:
        import psycopg

        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # nobody misses it after a power cut
            connection.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """The URL of a PostgreSQL database that nothing is in yet."""
    import psycopg

    name = f"archive_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.url.replace("/archive", f"/{name}")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that nothing is in yet, on each of the two engines."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/archive.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(Redis, marks=pytest.mark.redis, id="redis"),
        pytest.param(RabbitMQ, marks=pytest.mark.rabbitmq, id="rabbitmq"),
    ],
)
def shared_broker(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A broker of the test session's own, of each kind."""
    with running(request, request.param) as server:
        yield server


@pytest.fixture
def broker(shared_broker: Server) -> Server:
    """A broker that no message is in; who kills it starts it again."""
    with create_app(shared_broker.url).connection_for_write() as connection:
        for queue in QUEUES:
            with suppress(connection.channel_errors):  # there is none yet
                connection.channel().queue_purge(queue)
    return shared_broker


@pytest.fixture
def rack(tmp_path: Path, postgres_url: str, broker: Server) -> Iterator[Rack]:
    """What workers need, and whatever runs on it: ended with the test."""
    with closing(Rack(tmp_path, postgres_url, broker.url)) as made:
        yield made


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of networks with a sorter in it that knows small drawn pages of three kinds, called rooms."""
    folder = tmp_path_factory.mktemp("rooms")
    write_kinds(folder / "kinds", 8, first_seed=100)
    words = ["--networks", str(folder / "networks"), "train", "sorter", "--data", str(folder / "kinds")]
    archive = Path(sys.executable).with_name("archive")
    subprocess.run(
        [archive, *words, "--name", "rooms"],
        cwd=folder,
        env={**os.environ, "ARCHIVE_CACHE": str(folder / "cache")},
        check=True,
        capture_output=True,
    )
    return folder / "networks"
