"""What the recogniser learns from: numbers of labelled pages, whatever of them was boxed."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.loaded import Detector, load_detector
from models.strip_changes import change_strips
from models.train_recogniser import NumberStrips, page_numbers, recogniser_batches, true_numbers
from pipeline.drawn import DrawnPage, draw_page
from pipeline.drawn_labels import label_drawn
from pipeline.labels import LabelledDigit, LabelledPage
from pipeline.page import Box
from pipeline.settings import WEIGHTS
from pipeline.strips import STRIP_PX


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(WEIGHTS / "digit_detector.safetensors", "cpu")


@pytest.fixture(scope="module")
def drawn() -> DrawnPage:
    return draw_page(3, "ledger", width=700, height=900, digit_px=24.0)


@pytest.fixture(scope="module")
def page(drawn: DrawnPage) -> LabelledPage:
    return label_drawn("ledger", drawn, 21.0)


def test_every_number_is_told_whole_whatever_was_boxed(
    drawn: DrawnPage, page: LabelledPage, detector: Detector
) -> None:
    there = Counter(number.text for number in drawn.numbers)
    told = page_numbers([page], detector, np.random.default_rng(0))
    assert told.ink.shape == (len(told.texts), *STRIP_PX) and told.ink.dtype == np.uint8
    assert 1.7 * there.total() < len(told.texts) < 2.6 * there.total()  # twice, and some in two parts
    assert set(told.texts) <= set(there)
    assert sum(text in told.texts for text in there) > 0.95 * len(there)
    middle = told.ink[:, 12:24, 60:84].max(axis=(1, 2))
    assert (middle > 100).mean() > 0.98


def test_a_number_beside_what_is_not_known_teaches_nothing(page: LabelledPage, detector: Detector) -> None:
    known = page.known.copy()
    known[: known.shape[0] // 2] = 0
    half = page_numbers([replace(page, known=known)], detector, np.random.default_rng(0))
    whole = page_numbers([page], detector, np.random.default_rng(0))
    assert 0.3 * len(whole.texts) < len(half.texts) < 0.7 * len(whole.texts)


@pytest.mark.parametrize(
    ("gap", "goes_on", "numbers"),
    [
        (2, None, [[0, 1, 2]]),  # nothing is said: those side by side
        (2, False, [[0, 1], [2]]),  # 25 8bre
        (60, None, [[0, 1], [2]]),
        (60, True, [[0, 1, 2]]),  # 17   0
    ],
)
def test_numbers_are_those_of_the_transcription(
    gap: int, goes_on: bool | None, numbers: list[list[int]]
) -> None:
    places = [(10, False), (25, True), (37 + gap, goes_on), (10, False)]
    digits = tuple(
        LabelledDigit(Box(x, y, x + 12, y + 20), 1, on)
        for (x, on), y in zip(places, (10, 10, 10, 60), strict=True)
    )
    page = LabelledPage("p", np.zeros((100, 200), np.uint8), np.full((100, 200), 2, np.uint8), digits, 4)
    assert sorted(true_numbers(page)) == [*numbers, [3]]
    assert sorted(true_numbers(page.scaled(2.0))) == [*numbers, [3]]


def test_letters_teach_that_there_is_no_number(page: LabelledPage, detector: Detector) -> None:
    unlabelled = replace(page, digits=())  # to it, all that the detector finds is no digit
    told = page_numbers([unlabelled], detector, np.random.default_rng(0))
    assert set(told.texts) == {""}
    assert page_numbers([], detector, np.random.default_rng(0)).ink.shape == (0, *STRIP_PX)


def test_each_set_gives_its_share_of_a_batch() -> None:
    ink = np.zeros((2, *STRIP_PX), np.uint8)
    sets = [
        (NumberStrips(ink, ("1", "1")), 0.75),
        (NumberStrips(ink, ("22", "22")), 0.25),
        (NumberStrips(ink[:0], ()), 0.5),
    ]
    batches = recogniser_batches(sets, np.random.default_rng(0))
    seen: Counter[str] = Counter()
    for _ in range(10):
        strips, texts = next(batches)
        assert strips.shape == (len(texts), 1, *STRIP_PX)
        seen.update(texts)
    assert set(seen) == {"1", "22"}
    assert seen["1"] / seen.total() == pytest.approx(0.75, abs=0.05)


def test_changed_strips_keep_what_they_show_in_the_middle() -> None:
    torch.manual_seed(0)
    strips = torch.zeros(200, 3, *STRIP_PX, dtype=torch.uint8)
    strips[:, :, 14:22, 68:76] = 255
    seen = change_strips(strips, lean=0.2, bent_px=1.5)
    assert seen.shape == strips.shape and 0 <= float(seen.min()) <= float(seen.max()) <= 1
    for channel in seen.mean(dim=0):
        for axis, middle in ((0, 71.5), (1, 17.5)):
            weight = (channel - channel.min()).sum(dim=axis)
            place = torch.arange(float(len(weight)))
            assert float((weight * place).sum() / weight.sum()) == pytest.approx(middle, abs=0.8)
    assert not torch.equal(seen[0], seen[1])
