"""`archive train rescorer` and `judge`: pages are read in other hands, to learn from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from cli.trainings import Job, Keeper, check_folder
from cli.truths import read_truths
from models.judge import JudgeConfig, NumberJudge
from models.loaded import Classifier, Detector, load_classifier, load_detector, load_recogniser, load_rescorer
from models.reader import Readers
from models.rescorer import DigitRescorer, RescorerConfig
from models.scale import DIGIT_PX
from models.train_judge import judge_batches, judge_losses, judge_recipe, number_truths
from models.train_rescorer import box_truths, rescorer_batches, rescorer_losses, rescorer_recipe
from models.training import Recipe
from pipeline.errors import SourceError
from pipeline.settings import Settings
from pipeline.transcriptions import Line, read_lines, require_transcribed
from pipeline.variants import in_another_hand

Truths = TypeVar("Truths")
Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class OtherHands:
    """What such a training is given: transcribed pages, in how many hands each is read, and how to learn."""

    settings: Settings
    folder: Path
    output: Path
    hands: int
    seed: int
    minutes: float

    def read(
        self, detector: Detector, read: Callable[[Grey, list[Line]], Truths]
    ) -> tuple[list[Truths], int]:
        """Return what `read` makes of each page in each hand, and how often it failed.

        Raises SourceError where there are no pages.
        """
        items = require_transcribed(self.folder)
        rng = np.random.default_rng(self.seed)

        def in_a_hand(image: Path, grey: Grey, transcription: Path) -> Truths:
            digit_px = DIGIT_PX / detector.scale_of(grey)
            return read(*in_another_hand(grey, read_lines(transcription), digit_px, rng))

        readings = list(read_truths(items * self.hands, self.settings, in_a_hand))
        pages = [page for page in readings if page is not None]
        return pages, len(readings) - len(pages)

    def begin(self, kind: str, build: Callable[[Any], nn.Module], config: Any, recipe: Recipe) -> Keeper:
        """Return the training of a new network of this kind."""
        job = Job(self.settings.device, self.output, None, (self.folder.name,))
        return job.begin(kind, lambda: build(config), config, recipe)


def train_rescorer(job: OtherHands) -> int:
    """Write a rescorer; return how many readings failed.

    Raises SourceError where no box was drawn on any page; OutputError.
    """
    check_folder(job.output)
    detector, classifier = _find_and_read(job.settings)
    pages, n_failed = job.read(detector, partial(box_truths, detector, classifier))
    if sum(len(page.features) for page in pages) < 2:
        raise SourceError("no box was drawn on the pages: there is nothing to learn from")
    recipe = rescorer_recipe(job.minutes, job.seed)
    training = job.begin("digit-rescorer", DigitRescorer, RescorerConfig(), recipe)
    training.run(partial(rescorer_batches, pages), rescorer_losses)
    training.finish()
    return n_failed


def train_judge(job: OtherHands) -> int:
    """Write a judge; return how many readings failed.

    Raises SourceError where no number was read on any page; OutputError.
    """
    check_folder(job.output)
    detector, classifier = _find_and_read(job.settings)
    readers = Readers(
        classifier,
        load_rescorer(job.settings.rescorer, job.settings.device),
        load_recogniser(job.settings.recogniser, job.settings.device),
    )
    rng = np.random.default_rng([job.seed, 1])  # apart from the one that draws hands
    pages, n_failed = job.read(detector, partial(number_truths, detector, readers, rng))
    if sum(len(page.clues) for page in pages) < 2:
        raise SourceError("no number was read on the pages: there is nothing to learn from")
    recipe = judge_recipe(job.minutes, job.seed)
    training = job.begin("number-judge", NumberJudge, JudgeConfig(), recipe)
    training.run(partial(judge_batches, pages), judge_losses)
    training.finish()
    return n_failed


def _find_and_read(settings: Settings) -> tuple[Detector, Classifier]:
    return (
        load_detector(settings.detector, settings.device),
        load_classifier(settings.classifier, settings.device, with_confidence=False),
    )
