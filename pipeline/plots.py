"""Pictures of figures: learning curves, errors by class, reliability, and what a threshold keeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.reliability import Reliability
from pipeline.thresholds import Kept, TradeOff

Curve = Sequence[tuple[float, dict[str, float]]]  # minutes (or what else runs across), and values by name


def draw_curves(file: Path, losses: Curve, figures: Curve, title: str, across: str = "minutes") -> None:
    """Draw running losses and, where there are any, what was measured beside them, one line for each name."""
    # here and not at the top: it takes a second, and most commands draw nothing
    from matplotlib.figure import Figure

    panels = [("loss", losses), *([("accuracy", figures)] if figures else [])]
    figure = Figure(figsize=(7, 4) if len(panels) == 1 else (11, 4), layout="constrained")
    figure.suptitle(title)
    for k, (label, curve) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), k + 1, xlabel=across, ylabel=label)
        for name in curve[0][1] if curve else ():
            places = [minutes for minutes, _ in curve]
            axes.plot(places, [row[name] for _, row in curve], label=name, marker="." if k else None)
        if curve:
            axes.legend()
            if label == "loss":
                axes.set_yscale("log")
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def draw_by_labels(
    file: Path, shares: Mapping[str, Sequence[tuple[int, float]]], title: str, label: str
) -> None:
    """Draw shares by how many labels were learned from, rows of (labels, share), one line for each name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="labels learned from", ylabel=label)
    for name, rows in shares.items():
        axes.plot([n for n, _ in rows], [share for _, share in rows], marker="o", label=name)
    axes.set_xscale("symlog", linthresh=50)
    ticks = sorted({n for rows in shares.values() for n, _ in rows})
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.minorticks_off()
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def draw_confusions(file: Path, counts: npt.NDArray[np.int64], title: str, kinds: Sequence[str] = ()) -> None:
    """Draw the errors by class: counts int64 (11, 11) of true (rows) and read digits; 10 is none.

    Where every picture shows a digit, (10, 10) does; where it shows one of K `kinds` instead, (K, K).

    The colour is the share of the true class's row, without what is right, so that errors show.
    """
    from matplotlib.figure import Figure

    errors = counts.astype(np.float64)
    np.fill_diagonal(errors, 0)
    shares = errors / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # no row of its own for what is no digit: how many of those there are is not known
    if not kinds:
        shares[10:] = errors[10:] / max(int(counts.sum()), 1)
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    named = ("taken for", "is") if kinds else ("read", "written")
    axes = figure.add_subplot(title=title, xlabel=named[0], ylabel=named[1])
    most = float(shares.max())
    shown = axes.imshow(shares, cmap="Reds", vmin=0, vmax=most or 1)  # without errors all is pale
    for row, column in np.argwhere(counts > 0).tolist():
        dark = shares[row, column] > 0.6 * most > 0
        colour = "0.55" if row == column else "white" if dark else "black"
        text = f"{counts[row, column]:,}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    below, beside = kinds or [*"0123456789", "missed"], kinds or [*"0123456789", "none"]
    axes.set_xticks(range(len(counts)), below[: len(counts)], rotation=45 if kinds else 0)
    axes.set_yticks(range(len(counts)), beside[: len(counts)])
    what = "pages of a kind" if kinds else "digits written"
    figure.colorbar(shown, label=f"share of the {what}; grey counts are right")
    figure.savefig(file, dpi=110)


def draw_reliability(file: Path, answers: Mapping[str, Reliability], title: str) -> None:
    """Draw the share of answers that is right over their confidence, one line for each kind of answer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5.6), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="confidence", ylabel="share that is right")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="as it should be")
    for name, worth in answers.items():
        label = f"{name}: calibration error {worth.ece:.3f}"
        axes.plot([b.confidence for b in worth.bins], [b.right for b in worth.bins], marker="o", label=label)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def draw_trade_off(
    file: Path,
    curves: Mapping[str, TradeOff],
    chosen: Mapping[str, Kept],
    on_others: Mapping[str, Sequence[Kept]],
    target: float,
) -> None:
    """Draw how much of what is kept is right over how much is kept, one line for each kind of answer.

    A dot is what the `chosen` threshold keeps, a circle what was kept of pages that it was not chosen on.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.4), layout="constrained")
    axes = figure.add_subplot(
        title="What can be accepted without a person",
        xlabel="kept without a person, % of what was found",
        ylabel="right, % of what is kept",
    )
    axes.axhline(100 * target, color="0.4", linestyle="--", label=f"asked for: {100 * target:g} %")
    lowest = [target]
    for place, (name, curve) in enumerate(curves.items()):
        colour = f"C{place}"
        right = curve.n_right / curve.n_kept
        axes.plot(100 * curve.n_kept / max(curve.n, 1), 100 * right, color=colour, label=name)
        lowest += right[:1].tolist()
        for kept, face in ((chosen[name], colour), *((other, "none") for other in on_others[name])):
            if kept.n_kept:
                at = 100 * kept.n_kept / kept.n, 100 * kept.n_right / kept.n_kept
                axes.plot(*at, marker="o", markersize=8, color=colour, markerfacecolor=face)
                lowest.append(at[1] / 100)
    axes.plot([], [], "o", color="0.3", label="the threshold, on the pages it was chosen on")
    axes.plot([], [], "o", color="0.3", markerfacecolor="none", label="chosen on one half, on the other half")
    # what the surest few are worth is chance, and may lie below the picture
    room = 100 - 100 * min(lowest)
    axes.set(xlim=(0, 101), ylim=(100 - 1.1 * room, 100 + 0.02 * room))
    figure.legend(loc="outside lower center", ncols=2)
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)
