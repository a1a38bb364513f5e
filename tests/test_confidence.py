"""Confidence: fitted on pages, it says how often digits and numbers are right."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calibrate import Outcomes, cross_fitted, fit_confidence
from models.recogniser import N_ANSWERS
from pipeline.confidence import REJECT, Confidence, apply_logistic, fit_logistic, logit, of_members


def outcomes(seed: int, n: int = 400) -> Outcomes:
    """Return a page whose networks are too sure of themselves, in a way that the scores betray."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.2, 1.0, n)
    right = rng.random(n) < scores
    digits = rng.integers(0, 10, n)
    chances = np.full((n, 11), 0.001)
    chances[np.arange(n), digits] = 0.99
    classes = np.where(right, digits, REJECT)
    numbers = tuple(np.arange(k, k + 2) for k in range(0, n, 2))
    both = np.array([right[members].all() for members in numbers])
    agreed = np.where(both, 1.0, -1.0) + rng.normal(size=len(numbers))
    answers = np.zeros((len(numbers), N_ANSWERS))
    answers[:, 0], answers[:, 3] = agreed / 2, -agreed / 2  # that it is so, that it is wrong
    judged = rng.normal(size=len(numbers))  # of this one they learn that it says nothing
    return Outcomes(chances, scores, logit(scores), digits, classes, numbers, answers, judged, both)


def test_cross_fitted_confidence_says_how_often_digits_and_numbers_are_right() -> None:
    pages = [outcomes(seed) for seed in range(8)]
    digits, numbers = cross_fitted(pages)
    for sure, right in (
        (np.concatenate(digits), np.concatenate([page.right for page in pages])),
        (np.concatenate(numbers), np.concatenate([page.numbers_right for page in pages])),
    ):
        assert abs(sure.mean() - right.mean()) < 0.02
        for low, high in ((0.0, 0.4), (0.4, 0.7), (0.7, 1.0)):
            inside = (sure >= low) & (sure < high)
            assert inside.sum() > 100
            assert sure[inside].mean() == pytest.approx(right[inside].mean(), abs=0.07)


def test_confidence_listens_to_a_recogniser_that_knows() -> None:
    fitted = fit_confidence([outcomes(seed) for seed in range(8)])
    assert fitted.digit[-1] > 0.5  # that its number is read the same
    assert fitted.number[-2] > 0.5  # how likely its text is
    assert abs(fitted.number[-1]) < 0.1  # what is judged by chance


def test_each_digit_has_what_is_said_of_its_number() -> None:
    assert of_members(np.array([2.0, -1.0]), [(4, 1), (0,)], 5).tolist() == [-1, 2, 0, 0, 2]
    assert of_members(np.zeros(0), [], 2).tolist() == [0, 0]


def test_a_page_does_not_see_its_own_truth() -> None:
    pages = [outcomes(seed) for seed in range(4)]
    lied_to = pages[0]
    lie = replace(
        lied_to,
        classes=np.full(len(lied_to.digits), REJECT),
        numbers_right=np.zeros(len(lied_to.numbers), bool),
    )
    told, lied = cross_fitted(pages), cross_fitted([lie, *pages[1:]])
    for kind in (0, 1):  # digits, numbers
        np.testing.assert_array_equal(told[kind][0], lied[kind][0])
        assert not np.array_equal(told[kind][1], lied[kind][1])


def test_without_a_fit_the_classifiers_own_chances_stand() -> None:
    page = outcomes(0)
    plain = Confidence()
    sure = plain.of_digits(page.digits, page.chances, page.scores, page.odds, page.agreed_of_digits)
    np.testing.assert_allclose(sure, 0.99)
    of_number = plain.of_numbers([sure[:3]], np.zeros(1), np.zeros(1))
    np.testing.assert_allclose(of_number, 0.99**3)


@pytest.mark.parametrize("confidence", [Confidence(), fit_confidence([outcomes(1)])])
def test_nothing_found_has_no_confidence(confidence: Confidence) -> None:
    none = np.zeros(0)
    assert confidence.of_digits(none.astype(np.int64), np.zeros((0, 11)), none, none, none).shape == (0,)
    assert confidence.of_numbers([], none, none).shape == (0,)


@given(st.integers(0, 1000), st.floats(-2, 2), st.floats(-2, 2))
def test_the_regression_finds_the_weights_that_made_the_answers(
    seed: int, constant: float, weight: float
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20_000, 1))
    right = rng.random(len(x)) < apply_logistic((constant, weight), x)
    assert fit_logistic(x, right) == pytest.approx((constant, weight), abs=0.2)


def test_all_right_or_none_right_stays_finite() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    for right in (np.ones(50, bool), np.zeros(50, bool)):
        chance = apply_logistic(fit_logistic(x, right), x)
        assert np.isfinite(chance).all()
        assert (chance > 0.5).all() == right.all()
