"""`archive train rescorer` and `judge`: pages are read in other hands, to learn from."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cli.trainings import Job, check_folder
from cli.truths import read_truths
from models.judge import JudgeConfig, NumberJudge
from models.reader import Detector, load_classifier, load_detector, load_rescorer
from models.rescorer import DigitRescorer, RescorerConfig
from models.scale import DIGIT_PX
from models.train_judge import judge_batches, judge_losses, judge_recipe, number_truths
from models.train_rescorer import box_truths, rescorer_batches, rescorer_losses, rescorer_recipe
from pipeline.errors import SourceError
from pipeline.settings import Settings
from pipeline.transcriptions import Line, find_transcribed, read_lines
from pipeline.variants import in_another_hand

Truths = TypeVar("Truths")
Grey = npt.NDArray[np.uint8]


def train_rescorer(
    settings: Settings, folder: Path, output: Path, *, hands: int, seed: int, minutes: float
) -> int:
    """Write a rescorer trained on transcribed pages, each read in so many hands.

    Returns how many readings failed.  Raises SourceError where no box was drawn on any page; OutputError.
    """
    check_folder(output)
    detector = load_detector(settings.detector, settings.device)
    classifier = load_classifier(settings.classifier, settings.device, with_confidence=False)
    pages, n_failed = _read(
        settings,
        detector,
        folder,
        lambda grey, lines: box_truths(detector, classifier, grey, lines),
        hands,
        seed,
    )
    if sum(len(page.features) for page in pages) < 2:
        raise SourceError("no box was drawn on the pages: there is nothing to learn from")
    config, recipe = RescorerConfig(), rescorer_recipe(minutes, seed)
    job = Job(settings.device, output, None, (folder.name,))
    training = job.begin("digit-rescorer", lambda: DigitRescorer(config), config, recipe)
    training.run(lambda order: rescorer_batches(pages, order), rescorer_losses)
    training.finish()
    return n_failed


def train_judge(
    settings: Settings, folder: Path, output: Path, *, hands: int, seed: int, minutes: float
) -> int:
    """Write a judge trained on transcribed pages, each read in so many hands.

    Returns how many readings failed.  Raises SourceError where no number was read on any page; OutputError.
    """
    check_folder(output)
    detector = load_detector(settings.detector, settings.device)
    classifier = load_classifier(settings.classifier, settings.device, with_confidence=False)
    rescorer = load_rescorer(settings.rescorer, settings.device)
    pages, n_failed = _read(
        settings,
        detector,
        folder,
        lambda grey, lines: number_truths(detector, classifier, rescorer, grey, lines),
        hands,
        seed,
    )
    if sum(len(page.clues) for page in pages) < 2:
        raise SourceError("no number was read on the pages: there is nothing to learn from")
    config, recipe = JudgeConfig(), judge_recipe(minutes, seed)
    job = Job(settings.device, output, None, (folder.name,))
    training = job.begin("number-judge", lambda: NumberJudge(config), config, recipe)
    training.run(lambda order: judge_batches(pages, order), judge_losses)
    training.finish()
    return n_failed


def _read(
    settings: Settings,
    detector: Detector,
    folder: Path,
    read: Callable[[Grey, list[Line]], Truths],
    hands: int,
    seed: int,
) -> tuple[list[Truths], int]:
    """Return what `read` makes of each page in each hand, and how often it failed; SourceError if none."""
    items = find_transcribed(folder)
    if not items:
        raise SourceError(f"{folder}: no transcription (.xml) with its page image beside it")
    rng = np.random.default_rng(seed)

    def in_a_hand(image: Path, grey: Grey, transcription: Path) -> Truths:
        digit_px = DIGIT_PX / detector.scale_of(grey)
        return read(*in_another_hand(grey, read_lines(transcription), digit_px, rng))

    pages = [page for page in read_truths(items * hands, settings, in_a_hand) if page is not None]
    return pages, len(items) * hands - len(pages)
