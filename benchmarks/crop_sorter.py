"""Whether a chain of three with a crop sorter in the middle reads better than the classifier's reject class.

    python benchmarks/crop_sorter.py DATA SORTER --choose PAGES [PAGES ...]

DATA holds `registers/dev`, whose pages are read, and SORTER is what `archive train sorter --data LABELS`
made of a label set.  Two comparisons: without the rescorer and all behind it, where a box counts that is
likely enough a digit, by the classifier's reject class or by the sorter before a classifier of ten digits;
and within the chain that ships.  How likely is enough is chosen on PAGES, transcribed training pages, in the
same way for all.  Seconds are of one core (OMP_NUM_THREADS=1), so that what runs beside it counts little.
McNemar's test over number cells, F1 by resampling pages.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from machine import describe_machine

from models.crop_sorter import N_DIGIT_CATEGORIES, load_crop_sorter
from models.reader import ACCEPT_BAR, read_chances, read_crops
from models.rescorer import single_boxes, strengths
from models.whole import load_chain
from pipeline.confidence import REJECT, logit, sigmoid
from pipeline.crops import Crops
from pipeline.page import Box, PageDetections, Reading
from pipeline.paired import compare, pair_page
from pipeline.scoring import PageScore, Totals, score_page
from pipeline.settings import Settings
from pipeline.sources import probe, read_page
from pipeline.transcriptions import read_lines, require_transcribed

MAX_PIXELS = 150_000_000
BARS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
WHOLE_BARS = (0.0, 0.02, 0.1, 0.3)
# added to the rescorer's log-odds, which learned to be told of a reject class
SHIFTS = (0.0, -1.0, -2.0, -3.0)

Floats = npt.NDArray[np.float64]
Chances = npt.NDArray[np.float32]
Classify = Callable[[npt.NDArray[np.int64]], Chances]  # positions of a page's boxes (K,) → chances (K, 11)
Digits = tuple[list[Box], list[int]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to say which boxes count: `sorted` by the sorter's first categories, of 0 by the reject class.

    `whole`: the rescorer and all behind it read on.  They are told that no box is to be rejected or, where
    `told`, the sorter's doubt instead.  `bar` and `shift` are chosen on training pages.
    """

    name: str
    sorted: int = N_DIGIT_CATEGORIES
    whole: bool = False
    told: bool = False
    bar: float = 0.0
    shift: float = 0.0


REJECTING, SHIPPED = "detector and reject class", "as shipped"
WAYS = (
    Way(REJECTING, 0),
    Way("detector, sorter (both kinds of digits), ten classes"),
    Way("detector, sorter (handwritten only), ten classes", 1),
    Way("whole chain, sorter (both kinds of digits), ten classes", whole=True),
    Way("whole chain, sorter (handwritten only), ten classes", 1, whole=True),
    Way("whole chain, sorter (both), its doubt told to the rescorer", whole=True, told=True),
)


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """The boxes of a page that are left, by position (K,), and what the networks behind are told of them."""

    positions: npt.NDArray[np.int64]
    found: PageDetections
    chances: Chances  # (K, 11)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("sorter", type=Path)
    parser.add_argument("--choose", type=Path, nargs="+", required=True)
    args = parser.parse_args()
    print(describe_machine())
    chain, sorter = load_chain(Settings(device="cpu")), load_crop_sorter(args.sorter, "cpu")
    readers = chain.readers

    def sure(odds: Floats) -> npt.NDArray[np.bool_]:
        return sigmoid(odds) >= ACCEPT_BAR

    # a way's shifts share what the rescorer says
    tried = [
        [replace(way, bar=bar, shift=shift) for shift in (SHIFTS if way.whole else SHIFTS[:1])]
        for way in WAYS
        for bar in (WHOLE_BARS if way.whole else BARS)
    ]
    shipped = Way(SHIPPED, 0, whole=True)  # nothing of it is chosen here
    tried.append([shipped])
    totals = {way: Totals() for ways in tried for way in ways}
    choosing = require_transcribed(*args.choose)
    for image, transcription in choosing:
        lines, seen = read_lines(transcription), chain.see(grey_page(image))
        chances, sorts = readers.classifier.chances(seen.crops), sorter.chances(seen.crops)
        for ways in tried:
            kept = keep(seen.found, ways[0], sorts, chances.__getitem__)
            whole = ways[0].whole
            odds = readers.rescorer.odds(kept.chances, kept.found) if whole else stronger(kept)
            for way in ways:
                among = sure(odds + way.shift) if whole else np.ones(len(odds), bool)
                boxes, digits = taken(kept, single_boxes(kept.found, odds, among))
                totals[way].add(score_page(lines, boxes, digits), digits)
        print(image.name, file=sys.stderr)
    print(f"\nchosen on {len(choosing)} training pages, up to the rescorer:")
    print(f"  {SHIPPED}: F1 {totals[shipped].f1:.4f}")
    best = []
    for name in (way.name for way in WAYS):
        way = max((way for way in totals if way.name == name), key=lambda way: totals[way].f1)
        best.append(way)
        print(f"  {name}: chance from {way.bar:g}, log-odds {way.shift:+g}: F1 {totals[way].f1:.4f}")

    scores: dict[str, list[tuple[PageScore, list[int], float]]] = {}
    pages = require_transcribed(args.data / "registers" / "dev")
    detect_s = []
    for image, transcription in pages:
        lines, grey = read_lines(transcription), grey_page(image)
        began = time.process_time()
        seen = chain.see(grey)
        detect_s.append(time.process_time() - began)

        def classify(positions: npt.NDArray[np.int64], crops: Crops = seen.crops) -> Chances:
            return readers.classifier.chances(crops[positions])

        for way in (None, *best):
            began = time.process_time()
            if way is None:
                read = read_crops(seen.found, seen.crops, readers)
                boxes, digits = accepted(seen.found, read.readings)
            else:
                sorts = (
                    sorter.chances(seen.crops) if way.sorted else np.zeros((len(seen.crops), 4), np.float32)
                )
                kept = keep(seen.found, way, sorts, classify)
                if way.whole:
                    odds = readers.rescorer.odds(kept.chances, kept.found) + way.shift
                    read = read_chances(kept.found, seen.crops[kept.positions], kept.chances, odds, readers)
                    boxes, digits = accepted(kept.found, read.readings)
                else:
                    odds = stronger(kept)
                    boxes, digits = taken(kept, single_boxes(kept.found, odds, np.ones(len(odds), bool)))
            took_s = time.process_time() - began
            name = way.name if way else SHIPPED
            scores.setdefault(name, []).append((score_page(lines, boxes, digits), digits, took_s))
        print(image.name, file=sys.stderr)
    print(
        f"\n{len(pages)} pages of registers/dev, {np.median(detect_s):.2f} s of a core to detect (median)\n"
    )
    report(scores, {way.name: way for way in best}, detect_s)


def grey_page(image: Path) -> npt.NDArray[np.uint8]:
    format = probe(image, max_pixels=MAX_PIXELS).format
    return read_page(image, format, None, 0, max_pixels=MAX_PIXELS, render_dpi=300)


def keep(found: PageDetections, way: Way, sorts: Chances, classify: Classify) -> Kept:
    """Return the boxes that a way lets through; `sorts` (N, 4) are the sorter's chances."""
    every = np.arange(len(found.detections))
    if not way.sorted:
        chances = classify(every)
        positions = np.flatnonzero(1 - chances[:, REJECT] >= way.bar)
        return Kept(positions, only(found, positions), chances[positions])
    is_digit = sorts[:, : way.sorted].sum(axis=1)
    positions = np.flatnonzero(is_digit >= way.bar)
    chances = classify(positions).copy()
    chances[:, REJECT] = 0
    chances /= chances.sum(axis=1, keepdims=True).clip(1e-9)
    if way.told:
        chances *= is_digit[positions, None]
        chances[:, REJECT] = 1 - is_digit[positions]
    return Kept(positions, only(found, positions), chances)


def only(found: PageDetections, positions: npt.NDArray[np.int64]) -> PageDetections:
    return replace(found, detections=tuple(found.detections[k] for k in positions))


def stronger(kept: Kept) -> Floats:
    """Return by what the better of two boxes round one digit is chosen where there is no rescorer, (K,)."""
    return logit(strengths(kept.chances, kept.found))


def taken(kept: Kept, which: npt.NDArray[np.bool_]) -> Digits:
    boxes = [d.box for d, is_taken in zip(kept.found.detections, which, strict=True) if is_taken]
    return boxes, kept.chances[which, :REJECT].argmax(axis=1).tolist()


def accepted(found: PageDetections, readings: Sequence[Reading]) -> Digits:
    both = [
        (detection.box, reading.digit)
        for detection, reading in zip(found.detections, readings, strict=True)
        if reading.digit is not None
    ]
    return [box for box, _ in both], [digit for _, digit in both]


def report(
    scores: dict[str, list[tuple[PageScore, list[int], float]]], ways: dict[str, Way], detect_s: list[float]
) -> None:
    """Print the table: each way against the one that it is to replace."""
    print(
        "| way | against | F1 | precision | recall | difference (95 %) | cells | only old, only new, p |"
        " s of a core behind the detector | and with it | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, pages in scores.items():
        old_name = SHIPPED if name in (SHIPPED, REJECTING) or ways[name].whole else REJECTING
        old_pages = scores[old_name]
        both = compare([pair_page(a[0], b[0], a[1], b[1]) for a, b in zip(old_pages, pages, strict=True)])
        total = Totals()
        for score, digits, _ in pages:
            total.add(score, digits)
        behind, whole, old = (
            float(np.median(np.array(seconds)))
            for seconds in (
                [page[2] for page in pages],
                np.add(detect_s, [page[2] for page in pages]),
                np.add(detect_s, [page[2] for page in old_pages]),
            )
        )
        f1, cells = both.f1, both.cells
        print(
            f"| {name} | {'' if old_name == name else old_name} | {f1.new:.4f} | {total.precision:.4f} |"
            f" {total.recall:.4f} | {f1.new - f1.old:+.4f} ({f1.low:+.4f} to {f1.high:+.4f}) |"
            f" {cells.n_new} of {cells.n} | {cells.n_only_old}, {cells.n_only_new}, {cells.p:.2g} |"
            f" {behind:.3f} | {whole:.2f} | {whole / old:.3f} |"
        )


if __name__ == "__main__":
    main()
