"""Scans in every format become the pixels that they show."""

import hashlib
import io
import struct
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.errors import NotAScanError, SourceError
from pipeline.folders import natural_key
from pipeline.sources import PageRef, Unreadable, find_files, probe, read_page

HEIGHT, WIDTH = 60, 44


def smooth(seed: int = 0) -> np.ndarray:
    """An image that lossy codecs keep well and that no turn maps onto itself: uint8 (H, W)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (40 + 2 * y + x + 30 * ((x < 9) & (y < 14)) + seed).astype(np.uint8)


def colours() -> np.ndarray:
    return np.stack([smooth(), smooth()[::-1], smooth()[:, ::-1]], axis=-1)


def pages_of(path: Path, *, colour: bool = False, max_pixels: int = 10**7, render_dpi: int = 144) -> list:
    document = probe(path, max_pixels=max_pixels)
    assert [page.page_index for page in document.pages] == list(range(len(document.pages)))
    found = []
    for page in document.pages:
        pixels = read_page(
            path,
            document.format,
            page.member,
            page.frame,
            max_pixels=max_pixels,
            render_dpi=render_dpi,
            colour=colour,
        )
        assert pixels.dtype == np.uint8
        assert pixels.ndim == (3 if colour else 2)
        found.append(pixels)
    return found


def difference(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max(initial=0))


EXACT = [
    ("png", {}),
    ("bmp", {}),
    ("webp", {"lossless": True}),
    ("jp2", {}),
    ("j2k", {"no_jp2": True}),
    ("tif", {}),
    ("tif", {"compression": "tiff_lzw"}),
    ("tif", {"compression": "tiff_adobe_deflate"}),
    ("tif", {"compression": "packbits"}),
    ("tif", {"big_tiff": True}),
]
LOSSY = [
    ("jpg", {"quality": 97, "subsampling": 0}),
    ("jpg", {"quality": 97, "subsampling": 0, "progressive": True}),
    ("webp", {"quality": 100}),
    ("tif", {"compression": "jpeg", "quality": 97}),
]


def save(image: Image.Image, path: Path, options: dict) -> Path:
    formats = {".jp2": "JPEG2000", ".j2k": "JPEG2000"}
    image.save(path, formats.get(path.suffix), **options)
    return path


@pytest.mark.parametrize(("ending", "options"), EXACT)
def test_grey_and_colour_come_back_to_the_pixel(tmp_path, ending, options):
    grey = save(Image.fromarray(smooth()), tmp_path / f"grey.{ending}", options)
    assert difference(pages_of(grey)[0], smooth()) == 0
    assert difference(pages_of(grey, colour=True)[0], np.stack([smooth()] * 3, axis=-1)) == 0
    rgb = save(Image.fromarray(colours()), tmp_path / f"rgb.{ending}", options)
    assert difference(pages_of(rgb, colour=True)[0], colours()) == 0
    assert difference(pages_of(rgb)[0], np.asarray(Image.fromarray(colours()).convert("L"))) <= 1


@pytest.mark.parametrize(("ending", "options"), LOSSY)
def test_lossy_formats_come_back_nearly(tmp_path, ending, options):
    grey = save(Image.fromarray(smooth()), tmp_path / f"grey.{ending}", options)
    assert difference(pages_of(grey)[0], smooth()) <= 8
    rgb = save(Image.fromarray(colours()), tmp_path / f"rgb.{ending}", options)
    assert difference(pages_of(rgb, colour=True)[0], colours()) <= 24
    assert difference(pages_of(rgb)[0], np.asarray(Image.fromarray(colours()).convert("L"))) <= 12


@pytest.mark.parametrize("compression", ["raw", "group4", "group3", "tiff_ccitt", "packbits", "tiff_lzw"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_black_and_white_tiffs_have_black_ink(tmp_path, compression, white_is_zero):
    ink = smooth() < 100
    info = {262: 0} if white_is_zero else {262: 1}
    options = {"compression": compression, "tiffinfo": info}
    path = save(Image.fromarray(~ink), tmp_path / "fax.tif", options)
    with Image.open(path) as image:
        assert image.tag_v2[262] == (0 if white_is_zero else 1)
    assert difference(pages_of(path)[0], np.where(ink, 0, 255)) == 0


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp"])
def test_palettes_and_single_bits_are_read(tmp_path, ending):
    palette = Image.fromarray(smooth()).quantize(64)
    expected = np.asarray(palette.convert("RGB"))
    if ending != "webp":
        path = save(palette, tmp_path / f"palette.{ending}", {})
        assert difference(pages_of(path, colour=True)[0], expected) == 0
        assert difference(pages_of(path)[0], expected[..., 0]) == 0
    path = save(Image.fromarray(smooth() > 99), tmp_path / f"bits.{ending}", {"lossless": True})
    assert difference(pages_of(path)[0], np.where(smooth() > 99, 255, 0)) == 0


CLEAR = [(ending, mode) for ending in ("png", "tif", "jp2") for mode in ("RGBA", "LA")] + [("webp", "RGBA")]


@pytest.mark.parametrize(("ending", "mode"), CLEAR)
def test_what_is_transparent_lies_on_white(tmp_path, ending, mode):
    alpha = np.where(smooth() > 120, 255, 0).astype(np.uint8)
    alpha[0] = 128
    image = Image.fromarray(smooth()).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if ending == "webp" else {}
    path = save(image, tmp_path / f"clear.{ending}", options)
    share = alpha / 255
    expected = (smooth() * share + 255 * (1 - share)).astype(np.uint8)
    assert difference(pages_of(path)[0], expected) <= 1
    assert difference(pages_of(path, colour=True)[0][..., 1], expected) <= 1


def test_a_palette_with_a_transparent_colour_lies_on_white(tmp_path):
    image = Image.fromarray(smooth()).quantize(64)
    clear = image.getpixel((0, 0))
    image.save(tmp_path / "clear.png", transparency=clear)
    expected = np.array(image.convert("L"))
    expected[np.asarray(image) == clear] = 255
    assert difference(pages_of(tmp_path / "clear.png")[0], expected) == 0


@pytest.mark.parametrize("ending", ["png", "tif", "jp2"])
def test_sixteen_bits_keep_their_upper_eight(tmp_path, ending):
    wide = smooth().astype(np.uint16) * 257
    wide[::2] -= 200
    path = save(Image.fromarray(wide), tmp_path / f"wide.{ending}", {})
    assert difference(pages_of(path)[0], wide >> 8) == 0
    assert difference(pages_of(path, colour=True)[0][..., 2], wide >> 8) == 0


def raw_tiff(pixels: np.ndarray, *, photometric: int = 1, kind: int = 1, order: str = "<") -> bytes:
    """A TIFF of one strip, of any integers or floats, in either byte order."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data += b"\0" * (len(data) % 2)
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    tags = [(256, pixels.shape[1]), (257, pixels.shape[0]), (258, pixels.itemsize * 8), (259, 1)]
    tags += [
        (262, photometric),
        (273, 8),
        (277, samples),
        (278, pixels.shape[0]),
        (279, len(data)),
        (339, kind),
    ]
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data))
    return head + data + struct.pack(order + "H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_wide_and_float_tiffs_are_scaled_by_their_range(tmp_path, order):
    path = tmp_path / "wide.tif"
    wide = smooth().astype(np.uint16) * 256 + 77
    for pixels, options, expected in [
        (wide, {}, smooth()),
        (smooth() / np.float32(255), {"kind": 3}, smooth()),
        (smooth().astype(np.float32), {"kind": 3}, smooth()),
        (wide.astype(np.int32), {"kind": 2}, smooth()),
    ]:
        path.write_bytes(raw_tiff(pixels, order=order, **options))
        assert difference(pages_of(path)[0], expected) == 0


def test_wide_tiffs_with_white_as_zero_are_turned_round(tmp_path):
    path = tmp_path / "negative.tif"
    path.write_bytes(raw_tiff(smooth().astype(np.uint16) * 257, photometric=0))
    assert difference(pages_of(path)[0], 255 - smooth()) == 0
    path.write_bytes(raw_tiff(smooth(), photometric=0))
    assert difference(pages_of(path)[0], 255 - smooth()) == 0


def test_floats_that_are_no_numbers_are_white(tmp_path):
    pixels = (smooth() / 255).astype(np.float32)
    pixels[0, 0], pixels[1, 1] = np.nan, -np.inf
    (tmp_path / "odd.tif").write_bytes(raw_tiff(pixels, kind=3))
    read = pages_of(tmp_path / "odd.tif")[0]
    assert (read[0, 0], read[1, 1]) == (255, 0)


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_cmyk_is_read_as_what_it_shows(tmp_path, ending):
    image = Image.fromarray(colours()).convert("CMYK")
    path = save(image, tmp_path / f"print.{ending}", {"quality": 97} if ending == "jpg" else {})
    assert difference(pages_of(path, colour=True)[0], colours()) <= 24
    assert difference(pages_of(path)[0], np.asarray(Image.fromarray(colours()).convert("L"))) <= 16


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "lzw.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_obeyed(tmp_path, ending, orientation):
    stored = Image.fromarray(smooth())
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"turned.{ending}"
    options = {"webp": {"lossless": True}, "lzw.tif": {"compression": "tiff_lzw"}, "jpg": {"quality": 97}}
    stored.save(path, exif=exif, **options.get(ending, {}))
    shown = Image.fromarray(smooth())
    shown.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(shown))
    assert expected.shape == ((WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH))
    assert difference(pages_of(path)[0], expected) <= (8 if ending == "jpg" else 0)
    assert difference(pages_of(path, colour=True)[0][..., 0], expected) <= (8 if ending == "jpg" else 0)


def test_a_nonsense_orientation_is_passed_over(tmp_path):
    exif = Image.Exif()
    exif[274] = 99
    Image.fromarray(smooth()).save(tmp_path / "odd.png", exif=exif)
    assert difference(pages_of(tmp_path / "odd.png")[0], smooth()) == 0


def test_a_tiff_has_as_many_pages_as_images(tmp_path):
    images = [
        Image.fromarray(smooth()),
        Image.fromarray(smooth(1) > 99),
        Image.fromarray(colours()),
        Image.fromarray(smooth(3)).rotate(90, expand=True),
    ]
    images[0].save(tmp_path / "many.tif", save_all=True, append_images=images[1:], compression="tiff_lzw")
    pages = pages_of(tmp_path / "many.tif")
    assert len(pages) == 4
    for page, image in zip(pages, images, strict=True):
        assert difference(page, np.asarray(image.convert("L"))) <= 1


def test_the_thumbnail_in_a_tiff_is_no_page(tmp_path):
    small = Image.fromarray(smooth()[::4, ::4])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    images = [Image.fromarray(smooth(1)), small, Image.fromarray(smooth(2))]
    images[0].save(tmp_path / "thumb.tif", save_all=True, append_images=images[1:])
    assert [page.frame for page in probe(tmp_path / "thumb.tif", max_pixels=10**7).pages] == [0, 2]
    assert [page[0, 0] for page in pages_of(tmp_path / "thumb.tif")] == [smooth(1)[0, 0], smooth(2)[0, 0]]


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.fromarray(smooth(seed)) for seed in (0, 50)]
    for ending, options in (("webp", {"lossless": True}), ("png", {})):
        path = tmp_path / f"moving.{ending}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        (page,) = pages_of(path)
        assert difference(page, smooth()) == 0


def test_a_document_knows_its_file(tmp_path):
    path = save(Image.fromarray(smooth()), tmp_path / "scan.png", {})
    document = probe(path, max_pixels=10**7)
    assert document.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (document.path, document.format) == (path, "png")
    assert (document.size_bytes, document.modified_at) == (path.stat().st_size, path.stat().st_mtime)
    assert document.pages == (PageRef(0, None, 0),)


def test_a_page_over_the_limit_is_refused_and_a_page_at_it_is_read(tmp_path):
    for ending in ("png", "jpg", "webp", "bmp", "jp2", "tif"):
        path = save(Image.fromarray(smooth()), tmp_path / f"scan.{ending}", {})
        assert pages_of(path, max_pixels=HEIGHT * WIDTH)[0].shape == (HEIGHT, WIDTH)
        with pytest.raises(SourceError, match=r"over the limit of 0; raise --max-pixels"):
            pages_of(path, max_pixels=HEIGHT * WIDTH - 1)


SHOWN = b"q 600 0 0 800 0 0 cm /I0 Do Q"
GREY = b"/ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /FlateDecode"


@pytest.fixture
def scan(make_pdf_image):
    """A scan as a PDF's image object: noise, so that any resampling shows."""
    pixels = np.random.default_rng(7).integers(0, 256, (400, 300), dtype=np.uint8)
    return pixels, make_pdf_image((300, 400), GREY, zlib.compress(pixels.tobytes()))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("place", [b"600 0 0 800 0 0", b"598.7 0 0 800.4 1.3 -.7"])
def test_a_pdf_scan_is_taken_as_it_is_whatever_its_place_and_rotation(
    tmp_path, make_pdf, scan, rotation, place
):
    pixels, image = scan
    page = {"content": b"q %s cm /I0 Do Q" % place, "images": [image], "extra": b"/Rotate %d" % rotation}
    (tmp_path / "scan.pdf").write_bytes(make_pdf([page]))
    expected = np.rot90(pixels, -rotation // 90)
    assert difference(pages_of(tmp_path / "scan.pdf")[0], expected) == 0
    assert difference(pages_of(tmp_path / "scan.pdf", colour=True)[0][..., 1], expected) == 0


def test_pdf_pages_that_are_scans_and_that_are_not(tmp_path, make_pdf, scan):
    pixels, image = scan
    hidden, seen = (b" BT %d Tr /F1 40 Tf 50 50 Td (12345) Tj ET" % mode for mode in (3, 0))
    at_144_dpi = (1600, 1200)
    for name, content, size, shape in [
        ("plain", SHOWN, (600, 800), (400, 300)),
        ("with hidden text", SHOWN + hidden, (600, 800), (400, 300)),
        ("with a stamp, coarse", SHOWN + seen, (600, 800), at_144_dpi),
        ("with a stamp, fine", b"q 60 0 0 80 0 0 cm /I0 Do Q" + seen, (60, 80), (400, 300)),
        ("half a page", b"q 300 0 0 400 0 0 cm /I0 Do Q", (600, 800), at_144_dpi),
        ("askew", b"q 600 30 -30 800 0 0 cm /I0 Do Q", (600, 800), at_144_dpi),
        ("squeezed like a fax", b"q 600 0 0 400 0 0 cm /I0 Do Q", (600, 400), (800, 1200)),
        ("text alone", seen, (600, 800), at_144_dpi),
        ("nothing", b"", (600, 800), at_144_dpi),
    ]:
        path = tmp_path / "page.pdf"
        path.write_bytes(make_pdf([{"content": content, "size": size, "images": [image]}]))
        (page,) = pages_of(path)
        assert page.shape == shape, name
        assert np.array_equal(page, pixels) == (name in {"plain", "with hidden text"}), name
        assert pages_of(path, colour=True)[0].shape == (*shape, 3)
        if content == seen:
            assert page.min() < 50 and (page == 255).mean() > 0.9


def test_pdf_scans_of_every_kind_show_what_they_should(tmp_path, make_pdf, make_pdf_image):
    pixels = smooth()
    ink = np.packbits(pixels < 100, axis=1).tobytes()
    black = np.where(pixels < 100, 0, 255)
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=97)
    fax = io.BytesIO()
    Image.fromarray(pixels >= 100).save(fax, "TIFF", compression="group4", tiffinfo={262: 0})
    with Image.open(fax) as image:
        start, length = image.tag_v2[273][0], image.tag_v2[279][0]
    strip = fax.getvalue()[start : start + length]
    one_bit = b"/BitsPerComponent 1 /Filter /FlateDecode "
    wide = (pixels.astype(">u2") * 257).astype(">u2").tobytes()
    for name, entries, data, expected, near in [
        ("grey", GREY, zlib.compress(pixels.tobytes()), pixels, 0),
        ("negative", GREY + b" /Decode [1 0]", zlib.compress(pixels.tobytes()), 255 - pixels, 0),
        ("wide", GREY.replace(b"8", b"16"), zlib.compress(wide), pixels, 1),
        ("bits", one_bit + b"/ColorSpace /DeviceGray /Decode [1 0]", zlib.compress(ink), black, 0),
        ("stencil", one_bit + b"/ImageMask true /Decode [1 0]", zlib.compress(ink), black, 0),
        ("jpeg", GREY.replace(b"Flate", b"DCT"), jpeg.getvalue(), pixels, 8),
        (
            "fax",
            b"/ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /CCITTFaxDecode "
            b"/DecodeParms << /K -1 /Columns %d /Rows %d >>" % (WIDTH, HEIGHT),
            strip,
            black,
            0,
        ),
    ]:
        image = make_pdf_image((WIDTH, HEIGHT), entries, data)
        size = (WIDTH * 10, HEIGHT * 10)
        page = {"content": b"q %d 0 0 %d 0 0 cm /I0 Do Q" % size, "size": size, "images": [image]}
        (tmp_path / "kind.pdf").write_bytes(make_pdf([page]))
        assert difference(pages_of(tmp_path / "kind.pdf")[0], expected) <= near, name


def test_pdf_images_that_end_early_are_not_read_as_blank_paper(tmp_path, make_pdf, make_pdf_image, scan):
    pixels, _ = scan
    deflated = zlib.compress(pixels.tobytes())
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG")
    as_jpeg = GREY.replace(b"Flate", b"DCT")
    for entries, data, reason in [
        (GREY, deflated[: len(deflated) // 2], "cut short"),
        (GREY, b"nothing", "cut short"),
        (as_jpeg, jpeg.getvalue()[:20_000], "cut short"),
        (as_jpeg, b"nothing\xff\xd9", "can't be decoded"),
    ]:
        image = make_pdf_image((300, 400), entries, data)
        (tmp_path / "cut.pdf").write_bytes(make_pdf([{"content": SHOWN, "images": [image]}]))
        with pytest.raises(SourceError, match=reason):
            pages_of(tmp_path / "cut.pdf")


def test_a_zip_gives_its_members_in_natural_order(tmp_path, make_pdf, scan):
    png, tiff = io.BytesIO(), io.BytesIO()
    Image.fromarray(smooth()).save(png, "PNG")
    images = [Image.fromarray(smooth(seed)) for seed in (1, 2)]
    images[0].save(tiff, "TIFF", save_all=True, append_images=images[1:])
    pdf = make_pdf([{"content": SHOWN, "images": [scan[1]]}] * 2)
    path = tmp_path / "box.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [
            ("page10.png", png.getvalue()),
            ("page9.tif", tiff.getvalue()),
            ("page2/a.pdf", pdf),
            ("page2/.hidden.png", png.getvalue()),
            ("__MACOSX/._page10.png", b"rubbish"),
            ("notes.txt", b"gelesen am 3. Mai"),
            ("empty/", b""),
        ]:
            archive.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("page10.png", png.getvalue())
    document = probe(path, max_pixels=10**7)
    assert [(page.member, page.frame) for page in document.pages] == [
        ("page2/a.pdf", 0),
        ("page2/a.pdf", 1),
        ("page9.tif", 0),
        ("page9.tif", 1),
        ("page10.png", 0),
        ("page10.png (2)", 0),
    ]
    assert [(item.member, item.reason) for item in document.skipped] == [
        ("notes.txt", "is no image but text")
    ]
    pages = pages_of(path)
    assert difference(pages[1], scan[0]) == 0
    assert [difference(page, smooth(seed)) for page, seed in zip(pages[2:], (1, 2, 0, 0), strict=True)] == [
        0
    ] * 4


def test_pages_are_read_from_several_threads_at_once(tmp_path, make_pdf, scan):
    pixels, image = scan
    (tmp_path / "a.pdf").write_bytes(make_pdf([{"content": SHOWN, "images": [image]}] * 3))
    Image.fromarray(pixels).save(tmp_path / "b.tif", compression="tiff_lzw")
    Image.fromarray(pixels).save(tmp_path / "c.png")
    wrong = []

    def work() -> None:
        for _ in range(10):
            for path in sorted(tmp_path.iterdir()):
                wrong.extend(path for page in pages_of(path) if not np.array_equal(page, pixels))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_folders_are_walked_in_natural_order_without_litter_or_loops(tmp_path):
    root = tmp_path / "scans"
    for name in ["page10.png", "page2.png", "Page1.png", "box 2/a.png", "box 10/a.png", ".hidden/a.png"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    for name in [".DS_Store", "Thumbs.db", "._page2.png", "box 2/desktop.ini"]:
        (root / name).write_bytes(b"")
    (root / "loop").symlink_to(root)
    (root / "box 2" / "up").symlink_to("..")
    (root / "same.png").symlink_to("page2.png")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.png").write_bytes(b"")
    (root / "away").symlink_to(tmp_path / "outside")
    found = list(find_files([root]))
    files = [str(path.relative_to(root)) for path in found if isinstance(path, Path)]
    assert files == ["box 2/a.png", "box 10/a.png", "Page1.png", "page2.png", "page10.png", "same.png"]
    rest = [(item.path.name, item.skipped) for item in found if isinstance(item, Unreadable)]
    assert rest == [("away", True)]
    assert all(path.is_absolute() for path in found if isinstance(path, Path))


def test_roots_are_taken_as_they_are_named(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / ".hidden.png").write_bytes(b"")
    (tmp_path / "real" / "a.png").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "link.png").symlink_to("real/a.png")
    monkeypatch.chdir(tmp_path / "real")
    roots = [Path(".hidden.png"), Path("../link"), Path("../link.png"), Path("nothing")]
    found = [item.path if isinstance(item, Unreadable) else item for item in find_files(roots)]
    names = ["real/.hidden.png", "link/a.png", "link.png", "real/nothing"]
    assert found == [tmp_path / name for name in names]


def test_files_to_leave_out_are_met_by_no_name(tmp_path, monkeypatch):
    for name in ["real/a.png", "real/own.db", "real/own/x", "real/deep/own.db"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    own = frozenset({tmp_path / "real/own.db", tmp_path / "real/own"})
    for root in (Path(), Path("../link"), tmp_path / "real"):
        (first, second) = find_files([root], own)
        assert (first.name, second.parent.name, second.name) == ("a.png", "deep", "own.db")
    assert list(find_files([Path("own.db"), Path("own"), Path("../link/own.db")], own)) == []


def test_very_deep_folders_are_walked(tmp_path):
    folder = tmp_path
    for _ in range(150):
        folder = folder / "deeper"
        folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    assert list(find_files([tmp_path])) == [folder / "a.png"]


@given(st.lists(st.integers(0, 10**30), unique=True), st.text("ab-_ ", max_size=5))
def test_natural_order_is_the_order_of_the_numbers(numbers, stem):
    names = [f"{stem}{number}.png" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{stem}{number}.png" for number in sorted(numbers)]


@given(st.lists(st.text()))
def test_natural_order_sorts_any_names_and_tells_them_apart(names):
    keys = [natural_key(name) for name in names]
    assert sorted(keys) == sorted(keys[::-1])
    assert len(set(keys)) == len(set(names))


def test_text_in_a_folder_of_scans_is_skipped(tmp_path):
    (tmp_path / "readme.txt").write_bytes(b"hello")
    with pytest.raises(NotAScanError, match="is no image but text"):
        probe(tmp_path / "readme.txt", max_pixels=10**7)
