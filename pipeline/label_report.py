"""What a labelling gave: counts by collection, and a sample of lines that a person can judge."""

from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np

from pipeline.contact_sheets import Strip, draw_sheet
from pipeline.labels import Ink, LabelledLine, LabelledPage
from pipeline.page import Box

# lines of each kind; the sheet takes as many as it has room for
_N_SAMPLED = {"text": 10, "number": 50, "pasted": 50}
_MARGIN_PX = 6
_AROUND = 0.6  # heights of digits


@dataclass(slots=True)
class Yield:
    """Counts of pages and digits; `n_in_numbers` and `n_in_text` are written, the others have a box."""

    n_pages: int = 0
    n_in_numbers: int = 0
    n_labelled_in_numbers: int = 0
    n_in_text: int = 0
    n_labelled_in_text: int = 0
    n_pasted: int = 0

    def add(self, page: LabelledPage) -> None:
        """Count a page."""
        self.n_pages += 1
        self.n_in_numbers += page.n_written - page.n_in_text
        self.n_labelled_in_numbers += len(page.digits) - page.n_labelled_in_text - page.n_pasted
        self.n_in_text += page.n_in_text
        self.n_labelled_in_text += page.n_labelled_in_text
        self.n_pasted += page.n_pasted


@dataclass(slots=True)
class Sample:
    """A sample of lines that have labels, each line as likely as any other of its kind (Vitter 1985)."""

    rng: np.random.Generator
    n_seen: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_N_SAMPLED, 0))
    strips: dict[str, list[Strip]] = field(default_factory=lambda: {kind: [] for kind in _N_SAMPLED})

    def add(self, page: LabelledPage) -> None:
        """Take some of a page's lines."""
        for line in page.lines:
            if not line.labelled:
                continue
            self.n_seen[line.kind] += 1
            kept = self.strips[line.kind]
            place = int(self.rng.integers(self.n_seen[line.kind]))
            if len(kept) < _N_SAMPLED[line.kind]:
                kept.append(strip_of(page.ink, line))
            elif place < len(kept):
                kept[place] = strip_of(page.ink, line)

    def mixed(self) -> list[Strip]:
        """Return the lines of text, then all numbers in an order that leaves to chance which find room."""
        numbers = self.strips["number"] + self.strips["pasted"]
        return self.strips["text"] + [numbers[i] for i in self.rng.permutation(len(numbers))]


class Report:
    """Yield and sample by collection, in the order in which they come; a seed makes the sample."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.yields: dict[str, Yield] = {}
        self._samples: dict[str, Sample] = {}

    def add(self, page: LabelledPage) -> None:
        """Count a page and take some of its lines."""
        if page.collection not in self.yields:
            self.yields[page.collection] = Yield()
            rng = np.random.default_rng([self._seed, len(self._samples)])
            self._samples[page.collection] = Sample(rng)
        self.yields[page.collection].add(page)
        self._samples[page.collection].add(page)

    @property
    def total(self) -> Yield:
        """The counts of all collections."""
        return Yield(*(sum(counts) for counts in zip(*map(astuple, self.yields.values()), strict=True)))

    def draw_sheets(self, folder: Path) -> list[Path]:
        """Draw a contact sheet `<collection>.png` for each collection with lines; raises OutputError."""
        files = []
        for collection, sample in self._samples.items():
            if strips := sample.mixed():
                files.append(folder / f"{collection}.png")
                title = f"{collection}: lines with a digit's box in blue, the digit under it, the line's text"
                draw_sheet(files[-1], strips, title)
        return files


def strip_of(ink: Ink, line: LabelledLine) -> Strip:
    """Return a line cut from its page's ink map, uint8 (h, w), with its labels, as a sheet shows it.

    A line's polygon can be much higher than its digits: of what is above and below them some is left.
    """
    boxes = [digit.box for digit in line.labelled]
    around = _AROUND * max(box.height for box in boxes)
    left, right = line.polygon[:, 0].min(), line.polygon[:, 0].max()
    x0 = max(0, int(min(left, *(box.x0 for box in boxes))) - _MARGIN_PX)
    x1 = int(max(right, *(box.x1 for box in boxes))) + _MARGIN_PX
    y0 = max(0, int(min(box.y0 for box in boxes) - around))
    y1 = int(max(box.y1 for box in boxes) + around)
    labels = tuple(
        (Box(box.x0 - x0, box.y0 - y0, box.x1 - x0, box.y1 - y0), str(digit.digit), False)
        for box, digit in zip(boxes, line.labelled, strict=True)
    )
    n_missed = len(line.digits) - len(boxes)
    missed = f"  [{n_missed} without a box]" if n_missed else ""
    return Strip(255 - ink[y0:y1, x0:x1], labels, line.text + missed)
