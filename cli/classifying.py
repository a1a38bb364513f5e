"""`archive train classifier` on labels: a new classifier, or one that goes on from another."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cli.terminal import SCHEMA_VERSION, Column, print_json_line, print_table
from cli.trainings import Job, folder_share, read_pages, started_from
from models.checkpoint import load_checkpoint
from models.classifier import ClassifierConfig, DigitClassifier
from models.loaded import Detector, classifier_network, load_detector
from models.train_classifier import (
    BATCH,
    BATCH_TO_GO_ON,
    classifier_batches,
    classifier_losses,
    classifier_recipe,
)
from models.training import Measure
from models.training_crops import TrainingCrops, mnist_crops, page_crops, pooled_crops, right_of
from pipeline.confidence import REJECT
from pipeline.drawn_labels import drawn_label_set
from pipeline.hands import holds_mnist
from pipeline.label_sets import held_back
from pipeline.settings import Settings

MINUTES, MINUTES_TO_GO_ON = 30.0, 1.0
_MEASURE_EVERY = 40  # steps
_HELD = "labels held back"
# old digits that are always at hand: classifiers that ship learned from drawn pages, though not from these
_N_DRAWN, _DRAWN_SEED = 4, 5077


@dataclass(frozen=True, slots=True)
class GoingOn:
    """How a training goes on from another classifier: `start` is its file, "shipped", or None for none."""

    start: str | None
    only_last_layer: bool
    held: float
    measured_by: tuple[Path, ...]


def train_digit_classifier(
    settings: Settings,
    data: tuple[str, ...],
    output: Path,
    minutes: float | None,
    seed: int,
    boxes: Path | None,
    going_on: GoingOn,
    *,
    as_json: bool,
) -> None:
    """Train the digit classifier; where it goes on from another, say how both read what neither learned."""
    start = going_on.start
    minutes = minutes or (MINUTES_TO_GO_ON if start else MINUTES)
    config = ClassifierConfig()
    training = Job(settings.device, output, start, data).begin(
        "digit-classifier",
        lambda: DigitClassifier(config),
        asdict(config),
        classifier_recipe(minutes, seed, goes_on=start is not None),
        ("classes",) if going_on.only_last_layer else (),
    )
    device = training.training.device
    drawer = load_detector(boxes, "cpu") if boxes else None
    rng = np.random.default_rng(seed)
    learnt, held = _crops(data, drawer, going_on.held, rng)
    measure = None
    if len(held.classes):
        measure = Measure(
            _MEASURE_EVERY, lambda network: {_HELD: float(right_of(network, held, device).mean())}
        )
    n = BATCH if start is None else BATCH_TO_GO_ON
    training.run(lambda rng: classifier_batches(learnt, rng, n), classifier_losses, measure)
    network = training.training.network
    metrics: dict[str, Any] = {}
    for folder in (folder_share(text)[0] for text in data):
        if holds_mnist(folder):
            right = right_of(network, mnist_crops(folder, "t10k"), device)
            metrics["mnist test accuracy"] = round(float(right.mean()), 4)
    rows: list[dict[str, Any]] = []
    if start is not None:
        file = started_from(start, "digit-classifier")
        before = classifier_network(file).to(device)
        measured = {_HELD: held} | _measured(going_on.measured_by, drawer, rng)
        rows = [
            row for name, crops in measured.items() for row in _rows(name, crops, before, network, device)
        ]
        metrics["went on from"] = {"file": file.name, "read right": rows}
        # until it is fitted anew, the confidence of the one before is the best there is
        of_start = load_checkpoint(file, "digit-classifier")[1].confidence
        training.metadata = replace(training.metadata, confidence=of_start)
    training.finish(metrics, quietly=as_json or bool(rows))
    if as_json:
        print_json_line(
            {
                "schema_version": SCHEMA_VERSION,
                "checkpoint": str(output),
                "seed": seed,
                "steps": training.training.step,
                "seconds": round(training.training.spent_s, 1),
                "learned_from": int(sum((part.classes != REJECT).sum() for part, _ in learnt)),
                **metrics,
            }
        )
    elif rows:
        _print(rows)


def _crops(
    data: Sequence[str], drawer: Detector | None, held: float, rng: np.random.Generator
) -> tuple[list[tuple[TrainingCrops, float]], TrainingCrops]:
    """Return the crops to learn from, each set with its share, and those of labels held back."""
    learnt, away = [], []
    for folder, share in map(folder_share, data):
        if holds_mnist(folder):
            learnt.append((mnist_crops(folder), share))
            continue
        pages, kept_back = held_back(read_pages(folder), held, rng)
        learnt.append((page_crops(pages, drawer, rng), share))
        away.append(page_crops(kept_back, drawer, rng))
    return learnt, pooled_crops(away)


def _measured(
    folders: Sequence[Path], drawer: Detector | None, rng: np.random.Generator
) -> dict[str, TrainingCrops]:
    """Return what else a training that goes on is measured by, by name."""
    measured = {
        folder.resolve().name: mnist_crops(folder, "t10k")
        if holds_mnist(folder)
        else page_crops(read_pages(folder), drawer, rng)
        for folder in folders
    }
    drawn = list(drawn_label_set(_N_DRAWN, _DRAWN_SEED))
    return measured | {"old: drawn pages": page_crops(drawn, drawer, rng)}


def _rows(
    name: str, crops: TrainingCrops, before: nn.Module, after: nn.Module, device: torch.device
) -> list[dict[str, Any]]:
    """Return how the digits and the rejects of some crops are read before and after, those there are."""
    right = [right_of(network, crops, device) for network in (before, after)]
    is_reject = crops.classes == REJECT
    return [
        {
            "name": f"{name}, {what}",
            "n": int(some.sum()),
            "before": round(float(right[0][some].mean()), 4),
            "after": round(float(right[1][some].mean()), 4),
        }
        for what, some in (("digits", ~is_reject), ("rejects", is_reject))
        if some.any()
    ]


def _print(rows: Sequence[dict[str, Any]]) -> None:
    columns = (
        Column("read right", shortened=True),
        *(Column(c, right=True) for c in ("of", "before", "after")),
    )
    print_table(
        columns,
        [(row["name"], f"{row['n']:,}", f"{row['before']:.4f}", f"{row['after']:.4f}") for row in rows],
    )
