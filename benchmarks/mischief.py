"""Pages that do harm, for tests and benchmarks: decoders that crash, hang, or are kept busy.

`install` makes the processes that are started with its folder on their path obey what a PNG says.
"""

import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from pipeline.drawn import draw_page

# Makes Pillow's decoder crash, or hang with Python's lock held, on a PNG that says so.  Python imports it
# at the start of every process of the test that has its folder on the path.
_MISCHIEF = """
import ctypes
from PIL import ImageFile
load = ImageFile.ImageFile.load
def mischief(self):
    wish = self.info.get("mischief")
    if wish == "crash":
        ctypes.string_at(0)
    if wish == "hold":
        ctypes.PyDLL(None).sleep(3600)
    return load(self)
ImageFile.ImageFile.load = mischief
"""


def install(folder: Path) -> str:
    """Write what makes decoders misbehave to a folder; return the PYTHONPATH that lets it in."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_MISCHIEF)
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


def page(path: Path, seed: int, mischief: str | None = None) -> Path:
    """Write a small page with dark strokes on it, no two of the same bytes."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(225, 6, (160, 240)).clip(0, 255)
    for _ in range(12):
        x, y = rng.integers(10, 210), rng.integers(10, 120)
        pixels[y : y + 22, x : x + 4] = 40
    info = PngImagePlugin.PngInfo()
    if mischief:
        info.add_text("mischief", mischief)
    Image.fromarray(pixels.astype(np.uint8)).save(path, pnginfo=info)
    return path


def slow_jpeg(side_px: int, n_scans: int) -> bytes:
    """Return a real progressive JPEG that keeps libjpeg busy: its scans visit all blocks and add nothing."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    n_blocks = (-(-side_px // 8)) ** 2
    out = b"\xff\xd8" + segment(0xDB, b"\x00" + bytes([16] * 64))
    out += segment(0xC2, struct.pack(">BHHB", 8, side_px, side_px, 1) + bytes([1, 0x11, 0]))
    # a code of one bit each: DC difference 0; and a run of 2^14 + 14 further bits of empty blocks
    out += segment(0xC4, b"\x00" + bytes([1] + [0] * 15) + b"\x00")
    out += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")
    out += segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0])) + bytes(-(-n_blocks // 8))
    bits = ("0" + format(0x2AAA, "014b")) * -(-n_blocks // ((1 << 14) + 0x2AAA))
    bits += "1" * (-len(bits) % 8)
    scan = segment(0xDA, bytes([1, 1, 0x00, 1, 63, 0])) + int(bits, 2).to_bytes(len(bits) // 8, "big")
    return out + scan * n_scans + b"\xff\xd9"


def drawn_scans(folder: Path, n: int) -> Path:
    """Write a folder of `n` small drawn pages, about thirteen digits each."""
    scans = folder / "scans"
    scans.mkdir()
    for seed in range(n):
        pixels = draw_page(seed, "ledger", width=300, height=220, digit_px=15.0).pixels
        Image.fromarray(pixels).save(scans / f"page{seed}.png")
    return scans
