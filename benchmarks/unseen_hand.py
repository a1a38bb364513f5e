"""What a classifier learns from a few labels of a hand that it has not seen: the hand's other pages, read.

    python benchmarks/unseen_hand.py PAGES LABELS -o FOLDER --hand NAME [--hand NAME …]
        [--learn LABELS2] [--start FILE] [--counts 50 200] [--minutes 0.5] [--old drawn]

PAGES holds transcribed pages and LABELS the label set that `archive labels` made of them; a hand is all the
pages whose file name has NAME in it.  Each page of a hand is read by classifiers that learned, by `archive
train classifier --from`, from so many labels of the hand's other pages; with --learn all pages of the hand
are read by classifiers that learned from that label set.  Three ways: all layers, the last layer only, and
all layers with old digits beside the new (the label set --old gives a third of the training).  The old and
the new classifier read the same pages in otherwise the same chain: McNemar's test over number cells, and F1
by resampling pages.  What is trained already is not trained again.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from machine import describe_machine

from models.any_network import with_network
from models.paired_evaluation import evaluate_by_each, paired
from models.whole import load_chain
from pipeline.label_sets import read_label_set, write_label_set
from pipeline.labels import LabelledPage
from pipeline.paired import PairedPage, compare
from pipeline.plots import draw_by_labels
from pipeline.settings import WEIGHTS, Settings
from pipeline.sources import probe, read_page
from pipeline.transcriptions import find_transcribed, read_lines

WAYS = ("all layers", "last layer", "all layers, old digits too")
SHIPPED = WEIGHTS / "digit_classifier.safetensors"
MAX_PIXELS = 150_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--hand", action="append", required=True)
    parser.add_argument("--learn", type=Path)
    parser.add_argument("--start", type=Path, default=SHIPPED)
    parser.add_argument("--counts", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--boxes", type=Path, default=WEIGHTS / "digit_detector.safetensors")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    args = parser.parse_args()
    print(describe_machine())
    args.output.mkdir(parents=True, exist_ok=True)
    chain = load_chain(Settings(classifier=args.start))
    labelled = read_label_set(args.labels)
    learn = read_label_set(args.learn) if args.learn else None
    found: dict[tuple[str, int], list[PairedPage]] = {}
    learned: dict[int, list[int]] = {}
    for hand in args.hand:
        for name, tests, teachers in folds(args.pages, labelled, hand, learn):
            trained = {}
            for n in args.counts:
                for way in args.ways:
                    file, n_learned = trained_by(teachers, n, way, f"{hand}-{name}", args)
                    trained[way, n] = file
                    learned.setdefault(n, []).append(n_learned)
            chains = [chain, *(with_network(chain, "classifier", file, "cpu") for file in trained.values())]
            for image, transcription in tests:
                format = probe(image, max_pixels=MAX_PIXELS).format
                grey = read_page(image, format, None, 0, max_pixels=MAX_PIXELS, render_dpi=300)
                old, *new = evaluate_by_each(chains, grey, read_lines(transcription))
                for key, page in zip(trained, new, strict=True):
                    found.setdefault(key, []).append(paired(old, page))
                print(f"{hand}: {image.name}", file=sys.stderr)
    report(found, learned, args)


def folds(
    pages: Path, labelled: list[LabelledPage], hand: str, learn: list[LabelledPage] | None
) -> Iterator[tuple[str, list[tuple[Path, Path]], list[LabelledPage]]]:
    """Yield a name, the pages to read, and the labelled pages to learn from: never one page in both."""
    items = [item for item in find_transcribed(pages) if hand in str(item[0].relative_to(pages))]
    if learn is not None:
        yield "all", items, learn
        return
    for image, transcription in items:
        others = [page for page in labelled if hand in page.name and image.stem not in page.name]
        yield image.stem, [(image, transcription)], others


def trained_by(
    teachers: list[LabelledPage], n: int, way: str, name: str, args: argparse.Namespace
) -> tuple[Path, int]:
    """Return a classifier that learned from n labels, or as many as there are, and how many those were."""
    which = f"{name}-{n}-{WAYS.index(way)}"
    file = args.output / f"{which}.safetensors"
    every = [(k, place) for k, page in enumerate(teachers) for place in range(len(page.digits))]
    chosen = [every[k] for k in np.random.default_rng(n).permutation(len(every))[:n]]
    few = args.output / f"labels-{name}-{n}"
    kept = [page.with_only({place for j, place in chosen if j == k}) for k, page in enumerate(teachers)]
    assert len(list(write_label_set(few, [page for page in kept if page.digits])))
    words = ["--from", str(args.start.resolve()), "--data", few.name, "--held", "0", "-o", file.name]
    words += ["--minutes", str(args.minutes), "--boxes", str(args.boxes.resolve()), "--json"]
    if way == "last layer":
        words += ["--freeze", "features"]
    if way.endswith("old digits too"):
        words += ["--data", f"{args.old.resolve()}=0.5"]
    command = [sys.executable, "-c", "from cli.main import main; main()", "train", "classifier", *words]
    told = args.output / f"{which}.json"
    if told.exists():
        if json.loads(told.read_text())["words"] != words:
            raise SystemExit(f"{told} was made with other options: give another folder")
        return file, len(chosen)
    done = subprocess.run(command, cwd=args.output, stdout=subprocess.PIPE, text=True, check=True)
    told.write_text(json.dumps(json.loads(done.stdout.splitlines()[-1]) | {"words": words}) + "\n")
    return file, len(chosen)


def report(
    found: dict[tuple[str, int], list[PairedPage]], learned: dict[int, list[int]], args: argparse.Namespace
) -> None:
    """Print the table and draw the curve."""
    print(
        "| labels | way | cells before | after | only before | only after | p | F1 before | after |"
        " 95 % of the difference | old digits before | after |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    curves: dict[str, list[tuple[int, float]]] = {}
    for (way, n), pages in sorted(found.items(), key=lambda item: (item[0][1], WAYS.index(item[0][0]))):
        both = compare(pages)
        cells, f1 = both.cells, both.f1
        curves.setdefault(way, [(0, cells.n_old / cells.n)]).append((n, cells.n_new / cells.n))
        count = (
            f"{min(learned[n])}" if len(set(learned[n])) == 1 else f"{min(learned[n])} to {max(learned[n])}"
        )
        before, after = old_digits(n, way, args)
        print(
            f"| {count} | {way} | {cells.n_old} of {cells.n} | {cells.n_new} | {cells.n_only_old} |"
            f" {cells.n_only_new} | {cells.p:.2g} | {f1.old:.4f} | {f1.new:.4f} | {f1.low:+.4f} to"
            f" {f1.high:+.4f} | {before:.4f} | {after:.4f} |"
        )
    picture = args.output / "unseen-hand.png"
    draw_by_labels(picture, curves, f"an unseen hand: {', '.join(args.hand)}", "number cells read exactly")
    print(picture)


def old_digits(n: int, way: str, args: argparse.Namespace) -> tuple[float, float]:
    """Return the share of old digits (drawn pages) read right before and after, the mean over trainings."""
    rows = [
        row
        for file in args.output.glob(f"*-{n}-{WAYS.index(way)}.json")
        for row in json.loads(file.read_text())["went on from"]["read right"]
        if row["name"] == "old: drawn pages, digits"
    ]
    return tuple(float(np.mean([row[when] for row in rows])) for when in ("before", "after"))


if __name__ == "__main__":
    main()
