"""The tables of `archive evaluate` on pages with transcriptions, 80 columns wide."""

from collections.abc import Mapping

from cli.report import Table, columns, shown
from cli.terminal import Column
from pipeline.intervals import N_RESAMPLES
from pipeline.reliability import KEEP_BAR, Reliability
from pipeline.scoring import Totals

_SAY = {"f1": "digits, F1", "cells": "number cells exact", "classifier": "classifier"}


def page_tables(
    collections: Mapping[str, Totals],
    whole: Totals,
    intervals: Mapping[str, tuple[float, float]],
    variants: Mapping[str, Totals],
    sure: Mapping[str, Reliability],
    seconds: Mapping[str, float],
) -> tuple[Table, ...]:
    """Return what an archivist wants to know, the most important first."""
    rows = {**collections, "all": whole} if len(collections) != 1 else dict(collections)
    tables = [_digits(rows), _cells(rows), _intervals(whole, intervals)]
    if variants:
        tables.append(_variants(whole, variants))
    return (*tables, _confidence(sure), _seconds(seconds))


def _digits(rows: Mapping[str, Totals]) -> Table:
    return Table(
        "Digits",
        columns("collection", "pages", "written", "found", "precision", "recall", "F1"),
        tuple(
            (name, f"{t.pages:,}", f"{t.truth:,}", f"{t.found:,}", *map(shown, (t.precision, t.recall, t.f1)))
            for name, t in rows.items()
        ),
    )


def _cells(rows: Mapping[str, Totals]) -> Table:
    return Table(
        "Cells that are all number; recall in cells and in text; classes of found digits",
        columns("collection", "cells", "exact", "share", "in cells", "in text", "classifier"),
        tuple(
            (
                name,
                f"{t.cells:,}",
                f"{t.cells_exact:,}",
                shown(t.cells_share),
                shown(t.recall_in_cells) if t.in_cells else "–",
                shown(t.recall_in_text) if t.truth > t.in_cells else "–",
                shown(t.classifier),
            )
            for name, t in rows.items()
        ),
    )


def _intervals(whole: Totals, intervals: Mapping[str, tuple[float, float]]) -> Table:
    values = {"f1": whole.f1, "cells": whole.cells_share, "classifier": whole.classifier}
    return Table(
        f"How far chance may have moved them: {N_RESAMPLES:,} resamples of the pages",
        (
            Column(""),
            Column("measured", right=True),
            Column("95 % from", right=True),
            Column("to", right=True),
        ),
        tuple(
            (_SAY[name], shown(values[name]), shown(low), shown(high))
            for name, (low, high) in intervals.items()
        ),
    )


def _variants(whole: Totals, variants: Mapping[str, Totals]) -> Table:
    return Table(
        "The same pages altered",
        columns("read", "F1", "loss", "cells"),
        (
            ("as they are", shown(whole.f1), "", shown(whole.cells_share)),
            *(
                (name, shown(t.f1), shown(whole.f1 - t.f1), shown(t.cells_share))
                for name, t in variants.items()
            ),
        ),
    )


def _confidence(sure: Mapping[str, Reliability]) -> Table:
    bar = f"≥ {KEEP_BAR:g}"
    return Table(
        "Confidence: how many are sure, how many of those are right, calibration error",
        columns("", "found", bar, "right of these", "error"),
        tuple(
            (name, f"{worth.n:,}", *map(shown, (worth.kept, worth.right_of_kept, worth.ece)))
            for name, worth in sure.items()
        ),
    )


def _seconds(seconds: Mapping[str, float]) -> Table:
    detect_s, classify_s = seconds["detect_s"], seconds["classify_s"]
    return Table(
        "Seconds a page, median, one page at a time",
        tuple(Column(title, right=True) for title in ("detection", "classification")),
        ((f"{detect_s:.2f}", f"{classify_s:.2f}"),),
    )
