"""Training of the recogniser on the numbers of labelled pages, as their strips would show them."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.labelled_boxes import labelled_boxes, shown
from models.loaded import Detector
from models.recogniser import has_room, recogniser_loss
from models.strip_changes import change_strips
from models.training import Losses, Recipe
from pipeline.crops import CROP_ZOOM, cut_boxes
from pipeline.labels import LabelledPage
from pipeline.numbers import group_numbers
from pipeline.page import Detection, Number, PageDetections, Reading
from pipeline.strips import STRIP_PX, number_strips

_BATCH = 128
_SCORE_BAR = 0.2  # boxes of the detector that strips are put together from
_SCALES = 0.1  # standard deviation of the logarithm of the scale that a page is shown at
_HIT = 0.4  # intersection over union from which a box is of a labelled digit
_READINGS = 2  # of each page, each with other digits missed
_NO_BOX, _MISSED, _ADDED = 0.04, 0.1, 0.08  # of all boxes: is not there, is not counted, is counted wrongly

Batch = tuple[Tensor, tuple[str, ...]]  # ink of strips uint8 (N, 1, 36, 144), what stands there


@dataclass(frozen=True, eq=False, slots=True)
class NumberStrips:
    """Ink of strips, uint8 (N, 36, 144), and the digits of the number in the middle of each; "": none."""

    ink: npt.NDArray[np.uint8]
    texts: tuple[str, ...]


def recogniser_recipe(minutes: float, seed: int, *, goes_on: bool) -> Recipe:
    """Return the recipe that the shipped recogniser was trained by; half the rate to go on."""
    return Recipe(minutes, learning_rate=1e-3 if goes_on else 2e-3, weight_decay=2e-2, seed=seed)


def page_numbers(pages: Sequence[LabelledPage], detector: Detector, rng: np.random.Generator) -> NumberStrips:
    """Return the numbers of labelled pages as a detector's boxes show them.

    Some digits are left out at random, and some boxes that hold none are counted, so that a strip is not
    always the whole number's: what stands in its middle is to be read, whatever was boxed.
    """
    ink, texts = [np.zeros((0, *STRIP_PX), np.uint8)], []
    for page in pages:
        page, large = shown(page, rng, _SCALES)
        drawn = labelled_boxes(page, detector, _SCORE_BAR)
        every, digit_of = drawn.detections, np.where(drawn.iou > _HIT, drawn.nearest, -1).tolist()
        written = true_numbers(page)
        crops = cut_boxes(large.ink, [detection.box.scaled(CROP_ZOOM) for detection in every])
        for _ in range(_READINGS):
            there = [i for i in range(len(every)) if rng.random() > _NO_BOX]
            found = PageDetections(tuple(every[i] for i in there), 1.0)
            counts = [rng.random() > _MISSED if digit_of[i] >= 0 else rng.random() < _ADDED for i in there]
            numbers = _numbers(found.detections, counts)
            strips = number_strips(numbers, found, np.zeros(len(there)), crops[there])[:, 0]
            told = [
                _text(number, [digit_of[there[i]] for i in number.members], page, written)
                for number in numbers
            ]
            known = [k for k, text in enumerate(told) if text is not None]
            ink.append(strips[known])
            texts += [text for text in told if text is not None]
    return NumberStrips(np.concatenate(ink), tuple(texts))


def recogniser_losses(network: nn.Module, batch: Batch, device: torch.device) -> Losses:
    """Return the losses of the network on a batch."""
    strips, texts = batch
    with torch.autocast(device.type, enabled=False):  # in bfloat16 places are a tenth of a pixel off
        ink = change_strips(strips.to(device), lean=0.2, bent_px=1.5)
    logits = network(ink.contiguous(memory_format=torch.channels_last))
    return {"texts": recogniser_loss(logits, texts)}


def recogniser_batches(
    sets: Sequence[tuple[NumberStrips, float]], rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield batches without end; `sets` are collections, each with the share of a batch it gives."""
    share = np.array([share if part.texts else 0.0 for part, share in sets])
    while True:
        ink, texts = [], []
        for k in rng.choice(len(sets), size=_BATCH, p=share / share.sum()):
            i = int(rng.integers(len(sets[k][0].texts)))
            ink.append(sets[k][0].ink[i])
            texts.append(sets[k][0].texts[i])
        yield torch.from_numpy(np.stack(ink))[:, None], tuple(texts)


def _numbers(detections: tuple[Detection, ...], counts: Sequence[bool] | None = None) -> tuple[Number, ...]:
    """Return the numbers that boxes make, all of them or those that count."""
    counts = [True] * len(detections) if counts is None else counts
    return group_numbers(detections, [Reading(0 if counted else None, 1.0) for counted in counts])


def true_numbers(page: LabelledPage) -> list[list[int]]:
    """Return the numbers of a labelled page, as positions among its digits.

    They are digits side by side, as found ones are, but by the transcription where it says more: 25 8bre
    are two numbers however close they stand, and 17000 is one across a wide gap.
    """
    parts = []
    for number in _numbers(tuple(Detection(digit.box, 1.0) for digit in page.digits)):
        members = list(number.members)
        cuts = [k for k in range(1, len(members)) if page.digits[members[k]].goes_on is False]
        parts += [members[a:b] for a, b in itertools.pairwise([0, *cuts, len(members)])]
    ending: dict[int, list[int]] = {}
    for part in sorted(parts):
        before = ending.pop(part[0] - 1, []) if page.digits[part[0]].goes_on else []
        ending[part[-1]] = before + part
    return list(ending.values())


def _text(number: Number, digits: Sequence[int], page: LabelledPage, written: list[list[int]]) -> str | None:
    """Return what stands in the middle of a number's strip; None where that is not known.

    `digits` says which of the page's digits the number's boxes are of, `written` are its true numbers.
    """
    x, y = number.box.centre
    mine = [digit for digit in digits if digit >= 0]
    if not mine:
        column, row = min(int(x), page.known.shape[1] - 1), min(int(y), page.known.shape[0] - 1)
        return "" if page.known[row, column] == 2 else None
    nearest = min(mine, key=lambda digit: abs(page.digits[digit].box.centre[0] - x))
    true = next(one for one in written if nearest in one)
    x0, y0 = np.rint(page.boxes[true, :2].min(axis=0)).astype(int)
    x1, y1 = np.rint(page.boxes[true, 2:].max(axis=0)).astype(int)
    beside = round((y1 - y0) / 2)
    if (page.known[max(y0, 0) : y1, max(x0 - beside, 0) : x1 + beside] == 0).any():
        return None
    text = "".join(str(page.digits[i].digit) for i in true)
    return text if has_room(text) else None
