"""What the alternatives of numbers are worth: how often the truth is among the readings that are kept.

    python benchmarks/alternatives.py registers/dev [--block Col_1]
    python benchmarks/alternatives.py registers/train --fit

Prints machine and commit.  For each set of pages (a folder), and for the lines in text blocks that ALTO tags
as --block says: how many cells, lines that are all number, have their truth as the first reading, and among
the first 2, 3, 5 and 6, that one included; how often alternatives of about one chance are right; what time
they add to a page, and what size to a database.  With --fit instead: what `models/alternatives.py` has as
FITTED, from pages in another hand, since on pages as they learned them the networks are seldom wrong.
"""

import argparse
import itertools
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from machine import describe_machine
from sqlalchemy import insert

from models.alternatives import Way, weighed, with_alternatives
from models.scale import DIGIT_PX
from models.whole import Chain, PageRead, load_chain
from pipeline.confidence import REJECT
from pipeline.database import open_database, writing
from pipeline.numbers import among
from pipeline.page import Number
from pipeline.results import write_detections, write_readings
from pipeline.scoring import PageScore, right_numbers, score_page
from pipeline.settings import Settings
from pipeline.sources import probe, read_page
from pipeline.tables import documents, ledger, pages, runs
from pipeline.transcriptions import BESIDE, Line, find_transcribed, held_boxes, read_lines
from pipeline.variants import in_another_hand

MAX_PIXELS = 150_000_000
NONE = frozenset([""])  # there is no number
BARS = 0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0
FITTED_KINDS = "joined", "part", "none"


@dataclass(frozen=True, eq=False)
class Truth:
    """Of a number that was read: whether it is right, and what may be right instead ("": no number)."""

    is_right: bool
    texts: frozenset[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", type=Path)
    parser.add_argument("--block", default="Col_1")
    parser.add_argument("--fit", action="store_true")
    args = parser.parse_args()
    print(describe_machine(), flush=True)
    chain = load_chain(Settings())
    if args.fit:
        fit(chain, args.pages)
    else:
        measure(chain, args.pages, args.block)


def measure(chain: Chain, folder: Path, block: str) -> None:
    ranks: dict[str, list[int]] = {}
    chances, right = list[float](), list[bool]()
    read_pages, page_s, added_s = [], 0.0, 0.0
    for image, transcription in find_transcribed(folder):
        lines = read_lines(transcription)
        page = chain.read(grey_of(image))
        of_page = said(chain, page)
        began = time.perf_counter()
        again = with_alternatives(page.read.numbers, page.found, *of_page)
        added_s += time.perf_counter() - began
        page_s += page.detect_s + page.classify_s
        assert again == page.read.numbers
        read_pages.append(page)
        blocks = blocks_of(transcription)
        for k, own in cells_of(page, lines):
            rank = rank_of(lines[k].digits, [page.read.numbers[n] for n in own])
            ranks.setdefault(image.parent.name, []).append(rank)
            if block in blocks[k]:
                ranks.setdefault(f"{image.parent.name}, {block}", []).append(rank)
        for number, truth in zip(page.read.numbers, truths_of(page, lines), strict=True):
            if truth is not None:
                chances += [one.probability for one in number.alternatives]
                right += [not truth.is_right and one.text in truth.texts for one in number.alternatives]
    print("| cells | of | first reading | among 2 | 3 | 5 | 6 |\n|---|---|---|---|---|---|---|")
    for name, of_cells in sorted(ranks.items()):
        shares = [f"{sum(rank <= k for rank in of_cells)}" for k in (1, 2, 3, 5, 6)]
        print(f"| {name} | {len(of_cells)} | {' | '.join(shares)} |")
    print_reliability(np.array(chances), np.array(right))
    n = len(read_pages)
    n_numbers = sum(len(page.read.numbers) for page in read_pages)
    print(f"{len(chances) / n_numbers:.2f} alternatives a number, {n_numbers / n:.0f} numbers a page")
    print(f"{page_s / n:.2f} s a page, of it {added_s / n * 1000:.0f} ms for alternatives", end=", ")
    print(f"{added_s / (page_s - added_s):.1%} more")
    without, with_them = (size_of(read_pages, kept=kept) / n for kept in (False, True))
    print(f"SQLite: {without:,.0f} bytes a page without, {with_them:,.0f} with", end=", ")
    print(f"{with_them / without - 1:.1%} more")


def grey_of(image: Path) -> npt.NDArray[np.uint8]:
    format = probe(image, max_pixels=MAX_PIXELS).format
    return read_page(image, format, None, 0, max_pixels=MAX_PIXELS, render_dpi=300)


def said(chain: Chain, page: PageRead) -> tuple[npt.NDArray, ...]:
    """Return what `with_alternatives` asks of a page beside its numbers."""
    read = page.read
    digits = np.array([REJECT if one.digit is None else one.digit for one in read.readings], np.int64)
    columns = chain.readers.recogniser.columns(read.strips)
    return digits, read.chances, read.odds, columns


def blocks_of(transcription: Path) -> list[set[str]]:
    """Return the tags of the text block that each line with a polygon is in; none but in ALTO."""

    def is_a(element: ET.Element, name: str) -> bool:
        return element.tag.rpartition("}")[2] == name

    root = ET.parse(transcription).getroot()
    labels = {element.get("ID"): element.get("LABEL", "") for element in root.iter()}
    of_lines = {
        line: {labels.get(tag, "") for tag in block.get("TAGREFS", "").split()}
        for block in root.iter()
        if is_a(block, "TextBlock")
        for line in block.iter()
        if is_a(line, "TextLine")
    }
    found = [of_lines.get(line, set()) for line in root.iter() if is_a(line, "TextLine")]
    n_lines = len(read_lines(transcription))
    return found if len(found) == n_lines else [set()] * n_lines  # some have no polygon: nothing is known


def cells_of(page: PageRead, lines: Sequence[Line]) -> Iterator[tuple[int, list[int]]]:
    """Yield each line that is all number, and the numbers that mostly stand on it, from the left."""
    corners = np.array([one.box.corners for one in page.found.detections], np.float64).reshape(-1, 4)
    holds = held_boxes([line.polygon for line in lines], corners, BESIDE)
    numbers = page.read.numbers
    for k, line in enumerate(lines):
        if line.is_number:
            own = [n for n, number in enumerate(numbers) if holds[k, list(number.members)].mean() >= 0.5]
            yield k, sorted(own, key=lambda n: numbers[n].box.x0)


def rank_of(truth: str, numbers: Sequence[Number]) -> int:
    """Return the place of the truth among a cell's readings, from 1: the first, then others by chance."""
    first = "".join(number.text for number in numbers)
    if truth == first or not numbers:
        return 1 if truth == first else 10**6
    each = [
        [(one.confidence, one.text), *((a.probability, a.text) for a in one.alternatives)] for one in numbers
    ]
    every = [(0.0, "")]
    for readings in each:  # those of each number, one after the other
        both = [(p * q, text + more) for (p, text), (q, more) in itertools.product(every, readings)]
        every = sorted(both, reverse=True)[:200]
    whole = {one for number in numbers for one in number.members}
    # or one reading that takes the boxes of all of them
    every += [(a.probability, a.text) for one in numbers for a in one.alternatives if whole <= {*a.members}]
    best: dict[str, float] = {}
    for chance, text in every:
        best[text] = max(best.get(text, 0.0), chance)
    best.pop(first, None)
    if truth not in best:
        return 10**6
    return 2 + sum(chance > best[truth] for chance in best.values())


def truths_of(page: PageRead, lines: Sequence[Line]) -> list[Truth | None]:
    """Return what is true of each number of a page; None on a line that was not wholly transcribed.

    A number that is wrong may be each number of the transcription that one of its boxes is of.
    """
    readings = page.read.readings
    accepted = [i for i, one in enumerate(readings) if one.digit is not None]
    digits = [one.digit for one in readings if one.digit is not None]
    score = score_page(lines, [page.found.detections[i].box for i in accepted], digits, BESIDE)
    numbers = among(page.read.numbers, accepted)
    unread = {i for one in score.lines if one.line.is_unread for i in one.found}
    meant = texts_meant(score)
    return [
        None
        if unread & {*number.members}
        else Truth(bool(right), frozenset().union(*(meant.get(i, ()) for i in number.members)) or NONE)
        for number, right in zip(numbers, right_numbers(score, digits, numbers), strict=True)
    ]


def texts_meant(score: PageScore) -> dict[int, set[str]]:
    """Return for each digit found in a line the numbers that it may be of: of 22|50 both 22 and 2250."""
    meant: dict[int, set[str]] = {}
    for one in score.lines:
        spots, digits = one.line.spots, one.line.digits
        of_digit: list[set[str]] = [set() for _ in spots]
        for goes_on in (one.line.goes_on, lambda before, here: here == before + 1):
            cuts = [k for k in range(1, len(spots)) if not goes_on(spots[k - 1], spots[k])]
            for a, b in itertools.pairwise([0, *cuts, len(spots)]):
                for k in range(a, b):
                    of_digit[k].add(digits[a:b])
        meant |= {one.found[j]: of_digit[i] for i, j in one.pairs if i is not None and j is not None}
    return meant


def print_reliability(chances: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> None:
    print("| chance of an alternative | mean | share right | alternatives |\n|---|---|---|---|")
    for low, high in itertools.pairwise(BARS):
        some = (chances >= low) & (chances < high)
        if some.any():
            print(
                f"| {low} to {high} | {chances[some].mean():.4f} | {right[some].mean():.4f} | {some.sum()} |"
            )
    print(f"all: {chances.sum():.1f} expected, {right.sum()} right")


def size_of(read_pages: Sequence[PageRead], *, kept: bool) -> int:
    """Return the size of a database of these pages alone, with their alternatives or without."""
    with tempfile.TemporaryDirectory() as name:
        db = open_database(f"sqlite:///{name}/archive.db")
        empty = dict(added_at=1.0, freed=False, format="png", size_bytes=1, n_pages=len(read_pages))
        hashes = dict(detector_sha256="a" * 64, classifier_sha256="b" * 64)
        row = dict(run_id=1, current=True, state="done", suspect=False, attempts=0, queued=False)
        with writing(db) as conn:
            conn.execute(insert(documents).values(id=1, sha256="c" * 64, **empty))
            conn.execute(insert(runs).values(id=1, started_at=1.0, settings="{}", **hashes))
            for k, page in enumerate(read_pages, 1):
                conn.execute(insert(pages).values(id=k, document_id=1, page_index=k, frame=0))
                many = dict(lease_until=0.0, turned=0, n_digits=1, n_numbers=1)
                conn.execute(insert(ledger).values(id=k, page_id=k, **row, **many))
                numbers = page.read.numbers
                if not kept:
                    numbers = tuple(replace(number, alternatives=()) for number in numbers)
                write_detections(conn, k, page.found.detections)
                write_readings(conn, k, page.read.readings, numbers)
        db.dispose()
        return sum(part.stat().st_size for part in Path(name).glob("archive.db*"))


def fit(chain: Chain, folder: Path) -> None:
    """Print the weights with the least cross-entropy of what wrong numbers are, on pages in other hands."""
    rng = np.random.default_rng(0)
    told = list[tuple[list[Way], npt.NDArray[np.float64], Truth]]()
    n = 0
    for image, transcription in find_transcribed(folder):
        grey = grey_of(image)
        digit_px = DIGIT_PX / chain.detector.scale_of(grey)
        grey, lines = in_another_hand(grey, read_lines(transcription), digit_px, rng)
        page = chain.read(grey)
        ways = weighed(page.read.numbers, page.found, *said(chain, page))
        n += len(ways)
        told += [
            (of_one, likely, truth)
            for (of_one, likely), truth in zip(ways, truths_of(page, lines), strict=True)
            if of_one and truth is not None and not truth.is_right
        ]
    width = max(len(ways) for ways, _, _ in told) + 1
    features = torch.zeros(len(told), width, 2 + len(FITTED_KINDS), dtype=torch.float64)
    is_there, is_right = (torch.zeros(len(told), width, dtype=torch.bool) for _ in range(2))
    for k, (ways, likely, truth) in enumerate(told):
        features[k, : len(ways), 0] = torch.from_numpy(likely)
        for j, way in enumerate(ways):
            is_right[k, j] = way.text in truth.texts
            if way.kind in FITTED_KINDS:
                features[k, j, 2 + FITTED_KINDS.index(way.kind)] = 1
        features[k, -1, 1] = 1  # another reading
        is_there[k, : len(ways)] = is_there[k, -1] = True
        is_right[k, -1] = not is_right[k].any()
    weights = torch.tensor([0.3, -1.0, 0.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logs = (features @ weights).masked_fill(~is_there, -torch.inf)
        of_right = logs.masked_fill(~is_right, -torch.inf).logsumexp(dim=1)
        value = (logs.logsumexp(dim=1) - of_right).mean() + 1e-3 * (weights**2).sum()
        value.backward()
        return value

    optimiser.step(loss)
    share, another, *of_kinds = weights.tolist()
    kinds = ", ".join(f"{kind}={value:.2f}" for kind, value in zip(FITTED_KINDS, of_kinds, strict=True))
    print(f"{len(told)} wrong of {n:,} numbers, cross-entropy {float(loss()):.3f}")
    print(f"Weights(temperature={1 / share:.2f}, {kinds}, another={another:.2f})")


if __name__ == "__main__":
    main()
