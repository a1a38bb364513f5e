"""A sheet that is being filled in: what is written and printed on it, and where each digit went.

Everything is placed in the upright coordinates of the sheet and drawn where the scan's skew
takes it, so that boxes are exact in the pixels of the finished page.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.inking import Grey, print_width, put_lines, put_print
from pipeline.page import MARKS, Box
from pipeline.pens import Hand, Line, extent, moved, write_number, write_word


@dataclass(frozen=True, slots=True)
class DrawnDigit:
    """A digit that was drawn: the box of its ink in page pixels, and the number it belongs to."""

    box: Box
    digit: int
    number_index: int
    handwritten: bool


@dataclass(frozen=True, slots=True)
class DrawnNumber:
    """A number that was drawn: its digits only, as `archive query` should answer; `members` are digits.

    `written` has the points and commas between its digits as well.
    """

    text: str
    box: Box
    members: tuple[int, ...]
    written: str


@dataclass(slots=True)
class Sheet:
    """The layers of ink, print and rules of a page, uint8 (H, W) with 255 for full ink, and its truth."""

    height: int
    width: int
    skew_deg: float = 0.0
    ink: Grey = field(init=False)
    print: Grey = field(init=False)
    rules: Grey = field(init=False)
    matrix: NDArray[np.float64] = field(init=False)  # (2, 3), upright sheet → page
    digits: list[DrawnDigit] = field(default_factory=list)
    numbers: list[DrawnNumber] = field(default_factory=list)
    words: list[Box] = field(default_factory=list)  # and printed letters

    def __post_init__(self) -> None:
        shape = (self.height, self.width)
        self.ink, self.print, self.rules = (np.zeros(shape, np.uint8) for _ in range(3))
        turn = cv2.getRotationMatrix2D((self.width / 2, self.height / 2), self.skew_deg, 1.0)
        self.matrix = np.asarray(turn, dtype=np.float64)

    def write(
        self, rng: np.random.Generator, hand: Hand, text: str, x: float, baseline: float, height: float
    ) -> float:
        """Write a number by hand from x on a baseline; return the x where it ends."""
        return self.place(write_number(rng, hand, text, height), x, baseline - height)

    def place(self, written: list[tuple[str, list[Line]]], x: float, top: float) -> float:
        """Put characters that a hand has written at (x, top); return the x where they end."""
        boxes = []
        end = x
        for character, lines in written:
            if not lines:
                continue
            lines = moved(lines, x, top)
            end = max(end, extent(lines)[1])
            boxes.append((character, put_lines(self.ink, self._skewed(lines))))
        self._add(boxes, handwritten=True)
        return end

    def word(
        self, rng: np.random.Generator, hand: Hand, word: str, x: float, baseline: float, x_height: float
    ) -> float:
        """Write a word by hand from x on a baseline; return the x where it ends."""
        lines = moved(write_word(rng, hand, word, x_height), x, baseline - x_height)
        box = put_lines(self.ink, self._skewed(lines))
        if box is not None:
            self.words.append(box)
        return extent(lines)[1]

    def scrawl(self, lines: list[Line], strength: float = 1.0) -> None:
        """Put lines that are no number in the ink: a dash, a bracket, a stroke of the pen."""
        put_lines(self.ink, self._skewed(lines), strength)

    def print_text(
        self,
        text: str,
        x: float,
        baseline: float,
        height: float,
        *,
        face: str = "",
        wide: float = 1.0,
        bold: float = 0.0,
    ) -> float:
        """Print text from x on a baseline, `height` that of its digits; return the x where it ends.

        Digits that follow one another (with . and · and , and ' among them) are one number.  `face` is one of
        FACES, `wide` how wide its characters are made.
        """
        boxes: list[tuple[str, Box | None]] = []
        for character in text:
            if not character.isdigit() and character not in ".·,'":
                self._add(boxes, handwritten=False)
                boxes = []
            lift = 0.35 * height if character == "·" else 0.0  # a raised point, which not every face has
            character = "." if lift else character
            if character != " ":
                place = self.matrix @ np.array([[wide, 0, x], [0, 1, baseline - lift], [0, 0, 1]])
                box = put_print(self.print, character, place, height, face=face, bold=bold)
                boxes.append((character, box))
                if character.isalpha() and box is not None:
                    self.words.append(box)
            x += print_width(character, height, face) * wide
        self._add(boxes, handwritten=False)
        return x

    def rule(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        thick: float,
        strength: float,
        dash: float = 0.0,
    ) -> None:
        """Rule a line, in one piece or, with `dash` in pixels, in pieces."""
        ends = np.array([start, end], dtype=np.float64)
        length = float(np.hypot(*(ends[1] - ends[0])))
        n = max(int(length / (2 * dash)), 1) if dash else 1
        at = np.arange(n) / n
        share = 0.55 if dash else 1.0
        whole = max(round(thick), 1)
        grey = round(255 * strength * min(thick / whole, 1.0))
        for t in at:
            piece = ends[0] + np.array([[t], [t + share / n]]) * (ends[1] - ends[0])
            p, q = np.rint((piece @ self.matrix[:, :2].T + self.matrix[:, 2]) * 16).astype(int)
            cv2.line(
                self.rules, (int(p[0]), int(p[1])), (int(q[0]), int(q[1])), grey, whole, cv2.LINE_AA, shift=4
            )

    def _skewed(self, lines: list[Line]) -> list[Line]:
        turn, shift = self.matrix[:, :2].T.astype(np.float32), self.matrix[:, 2].astype(np.float32)
        return [Line(line.points @ turn + shift, line.widths) for line in lines]

    def _add(self, boxes: list[tuple[str, Box | None]], *, handwritten: bool) -> None:
        """Note the digits among the characters as one number; those off the page are none."""
        inside = [(int(c), box) for c, box in boxes if c.isdigit() and box is not None]
        if not inside:
            return
        first = len(self.digits)
        self.digits += [DrawnDigit(box, digit, len(self.numbers), handwritten) for digit, box in inside]
        around = Box(
            min(box.x0 for _, box in inside),
            min(box.y0 for _, box in inside),
            max(box.x1 for _, box in inside),
            max(box.y1 for _, box in inside),
        )
        text = "".join(str(digit) for digit, _ in inside)
        members = tuple(range(first, len(self.digits)))
        shown = (c for c, box in boxes if c in MARKS or (c.isdigit() and box is not None))
        self.numbers.append(DrawnNumber(text, around, members, "".join(shown).strip("".join(MARKS))))
