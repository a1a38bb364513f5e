"""`archive evaluate` on pages with transcriptions: what of them is read right, how surely and how fast."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from cli.page_tables import page_tables
from cli.report import Report, rounded
from cli.truths import exported, read_truths
from cli.wrong_cells import wrong_cells
from models.calibrate import cross_fitted_worth
from models.evaluation import EvaluatedPage, evaluate_page, outcomes_of
from models.whole import Chain
from pipeline.contact_sheets import Strip
from pipeline.intervals import Floats, interval, share
from pipeline.reliability import Reliability, reliability
from pipeline.scoring import Totals
from pipeline.settings import Settings
from pipeline.transcriptions import find_transcribed, read_lines
from pipeline.variants import resized, turned


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """A page of a collection, the same at other sizes and turned, and its cells that are read wrong."""

    image: Path
    collection: str
    page: EvaluatedPage
    variants: Mapping[str, EvaluatedPage]
    wrong: Sequence[tuple[int, Strip]]


def evaluate_pages(
    chain: Chain, settings: Settings, folder: Path, sizes: Sequence[float], turns: Sequence[float]
) -> tuple[Report, int]:
    """Return the report on a folder of transcribed pages, and how many of them could not be read."""

    def measure(image: Path, grey: npt.NDArray[np.uint8], transcription: Path) -> Measured:
        lines = read_lines(transcription)
        # one at a time: at 20 times its size a page is large
        variants = {
            f"at {size:g} × its size": evaluate_page(chain, *resized(grey, lines, size)) for size in sizes
        }
        for degrees in turns:
            variants[f"turned by {degrees:g}°"] = evaluate_page(chain, *turned(grey, lines, degrees))
        page = evaluate_page(chain, grey, lines)
        collection = image.parent.relative_to(folder).as_posix()
        return Measured(
            image,
            folder.resolve().name if collection == "." else collection,
            page,
            variants,
            wrong_cells(grey, page, image.stem),
        )

    read = list(read_truths(find_transcribed(folder), settings, measure))
    pages = [page for page in read if page is not None]
    return _report(pages), len(read) - len(pages)


def _report(pages: Sequence[Measured]) -> Report:
    by_name: dict[str, list[EvaluatedPage]] = {}
    for measured in pages:
        by_name.setdefault(measured.collection, []).append(measured.page)
    evaluated = [measured.page for measured in pages]
    collections = {name: _totals(some) for name, some in sorted(by_name.items())}
    whole = _totals(evaluated)
    variants = {
        name: _totals([measured.variants[name] for measured in pages])
        for name in (pages[0].variants if pages else ())
    }
    sure = {"digits": digits_worth(evaluated), "numbers": numbers_worth(evaluated)}
    if len(evaluated) > 1:
        of_digits, of_numbers = cross_fitted_worth(
            [outcomes_of(page.read, page.judged) for page in evaluated]
        )
        sure |= {"digits, cross-fitted": of_digits, "numbers, cross-fitted": of_numbers}
        strict_digits, strict_numbers = cross_fitted_worth([outcomes_of(p.read, p.score) for p in evaluated])
        sure |= {
            "digits, outside lines wrong": strict_digits,
            "numbers, outside lines wrong": strict_numbers,
        }
    seconds = {
        "detect_s": median(page.read.detect_s for page in evaluated) if evaluated else 0.0,
        "classify_s": median(page.read.classify_s for page in evaluated) if evaluated else 0.0,
    }
    intervals = _intervals(evaluated)
    figures = {
        **shares(whole),
        **_worth("", sure["digits"]),
        **_worth("numbers_", sure["numbers"]),
        **seconds,
    }
    if len(evaluated) > 1:
        figures |= _worth("fitted_", of_digits) | _worth("fitted_numbers_", of_numbers)
    if variants:
        figures["loss"] = whole.f1 - min(totals.f1 for totals in variants.values())
    details: dict[str, Any] = {
        "collections": [_counted(name, totals) for name, totals in collections.items()],
        "all": _counted("all", whole),
        "intervals": {name: [rounded(low), rounded(high)] for name, (low, high) in intervals.items()},
        "variants": [
            {"name": name, "f1": rounded(totals.f1), "loss": rounded(whole.f1 - totals.f1)}
            for name, totals in variants.items()
        ],
        "confidence": {name: asdict(worth) for name, worth in sure.items()},
    }
    worst = sorted((cell for measured in pages for cell in measured.wrong), key=lambda cell: -cell[0])
    return Report(
        kind="pages",
        figures=figures,
        details=details,
        tables=page_tables(collections, whole, intervals, variants, sure, seconds),
        confusions=whole.confusions,
        pages=tuple(exported(measured.image, measured.page.read) for measured in pages),
        reliabilities=sure,
        worst=("worst-cells.png", [strip for _, strip in worst]),
    )


def shares(totals: Totals) -> dict[str, float]:
    """Return the figures of some pages, by name."""
    return {
        "f1": totals.f1,
        "precision": totals.precision,
        "recall": totals.recall,
        "cells": totals.cells_share,
        "classifier": totals.classifier,
        "in_cells": totals.recall_in_cells,
        "in_text": totals.recall_in_text,
    }


def _worth(prefix: str, worth: Reliability) -> dict[str, float]:
    return {
        f"{prefix}kept": worth.kept,
        f"{prefix}right_of_kept": worth.right_of_kept,
        f"{prefix}ece": worth.ece,
    }


def digits_worth(pages: Sequence[EvaluatedPage]) -> Reliability:
    """Return what the confidences of the digits found on pages are worth; a false box counts as wrong."""
    confidence = [np.zeros(0), *(page.read.confidence for page in pages)]
    return reliability(np.concatenate(confidence), np.concatenate([_NONE, *(page.right for page in pages)]))


def numbers_worth(pages: Sequence[EvaluatedPage]) -> Reliability:
    """Return what the confidences of whole numbers are worth; a missed or added digit makes one wrong."""
    confidence = np.array([number.confidence for page in pages for number in page.read.numbers], np.float64)
    return reliability(confidence, np.concatenate([_NONE, *(page.numbers_right for page in pages)]))


_NONE = np.zeros(0, bool)


def _totals(pages: Sequence[EvaluatedPage]) -> Totals:
    totals = Totals()
    for page in pages:
        totals.add(page.score, page.read.digits)
    return totals


def _counted(name: str, totals: Totals) -> dict[str, Any]:
    return {
        "name": name,
        "pages": totals.pages,
        "digits": totals.truth,
        "found": totals.found,
        "right": totals.equal,
        "outside": totals.outside,
        "number_cells": totals.cells,
        "number_cells_exact": totals.cells_exact,
        **{figure: rounded(value) for figure, value in shares(totals).items()},
    }


def _intervals(pages: Sequence[EvaluatedPage]) -> dict[str, tuple[float, float]]:
    """Return the bounds of the figures that pages are judged by, resampled by page."""
    each = [_totals([page]) for page in pages]
    counts = np.array(
        [(t.equal, t.found, t.truth, t.cells_exact, t.cells, t.equal + t.substituted) for t in each],
        np.float64,
    )

    def f1(n: Floats) -> Floats:
        return share(2 * n[..., 0], n[..., 1] + n[..., 2])

    return {
        "f1": interval(counts, f1),
        "cells": interval(counts, lambda n: share(n[..., 3], n[..., 4])),
        "classifier": interval(counts, lambda n: share(n[..., 0], n[..., 5])),
    }
