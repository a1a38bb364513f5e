"""How many digits change when networks compute in half precision, as they do on a GPU.

    python benchmarks/half_precision.py FOLDER

Reads the pages of a folder in full precision on the CPU, and again as a GPU does: in half precision, with
tiles filled up to the shape that pages share.  Where there is no GPU the CPU computes in half precision,
which is slow but rounds alike.  A digit counts as changed where the other reading has no box round it, or
another digit in it.  Prints machine and commit; exit code 0 only if at most 1 digit in 2,000 changes.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from machine import describe_machine

import models.loaded
from models.device import GPU_BATCH, Place, pick_place
from models.whole import Chain, PageRead, load_chain
from pipeline.page import Box
from pipeline.settings import Settings
from pipeline.sources import find_files, probe, read_page

MOST = 1 / 2000
MAX_PIXELS = 150_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scans", type=Path)
    options = parser.parse_args()
    print(describe_machine())
    settings = Settings(device="cpu")
    full = load_chain(settings)
    half = load_half(settings)
    n_digits = n_changed = n_numbers = n_lost = 0
    for name, grey in pages_of(options.scans):
        one, other = full.read(grey), half.read(grey)
        digits, others = digits_of(one), digits_of(other)
        changed = missing(digits, others) + missing(others, digits)
        texts = Counter(number.text for number in one.read.numbers)
        lost = texts - Counter(number.text for number in other.read.numbers)
        print(f"{name}: {len(digits)} digits, {changed} changed", flush=True)
        n_digits += len(digits)
        n_changed += changed
        n_numbers += texts.total()
        n_lost += lost.total()
    share = n_changed / max(n_digits, 1)
    print(f"{n_digits:,} digits, {n_changed} changed: {share:.5f}, at most {MOST:.5f}")
    print(f"{n_numbers:,} numbers, {n_lost} not read again")
    return 0 if share <= MOST else 1


def load_half(settings: Settings) -> Chain:
    """Return the networks as they compute on a GPU."""
    if torch.cuda.is_available():
        return load_chain(settings.model_copy(update={"device": "cuda"}))
    place = Place(torch.device("cpu"), torch.float16, GPU_BATCH, n_turns=2, tile_multiple=128)
    models.loaded.pick_place = lambda *_: place
    try:
        return load_chain(settings)
    finally:
        models.loaded.pick_place = pick_place


def pages_of(folder: Path) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Yield every page of the images in a folder, grey uint8 (H, W)."""
    for path in find_files([folder]):
        if not isinstance(path, Path) or path.suffix in (".xml", ".json"):
            continue
        document = probe(path, max_pixels=MAX_PIXELS)
        for page in document.pages:
            where = (path, document.format, page.member, page.frame)
            yield path.name, read_page(*where, max_pixels=MAX_PIXELS, render_dpi=300)


def digits_of(page: PageRead) -> list[tuple[Box, int]]:
    """Return the digits that were read, each with its box."""
    read = zip(page.found.detections, page.read.readings, strict=True)
    return [(found.box, reading.digit) for found, reading in read if reading.digit is not None]


def missing(digits: Sequence[tuple[Box, int]], others: Sequence[tuple[Box, int]]) -> int:
    """Return how many digits have none that is alike among the others: half of both boxes is shared."""
    return sum(not any(digit == d and overlap(box, b) > 0.5 for b, d in others) for box, digit in digits)


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    if width <= 0 or height <= 0:
        return 0.0
    areas = (one.x1 - one.x0) * (one.y1 - one.y0) + (other.x1 - other.x0) * (other.y1 - other.y0)
    return width * height / (areas - width * height)


if __name__ == "__main__":
    sys.exit(main())
