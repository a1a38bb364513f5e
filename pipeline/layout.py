"""A sheet laid out and filled in as a register is: header, ruled columns, a row for each entry."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.glyphs import LETTERS, LOOK_ALIKES, MARKS, NAMES, WORDS
from pipeline.inking import print_width
from pipeline.pens import Hand, Line, any_hand, extent, neat_hand, write_number, write_shape
from pipeline.sheet import Sheet
from pipeline.styles import COLUMNS, PageStyle

_TITLES = {
    "running": ("No.", "Numero", "Folio"),
    "day": ("Jour", "Date", "Jours"),
    "year": ("An", "Ann."),
    "amount": ("Francs", "Somme", "Montant", "Droits"),
    "count": ("Nombre", "Unites", "Total"),
    "date": ("Date", "Enregistrement"),
    "printed": ("Moy.", "Max.", "Min."),
    "figures": ("Moy.", "Max.", "Min.", "Total"),
    "text": ("Nature des actes", "Noms et domiciles des parties", "Observations"),
}


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell's room for writing: left and right in pixels, the baseline, the height of digits."""

    left: float
    right: float
    baseline: float
    height: float


@dataclass(frozen=True, slots=True)
class _Figures:
    """How the figures of a printed table are set: all of them alike, close to one another."""

    face: str
    wide: float
    bold: float
    n_digits: int
    point: str  # before the last digits, or none
    n_after: int

    @classmethod
    def any(cls, rng: np.random.Generator, face: str) -> "_Figures":
        n_digits = int(rng.integers(1, 6))
        point = str(rng.choice(["", ".", "·", ","], p=[0.3, 0.3, 0.3, 0.1])) if n_digits > 1 else ""
        wide, bold = float(rng.uniform(0.75, 1.05)), float(rng.uniform(0, 0.3))
        return cls(face, wide, bold, n_digits, point, int(rng.integers(1, max(n_digits, 2))))

    def print(self, rng: np.random.Generator, sheet: Sheet, cell: _Cell) -> None:
        """Print a number into a cell, against its right side."""
        number = f"{rng.integers(10**self.n_digits):0{self.n_digits}d}"
        text = f"{number[: -self.n_after]}{self.point}{number[-self.n_after :]}" if self.point else number
        width = sum(print_width("." if c == "·" else c, cell.height, self.face) for c in text)
        wide = min(self.wide, (cell.right - cell.left + cell.height) / width)
        x = cell.right - width * wide + 0.4 * cell.height
        sheet.print_text(text, x, cell.baseline, cell.height, face=self.face, wide=wide, bold=self.bold)


def fill_in(rng: np.random.Generator, sheet: Sheet, style: PageStyle) -> None:
    """Rule a sheet, print its header and write its rows; the sheet keeps what was drawn where."""
    size = style.digit_px
    hands = [neat_hand(rng) if style.neat else any_hand(rng) for _ in range(style.n_hands)]
    sizes = [size * (1.0 if style.neat else rng.uniform(0.85, 1.18)) for _ in hands]
    edges = _columns(style)
    margin = 1.6 * size
    top = margin + (5.5 * size if style.header else 0.0)
    bottom = sheet.height - margin
    pitch = style.row_pitch * size
    rows = np.arange(top + pitch, bottom, pitch)
    _rule(rng, sheet, style, edges, (margin, top, bottom), rows)
    if style.header:
        _header(rng, sheet, style, edges, margin)
    counter = int(rng.integers(1, 2000))
    n_figures = int(rng.integers(3, 6)) if rng.uniform() < 0.6 else 0
    figures = _Figures.any(rng, style.face) if "figures" in style.columns else None
    which = 0
    for baseline in rows:
        if rng.uniform() < 0.04:  # another clerk goes on
            which = int(rng.integers(len(hands)))
        if rng.uniform() > style.row_fill:
            continue
        counter += 1
        hand, height = hands[which], sizes[which]
        for kind, left, right in zip(style.columns, edges[:-1], edges[1:], strict=True):
            # old-style figures stand on the same line but reach below it
            at = baseline - 0.18 * size + (0 if style.neat else rng.normal(0, 0.06) * size)
            cell = _Cell(left + 0.65 * size, right - 0.65 * size, at, height)
            if kind == "text":
                _write_text(rng, sheet, style, hand, cell)
            elif kind == "date":
                if rng.uniform() < style.fill:
                    _write_date(rng, sheet, hand, cell)
            elif kind == "printed":
                _print_cell(rng, sheet, cell)
            elif kind == "figures" and figures:
                if rng.uniform() < 0.95:
                    figures.print(rng, sheet, cell)
            elif rng.uniform() < style.fill:
                text = f"{counter:0{n_figures}d}" if kind == "running" else _number(rng, kind)
                _write_cell(rng, sheet, hand, cell, text)
            elif rng.uniform() < 0.3:
                _mark(rng, sheet, hand, cell)


def _columns(style: PageStyle) -> list[float]:
    """Return the x of the rules between columns: each as wide as it needs, text shares what is left."""
    size, margin = style.digit_px, 1.6 * style.digit_px
    room = style.width - 2 * margin
    widths = [COLUMNS[kind] * size for kind in style.columns]
    left = room - sum(widths)
    n_texts = style.columns.count("text")
    if n_texts:
        share = max(left / n_texts, 4 * size)
        widths = [width or share for width in widths]
    stretch = min(room / sum(widths), 1.6)
    return [margin, *(margin + np.cumsum(widths) * stretch).tolist()]


def _number(rng: np.random.Generator, kind: str) -> str:
    if kind == "day":
        return str(rng.integers(1, 32))
    if kind == "year":
        return str(rng.integers(1790, 1960))
    if kind == "count":
        return str(int(10 ** rng.uniform(0, 4)))
    whole = int(10 ** rng.uniform(0.5, 5))
    form = rng.integers(4)
    if form == 0:
        return str(whole)
    if form == 1:
        return f"{whole:,}".replace(",", " ")
    if form == 2:
        return f"{whole % 10000},{rng.integers(100):02d}"
    return f"{whole % 10000}.{rng.integers(100):02d}"


def _write_cell(rng: np.random.Generator, sheet: Sheet, hand: Hand, cell: _Cell, text: str) -> None:
    written = write_number(rng, hand, text, cell.height)
    width = max(extent(lines)[1] for _, lines in written if lines)
    room = cell.right - cell.left
    if width > room + 0.3 * cell.height:
        return
    spare = max(room - width, 0.0)
    x = cell.left + spare * float(np.clip(rng.normal(0.6, 0.2), 0, 1))
    sheet.place(written, x, cell.baseline - cell.height)


def _write_text(rng: np.random.Generator, sheet: Sheet, style: PageStyle, hand: Hand, cell: _Cell) -> None:
    """Words up to the end of the cell; a number stands in for one of them now and then."""
    size = cell.height
    x_height = size * (0.55 if style.neat else rng.uniform(0.4, 0.65))
    x = cell.left + (rng.uniform(0, 3) * size if rng.uniform() < 0.3 else 0)
    stop = cell.left + (cell.right - cell.left) * (1.0 if rng.uniform() < 0.6 else rng.uniform(0.3, 1.0))
    after_number = True
    # a pen keeps its width, but letters are smaller than digits
    pen = replace(hand, slant=hand.slant + 0.1, breadth=hand.breadth * 1.15, pen=hand.pen * 1.3)
    while x < stop - 1.5 * size:
        if not after_number and rng.uniform() < style.numbers_in_text:
            text = _number(rng, str(rng.choice(["day", "year", "count", "amount"], p=[0.3, 0.3, 0.25, 0.15])))
            written = write_number(rng, hand, text, size * (0.95 if style.neat else rng.uniform(0.75, 1.05)))
            width = max(extent(lines)[1] for _, lines in written if lines)
            if x + width > stop:
                break
            top = cell.baseline - size
            x = sheet.place(written, x, top) + 0.6 * size
            after_number = True
        else:
            words = NAMES if rng.uniform() < 0.25 else WORDS
            word = str(rng.choice(words))
            if x + len(word) * 0.85 * x_height > stop:
                break
            gap = rng.uniform(0.9, 1.4) if style.neat else rng.uniform(0.5, 1.0)
            x = sheet.word(rng, pen, word, x, cell.baseline, x_height) + gap * x_height
            after_number = False


def _write_date(rng: np.random.Generator, sheet: Sheet, hand: Hand, cell: _Cell) -> None:
    size = cell.height
    x = sheet.write(rng, hand, str(rng.integers(1, 32)), cell.left, cell.baseline, size) + 0.6 * size
    month = str(rng.choice(["mai", "mars", "juin", "avril"]))
    x = sheet.word(rng, hand, month, x, cell.baseline, 0.5 * size) + 0.7 * size
    if x + 2.9 * size < cell.right:
        sheet.write(rng, hand, str(rng.integers(1790, 1960)), x, cell.baseline, size)


def _print_cell(rng: np.random.Generator, sheet: Sheet, cell: _Cell) -> None:
    text = str(rng.integers(10 ** rng.integers(1, 5)))
    if rng.uniform() < 0.4 and len(text) > 1:
        text = f"{text[:-1]}.{text[-1]}"
    height = cell.height * 0.8
    sheet.print_text(text, cell.left + rng.uniform(0, 0.8) * cell.height, cell.baseline, height, bold=0.3)


def _mark(rng: np.random.Generator, sheet: Sheet, hand: Hand, cell: _Cell) -> None:
    """Write what stands in a cell that holds no number: a ditto mark, a dash, a bracket, a letter."""
    mark = str(rng.choice(['"', "-", "=", "{", "letter"]))
    if mark == "letter":
        letter = str(rng.choice([letter for letter in LETTERS if letter not in LOOK_ALIKES]))
        sheet.word(rng, hand, letter, (cell.left + cell.right) / 2, cell.baseline, 0.5 * cell.height)
        return
    lines = write_shape(rng, hand, MARKS[mark], cell.height)
    by = np.array([(cell.left + cell.right) / 2, cell.baseline - cell.height], np.float32)
    sheet.scrawl([Line(line.points + by, line.widths) for line in lines])


def _rule(
    rng: np.random.Generator,
    sheet: Sheet,
    style: PageStyle,
    edges: list[float],
    frame: tuple[float, float, float],
    rows: NDArray[np.float64],
) -> None:
    margin, top, bottom = frame
    size = style.digit_px
    thick = max(size * rng.uniform(0.03, 0.1), 0.6)
    if style.row_rules:
        pale = rng.uniform(0.2, 0.6)
        for y in rows:
            sheet.rule((edges[0], y), (edges[-1], y), max(0.5 * thick, 0.6), pale)
    if style.rules == "none":
        return
    strong = rng.uniform(0.6, 1.0)
    dash = size * 0.25 if style.rules == "dotted" else 0.0
    start = margin if style.header else top
    for n, x in enumerate(edges):
        sheet.rule((x, start), (x, bottom), thick, strong, dash)
        if style.rules == "double" or (n == 0 and rng.uniform() < 0.4):
            sheet.rule((x + 3 * thick, start), (x + 3 * thick, bottom), thick * 1.2, strong)
    for y in (start, top):
        sheet.rule((edges[0], y), (edges[-1], y), 1.5 * thick, strong)


def _header(
    rng: np.random.Generator, sheet: Sheet, style: PageStyle, edges: list[float], margin: float
) -> None:
    """Print titles over the columns, and the number of the page in its corner."""
    size = style.digit_px
    for kind, left, right in zip(style.columns, edges[:-1], edges[1:], strict=True):
        title = str(rng.choice(_TITLES[kind]))
        height = min(0.5 * size, (right - left - size) / (0.75 * len(title)))
        if height > 5:
            sheet.print_text(
                title, left + 0.5 * size, margin + 3.2 * size, height, bold=float(rng.uniform(0, 0.6))
            )
    if rng.uniform() < 0.7:
        sheet.print_text(
            str(rng.integers(1, 400)), edges[-1] - 3.5 * size, margin + 1.6 * size, 0.75 * size, bold=0.4
        )
