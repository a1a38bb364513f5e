"""What the stages hand to one another: boxes, detections, readings and numbers."""

from dataclasses import dataclass

MARKS = (".", ",", "-")  # what may stand between two digits of a number


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box: xyxy, float, page pixels, origin top left, x1 and y1 exclusive.

    Page pixels are those of the page as it is shown after EXIF orientation.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Width in page pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Height in page pixels."""
        return self.y1 - self.y0

    @property
    def centre(self) -> tuple[float, float]:
        """The centre (x, y) in page pixels."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """The box as a row of an array: x0, y0, x1, y1."""
        return self.x0, self.y0, self.x1, self.y1

    def scaled(self, factor: float) -> "Box":
        """Return the box on a page so many times as large."""
        return Box(self.x0 * factor, self.y0 * factor, self.x1 * factor, self.y1 * factor)


@dataclass(frozen=True, slots=True)
class Detection:
    """A box that the detector drew; its score is uncalibrated, 0 to 1.

    `mark` is the point, comma or dash that stands between it and the next box of its line.
    """

    box: Box
    score: float
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class PageDetections:
    """Everything the detector found on a page.

    `scale` is what the page was multiplied by to bring its digits to the network's size;
    `turned` is the angle in degrees that the page was turned by to be read.
    """

    detections: tuple[Detection, ...]
    scale: float
    turned: int = 0

    @property
    def scores(self) -> list[float]:
        """The score of each detection."""
        return [detection.score for detection in self.detections]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the classifier read in a detection's crop.

    `digit` is 0 to 9, or None where the crop is not accepted as a digit: a weak box needs a surer reading.
    It is the classifier's best, unless the number as a whole is likelier with another.  `confidence` is the
    chance that `digit` is right, fitted to transcribed pages; without a digit it is the classifier's own
    chance that there is none, low where a better box stands for the same digit.  `runners_up` are the other
    readings with the classifier's chances, best first.
    """

    digit: int | None
    confidence: float
    runners_up: tuple[tuple[int | None, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another reading of a number, and the chance that it is the right one.

    `members` are the positions of the boxes that it reads, from left to right: perhaps one that was left out
    at first, or those of a number beside it.  They are fewer than its digits where the recogniser saw a digit
    that has no box.
    """

    text: str
    probability: float
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """Digits in order on one line; `text` keeps leading zeros.

    `members` are the positions of its digits in the page's detections, in reading order.
    `line` counts the lines of text on the page from the top, from 0.  `confidence` is the
    chance that every digit is right.  `alternatives` are other readings, best first: they share what
    confidence leaves, with readings that are not listed and with that of no number at all.  `written` is the
    text with the marks between its digits, None where there are none.
    """

    text: str
    confidence: float
    box: Box
    line: int
    members: tuple[int, ...]
    alternatives: tuple[Alternative, ...] = ()
    written: str | None = None
