"""How well pages are sorted by kind, from 5, 10 and 20 images of each: accuracy, confusions, calibration.

    python benchmarks/sorting.py FOLDER [-o FOLDER2] [--counts 5 10 20] [--draws 5] [--fixed]
        [--backbone detector] [--backbone-weights FILE] [--cache FOLDER3]

FOLDER is what `kinds_of_pages.py` makes.  The features of each page are taken once.  A draw first parts the
documents of each kind by chance into those to learn from and those that test, as many pages as stand in
`test/` at most (of tables the volumes of `test/` test always: they are for nothing else).  It chooses so many
images of each kind from those to learn from, or all where there are fewer, and fits a head with a seed of its
own; the test pages are then sorted.  With --fixed the pages of `test/` test in every draw.  Intervals hold
95 % of 2,000 resamples of both the draws and, apart in each kind, the pages (Owen 2007, "The pigeonhole
bootstrap").  The macro accuracy is the mean of the kinds' accuracies.  With -o pictures are drawn: the
learning curve, confusions at 10 a kind, reliability.
"""

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from kinds_of_pages import APART, documents_to_test
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

    def __add__(self, other: "Part") -> "Part":
        assert self.classes == other.classes
        return Part(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.copies, other.copies], axis=1),
            np.concatenate([self.kinds, other.kinds]),
            self.classes,
            self.files + other.files,
        )


@dataclass(frozen=True, eq=False)
class Draws:
    """What heads of D draws say of N pages, kinds and confidences (D, N), and which of them tested.

    `n_learned` is from how many pages they learned, the mean of the draws.
    """

    said: Kinds
    confidence: Floats
    tested: npt.NDArray[np.bool_]
    n_learned: float

    def right(self, kinds: Kinds) -> Floats:
        """Return 1 where a page that tested was sorted right, else 0, (D, N)."""
        return ((self.said == kinds) & self.tested).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--fixed", action="store_true", help="the pages of test/ test in every draw")
    parser.add_argument("--backbone", choices=BACKBONES, action="append", help="twice for two side by side")
    parser.add_argument("--backbone-weights", type=Path)
    parser.add_argument("--cache", type=Path, help="where features are kept; FOLDER/features if not given")
    args = parser.parse_args()
    print(describe_machine())
    torch.set_num_threads(1)
    train, test, other = (read_part(args, name) for name in ("train", "test", "other"))
    pages = train + test
    with (args.folder / "pages.csv").open(newline="") as stream:
        known = list(csv.DictReader(stream))
    real = is_real(known, pages.classes)[pages.kinds]
    n_each = np.bincount(train.kinds), np.bincount(test.kinds)
    print(", ".join(f"{c} {a} + {b}" for c, a, b in zip(pages.classes, *n_each, strict=True)))
    fixed = np.arange(len(pages.kinds)) >= len(train.kinds)
    of = {row["file"].partition("/")[2]: row["document"] for row in known if row["part"] != "other"}
    documents = [of[file] for file in pages.files]
    testing = [fixed if args.fixed else parted(pages, documents, fixed, seed) for seed in range(args.draws)]
    print(
        "| images a kind | learned from | accuracy | 95 % | macro accuracy | 95 % | real pages alone | 95 %"
        " | calibration error | below 0.8 | right of the rest |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    found: dict[int, Draws] = {}
    for n in args.counts:
        found[n], beyond = drawn(pages, testing, other, n)
        print(row(n, found[n], pages, real), flush=True)
        for name, line in beyond.items():
            print(f"{n} a kind, {name}: {line}", file=sys.stderr)
    report_errors(found, pages)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        draw_pictures(args.output, found, pages, real)


def read_part(args: argparse.Namespace, name: str) -> Part:
    """Return the pages of `train`, `test` or `other` with their features."""
    names = tuple(args.backbone or [DETECTOR])
    backbone, _ = load_backbone(names, args.backbone_weights, WEIGHTS / "digit_detector.safetensors")
    cache = args.cache or args.folder / "features"
    pages = read_set(args.folder / name, backbone, cache, READING, torch.device("cpu"), say)
    files = tuple(f"{page.path.parent.name}/{page.path.name}" for page in pages.pages)
    return Part(pages.features, pages.copies, pages.kinds, pages.classes, files)


def say(text: str) -> None:
    print(text, file=sys.stderr)


def is_real(known: list[dict[str, str]], classes: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Return which kinds are of real pages, bool (K,)."""
    real = {row["kind"] for row in known if row["source"] == "real"}
    return np.array([name in real for name in classes])


def parted(
    pages: Part, documents: list[str], fixed: npt.NDArray[np.bool_], seed: int
) -> npt.NDArray[np.bool_]:
    """Return which pages test in a draw, bool (N,): whole documents, of as many pages a kind as `fixed`."""
    rng = np.random.default_rng([0, seed])
    testing = fixed.copy()
    for kind, name in enumerate(pages.classes):
        if name in APART:
            continue
        places = np.flatnonzero(pages.kinds == kind)
        of = [documents[place] for place in places]
        in_order = rng.permutation(sorted(set(of))).tolist()
        chosen = documents_to_test(of, in_order, int(fixed[places].sum()))
        testing[places] = [document in chosen for document in of]
    return testing


def drawn(
    pages: Part, testing: list[npt.NDArray[np.bool_]], other: Part, n: int
) -> tuple[Draws, dict[str, str]]:
    """Return what heads that learned from n images a kind say of the pages, and of pages of no kind."""
    said, sure, others, n_learned = [], [], [], []
    for seed, tested in enumerate(testing):
        rng = np.random.default_rng([n, seed])
        chosen = np.concatenate(
            [
                rng.permutation(np.flatnonzero((pages.kinds == kind) & ~tested))[:n]
                for kind in range(len(pages.classes))
            ]
        )
        n_learned.append(len(chosen))
        fitted = fit_head(
            pages.features[chosen],
            pages.kinds[chosen],
            len(pages.classes),
            seed,
            copies=pages.copies[:, chosen],
        )
        chances = calibrated(head_logits(fitted.head, pages.features), fitted.temperature)
        said.append(chances.argmax(axis=1))
        sure.append(chances.max(axis=1).astype(np.float64))
        others.append(calibrated(head_logits(fitted.head, other.features), fitted.temperature))
    of_others = np.stack(others)  # (D, M, K)
    beyond = {}
    for kind, name in enumerate(other.classes):
        part = of_others[:, other.kinds == kind]
        names, counts = np.unique(part.argmax(axis=2), return_counts=True)
        split = ", ".join(
            f"{pages.classes[k]} {c / counts.sum():.0%}" for k, c in zip(names, counts, strict=True)
        )
        beyond[name] = f"{(part.max(axis=2) < SURE).mean():.1%} below {SURE}; sorted as {split}"
    return Draws(np.stack(said), np.stack(sure), np.stack(testing), float(np.mean(n_learned))), beyond


def accuracies(draws: Draws, kinds: Kinds, real: npt.NDArray[np.bool_], weight: Floats) -> tuple[float, ...]:
    """Return accuracy, macro accuracy and accuracy on real pages; each page of each draw weighs (D, N)."""
    n = (weight * draws.tested).sum(axis=0)  # (N,)
    right = (weight * draws.right(kinds)).sum(axis=0)  # (N,)
    by_kind = [right[kinds == k].sum() / n[kinds == k].sum() for k in np.unique(kinds)]
    return float(right.sum() / n.sum()), float(np.mean(by_kind)), float(right[real].sum() / n[real].sum())


def intervals(draws: Draws, kinds: Kinds, real: npt.NDArray[np.bool_]) -> Floats:
    """Return the bounds (2, 3) of accuracy, macro accuracy and that on real pages."""
    rng = np.random.default_rng(0)
    n_draws = len(draws.said)
    figures = []
    while len(figures) < N_RESAMPLES:
        of_draws = rng.multinomial(n_draws, np.full(n_draws, 1 / n_draws))
        weight = np.zeros(len(kinds))
        for kind in np.unique(kinds):
            n = int((kinds == kind).sum())
            weight[kinds == kind] = rng.multinomial(n, np.full(n, 1 / n))
        both = of_draws[:, None] * weight
        if all((both * draws.tested)[:, kinds == kind].any() for kind in np.unique(kinds)):
            figures.append(accuracies(draws, kinds, real, both))
    return np.percentile(np.array(figures), (2.5, 97.5), axis=0)


def row(n: int, draws: Draws, pages: Part, real: npt.NDArray[np.bool_]) -> str:
    figures = accuracies(draws, pages.kinds, real, np.ones(draws.said.shape))
    low, high = intervals(draws, pages.kinds, real)
    cells = [str(n), f"{draws.n_learned:.0f}"]
    for figure, a, b in zip(figures, low, high, strict=True):
        cells += [f"{figure:.3f}", f"{a:.3f} to {b:.3f}"]
    kept = draws.tested & (draws.confidence >= SURE)
    cells += [f"{worth(draws, pages).ece:.3f}", f"{1 - kept.sum() / draws.tested.sum():.1%}"]
    cells.append(f"{draws.right(pages.kinds)[kept].mean():.3f}" if kept.any() else "")
    return f"| {' | '.join(cells)} |"


def worth(draws: Draws, pages: Part) -> Reliability:
    """Return what the confidences of all draws are worth."""
    right = draws.right(pages.kinds)[draws.tested].astype(np.bool_)
    return reliability(draws.confidence[draws.tested], right)


def report_errors(found: dict[int, Draws], pages: Part) -> None:
    """Say which files were sorted wrongly, in how many draws: names, which are of the reader's own folder."""
    for n, draws in found.items():
        tested = draws.tested.sum(axis=0)
        wrong = tested - draws.right(pages.kinds).sum(axis=0).astype(np.int64)
        for place in np.flatnonzero(wrong):
            said = draws.said[draws.tested[:, place], place]
            names = sorted({pages.classes[k] for k in said if k != pages.kinds[place]})
            of = f"{wrong[place]} of {tested[place]} draws"
            print(f"{n} a kind: {pages.files[place]}: {', '.join(names)} in {of}", file=sys.stderr)


def draw_pictures(folder: Path, found: dict[int, Draws], pages: Part, real: npt.NDArray[np.bool_]) -> None:
    """Draw the learning curve, confusions and reliability."""
    draw_curve(folder / "sorting-curve.png", found, pages, real)
    shown = SHOWN if SHOWN in found else max(found)
    draw_confusions(folder / "sorting-confusions.png", found[shown], pages, shown)
    answers = {f"{n} a kind": worth(draws, pages) for n, draws in found.items()}
    draw_reliability(folder / "sorting-reliability.png", answers, "Kinds of pages: what confidence is worth")


def draw_curve(file: Path, found: dict[int, Draws], pages: Part, real: npt.NDArray[np.bool_]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.add_subplot(xlabel="images a kind (or all there are)", ylabel="share of test pages")
    tested = next(iter(found.values())).tested
    n_tested = round(tested.sum() / len(tested))
    axes.set_title(f"{n_tested} test pages of {len(pages.classes)} kinds, {len(tested)} draws")
    rows = []
    for draws in found.values():
        mean = accuracies(draws, pages.kinds, real, np.ones(draws.said.shape))
        rows.append((mean, *intervals(draws, pages.kinds, real)))
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


def draw_confusions(file: Path, draws: Draws, pages: Part, n: int) -> None:
    from matplotlib.figure import Figure

    k = len(pages.classes)
    counts = np.zeros((k, k), np.int64)
    kinds = np.broadcast_to(pages.kinds, draws.said.shape)
    np.add.at(counts, (kinds[draws.tested], draws.said[draws.tested]), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure = Figure(figsize=(7.6, 6.6), layout="constrained")
    axes = figure.add_subplot(xlabel="sorted as", ylabel="kind")
    axes.set_title(f"{n} images a kind, {len(draws.said)} draws, summed")
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.argwhere(counts > 0).tolist():
        colour = "white" if shares[i, j] > 0.55 else "black"
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(k), pages.classes, rotation=35, ha="right")
    axes.set_yticks(range(k), pages.classes)
    figure.colorbar(shown, label="share of the kind's test pages")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
