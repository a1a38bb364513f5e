"""Pages whose truth is known, read by several chains in one pass, and compared on the same cells."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from models.evaluation import EvaluatedPage, evaluate_page
from models.whole import Chain, PageSeen
from pipeline.paired import Comparison, PairedPage, compare, pair_page
from pipeline.transcriptions import Line


def compare_chains(
    old: Chain, new: Chain, pages: Iterable[tuple[npt.NDArray[np.uint8], Sequence[Line]]]
) -> Comparison:
    """Return how two chains compare on pages, each grey uint8 (H, W) with its lines."""
    return compare([paired(*evaluate_by_each((old, new), grey, lines)) for grey, lines in pages])


def evaluate_by_each(
    chains: Sequence[Chain], grey: npt.NDArray[np.uint8], lines: Sequence[Line]
) -> tuple[EvaluatedPage, ...]:
    """Return how each chain reads a page, uint8 (H, W), and what of it agrees with its lines.

    Digits are looked for once for all chains that have the same orienter and detector.
    """
    seen: dict[tuple[str, str], PageSeen] = {}
    read = []
    for chain in chains:
        eyes = (chain.orienter.sha256, chain.detector.sha256)
        if eyes not in seen:
            seen[eyes] = chain.see(grey)
        read.append(evaluate_page(chain, grey, lines, seen[eyes]))
    return tuple(read)


def paired(old: EvaluatedPage, new: EvaluatedPage) -> PairedPage:
    """Return what of a page each of two chains has right, by the centres of boxes as F1 counts it."""
    return pair_page(old.score, new.score, old.read.digits, new.read.digits)
