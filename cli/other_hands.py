"""`archive train rescorer`: pages are read in other hands, and the rescorer learns what was right."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from cli.trainings import Job, check_folder
from cli.truths import read_truths
from models.reader import load_classifier, load_detector
from models.rescorer import DigitRescorer, RescorerConfig
from models.scale import DIGIT_PX
from models.train_rescorer import BoxTruths, box_truths, rescorer_batches, rescorer_losses, rescorer_recipe
from pipeline.errors import SourceError
from pipeline.settings import Settings
from pipeline.transcriptions import find_transcribed, read_lines
from pipeline.variants import in_another_hand


def train_on_pages(
    settings: Settings, folder: Path, output: Path, *, hands: int, seed: int, minutes: float
) -> int:
    """Write a rescorer trained on transcribed pages, each read in so many hands.

    Returns how many readings failed.  Raises SourceError where no box was drawn on any page; OutputError.
    """
    check_folder(output)
    items = find_transcribed(folder)
    if not items:
        raise SourceError(f"{folder}: no transcription (.xml) with its page image beside it")
    detector = load_detector(settings.detector, settings.device)
    classifier = load_classifier(settings.classifier, settings.device, with_confidence=False)
    rng = np.random.default_rng(seed)

    def read(image: Path, grey: npt.NDArray[np.uint8], transcription: Path) -> BoxTruths:
        digit_px = DIGIT_PX / detector.scale_of(grey)
        changed, lines = in_another_hand(grey, read_lines(transcription), digit_px, rng)
        return box_truths(detector, classifier, changed, lines)

    pages = [page for page in read_truths(items * hands, settings, read) if page is not None]
    if sum(len(page.features) for page in pages) < 2:
        raise SourceError("no box was drawn on the pages: there is nothing to learn from")
    config, recipe = RescorerConfig(), rescorer_recipe(minutes, seed)
    job = Job(settings.device, output, None, (folder.name,))
    training = job.begin("digit-rescorer", lambda: DigitRescorer(config), config, recipe)
    training.run(lambda order: rescorer_batches(pages, order), rescorer_losses)
    training.finish()
    return len(items) * hands - len(pages)
