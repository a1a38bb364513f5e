"""A folder of nine kinds of pages, train and test apart by document, to measure what sorts them.

    python benchmarks/kinds_of_pages.py REGISTERS -o FOLDER [--drawn 24 12]

REGISTERS holds `train/` and `dev/` of transcribed pages; it is read only, and nothing of FOLDER belongs into
the project.  FOLDER gets `train/KIND`, `test/KIND`, `other/NAME` and pages.csv, which says of each file its
document, and whether it is real.

Real: `table-register` (printed tables; train/random-set-1 to learn from, later volumes of dev/random-set-1
to test), `running-register` (bronod), `notebook` (peraire), `will`, `letter`.  A document is a volume, a
notebook, a soldier's will, a letter.  Of a kind that stands in one folder a hash of the documents' names says
which of them test, and at least five pages stay to learn from.  bronod is one volume of four openings: each
is cut into its two pages, and they are apart by page only.  Drawn: `form-a`, `form-b`, `cover`, `blank`,
with other seeds to test.

`other/` has what no kind was learned from: `typed` and `labour-courts`; and `table-register-on-film`,
dufour-1, which is the same printed table, but grey, on film, with black around the page.
"""

import argparse
import csv
import hashlib
import itertools
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from drawn_kinds import DRAWN, draw_kind
from PIL import Image

N_LEAST = 5  # pages of a kind that stay to learn from
SAME_VOLUME = 20  # openings of random-set-1 whose numbers are nearer than this may be of one volume
APART = ("table-register",)  # whose test pages are for nothing else
# kind, its folder in train/, how many of its pages test at most
PARTED = (("notebook", "peraire", 4), ("will", "wills", 10), ("letter", "letters", 3))


@dataclass(frozen=True, slots=True)
class Source:
    """A real page: its file, its document, and which half of an opening it is (None: all of it)."""

    file: Path
    document: str
    half: int | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("registers", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument(
        "--drawn", type=int, nargs=2, default=(24, 12), help="drawn pages a kind: train, test"
    )
    args = parser.parse_args()
    if not (args.registers / "train" / "wills").is_dir():
        raise SystemExit(f"{args.registers}: holds no train/wills: give the folder with train/ and dev/")
    args.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for part, kind, source in real_pages(args.registers):
        rows.append((put_real(args.output / part / kind, source), part, kind, source.document, "real"))
    for part, first, n in (("train", 0, args.drawn[0]), ("test", 10_000, args.drawn[1])):
        for kind, k in itertools.product(DRAWN, range(n)):
            file = put_drawn(args.output / part / kind, kind, first + k)
            rows.append((file, part, kind, file.stem, "drawn"))
            print(f"{part}: {file.name}", file=sys.stderr)
    with (args.output / "pages.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "part", "kind", "document", "source"))
        writer.writerows((file.relative_to(args.output), *rest) for file, *rest in rows)
    for (part, kind), some in itertools.groupby(sorted(rows, key=lambda r: r[1:3]), key=lambda r: r[1:3]):
        pages = list(some)
        print(f"{part:6} {kind:24} {len(pages):3} pages of {len({r[3] for r in pages}):2} documents")


def real_pages(registers: Path) -> Iterator[tuple[str, str, Source]]:
    """Yield the part, the kind and the source of each real page."""
    train = registers / "train"
    for part, folder in (("train", train / "random-set-1"), ("test", registers / "dev" / "random-set-1")):
        for source in volumes(pictures(folder)):
            yield part, "table-register", source
    halves = [
        Source(file, f"bronod-{file.stem}-{half}", half)
        for file in pictures(train / "bronod")
        for half in (0, 1)
    ]
    for k, source in enumerate(halves):
        yield "train" if k < N_LEAST else "test", "running-register", source
    for kind, folder, n_test in PARTED:
        sources = [Source(file, document_of(kind, file)) for file in pictures(train / folder)]
        tests = for_testing(sources, n_test)
        for source in sources:
            yield "test" if source.document in tests else "train", kind, source
    for name in ("typed", "labour-courts"):
        for file in pictures(train / name):
            yield "other", name, Source(file, file.stem)
    for folder in (train / "dufour-1", registers / "dev" / "dufour-1"):
        for file in pictures(folder):
            yield "other", "table-register-on-film", Source(file, "dufour-1")


def pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in (".jpg", ".jpeg"))


def volumes(files: list[Path]) -> list[Source]:
    """Return pages of random-set-1 with their volumes: runs of openings, FRAN_0025_<opening>_L-<page>."""
    sources, before, volume = [], None, ""
    for file in files:
        opening = int(file.stem.split("_")[2])
        if before is None or opening - before >= SAME_VOLUME:
            volume = f"volume-{opening:04}"
        before = opening
        sources.append(Source(file, volume))
    return sources


def document_of(kind: str, file: Path) -> str:
    """Return the notebook, the soldier or the letter that a page is of, from its file's name."""
    if kind == "notebook":  # B.30.tdm_0014, test_D.8.eurasie-15_0062
        return file.stem.removeprefix("test_").rpartition("_")[0]
    if kind == "will":  # …_will_AN_0114-1: the first is the soldier, what follows his page
        return re.sub(r"-\d+$", "", file.stem)
    return file.stem


def for_testing(sources: list[Source], n_most: int) -> set[str]:
    """Return the documents that test: by the hash of their names, while enough is left to learn from."""
    documents = [source.document for source in sources]
    in_order = sorted(set(documents), key=lambda name: hashlib.sha256(name.encode()).digest())
    return documents_to_test(documents, in_order, n_most)


def documents_to_test(documents: list[str], in_order: list[str], n_most: int) -> set[str]:
    """Return which documents of a kind test, given that of each page: the first, while enough are left."""
    chosen: set[str] = set()
    n_chosen = 0
    for document in in_order:
        n = documents.count(document)
        if n_chosen + n <= n_most and len(documents) - n_chosen - n >= N_LEAST:
            chosen.add(document)
            n_chosen += n
    return chosen


def put_real(folder: Path, source: Source) -> Path:
    """Copy a real page into a folder; a half of an opening is cut out and written anew."""
    folder.mkdir(parents=True, exist_ok=True)
    if source.half is None:
        file = folder / source.file.name
        if not file.exists():
            shutil.copyfile(source.file, file)  # links out of a folder are not followed
        return file
    file = folder / f"{source.file.stem}-{source.half}.jpg"
    if not file.exists():
        with Image.open(source.file) as opening:
            middle = opening.width // 2
            box = (
                (0, 0, middle, opening.height)
                if source.half == 0
                else (middle, 0, opening.width, opening.height)
            )
            opening.crop(box).save(file, quality=85)
    return file


def put_drawn(folder: Path, kind: str, seed: int) -> Path:
    """Draw a page into a folder, as a JPEG of about the quality that the real ones have."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{kind}-{seed:05}.jpg"
    if not file.exists():
        quality = int(np.random.default_rng([seed, 7]).integers(68, 86))
        Image.fromarray(draw_kind(kind, seed)).save(file, quality=quality)
    return file


if __name__ == "__main__":
    main()
