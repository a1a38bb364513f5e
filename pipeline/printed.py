"""Printed tables whose values are known as CSV, but not where on the page each stands.

The rows of a table are paired with the lines found on the page, both from the top, so that as many
digits as possible agree; inside a pair digits are aligned by edit distance.  What is printed but not in the
CSV (headings, page numbers) therefore counts as false, and what is in the CSV but not on the image as missed.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import SourceError
from pipeline.page import Number
from pipeline.scoring import align


@dataclass(frozen=True, eq=False, slots=True)
class PrintedScore:
    """Counts of digits, of whole numbers, and of (true, found) digits in `confusions`, int64 (11, 11)."""

    expected: int = 0
    found: int = 0
    right: int = 0
    numbers_expected: int = 0
    numbers_found: int = 0
    numbers_exact: int = 0
    confusions: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((11, 11), np.int64))

    @property
    def missed(self) -> int:
        """Digits of the table that were not found, or found as another."""
        return self.expected - self.right

    @property
    def false(self) -> int:
        """Found digits that the table does not have there."""
        return self.found - self.right

    @property
    def numbers(self) -> tuple[int, int, int, int, int]:
        """Whole numbers: expected, found, exact, missing, extra."""
        expected, found, exact = self.numbers_expected, self.numbers_found, self.numbers_exact
        return expected, found, exact, expected - exact, found - exact

    def __add__(self, other: "PrintedScore") -> "PrintedScore":
        return PrintedScore(
            self.expected + other.expected,
            self.found + other.found,
            self.right + other.right,
            self.numbers_expected + other.numbers_expected,
            self.numbers_found + other.numbers_found,
            self.numbers_exact + other.numbers_exact,
            self.confusions + other.confusions,
        )


def find_printed(folder: Path) -> list[tuple[Path, Path]]:
    """Return (image, values) of each `data/*.csv` that has an image of its name in `images`."""
    images = {file.stem: file for file in sorted((folder / "images").glob("*.*"))}
    return [
        (images[file.stem], file) for file in sorted((folder / "data").glob("*.csv")) if file.stem in images
    ]


def read_values(file: Path) -> list[list[str]]:
    """Return the digits of each value, row by row; the first row and column only name them.

    Raises SourceError.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        rows = list(csv.reader(text.splitlines(), quotechar="'" if text.startswith("'") else '"'))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{file}: no values can be read: {error}") from error
    return [[digits for value in row[1:] if (digits := _digits(value))] for row in rows[1:]]


def score_printed(rows: Sequence[Sequence[str]], numbers: Sequence[Number]) -> PrintedScore:
    """Return how the numbers found on a page agree with the rows of its table."""
    lines: dict[int, str] = {}
    for number in numbers:  # in reading order
        lines[number.line] = lines.get(number.line, "") + number.text
    truth, found = ["".join(row) for row in rows], list(lines.values())
    confusions = np.zeros((11, 11), np.int64)
    for i, j in _pair_lines(truth, found):
        row, line = "" if i is None else truth[i], "" if j is None else found[j]
        for a, b in align(row, line):
            confusions[10 if a is None else int(row[a]), 10 if b is None else int(line[b])] += 1
    wanted, got = Counter(value for row in rows for value in row), Counter(n.text for n in numbers)
    return PrintedScore(
        expected=sum(map(len, truth)),
        found=sum(map(len, found)),
        right=int(confusions.trace()),
        numbers_expected=wanted.total(),
        numbers_found=got.total(),
        numbers_exact=(wanted & got).total(),
        confusions=confusions,
    )


def _pair_lines(truth: Sequence[str], found: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Return rows and lines in order, paired so that the most digits are common."""
    n, m = len(truth), len(found)
    best = np.zeros((n + 1, m + 1), np.int64)
    common = np.array([[_common(row, line) for line in found] for row in truth], np.int64).reshape(n, m)
    for i in range(n):
        for j in range(m):
            best[i + 1, j + 1] = max(best[i, j] + common[i, j], best[i, j + 1], best[i + 1, j])
    pairs: list[tuple[int | None, int | None]] = []
    i, j = n, m
    while i or j:
        if i and j and best[i, j] == best[i - 1, j - 1] + common[i - 1, j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif i and best[i, j] == best[i - 1, j]:
            i -= 1
            pairs.append((i, None))
        else:
            j -= 1
            pairs.append((None, j))
    return pairs[::-1]


def _common(a: str, b: str) -> int:
    """Return the length of the longest common subsequence, one bit a character (Hyyrö 2004)."""
    places = {c: sum(1 << i for i, other in enumerate(a) if other == c) for c in set(b)}
    every = (1 << len(a)) - 1
    open_bits = every
    for character in b:
        met = open_bits & places[character]
        open_bits = ((open_bits + met) | (open_bits - met)) & every
    return len(a) - open_bits.bit_count()


def _digits(value: str) -> str:
    return "".join(character for character in value if character in "0123456789")
