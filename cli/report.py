"""What `archive evaluate` found out: tables for people, JSON for programs, pictures in a folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.output import replacing
from cli.terminal import SCHEMA_VERSION, Column, print_json, print_table
from pipeline.contact_sheets import Strip, draw_sheet
from pipeline.errors import OutputError, QualityError, UsageError
from pipeline.export_digits import digits_line
from pipeline.plots import draw_confusions, draw_reliability
from pipeline.reliability import Reliability

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pipeline.exported_pages import ExportedPage

# what is measured on each kind of folder; fitted: confidence fitted, for each page, on the others; loss: with
# --sizes or --turns
FIGURES = {
    "pages": (
        *("f1", "precision", "recall", "cells", "classifier", "in_cells", "in_text", "kept", "right_of_kept"),
        *("ece", "numbers_kept", "numbers_right_of_kept", "numbers_ece"),
        *("fitted_kept", "fitted_right_of_kept", "fitted_ece", "fitted_numbers_kept"),
        *("fitted_numbers_right_of_kept", "fitted_numbers_ece", "detect_s", "classify_s", "loss"),
    ),
    "fields": ("amounts", "boxes_f1", "f1", "classifier"),
    "digits": ("accuracy", "accuracy_of_ten"),
    "tables": ("recall", "precision", "numbers", "missed", "false"),
}
# figures that are better when they are smaller: what is required of them is a most, not a least
LESS_IS_BETTER = (
    *("ece", "numbers_ece", "fitted_ece", "fitted_numbers_ece"),
    *("loss", "detect_s", "classify_s", "missed", "false"),
)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below their titles, and a line above them that says what they are."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Report:
    """Everything that was measured on a folder.

    `figures` are the numbers that can be required, by name; `details` go into the JSON beside them.
    `confusions` is int64 (11, 11); `worst` is drawn as a sheet of that name.
    """

    kind: str
    figures: dict[str, float]
    details: dict[str, Any]
    tables: tuple[Table, ...]
    confusions: "npt.NDArray[np.int64]"
    pages: tuple["ExportedPage", ...] = ()
    reliabilities: Mapping[str, Reliability] = field(default_factory=dict)
    worst: tuple[str, Sequence[Strip]] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        figures = {name: rounded(value) for name, value in self.figures.items()}
        return {"schema_version": SCHEMA_VERSION, "kind": self.kind, "figures": figures, **self.details}


def print_report(report: Report, *, as_json: bool) -> None:
    """Print a report on stdout."""
    if as_json:
        print_json(report.as_json())
        return
    for place, table in enumerate(report.tables):
        print(("\n" if place else "") + table.title)
        print_table(table.columns, table.rows)


def write_report(report: Report, folder: Path) -> list[str]:
    """Write a report's figures, digits and pictures to a folder, and return their names; OutputError."""
    written = ["figures.json"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "figures.json") as file:
            file.write((json.dumps(report.as_json(), ensure_ascii=False, indent=2) + "\n").encode())
        if report.pages:
            with replacing(folder / "predictions.jsonl") as file:
                file.writelines(digits_line(page).encode() for page in report.pages)
            written.append("predictions.jsonl")
        draw_confusions(folder / "confusions.png", report.confusions, "Digits read wrong")
        written.append("confusions.png")
        if report.reliabilities:
            draw_reliability(folder / "reliability.png", report.reliabilities, "What a confidence is worth")
            written.append("reliability.png")
    except OSError as error:
        raise OutputError(f"{folder} can't be written to: {error.strerror or error}") from error
    if report.worst is not None:
        name, strips = report.worst
        draw_sheet(folder / name, strips, "Read wrong: the most wrong first")
        written.append(name)
    return written


def check_bars(kind: str, bars: Mapping[str, float], *, with_loss: bool) -> None:
    """Raise UsageError for a bar of a figure that is not measured on this kind of folder."""
    known = [name for name in FIGURES[kind] if with_loss or name != "loss"]
    for name in bars:
        if name not in known:
            raise UsageError(f"--require: {name!r} is not measured here, but {', '.join(known)}")


def require(report: Report, bars: Mapping[str, float]) -> None:
    """Raise QualityError that names every figure which misses its bar."""
    short = []
    for name, bar in bars.items():
        value = report.figures.get(name)
        if value is None:
            short.append(f"{name} could not be measured")
        elif name in LESS_IS_BETTER and value > bar:
            short.append(f"{name} is {value:.4f}, not at most {bar:g}")
        elif name not in LESS_IS_BETTER and value < bar:
            short.append(f"{name} is {value:.4f}, not at least {bar:g}")
    if short:
        raise QualityError(f"fell short: {'; '.join(short)}")


def columns(name: str, *numbers: str) -> tuple[Column, ...]:
    """Return the columns of a table: names on the left, then numbers."""
    return (Column(name, shortened=True), *(Column(title, right=True) for title in numbers))


def rounded(value: float) -> float:
    """Return a figure as JSON shows it."""
    return round(float(value), 6)


def shown(value: float) -> str:
    """Return a share as tables show it.

    >>> shown(0.98765)
    '0.988'
    """
    return f"{value:.3f}"
