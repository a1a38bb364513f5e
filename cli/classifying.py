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
from models.checkpoint import Metadata, file_sha256, load_checkpoint
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
from pipeline.errors import MissingError, SourceError
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


@dataclass(frozen=True, eq=False, slots=True)
class _Before:
    """The classifier that a training goes on from, and what both are measured by.

    Without a network it learned from other pictures than this version shows, and can't be measured.
    """

    file: Path
    network: nn.Module | None
    metadata: Metadata
    measured: dict[str, TrainingCrops]


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
    """Train the digit classifier; where it goes on from another, say how both read what neither learned.

    Raises SourceError where there is no digit to learn from, before anything is learned.
    """
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
    n_digits = sum(int((part.classes != REJECT).sum()) for part, _ in learnt)
    if not n_digits:
        raise SourceError(f"{', '.join(data)}: no digit is labelled: there is nothing to learn from")
    tests = [mnist_crops(folder, "t10k") for folder in _folders(data) if holds_mnist(folder)]
    before = None if start is None else _before(start, going_on, held, drawer, rng, device)
    measure = None
    if len(held.classes):
        measure = Measure(
            _MEASURE_EVERY, lambda network: {_HELD: float(right_of(network, held, device).mean())}
        )
    n = BATCH if start is None else BATCH_TO_GO_ON
    training.run(lambda rng: classifier_batches(learnt, rng, n), classifier_losses, measure)
    network = training.training.network
    metrics: dict[str, Any] = {}
    if tests:
        right = right_of(network, pooled_crops(tests), device)
        metrics["mnist test accuracy"] = round(float(right.mean()), 4)
    rows: list[dict[str, Any]] = []
    if before is not None:
        rows = _rows(before, network, device)
        metrics |= _inherited(before) | {"went on from": {"file": before.file.name, "read right": rows}}
        training.metadata = replace(training.metadata, confidence=before.metadata.confidence)
    training.finish(metrics, quietly=as_json or bool(rows))
    if as_json:
        print_json_line(
            {
                "schema_version": SCHEMA_VERSION,
                "checkpoint": str(output),
                "seed": seed,
                "steps": training.training.step,
                "seconds": round(training.training.spent_s, 1),
                "learned_from": n_digits,
                **metrics,
            }
        )
    elif rows:
        _print(rows)


def _folders(data: Sequence[str]) -> list[Path]:
    return [folder_share(text)[0] for text in data]


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


def _before(
    start: str,
    going_on: GoingOn,
    held: TrainingCrops,
    drawer: Detector | None,
    rng: np.random.Generator,
    device: torch.device,
) -> _Before:
    """Return the classifier that a training goes on from, and what both are measured by."""
    file = started_from(start, "digit-classifier")
    _, metadata = load_checkpoint(file, "digit-classifier", to_train=True)
    try:
        network = classifier_network(file).to(device)
    except MissingError:  # of a version that showed other pictures: good to go on from, not to read with
        network = None
    measured = {_HELD: held}
    for folder in going_on.measured_by:
        name = folder.resolve().name if folder.resolve().name not in measured else str(folder)
        measured[name] = (
            mnist_crops(folder, "t10k")
            if holds_mnist(folder)
            else page_crops(read_pages(folder), drawer, rng)
        )
    drawn = list(drawn_label_set(_N_DRAWN, _DRAWN_SEED))
    return _Before(file, network, metadata, measured | {"old: drawn pages": page_crops(drawn, None, rng)})


def _inherited(before: _Before) -> dict[str, Any]:
    """Return what the metadata says of a confidence that is still the old classifier's."""
    if not before.metadata.confidence:
        return {}
    kept = {name: value for name, value in before.metadata.metrics.items() if name.startswith("with ")}
    return kept | {"confidence of": file_sha256(before.file)}


def _rows(before: _Before, after: nn.Module, device: torch.device) -> list[dict[str, Any]]:
    """Return how the digits and the rejects of all that is measured are read before and after."""
    rows = []
    for name, crops in before.measured.items():
        is_reject = crops.classes == REJECT
        right = [
            None if network is None else right_of(network, crops, device)
            for network in (before.network, after)
        ]
        for what, some in (("digits", ~is_reject), ("rejects", is_reject)):
            if some.any():
                shares = [None if of is None else round(float(of[some].mean()), 4) for of in right]
                rows.append(
                    {"name": f"{name}, {what}", "n": int(some.sum()), "before": shares[0], "after": shares[1]}
                )
    return rows


def _print(rows: Sequence[dict[str, Any]]) -> None:
    columns = (
        Column("read right", shortened=True),
        *(Column(c, right=True) for c in ("of", "before", "after")),
    )
    print_table(
        columns,
        [
            (row["name"], f"{row['n']:,}", *(_shown(row[when]) for when in ("before", "after")))
            for row in rows
        ],
    )


def _shown(share: float | None) -> str:
    return "–" if share is None else f"{share:.4f}"
