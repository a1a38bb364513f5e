"""Reading pages whose truth is known: what was read, how long it took, and what of it is right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.calibrate import Outcomes
from models.loaded import Classifier
from models.training_crops import TrainingCrops
from models.whole import Chain, PageSeen
from pipeline.confidence import REJECT
from pipeline.numbers import among
from pipeline.page import Box, Number
from pipeline.scoring import PageScore, right_digits, right_numbers, score_page, true_classes
from pipeline.transcriptions import BESIDE, Line


@dataclass(frozen=True, eq=False, slots=True)
class DigitsRead:
    """The N accepted digits of a page, which was `width` × `height` pixels large.

    `scores` and `confidence` are float64 (N,), `chances` float32 (N, 11): the digits, then reject.  The
    members of `numbers` count among these digits; `answers` float64 (M, 6) are the recogniser's to them,
    `judged` (M,) the judge's log-odds.
    """

    width: int
    height: int
    turned: int
    boxes: tuple[Box, ...]
    digits: tuple[int, ...]
    scores: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    chances: npt.NDArray[np.float32]
    odds: npt.NDArray[np.float64]
    numbers: tuple[Number, ...]
    answers: npt.NDArray[np.float64]
    judged: npt.NDArray[np.float64]
    detect_s: float
    classify_s: float


@dataclass(frozen=True, eq=False, slots=True)
class EvaluatedPage:
    """A page that was read, and how it agrees with its transcription.

    `score` goes by the centres of boxes alone; `judged`, by which digits and numbers are right, also by those
    just outside a line that was drawn too close.
    """

    read: DigitsRead
    score: PageScore
    judged: PageScore

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each digit is right, bool (N,)."""
        return right_digits(self.judged, self.read.digits)

    @property
    def numbers_right(self) -> npt.NDArray[np.bool_]:
        """Whether each number is right, bool (M,)."""
        return right_numbers(self.judged, self.read.digits, self.read.numbers)


def read_digits(chain: Chain, grey: npt.NDArray[np.uint8], seen: PageSeen | None = None) -> DigitsRead:
    """Return the digits of a page, uint8 (H, W), with all that is known of how sure they are."""
    page = chain.read(grey, seen)
    found, read = page.found, page.read
    accepted = [i for i, reading in enumerate(read.readings) if reading.digit is not None]
    detections = [found.detections[i] for i in accepted]
    return DigitsRead(
        width=grey.shape[1],
        height=grey.shape[0],
        turned=found.turned,
        boxes=tuple(detection.box for detection in detections),
        digits=tuple(reading.digit for reading in read.readings if reading.digit is not None),
        scores=np.array([detection.score for detection in detections], np.float64),
        confidence=np.array([read.readings[i].confidence for i in accepted], np.float64),
        chances=read.chances[accepted],
        odds=read.odds[accepted],
        numbers=among(read.numbers, accepted),
        answers=read.answers,
        judged=read.judged,
        detect_s=page.detect_s,
        classify_s=page.classify_s,
    )


def evaluate_page(
    chain: Chain, grey: npt.NDArray[np.uint8], lines: Sequence[Line], seen: PageSeen | None = None
) -> EvaluatedPage:
    """Return how a page, uint8 (H, W), is read, and what of it agrees with its lines.

    `seen` is what the chain found on the page, where it was looked at already.
    """
    read = read_digits(chain, grey, seen)
    score, judged = (score_page(lines, read.boxes, read.digits, reach) for reach in (0.0, BESIDE))
    return EvaluatedPage(read, score, judged)


def class_confusions(
    classifier: Classifier, crops: TrainingCrops
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return counts int64 (11, 11) of true and read classes: of all eleven, and of the ten digits only.

    A reject counts in column 10.
    """
    chances = classifier.chances(crops.seen)
    counts = []
    for n_classes in (REJECT + 1, REJECT):
        best = chances[:, :n_classes].argmax(axis=1)
        count = np.zeros((REJECT + 1, REJECT + 1), np.int64)
        np.add.at(count, (crops.classes, best), 1)
        counts.append(count)
    return counts[0], counts[1]


def outcomes_of(read: DigitsRead, score: PageScore) -> Outcomes:
    """Return what confidence is fitted to, where `score` is the truth."""
    return Outcomes(
        chances=read.chances.astype(np.float64),
        scores=read.scores,
        odds=read.odds,
        digits=np.array(read.digits, np.int64),
        classes=true_classes(score, len(read.digits)),
        numbers=tuple(np.array(number.members, np.int64) for number in read.numbers),
        answers=read.answers,
        judged=read.judged,
        numbers_right=right_numbers(score, read.digits, read.numbers),
    )
