"""Numbers in other hands, set into labelled pages in the pages' own ink.

A few hundred pages have a few dozen hands; collections of single digits have hundreds.  Pasted between
real lines, rules and stains they teach both networks hands that no page here has (Ghiasi and others
2021, "Simple Copy-Paste"); written in place of a page's own digits they stand where digits stand.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.hands import Hands
from pipeline.labels import LabelledDigit, LabelledLine, LabelledPage
from pipeline.page import Box
from pipeline.written import write_digit, write_number

_CLEAR_PX = 4  # between a number and its neighbours
_TRIES = 12  # places looked at for each number
_ALIKE = 0.8  # a digit this near to the last one, in heights, is of the same number

Ink = npt.NDArray[np.uint8]


def paste_pages(
    pages: Iterable[LabelledPage], hands: Hands, seed: int, n: int, rewritten: float = 0.0
) -> Iterator[LabelledPage]:
    """Yield each page with up to n numbers set into it; the seed and its place say which and where.

    Of its own numbers a share, `rewritten`, is written anew.
    """
    for k, page in enumerate(pages):
        rng = np.random.default_rng([seed, k])
        if rewritten:
            page = rewrite_numbers(page, hands, rng, rewritten)
        yield paste_numbers(page, hands, rng, n)


def rewrite_numbers(page: LabelledPage, hands: Hands, rng: np.random.Generator, share: float) -> LabelledPage:
    """Return the page with a share of its numbers in other hands: the same digits at the same places."""
    ink = page.ink.copy()
    digits: list[LabelledDigit] = []
    chosen, last = False, None
    for digit in page.digits:
        if last is None or not _goes_on(last, digit.box):
            chosen = rng.random() < share
        last = digit.box
        rewritten = _rewritten(ink, digit, hands, rng) if chosen else None
        digits.append(rewritten or digit)
    return replace(page, name=f"{page.name}-rewritten", ink=ink, digits=tuple(digits), lines=())


def _goes_on(last: Box, box: Box) -> bool:
    """Return whether a box stands beside the last one as the next digit of its number."""
    height = (last.height + box.height) / 2
    return abs(box.centre[1] - last.centre[1]) < height / 2 and 0 < box.centre[0] - last.x1 < _ALIKE * height


def _rewritten(
    ink: Ink, digit: LabelledDigit, hands: Hands, rng: np.random.Generator
) -> LabelledDigit | None:
    """Write a digit anew in its place on the ink; None, and the ink as it was, where that can't be done."""
    x0, y0, x1, y1 = (round(v) for v in (digit.box.x0, digit.box.y0, digit.box.x1, digit.box.y1))
    picture = write_digit(hands, rng, digit.digit, y1 - y0, x1 - x0)
    if picture is None or x0 < 0 or y0 < 0 or not (old := ink[y0:y1, x0:x1]).size:
        return None
    h, w = picture.shape
    left, top = x0 + (x1 - x0 - w) // 2, y0 + (y1 - y0 - h) // 2
    if left < 0 or top < 0 or left + w > ink.shape[1] or top + h > ink.shape[0]:
        return None
    strength = float(np.percentile(old, 95)) / 255
    old[:] = 0
    spot = ink[top : top + h, left : left + w]
    np.maximum(spot, (picture * strength).astype(np.uint8), out=spot)
    # one pixel of margin on each side, for the pen
    return replace(digit, box=Box(left + 1.0, top + 1.0, left + w - 1.0, top + h - 1.0))


def paste_numbers(page: LabelledPage, hands: Hands, rng: np.random.Generator, n: int) -> LabelledPage:
    """Return the page with up to n numbers of other hands in places with little ink.

    Its own digits keep their boxes clear, and no place is taken where digits may stand unlabelled.
    """
    ink, known = page.ink.copy(), page.known.copy()
    digits: list[LabelledDigit] = []
    lines: list[LabelledLine] = []
    usual = page.digit_px
    filled = cv2.integral((ink > 90).astype(np.uint8))
    taken = (known == 0).astype(np.uint8)
    for x0, y0, x1, y1 in page.boxes.astype(np.int64):
        taken[max(0, y0 - _CLEAR_PX) : y1 + _CLEAR_PX, max(0, x0 - _CLEAR_PX) : x1 + _CLEAR_PX] = 1
    for _ in range(n):
        height = usual * math.exp(rng.normal(0.0, 0.2))
        number, boxes, read = write_number(hands, rng, height)
        h, w = number.shape
        if not read:
            continue
        if h + 8 >= ink.shape[0] or w + 8 >= ink.shape[1]:
            continue
        crowded = 0.10 if rng.random() < 0.2 else 0.01  # now and then over a rule or a stroke
        for _ in range(_TRIES):
            x, y = int(rng.integers(4, ink.shape[1] - w - 4)), int(rng.integers(4, ink.shape[0] - h - 4))
            covered = filled[y + h, x + w] - filled[y, x + w] - filled[y + h, x] + filled[y, x]
            if covered <= crowded * w * h and not taken[y : y + h, x : x + w].any():
                break
        else:
            continue
        strength = rng.uniform(0.55, 1.0)
        spot = ink[y : y + h, x : x + w]
        np.maximum(spot, (number * strength).astype(np.uint8), out=spot)
        known[y : y + h, x : x + w] = 2
        taken[max(0, y - _CLEAR_PX) : y + h + _CLEAR_PX, max(0, x - _CLEAR_PX) : x + w + _CLEAR_PX] = 1
        pasted = tuple(
            LabelledDigit(Box(x0 + x, y0 + y, x1 + x, y1 + y), digit)
            for (x0, y0, x1, y1), digit in zip(boxes, read, strict=True)
        )
        digits += pasted
        around = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], np.int32)
        lines.append(LabelledLine("".join(map(str, read)), "pasted", around, pasted))
    return replace(
        page,
        name=f"{page.name}-pasted",
        ink=ink,
        known=known,
        digits=page.digits + tuple(digits),
        n_pasted=page.n_pasted + len(digits),
        lines=page.lines + tuple(lines),
    )
