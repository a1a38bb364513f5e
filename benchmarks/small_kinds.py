"""Small drawn pages of three kinds, for tests of what sorts pages: covers, forms and registers."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.drawn import draw_page

Grey = npt.NDArray[np.uint8]  # (H, W)
KINDS = ("cover", "form", "register")
# what becomes of them: covers are skipped, forms have a classifier of their own, registers the usual one
PATHS = """
[kinds.cover]
path = "skip"

[kinds.form]
classifier = "other.safetensors"
"""
_SIZE = (300, 220)  # width, height


def draw_kind(kind: str, seed: int) -> Grey:
    """Return a page of one of `KINDS`, 220 × 300 pixels; no two seeds give the same."""
    if kind == "cover":
        return _cover(np.random.default_rng(seed))
    drawn = draw_page(seed, "ledger", width=_SIZE[0], height=_SIZE[1], digit_px=15.0).pixels
    page = np.array(Image.fromarray(drawn).convert("L"))
    return page if kind == "register" else _ruled(page, np.random.default_rng(seed))


def write_kinds(folder: Path, n: int, first_seed: int = 0) -> Path:
    """Write `n` pages of each kind, in a folder of its own; return the folder of these."""
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
        for seed in range(first_seed, first_seed + n):
            Image.fromarray(draw_kind(kind, seed)).save(folder / kind / f"{kind}{seed}.png")
    return folder


def _cover(rng: np.random.Generator) -> Grey:
    """Board with a label in its middle, and a word on that."""
    width, height = _SIZE
    page = rng.normal(150, 12, (height, width))
    page[60:150, 70:230] = rng.normal(228, 4, (90, 160))
    page = page.clip(0, 255).astype(np.uint8)
    cv2.rectangle(page, (70, 60), (230, 150), 60, 3)
    word = "".join(rng.choice(list("ABCDEFGHKLMNRST"), 6))
    cv2.putText(page, word, (85, 115), cv2.FONT_HERSHEY_COMPLEX, 1.0, 50, 2)
    return page


def _ruled(page: Grey, rng: np.random.Generator) -> Grey:
    """Set a page into a form: printed boxes below and beside one another, paler than the ink on them."""
    form = np.full_like(page, 255)
    step = int(rng.integers(24, 30))
    for x in range(8, page.shape[1] - 8, 2 * step):
        cv2.line(form, (x, 8), (x, page.shape[0] - 8), 150, 1)
    for y in range(8, page.shape[0] - 8, step):
        cv2.line(form, (8, y), (page.shape[1] - 8, y), 150, 1)
    return np.minimum(page, form)
