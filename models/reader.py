"""Reading: from the crops of a page's detections to its readings and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.judge import number_clues
from models.loaded import Classifier, Judge, Recogniser, Rescorer
from models.recogniser import N_ANSWERS, N_CLASSES, N_COLUMNS, Columns, agreement, answers_to
from models.rescorer import single_boxes
from models.revision import revised_digits
from pipeline.confidence import REJECT, of_members, sigmoid
from pipeline.crops import Crops
from pipeline.doubts import number_doubts
from pipeline.numbers import group_numbers
from pipeline.page import Number, PageDetections, Reading
from pipeline.strips import STRIP_PX, Strips, number_strips

ACCEPT_BAR = 0.34  # a box counts as a digit where the rescorer gives it this chance
_RUNNERS_UP = 2

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Chances = npt.NDArray[np.float32]
_Seen = dict[tuple[int, ...], tuple[Strips, Columns]]  # of each number's members its strip and columns


@dataclass(frozen=True, slots=True)
class Readers:
    """The networks that read the crops of a page, in their order.

    While one of them is trained it and those after it are not there: all numbers are judged alike then.
    """

    classifier: Classifier
    rescorer: Rescorer
    recogniser: Recogniser | None = None
    judge: Judge | None = None


@dataclass(frozen=True, eq=False, slots=True)
class CropsRead:
    """What the networks say about a page's N detections and the M numbers they make.

    `chances` float32 (N, 11) are the classifier's: the digits, then reject; `odds` float64 (N,) the
    rescorer's; `doubts` float64 (M, 3) are those of `number_doubts`, `answers` (M, 6) the recogniser's,
    `judged` (M,) the judge's log-odds.
    """

    chances: Chances
    odds: Floats
    readings: tuple[Reading, ...]
    numbers: tuple[Number, ...]
    doubts: Floats
    answers: Floats
    judged: Floats


def read_crops(found: PageDetections, crops: Crops, readers: Readers) -> CropsRead:
    """Return what stands on a page, by the crops of its detections, uint8 (N, 2, 40, 40).

    Of two detections round one digit only the better one counts.  Where the recogniser reads a number
    otherwise than its boxes, what is likelier by both stands.
    """
    chances = readers.classifier.chances(crops)
    return read_chances(found, crops, chances, readers.rescorer.odds(chances, found), readers)


def read_chances(
    found: PageDetections, crops: Crops, chances: Chances, odds: Floats, readers: Readers
) -> CropsRead:
    """Return what stands on a page by what classifier and rescorer say, as `read_crops` does.

    `chances` float32 (N, 11) are the classifier's, `odds` (N,) the rescorer's.
    """
    accepted = single_boxes(found, odds, sigmoid(odds) >= ACCEPT_BAR)
    digits = np.where(accepted, chances[:, :REJECT].argmax(axis=1), REJECT)
    numbers = _numbers(found, digits, chances)
    answers, strips = np.zeros((len(numbers), N_ANSWERS)), np.zeros((len(numbers), 3, *STRIP_PX), np.uint8)
    if readers.recogniser is not None:
        seen: _Seen = {}
        _, columns = _look_at(numbers, found, odds, crops, readers.recogniser, seen)
        digits = revised_digits(numbers, found, digits, chances, odds, columns)
        numbers = _numbers(found, digits, chances)
        strips, columns = _look_at(numbers, found, odds, crops, readers.recogniser, seen)
        answers = answers_to([number.text for number in numbers], columns)
    agreed = of_members(agreement(answers), [number.members for number in numbers], len(digits))
    confidence, scores = readers.classifier.confidence, np.array(found.scores, np.float64)
    sure = confidence.of_digits(digits, chances.astype(np.float64), scores, odds, agreed)
    readings = tuple(map(_reading, chances, digits.tolist(), sure.tolist()))
    doubts = number_doubts(numbers, found, readings, odds, crops)
    judged = np.zeros(len(numbers))
    if readers.judge is not None:
        judged = readers.judge.odds(strips, number_clues(numbers, found, chances, odds, doubts, answers))
    of_digits = [sure[list(number.members)] for number in numbers]
    of_numbers = confidence.of_numbers(of_digits, doubts, agreement(answers), judged)
    numbers = tuple(map(_with_confidence, numbers, of_numbers.tolist()))
    return CropsRead(chances, odds, readings, numbers, doubts, answers, judged)


def _numbers(found: PageDetections, digits: Ints, chances: Chances) -> tuple[Number, ...]:
    """Return the numbers that digits make, (N,), 10 where there is none."""
    readings = [
        Reading(None if digit == REJECT else digit, float(row[digit]))
        for digit, row in zip(digits.tolist(), chances, strict=True)
    ]
    return group_numbers(found.detections, readings, found.turned)


def _look_at(
    numbers: Sequence[Number],
    found: PageDetections,
    odds: Floats,
    crops: Crops,
    recogniser: Recogniser,
    seen: _Seen,
) -> tuple[Strips, Columns]:
    """Return the strips (M, 3, 36, 144) and columns (M, 36, 11) of numbers; `seen` holds what was before."""
    new = [number for number in numbers if number.members not in seen]
    strips = number_strips(new, found, odds, crops)
    for number, *looks in zip(new, strips, recogniser.columns(strips), strict=True):
        seen[number.members] = looks[0], looks[1]
    both = [seen[number.members] for number in numbers]
    return (
        np.array([strip for strip, _ in both], np.uint8).reshape(-1, 3, *STRIP_PX),
        np.array([columns for _, columns in both], np.float32).reshape(-1, N_COLUMNS, N_CLASSES),
    )


def _with_confidence(number: Number, confidence: float) -> Number:
    return replace(number, confidence=confidence)


def _reading(row: Chances, digit: int, of_digit: float) -> Reading:
    """Return the reading of a crop by its chances (11,); `digit` 10 is none."""
    order = np.argsort(-row, kind="stable")
    rest = [int(i) for i in order if i != digit][:_RUNNERS_UP]
    return Reading(
        digit=None if digit == REJECT else digit,
        confidence=float(row[REJECT]) if digit == REJECT else of_digit,
        runners_up=tuple((None if i == REJECT else i, float(row[i])) for i in rest),
    )
