"""Draw the sample scans in `examples/scans` and say in `examples/truth.json` what is on them.

    python examples/make.py [FOLDER]

Everything is drawn by `pipeline.drawn` from fixed seeds: no scan of anybody's is in it.
"""

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.drawn import DrawnPage, draw_page, draw_strip
from pipeline.paper import Look

HERE = Path(__file__).resolve().parent
# dates are part of a PDF's bytes
DRAWN_ON = time.struct_time((2025, 1, 1, 0, 0, 0, 2, 1, 0))

# Without grain and noise a PNG of a page takes a tenth of the room.
SMOOTH = Look(paper=(244, 240, 230), grain=0, noise=0, blur=0.7, fading=0.1)
MICROFILM = Look(
    grey=True, paper=(196, 196, 196), ink=(40, 40, 40), rules=(110, 110, 110), unevenness=0.1, noise=3.0
)
BLACK = (20, 20, 20)
FLAT = Look(True, (250, 250, 250), BLACK, BLACK, BLACK, unevenness=0, grain=0, fading=0, noise=0)
WORN = Look(paper=(226, 210, 176), ink=(70, 52, 40), bleed=0.1, stains=4, specks=20, noise=3.0)


@dataclass(frozen=True, slots=True)
class Scan:
    """A file of the examples and the drawn pages that are in it."""

    name: str
    pages: tuple[DrawnPage, ...]


def draw_scans() -> list[Scan]:
    """Return the sample scans: registers, accounts, a day book, and two fields cut out of forms."""
    accounts = ("running", "day", "amount", "amount", "count")
    sums = ("year", "count", "count", "amount", "amount")
    return [
        Scan("register-1.jpg", (draw_page(11, digit_px=30.0, look=WORN, skew_deg=0.5),)),
        Scan("register-2.png", (draw_page(12, width=1000, height=1300, digit_px=26.0, look=SMOOTH),)),
        Scan(
            "accounts.tif",
            (
                draw_page(13, width=1654, height=1400, digit_px=36.0, columns=accounts, look=FLAT),
                draw_page(14, width=1654, height=1400, digit_px=36.0, columns=sums, look=FLAT, skew_deg=-0.4),
            ),
        ),
        Scan("day-book.pdf", (draw_page(15, width=1200, height=1500, look=MICROFILM, skew_deg=-0.8),)),
        Scan("field-1.png", (draw_strip(16, text="00718", neat=True),)),
        Scan("field-2.jpg", (draw_strip(17, text="1 250,40", neat=True),)),
    ]


def save(scan: Scan, folder: Path) -> Path:
    """Write a scan in the format that its name says; return where."""
    path = folder / scan.name
    images = [Image.fromarray(page.pixels) for page in scan.pages]
    if path.suffix == ".tif":
        inks = [Image.fromarray(page.pixels > 150) for page in scan.pages]  # one bit a pixel
        inks[0].save(path, save_all=True, append_images=inks[1:], compression="group4", dpi=(200, 200))
    elif path.suffix == ".pdf":
        images[0].save(path, resolution=150.0, quality=75, creationDate=DRAWN_ON, modDate=DRAWN_ON)
    elif path.suffix == ".jpg":
        images[0].save(path, quality=78, dpi=(150, 150))
    else:
        images[0].save(path, optimize=True)
    return path


def truth_of(scan: Scan, path: Path) -> list[dict[str, Any]]:
    """Return what is on each page of a scan, as `archive export digits` would, and its numbers."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return [
        {
            "image": scan.name,
            "page": index,
            "sha256": sha256,
            "width": page.pixels.shape[1],
            "height": page.pixels.shape[0],
            "numbers": [{"text": n.text, "box": _corners(n.box)} for n in page.numbers],
            "digits": [
                {"box": _corners(d.box), "digit": d.digit, "number": d.number_index} for d in page.digits
            ],
        }
        for index, page in enumerate(scan.pages)
    ]


def _corners(box: Any) -> list[int]:
    return np.rint([box.x0, box.y0, box.x1, box.y1]).astype(int).tolist()


def main(folder: Path) -> None:
    """Draw the scans into `folder`/scans and write `folder`/truth.json."""
    (folder / "scans").mkdir(parents=True, exist_ok=True)
    pages = [page for scan in draw_scans() for page in truth_of(scan, save(scan, folder / "scans"))]
    lines = ",\n".join(json.dumps(page, separators=(",", ":")) for page in pages)
    (folder / "truth.json").write_text(f'{{"schema_version":1,"pages":[\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
