"""How well pages are sorted by kind, from 5, 10 and 20 images of each: accuracy, confusions, calibration.

    python benchmarks/sorting.py FOLDER [-o FOLDER2] [--counts 5 10 20] [--draws 5]
        [--backbone detector] [--cache FOLDER3]

FOLDER is what `kinds_of_pages.py` makes.  The features of each page are taken once.  A draw chooses so many
images of each kind by chance from those to learn from, or all where there are fewer, and fits a head with
a seed of its own; all test pages are then sorted.  Intervals hold 95 % of 2,000 resamples of both the draws
and, apart in each kind, the test pages (Owen 2007, "The pigeonhole bootstrap").  The macro accuracy is the
mean of the kinds' accuracies.  With -o pictures are drawn: the learning curve, confusions at 10 a kind,
reliability.
"""

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from machine import describe_machine

from models.head import calibrated, fit_head, head_logits
from models.sorter import BACKBONES, DETECTOR, load_backbone
from models.train_sorter import Reading, read_set
from pipeline.plots import draw_reliability
from pipeline.reliability import Reliability, reliability
from pipeline.settings import WEIGHTS

SURE = 0.8  # a page of less confidence is shown to a person
N_RESAMPLES = 2000
SHOWN = 10  # images a kind, of which confusions are drawn
READING = Reading(max_pixels=150_000_000, render_dpi=300)

Floats = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """Pages of a folder: features float32 (N, F), their kinds int64 (N,), the kinds' names, the files.

    `copies` are features of changed copies of the pages, float32 (C, N, F).
    """

    features: npt.NDArray[np.float32]
    copies: npt.NDArray[np.float32]
    kinds: Kinds
    classes: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Draws:
    """What heads of D draws say of N test pages, kinds and confidences (D, N); from how many they learned."""

    said: Kinds
    confidence: Floats
    n_learned: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--backbone", choices=BACKBONES, default=DETECTOR)
    parser.add_argument("--backbone-weights", type=Path)
    parser.add_argument("--cache", type=Path, help="where features are kept; FOLDER/features if not given")
    args = parser.parse_args()
    print(describe_machine())
    torch.set_num_threads(1)
    train, test, other = (read_part(args, name) for name in ("train", "test", "other"))
    assert train.classes == test.classes
    real = is_real(args.folder, train.classes)[test.kinds]
    n_each = np.bincount(train.kinds), np.bincount(test.kinds)
    print(", ".join(f"{c} {a} + {b}" for c, a, b in zip(train.classes, *n_each, strict=True)))
    print(
        "| images a kind | learned from | accuracy | 95 % | macro accuracy | 95 % | real pages alone | 95 %"
        " | calibration error | below 0.8 | right of the rest |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    found: dict[int, Draws] = {}
    for n in args.counts:
        found[n], beyond = drawn(train, test, other, n, args.draws)
        print(row(n, found[n], test, real), flush=True)
        for name, line in beyond.items():
            print(f"{n} a kind, {name}: {line}", file=sys.stderr)
    report_errors(found, test)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        draw_pictures(args.output, found, test, real)


def read_part(args: argparse.Namespace, name: str) -> Part:
    """Return the pages of `train`, `test` or `other` with their features."""
    backbone, _ = load_backbone(args.backbone, args.backbone_weights, WEIGHTS / "digit_detector.safetensors")
    cache = args.cache or args.folder / "features"
    pages = read_set(args.folder / name, backbone, cache, READING, torch.device("cpu"), say)
    files = tuple(f"{page.path.parent.name}/{page.path.name}" for page in pages.pages)
    return Part(pages.features, pages.copies, pages.kinds, pages.classes, files)


def say(text: str) -> None:
    print(text, file=sys.stderr)


def is_real(folder: Path, classes: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Return which kinds are of real pages, bool (K,)."""
    with (folder / "pages.csv").open(newline="") as stream:
        real = {row["kind"] for row in csv.DictReader(stream) if row["source"] == "real"}
    return np.array([name in real for name in classes])


def drawn(train: Part, test: Part, other: Part, n: int, n_draws: int) -> tuple[Draws, dict[str, str]]:
    """Return what heads that learned from n images a kind say of the test pages, and of pages of no kind."""
    said, sure, others = [], [], []
    for seed in range(n_draws):
        rng = np.random.default_rng([n, seed])
        chosen = np.concatenate(
            [rng.permutation(np.flatnonzero(train.kinds == kind))[:n] for kind in range(len(train.classes))]
        )
        fitted = fit_head(
            train.features[chosen],
            train.kinds[chosen],
            len(train.classes),
            seed,
            copies=train.copies[:, chosen],
        )
        chances = calibrated(head_logits(fitted.head, test.features), fitted.temperature)
        said.append(chances.argmax(axis=1))
        sure.append(chances.max(axis=1).astype(np.float64))
        others.append(calibrated(head_logits(fitted.head, other.features), fitted.temperature))
    of_others = np.stack(others)  # (D, M, K)
    beyond = {}
    for kind, name in enumerate(other.classes):
        part = of_others[:, other.kinds == kind]
        names, counts = np.unique(part.argmax(axis=2), return_counts=True)
        split = ", ".join(
            f"{train.classes[k]} {c / counts.sum():.0%}" for k, c in zip(names, counts, strict=True)
        )
        beyond[name] = f"{(part.max(axis=2) < SURE).mean():.1%} below {SURE}; sorted as {split}"
    return Draws(np.stack(said), np.stack(sure), len(chosen)), beyond


def accuracies(right: Floats, kinds: Kinds, real: npt.NDArray[np.bool_], weight: Floats) -> tuple[float, ...]:
    """Return accuracy, macro accuracy and accuracy on real pages of rightness (N,), each page so often."""
    by_kind = [np.average(right[kinds == k], weights=weight[kinds == k]) for k in np.unique(kinds)]
    of_real = np.average(right[real], weights=weight[real])
    return float(np.average(right, weights=weight)), float(np.mean(by_kind)), float(of_real)


def intervals(right: Floats, kinds: Kinds, real: npt.NDArray[np.bool_]) -> Floats:
    """Return the bounds (2, 3) of accuracy, macro accuracy and that on real pages, from rightness (D, N)."""
    rng = np.random.default_rng(0)
    n_draws = len(right)
    figures = []
    for _ in range(N_RESAMPLES):
        draws = rng.multinomial(n_draws, np.full(n_draws, 1 / n_draws))
        weight = np.zeros(len(kinds))
        for kind in np.unique(kinds):
            n = int((kinds == kind).sum())
            weight[kinds == kind] = rng.multinomial(n, np.full(n, 1 / n))
        figures.append(accuracies(draws @ right / n_draws, kinds, real, weight))
    return np.percentile(np.array(figures), (2.5, 97.5), axis=0)


def row(n: int, draws: Draws, test: Part, real: npt.NDArray[np.bool_]) -> str:
    right = (draws.said == test.kinds).astype(np.float64)  # (D, N)
    figures = accuracies(right.mean(axis=0), test.kinds, real, np.ones(len(test.kinds)))
    low, high = intervals(right, test.kinds, real)
    cells = [str(n), str(draws.n_learned)]
    for figure, a, b in zip(figures, low, high, strict=True):
        cells += [f"{figure:.3f}", f"{a:.3f} to {b:.3f}"]
    kept = draws.confidence >= SURE
    cells += [f"{worth(draws, test).ece:.3f}", f"{1 - kept.mean():.1%}"]
    cells.append(f"{right[kept].mean():.3f}" if kept.any() else "")
    return f"| {' | '.join(cells)} |"


def worth(draws: Draws, test: Part) -> Reliability:
    """Return what the confidences of all draws are worth."""
    return reliability(draws.confidence.ravel(), (draws.said == test.kinds).ravel())


def report_errors(found: dict[int, Draws], test: Part) -> None:
    """Say which files were sorted wrongly, in how many draws: names, which are of the reader's own folder."""
    for n, draws in found.items():
        wrong = (draws.said != test.kinds).sum(axis=0)
        for place in np.flatnonzero(wrong):
            said = {test.classes[k] for k in draws.said[:, place] if k != test.kinds[place]}
            of = f"{wrong[place]} of {len(draws.said)} draws"
            print(f"{n} a kind: {test.files[place]}: {', '.join(sorted(said))} in {of}", file=sys.stderr)


def draw_pictures(folder: Path, found: dict[int, Draws], test: Part, real: npt.NDArray[np.bool_]) -> None:
    """Draw the learning curve, confusions and reliability."""
    draw_curve(folder / "sorting-curve.png", found, test, real)
    shown = SHOWN if SHOWN in found else max(found)
    draw_confusions(folder / "sorting-confusions.png", found[shown], test, shown)
    answers = {f"{n} a kind": worth(draws, test) for n, draws in found.items()}
    draw_reliability(folder / "sorting-reliability.png", answers, "Kinds of pages: what confidence is worth")


def draw_curve(file: Path, found: dict[int, Draws], test: Part, real: npt.NDArray[np.bool_]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.add_subplot(xlabel="images a kind (or all there are)", ylabel="share of test pages")
    n_draws = len(next(iter(found.values())).said)
    axes.set_title(f"{len(test.kinds)} test pages of {len(test.classes)} kinds, {n_draws} draws")
    rows = []
    for draws in found.values():
        right = (draws.said == test.kinds).astype(np.float64)
        mean = accuracies(right.mean(axis=0), test.kinds, real, np.ones(len(test.kinds)))
        rows.append((mean, *intervals(right, test.kinds, real)))
    for k, name in enumerate(("accuracy", "macro accuracy", "real pages alone")):
        at = [n * 1.02 ** (k - 1) for n in found]  # side by side
        means, low, high = (np.array([each[j][k] for each in rows]) for j in range(3))
        axes.errorbar(at, means, [means - low, high - means], marker="o", capsize=3, label=name)
    axes.set_xscale("log")
    axes.set_xticks(list(found), [str(n) for n in found])
    axes.minorticks_off()
    axes.set_ylim(top=1.005)
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def draw_confusions(file: Path, draws: Draws, test: Part, n: int) -> None:
    from matplotlib.figure import Figure

    k = len(test.classes)
    counts = np.zeros((k, k), np.int64)
    np.add.at(counts, (np.broadcast_to(test.kinds, draws.said.shape), draws.said), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure = Figure(figsize=(7.6, 6.6), layout="constrained")
    axes = figure.add_subplot(xlabel="sorted as", ylabel="kind")
    axes.set_title(f"{n} images a kind, {len(draws.said)} draws, summed")
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.argwhere(counts > 0).tolist():
        colour = "white" if shares[i, j] > 0.55 else "black"
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(k), test.classes, rotation=35, ha="right")
    axes.set_yticks(range(k), test.classes)
    figure.colorbar(shown, label="share of the kind's test pages")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
