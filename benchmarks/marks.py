"""How well marks between digits are found and told apart: points, commas and dashes.

    python benchmarks/marks.py registers/dev
    python benchmarks/marks.py registers/train --fit

Prints machine and commit.  Counted are two digits side by side on a transcribed line, both found and read
right and no further apart than marks reach: what the transcription has between them (blanks left out) and
which mark is found, for digits that are read as one number and for others; and what time marks add to a page.
Intervals hold 95 % (Wilson 1927).  With --fit instead: what `pipeline/marks.py` has as FITTED.
"""

import argparse
import itertools
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from machine import describe_machine

from models.whole import Chain, PageRead, load_chain
from pipeline.drawn import draw_page
from pipeline.intervals import share_interval
from pipeline.marks import FEATURES, REACH, spots_between, with_marks
from pipeline.page import MARKS
from pipeline.scoring import score_page
from pipeline.settings import Settings
from pipeline.sources import probe, read_page
from pipeline.transcriptions import BESIDE, find_transcribed, read_lines

MAX_PIXELS = 150_000_000
NONE, ELSE = "", "else"  # no mark, and words, rules or brackets
WRITTEN = ".", ","
TRUTHS = NONE, *MARKS, ELSE
RULES = "", "|"  # what is none of the marks when they are fitted
WEIGHT_DECAY = 1e-4
DRAWN = 40


@dataclass(frozen=True, slots=True)
class Pair:
    """Two detections that are digits side by side, and what stands between them."""

    left: int
    right: int
    between: str
    in_number: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", type=Path)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--drawn", type=int, default=DRAWN, help="drawn pages to fit on as well")
    args = parser.parse_args()
    print(describe_machine(), flush=True)
    chain = load_chain(Settings())
    if args.fit:
        fit(chain, args.pages, args.drawn)
    else:
        measure(chain, args.pages)


def measure(chain: Chain, folder: Path) -> None:
    counts: Counter[tuple[bool, str, str]] = Counter()
    n_pages, page_s, marks_s = 0, 0.0, 0.0
    for grey, page, pairs in read_pages(chain, folder):
        n_pages += 1
        page_s += page.detect_s + page.classify_s
        began = time.perf_counter()
        again = with_marks(grey, page.found)
        marks_s += time.perf_counter() - began
        assert again == page.found
        for pair in pairs:
            truth = pair.between if pair.between in TRUTHS else ELSE
            mark = page.found.detections[pair.left].mark or NONE
            counts[pair.in_number, truth, mark] += 1
    for in_number in (True, False):
        print(f"| in {'one number' if in_number else 'two numbers'} | pairs | none found | . | , | - |")
        print("|---|---|---|---|---|---|")
        for truth in TRUTHS:
            row = [counts[in_number, truth, mark] for mark in (NONE, *MARKS)]
            print(f"| {truth or 'nothing'} | {sum(row)} | {' | '.join(map(str, row))} |")
        report(
            Counter({(truth, mark): n for (which, truth, mark), n in counts.items() if which == in_number})
        )
    print(f"{page_s / n_pages:.2f} s a page, of it {marks_s / n_pages * 1000:.1f} ms for marks", end=", ")
    print(f"{marks_s / page_s:.1%}")


def report(counts: Counter[tuple[str, str]]) -> None:
    """Print how well points and commas are found, by how often each was found for which truth."""

    def n(truths: Iterable[str], marks: Iterable[str]) -> int:
        return sum(counts[truth, mark] for truth, mark in itertools.product(truths, marks))

    every, right = (NONE, *MARKS), n(WRITTEN, WRITTEN)
    print(f"points and commas found: {share(right, n(WRITTEN, every))}")
    print(f"  told apart: {share(sum(counts[one, one] for one in WRITTEN), right)}")
    print(f"a mark where there is none: {share(n([NONE], MARKS), n([NONE], every))}")
    print(f"of the points and commas that are found, right: {share(right, n([NONE, *WRITTEN], WRITTEN))}")
    print(f"  dashes taken for one counted too: {share(right, n(every, WRITTEN))}")


def read_pages(chain: Chain, folder: Path) -> Iterator[tuple[npt.NDArray[np.uint8], PageRead, list[Pair]]]:
    """Yield each page, uint8 (H, W), with what was read on it and its pairs of digits."""
    for image, transcription in find_transcribed(folder):
        format = probe(image, max_pixels=MAX_PIXELS).format
        grey = read_page(image, format, None, 0, max_pixels=MAX_PIXELS, render_dpi=300)
        page = chain.read(grey)
        yield grey, page, list(pairs_of(page, transcription))


def pairs_of(page: PageRead, transcription: Path) -> Iterator[Pair]:
    readings, detections = page.read.readings, page.found.detections
    accepted = [i for i, one in enumerate(readings) if one.digit is not None]
    digits = [one.digit for one in readings if one.digit is not None]
    score = score_page(read_lines(transcription), [detections[i].box for i in accepted], digits, BESIDE)
    follows = {
        pair for number in page.read.numbers for pair in zip(number.members, number.members[1:], strict=False)
    }
    for one in score.lines:
        text, spots, truth = one.line.text, one.line.spots, one.line.digits
        for (i, j), (k, m) in zip(one.pairs, one.pairs[1:], strict=False):
            if None in (i, j, k, m) or one.line.is_unread or (k, m) != (i + 1, j + 1):
                continue
            left, right = accepted[one.found[j]], accepted[one.found[m]]
            if [readings[left].digit, readings[right].digit] != [int(truth[i]), int(truth[k])]:
                continue
            a, b = detections[left].box, detections[right].box
            if a.centre[0] < b.centre[0] and b.x0 - a.x1 < REACH * (a.height + b.height) / 2:
                between = "".join(text[spots[i] + 1 : spots[k]].split())
                yield Pair(left, right, between, (left, right) in follows)


def share(k: int, n: int) -> str:
    low, high = share_interval(k, n)
    return f"{k} of {n} ({low:.1%} to {high:.1%})"


def examples(chain: Chain, folder: Path, n_drawn: int) -> Iterator[tuple[npt.NDArray[np.float64], str]]:
    """Yield the spots between two digits, (S, 9), and what stands there: on transcribed and drawn pages."""
    for grey, page, pairs in read_pages(chain, folder):
        for pair in pairs:
            if not page.found.turned and pair.between in (*RULES, *MARKS):
                a, b = (np.array(page.found.detections[i].box.corners) for i in (pair.left, pair.right))
                yield spots_between(grey, a, b), NONE if pair.between in RULES else pair.between
    for seed in range(n_drawn):
        drawn = draw_page(seed, "varied")
        grey = drawn.pixels if drawn.pixels.ndim == 2 else cv2.cvtColor(drawn.pixels, cv2.COLOR_RGB2GRAY)
        for number in drawn.numbers:
            boxes = [np.array(drawn.digits[i].box.corners) for i in number.members]
            between = re.split(r"\d", number.written)[1:-1]
            for a, b, mark in zip(boxes, boxes[1:], between, strict=False):
                yield spots_between(np.asarray(grey, np.uint8), a, b), mark


def fit(chain: Chain, folder: Path, n_drawn: int) -> None:
    """Print the weights with the least cross-entropy, by the likeliest spot of each pair."""
    features, owner, truths = [], [], []
    for spots, mark in examples(chain, folder, n_drawn):
        features.append(spots)
        owner += [len(truths)] * len(spots)
        truths.append((NONE, *MARKS).index(mark))
    every = np.concatenate(features)
    mean, spread = every.mean(axis=0), every.std(axis=0)
    near = (every - mean) / spread
    inputs = torch.from_numpy(np.column_stack([np.ones(len(near)), near, near**2]))
    of_pair = torch.tensor(owner)[:, None].expand(-1, len(MARKS))
    none, truth = torch.zeros(len(truths), 1, dtype=torch.float64), torch.tensor(truths)
    weights = torch.zeros(len(MARKS), inputs.shape[1], dtype=torch.float64)
    weights[:, 0] = -3
    weights.requires_grad_()
    optimiser = torch.optim.LBFGS([weights], max_iter=800, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        odds = torch.full((len(truths), len(MARKS)), -9.0, dtype=torch.float64)
        odds = odds.scatter_reduce(0, of_pair, inputs @ weights.T, "amax")
        value = torch.nn.functional.cross_entropy(torch.cat([none, odds], dim=1), truth)
        value = value + WEIGHT_DECAY * (weights[:, 1:] ** 2).sum()
        value.backward()
        return value

    optimiser.step(loss)
    fitted = weights.detach().numpy()
    n = len(FEATURES)
    square = fitted[:, 1 + n :] / spread**2
    plain = fitted[:, 1 : 1 + n] / spread - 2 * square * mean
    first = fitted[:, 0] + (square * mean**2).sum(axis=1) - (fitted[:, 1 : 1 + n] * mean / spread).sum(axis=1)
    print(f"{len(truths):,} pairs, {np.count_nonzero(truths)} with a mark, cross-entropy {loss().item():.4f}")
    for mark, row in zip(MARKS, np.column_stack([first, plain, square]), strict=True):
        print(f"{mark!r}: [{', '.join(f'{value:.3g}' for value in row)}]")


if __name__ == "__main__":
    main()
