"""Reading: from the crops of a page's detections to its readings and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.alternatives import with_alternatives
from models.judge import number_clues
from models.loaded import Classifier, Judge, Recogniser, Rescorer
from models.recogniser import Columns, agreement, answers_to, text_chances
from models.rescorer import single_boxes
from models.revision import revise
from pipeline.confidence import REJECT, of_members, sigmoid
from pipeline.crops import Crops
from pipeline.doubts import number_doubts
from pipeline.numbers import group_numbers
from pipeline.page import Number, PageDetections, Reading
from pipeline.strips import Strips, number_strips

ACCEPT_BAR = 0.34  # a box counts as a digit, at first, where the rescorer gives it this chance
_RUNNERS_UP = 2

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Chances = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Readers:
    """The networks that read the crops of a page, in their order.

    While a judge is trained it is not there: all numbers are judged alike then.
    """

    classifier: Classifier
    rescorer: Rescorer
    recogniser: Recogniser
    judge: Judge | None = None


@dataclass(frozen=True, eq=False, slots=True)
class CropsRead:
    """What the networks say about a page's N detections and the M numbers they make.

    `chances` float32 (N, 11) are the classifier's: the digits, then reject; `odds` float64 (N,) the
    rescorer's; `answers` float64 (M, 6) the recogniser's.  `strips` uint8 (M, 3, 36, 144) and `clues` float32
    (M, 81) are what the judge is given, and `judged` (M,) its log-odds.
    """

    chances: Chances
    odds: Floats
    readings: tuple[Reading, ...]
    numbers: tuple[Number, ...]
    answers: Floats
    strips: Strips
    clues: npt.NDArray[np.float32]
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
    strips = number_strips(numbers, found, odds, crops)
    columns = readers.recogniser.columns(strips)
    revised, digits = revise(numbers, found, digits, chances, odds, columns)
    strips, columns = _look_again(numbers, revised, found, odds, crops, readers.recogniser, strips, columns)
    numbers = tuple(number for number in revised if number is not None)
    answers = answers_to([number.text for number in numbers], columns)
    agreed = of_members(agreement(answers), [number.members for number in numbers], len(digits))
    confidence, scores = readers.classifier.confidence, np.array(found.scores, np.float64)
    sure = confidence.of_digits(digits, chances.astype(np.float64), scores, odds, agreed)
    readings = tuple(map(_reading, chances, digits.tolist(), sure.tolist()))
    doubts = number_doubts(numbers, found, readings, odds, crops)
    clues = number_clues(numbers, found, chances, odds, doubts, answers)
    judged = np.zeros(len(numbers)) if readers.judge is None else readers.judge.odds(strips, clues)
    of_digits = [sure[list(number.members)] for number in numbers]
    of_numbers = confidence.of_numbers(of_digits, text_chances(answers), judged)
    numbers = tuple(map(_with_confidence, numbers, of_numbers.tolist()))
    numbers = with_alternatives(numbers, found, digits, chances, odds, columns)
    return CropsRead(chances, odds, readings, numbers, answers, strips, clues, judged)


def _numbers(found: PageDetections, digits: Ints, chances: Chances) -> tuple[Number, ...]:
    """Return the numbers that digits make, (N,), 10 where there is none."""
    readings = [
        Reading(None if digit == REJECT else digit, float(row[digit]))
        for digit, row in zip(digits.tolist(), chances, strict=True)
    ]
    return group_numbers(found.detections, readings, found.turned)


def _look_again(
    before: Sequence[Number],
    after: Sequence[Number | None],
    found: PageDetections,
    odds: Floats,
    crops: Crops,
    recogniser: Recogniser,
    strips: Strips,
    columns: Columns,
) -> tuple[Strips, Columns]:
    """Return strips (M, 3, 36, 144) and columns (M, 36, 11) of the numbers after revision.

    Those given are of the numbers before; only those that have other boxes now are looked at again.
    """
    there = [k for k, number in enumerate(after) if number is not None]
    strips, columns = strips[there], columns[there]
    numbers = [number for number in after if number is not None]
    new = [k for k, number in enumerate(numbers) if number.members != before[there[k]].members]
    strips[new] = number_strips([numbers[k] for k in new], found, odds, crops)
    columns[new] = recogniser.columns(strips[new])
    return strips, columns


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
