"""`archive threshold`: what of transcribed pages can be accepted without a person, and whether that holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cli.truths import read_truths
from cli.wrong_cells import wrong_numbers
from models.calibrate import Outcomes, confidence_in, cross_fitted, fit_confidence
from models.evaluation import evaluate_page, outcomes_of
from models.whole import load_chain
from pipeline.contact_sheets import Strip
from pipeline.errors import SourceError
from pipeline.paths import path_to_text, printable
from pipeline.settings import Settings
from pipeline.thresholds import Kept, TradeOff, choose_threshold, kept_by, second_half, trade_off
from pipeline.transcriptions import read_lines, require_transcribed

KINDS = ("digits", "numbers")

_Sure = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # how sure digits are, and numbers
_Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]  # how sure answers are, and which are right


@dataclass(frozen=True, slots=True)
class Chosen:
    """A threshold and what it keeps; None keeps nothing: no threshold is accurate enough."""

    threshold: float | None
    kept: Kept


@dataclass(frozen=True, eq=False, slots=True)
class Acceptance:
    """What can be accepted of the digits, or of the numbers, of some pages.

    `whole` is chosen on all of them, by their confidence as it is stored.  `elsewhere` is what was kept of
    pages that had no part in it: confidence fitted and threshold chosen on the first half of the pages and
    used on the second, and the other way round (`tried`).
    """

    whole: Chosen
    elsewhere: tuple[Chosen, Chosen]
    curve: TradeOff


@dataclass(frozen=True, eq=False, slots=True)
class Accepted:
    """What can be accepted where `target` of it must be right, by kind.

    `halves` are the names of the pages, `wrong` the numbers that count as wrong, the surest first.
    """

    target: float
    halves: tuple[tuple[str, ...], tuple[str, ...]]
    kinds: Mapping[str, Acceptance]
    wrong: Sequence[Strip]

    @property
    def n_pages(self) -> int:
        """How many pages it was found out on."""
        return sum(map(len, self.halves))


@dataclass(frozen=True, eq=False, slots=True)
class AnsweredPage:
    """A page that was read: what is true of its answers, and how sure they are as it is stored."""

    collection: str
    name: str
    outcomes: Outcomes
    stored: _Sure
    wrong: Sequence[tuple[float, Strip]]


def find_accepted(settings: Settings, folder: Path, target: float) -> tuple[Accepted, int]:
    """Return what can be accepted of a folder's transcribed pages, and how many could not be read.

    Raises SourceError as `answered_pages` does.
    """
    pages, n_failed = answered_pages(settings, folder)
    return _accepted(pages, target), n_failed


def answered_pages(settings: Settings, folder: Path) -> tuple[list[AnsweredPage], int]:
    """Return a folder's transcribed pages as they are read, and how many could not be.

    Raises SourceError where no two pages were read, or no digit was found on them.
    """
    items = require_transcribed(folder)
    chain = load_chain(settings)

    def read(image: Path, grey: npt.NDArray[np.uint8], transcription: Path) -> AnsweredPage:
        page = evaluate_page(chain, grey, read_lines(transcription))
        numbers = np.array([number.confidence for number in page.read.numbers], np.float64)
        where = image.relative_to(folder)
        collection, name = (printable(path_to_text(part)) for part in (where.parent, where))
        stored, wrong = (page.read.confidence, numbers), wrong_numbers(grey, page, image.stem)
        return AnsweredPage(collection, name, outcomes_of(page.read, page.judged), stored, wrong)

    pages = [page for page in read_truths(items, settings, read) if page is not None]
    if len(pages) < 2:
        raise SourceError(
            f"{folder}: two pages at least are needed, one to choose a threshold on and one to try it on; "
            f"{len(pages)} could be read"
        )
    if not any(len(page.outcomes.digits) for page in pages):
        raise SourceError(f"{folder}: no digit was found on the pages: there is nothing to accept")
    return pages, len(items) - len(pages)


def _accepted(pages: Sequence[AnsweredPage], target: float) -> Accepted:
    in_second = second_half([(page.collection, page.name) for page in pages])
    first, second = (
        [page for page, its in zip(pages, in_second, strict=True) if its == half] for half in (False, True)
    )
    stored, right = [page.stored for page in pages], _right(pages)
    kinds = {
        kind: Acceptance(
            _chosen(_answers(stored, right, place), _answers(stored, right, place), target),
            (tried(first, second, place, target), tried(second, first, place, target)),
            trade_off(*_answers(stored, right, place)),
        )
        for place, kind in enumerate(KINDS)
    }
    names = [tuple(sorted(page.name for page in half)) for half in (first, second)]
    wrong = sorted((each for page in pages for each in page.wrong), key=lambda each: -each[0])
    return Accepted(target, (names[0], names[1]), kinds, [strip for _, strip in wrong])


def tried(
    chosen_on: Sequence[AnsweredPage], used_on: Sequence[AnsweredPage], place: int, target: float
) -> Chosen:
    """Return what a threshold from some pages keeps of others, all by a confidence fitted on the former.

    The threshold is chosen by how sure each page's answers are after a fit on the others of its half: after
    a fit on all of them they would look surer than answers of new pages do.
    """
    outcomes = [page.outcomes for page in chosen_on]
    fitted = fit_confidence(outcomes)
    by_others = (
        list(zip(*cross_fitted(outcomes), strict=True))
        if len(outcomes) > 1
        else [confidence_in(page, fitted) for page in outcomes]
    )
    used = [confidence_in(page.outcomes, fitted) for page in used_on]
    return _chosen(
        _answers(by_others, _right(chosen_on), place), _answers(used, _right(used_on), place), target
    )


def _chosen(chosen_on: _Answers, used_on: _Answers, target: float) -> Chosen:
    threshold = choose_threshold(*chosen_on, target)
    return Chosen(threshold, kept_by(threshold, *used_on))


def _right(pages: Sequence[AnsweredPage]) -> list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    return [(page.outcomes.right, page.outcomes.numbers_right) for page in pages]


def _answers(
    sure: Sequence[_Sure], right: Sequence[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]], place: int
) -> _Answers:
    """Return how sure each digit (place 0) or number (1) of some pages is, and which are right."""
    return np.concatenate([each[place] for each in sure]), np.concatenate([each[place] for each in right])
