"""Calibration: what makes confidence say how often a digit, or a number, is right.

Temperature scaling: Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.recogniser import agreement, text_chances
from pipeline.confidence import Confidence, digit_features, fit_logistic, number_features, of_members
from pipeline.reliability import Reliability, reliability


@dataclass(frozen=True, eq=False, slots=True)
class Outcomes:
    """What the networks said about the N digits they found on a page, and what is true of them.

    `chances` float64 (N, 11) are the classifier's, `scores` (N,) the detector's; `digits` int64 (N,) were
    read, `classes` int64 (N,) stand there (10: none).  `numbers` are M arrays of positions among the
    digits, `answers` float64 (M, 6) the recogniser's to them, `judged` (M,) the judge's log-odds,
    `numbers_right` bool (M,).
    """

    chances: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    odds: npt.NDArray[np.float64]
    digits: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    numbers: tuple[npt.NDArray[np.int64], ...]
    answers: npt.NDArray[np.float64]
    judged: npt.NDArray[np.float64]
    numbers_right: npt.NDArray[np.bool_]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each digit is right, bool (N,)."""
        return np.asarray(self.digits == self.classes)

    @property
    def agreed_of_digits(self) -> npt.NDArray[np.float64]:
        """The log-odds that the recogniser reads each digit's number the same, (N,)."""
        members = [members.tolist() for members in self.numbers]
        return of_members(agreement(self.answers), members, len(self.digits))


def fit_confidence(pages: Sequence[Outcomes]) -> Confidence:
    """Return the confidence that fits what was found on pages."""
    features = [
        digit_features(page.digits, page.chances, page.scores, page.odds, page.agreed_of_digits)
        for page in pages
    ]
    digit = fit_logistic(np.concatenate(features), np.concatenate([page.right for page in pages]))
    so_far = Confidence(digit=digit)
    numbers = [
        number_features(_of_members(so_far, page), text_chances(page.answers), page.judged) for page in pages
    ]
    right = np.concatenate([page.numbers_right for page in pages])
    return Confidence(digit=digit, number=fit_logistic(np.concatenate(numbers), right))


def cross_fitted(
    pages: Sequence[Outcomes],
) -> tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]]:
    """Return the confidence in each page's digits and numbers, fitted on all other pages."""
    digits, numbers = [], []
    for k, page in enumerate(pages):
        of_digits, of_numbers = confidence_in(page, fit_confidence([*pages[:k], *pages[k + 1 :]]))
        digits.append(of_digits)
        numbers.append(of_numbers)
    return digits, numbers


def confidence_in(
    page: Outcomes, confidence: Confidence
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the confidence in a page's digits, (N,), and numbers, (M,)."""
    told = text_chances(page.answers)
    of_numbers = confidence.of_numbers(_of_members(confidence, page), told, page.judged)
    return _of_digits(confidence, page), of_numbers


def cross_fitted_worth(pages: Sequence[Outcomes]) -> tuple[Reliability, Reliability]:
    """Return what confidences in digits and in numbers are worth that are fitted on the other pages."""
    digits, numbers = cross_fitted(pages)
    return (
        reliability(np.concatenate(digits), np.concatenate([page.right for page in pages])),
        reliability(np.concatenate(numbers), np.concatenate([page.numbers_right for page in pages])),
    )


def _of_members(confidence: Confidence, page: Outcomes) -> list[npt.NDArray[np.float64]]:
    digits = _of_digits(confidence, page)
    return [digits[members] for members in page.numbers]


def _of_digits(confidence: Confidence, page: Outcomes) -> npt.NDArray[np.float64]:
    return confidence.of_digits(page.digits, page.chances, page.scores, page.odds, page.agreed_of_digits)
