"""What the judge learns from: numbers as they are read, and as they would be had less or more been seen."""

import cv2
import numpy as np
import pytest

from models.loaded import load_classifier, load_detector, load_recogniser, load_rescorer
from models.reader import ACCEPT_BAR, CropsRead, Readers, read_chances
from models.recogniser import N_ANSWERS
from models.train_judge import _seen_otherwise, number_truths
from pipeline.confidence import logit
from pipeline.context import N_CONTEXT
from pipeline.crops import cut_crops
from pipeline.drawn import DrawnPage, draw_page
from pipeline.page import Detection, PageDetections
from pipeline.settings import WEIGHTS
from pipeline.transcriptions import Line

BAR = float(logit(ACCEPT_BAR))


@pytest.fixture(scope="module")
def page() -> DrawnPage:
    return draw_page(3, "ledger", width=700, height=900, digit_px=24.0)


@pytest.fixture(scope="module")
def readers() -> Readers:
    return Readers(
        load_classifier(WEIGHTS / "digit_classifier.safetensors", "cpu", with_confidence=False),
        load_rescorer(WEIGHTS / "digit_rescorer.safetensors", "cpu"),
        load_recogniser(WEIGHTS / "number_recogniser.safetensors", "cpu"),
    )


def grey_of(page: DrawnPage) -> np.ndarray:
    grey = page.pixels if page.pixels.ndim == 2 else cv2.cvtColor(page.pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, np.uint8)


def read_well(page: DrawnPage, readers: Readers) -> CropsRead:
    """Return a page of which all digits were seen and read."""
    found = PageDetections(tuple(Detection(digit.box, 0.95) for digit in page.digits), 15 / 24)
    chances = np.full((len(page.digits), 11), 0.002, np.float32)
    chances[np.arange(len(page.digits)), [digit.digit for digit in page.digits]] = 0.98
    odds = np.full(len(page.digits), 4.0)
    read = read_chances(found, cut_crops(grey_of(page), found), chances, odds, readers)
    assert "".join(n.text for n in read.numbers) == "".join(n.text for n in page.numbers)
    return read


def test_what_is_missed_is_of_numbers_with_other_digits_or_has_no_box(
    page: DrawnPage, readers: Readers
) -> None:
    read = read_well(page, readers)
    members = [number.members for number in read.numbers]
    alone = {own[0] for own in members if len(own) == 1}
    n_lost, n_below = 0, 0
    for seed in range(20):
        left, odds = _seen_otherwise(read, np.random.default_rng(seed))
        gone = set(range(len(odds))) - set(left.tolist())
        below = set(np.flatnonzero(odds < BAR).tolist())
        assert gone <= below
        assert alone.isdisjoint(below)
        assert all(len(below.intersection(own)) <= 1 for own in members)
        assert set(odds[sorted(set(range(len(odds))) - below)]) == {4.0}
        n_lost, n_below = n_lost + len(gone), n_below + len(below)
    assert 0.4 < n_lost / n_below < 0.6


def test_on_some_pages_a_whole_side_is_missed(page: DrawnPage, readers: Readers) -> None:
    read = read_well(page, readers)
    several = [number.members for number in read.numbers if len(number.members) > 1]
    ends = {0: 0, -1: 0}
    for seed in range(40):
        _, odds = _seen_otherwise(read, np.random.default_rng(seed))
        for end in ends:
            ends[end] += np.mean([odds[own[end]] < BAR for own in several]) > 0.8
    assert min(ends.values()) >= 3
    assert sum(ends.values()) < 30


def test_on_some_pages_weak_boxes_count(page: DrawnPage, readers: Readers) -> None:
    read = read_well(page, readers)
    read.odds[:40] = BAR - 1
    raised = [(_seen_otherwise(read, np.random.default_rng(seed))[1][:40] >= BAR).sum() for seed in range(40)]
    assert min(raised) == 0
    assert 8 < max(raised) < 35
    assert np.mean(np.array(raised) > 0) < 0.6


def test_every_number_comes_as_it_is_and_as_it_would_be(page: DrawnPage, readers: Readers) -> None:
    lines = [
        Line(
            np.array([(b.x0, b.y0), (b.x1, b.y0), (b.x1, b.y1), (b.x0, b.y1)], np.float32),
            np.zeros((0, 2), np.float32),
            number.text,
        )
        for number in page.numbers
        for b in [number.box]
    ]
    truths = number_truths(
        load_detector(WEIGHTS / "digit_detector.safetensors", "cpu"),
        readers,
        np.random.default_rng(0),
        grey_of(page),
        lines,
    )
    n = len(lines)
    assert 1.8 * n < len(truths.is_right) == len(truths.strips) == len(truths.clues) < 2.2 * n
    assert truths.is_right[: n // 2].mean() > 0.95
    assert truths.is_right[-n // 2 :].mean() < 0.9
    of_text = truths.clues[:, -N_CONTEXT - N_ANSWERS]  # what the recogniser says to what was read
    assert of_text[truths.is_right].mean() > -0.5 > -2 > of_text[~truths.is_right].mean()
