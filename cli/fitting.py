"""`archive train confidence`: pages are read, and the classifier is told how often it was right."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cli.trainings import check_folder
from cli.truths import read_truths
from models.calibrate import Outcomes, cross_fitted_worth, fit_confidence
from models.checkpoint import load_checkpoint, save_checkpoint
from models.evaluation import evaluate_page, outcomes_of
from models.whole import Chain, load_chain
from pipeline.errors import SourceError
from pipeline.settings import Settings
from pipeline.transcriptions import read_lines, require_transcribed


def fit_on_pages(settings: Settings, folder: Path, output: Path) -> tuple[str, int]:
    """Write the settings' classifier with a confidence fitted to transcribed pages.

    Returns what it is worth, and how many pages could not be read.  Raises SourceError where no two pages
    were read, or no digit was found on them; OutputError.
    """
    check_folder(output)
    items = require_transcribed(folder)
    chain = load_chain(settings, with_confidence=False)
    pages = _read(chain, settings, items)
    of_digits, of_numbers = cross_fitted_worth(pages)
    fitted = fit_confidence(pages)
    weights, metadata = load_checkpoint(settings.classifier, "digit-classifier")
    judge = chain.readers.judge
    metadata = replace(
        metadata,
        confidence={
            "digit": list(fitted.digit),
            "number": list(fitted.number),
        },
        metrics={name: value for name, value in metadata.metrics.items() if name != "confidence of"}
        | {
            "confidence fitted on": folder.resolve().name,
            "with detector": chain.detector.sha256,
            "with rescorer": chain.readers.rescorer.sha256,
            "with recogniser": chain.readers.recogniser.sha256,
            **({"with judge": judge.sha256} if judge else {}),
        },
    )
    save_checkpoint(output, weights, metadata)
    said = "\n".join(
        f"{name:8} {worth.n:6,}  confidence 0.95 or more: {worth.kept:.1%}, right {worth.right_of_kept:.1%}"
        f"  calibration error {worth.ece:.3f}"
        for name, worth in (("digits", of_digits), ("numbers", of_numbers))
    )
    return said, len(items) - len(pages)


def _read(chain: Chain, settings: Settings, items: Sequence[tuple[Path, Path]]) -> list[Outcomes]:
    def read(image: Path, grey: npt.NDArray[np.uint8], transcription: Path) -> Outcomes:
        page = evaluate_page(chain, grey, read_lines(transcription))
        return outcomes_of(page.read, page.judged)

    pages = [page for page in read_truths(items, settings, read) if page is not None]
    if len(pages) < 2:
        raise SourceError(f"two pages at least are needed, and {len(pages)} could be read")
    if not any(len(page.digits) for page in pages):
        raise SourceError("no digit was found on the pages: there is nothing to fit to")
    return pages
