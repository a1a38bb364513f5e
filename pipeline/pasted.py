"""Numbers in other hands, set into the blank places of labelled pages in the pages' own ink.

A few hundred pages have a few dozen hands; collections of single digits have hundreds.  Pasted between
real lines, rules and stains they teach both networks hands that no page here has (Ghiasi and others
2021, "Simple Copy-Paste").
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from pipeline.hands import Hands
from pipeline.labels import LabelledDigit, LabelledLine, LabelledPage
from pipeline.page import Box
from pipeline.written import write_number

_CLEAR_PX = 4  # between a number and its neighbours
_TRIES = 12  # places looked at for each number


def paste_pages(pages: Iterable[LabelledPage], hands: Hands, seed: int, n: int) -> Iterator[LabelledPage]:
    """Yield each page with up to n numbers set into it; the seed and its place say which and where."""
    for k, page in enumerate(pages):
        yield paste_numbers(page, hands, np.random.default_rng([seed, k]), n)


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
