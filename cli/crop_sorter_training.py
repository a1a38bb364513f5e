"""What `archive train sorter` does with a label set: a head on the classifier's features sorts crops."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from cli.sorter_training import confusions
from cli.terminal import SCHEMA_VERSION, Column, counted, print_json, print_table, say
from cli.trainings import check_folder, commit_of_code, said_command
from models.checkpoint import Metadata, file_sha256, save_checkpoint
from models.crop_sorter import CATEGORIES, KIND
from models.head import FittedHead
from models.loaded import classifier_network, load_detector
from models.train_crop_sorter import as_metadata, config_of, counts_of, fit_crop_sorter, sorter_crops
from models.training_crops import TrainingCrops
from pipeline.errors import UsageError
from pipeline.label_sets import each_page
from pipeline.plots import draw_confusions, draw_curves
from pipeline.reliability import reliability
from pipeline.settings import Settings

_COLUMNS = (Column("CATEGORY"), Column("CROPS", right=True), Column("FOUND", right=True))


def train_crop_sorter(settings: Settings, data: Path, output: Path, seed: int, *, as_json: bool) -> None:
    """Train a crop sorter on a label set, write it with its pictures, and print what it is worth.

    Raises SourceError where a category has no crops, UsageError where the file is there already.
    """
    check_folder(output)
    if output.exists():
        raise UsageError(f"{output}: is there already; remove it, or name another with --output")
    began = time.monotonic()
    detector = load_detector(settings.detector, settings.device)
    crops = sorter_crops(each_page(data), detector, np.random.default_rng(seed))
    say(f"{counted(len(crops.classes), 'crop')}: {counts_of(crops.classes)}")
    classifier = classifier_network(settings.classifier)
    network, config, fitted = fit_crop_sorter(classifier, config_of(settings.classifier), crops, seed)
    figures = _figures(crops, fitted) | {
        "features_of": file_sha256(settings.classifier),
        "with detector": detector.sha256,
        "seconds": round(time.monotonic() - began, 1),
    }
    metadata = Metadata(
        KIND,
        as_metadata(config),
        metrics=figures,
        data=[data.resolve().name],
        recipe=said_command(),
        commit=commit_of_code(),
    )
    save_checkpoint(output, network.state_dict(), metadata)
    curve, errors = output.with_suffix(".png"), output.with_name(f"{output.stem}-confusions.png")
    draw_curves(curve, fitted.curve, (), f"{output.stem}: mean of the cross-validation", "epoch")
    counts = confusions(crops.classes, fitted.chances.argmax(axis=1), len(CATEGORIES))
    n_wrong = int(counts.sum() - np.trace(counts))
    draw_confusions(
        errors, counts, f"{output.stem}: {len(crops.classes):,} crops, {n_wrong:,} wrong", CATEGORIES
    )
    for file in (output, curve, errors):
        say(f"{file}")
    if as_json:
        said = {"schema_version": SCHEMA_VERSION, "checkpoint": str(output), "seed": seed}
        print_json(said | {"sha256": file_sha256(output)} | figures)
        return
    print(f"sorted right: {figures['accuracy']:.1%} of {counted(len(crops.classes), 'crop')}")
    rows = [(name, f"{of['n']:,}", f"{of['n_right'] / of['n']:.1%}") for name, of in figures["kinds"].items()]
    print_table(_COLUMNS, rows)


def _figures(crops: TrainingCrops, fitted: FittedHead) -> dict[str, Any]:
    """Return what a crop sorter is worth, by crops that its head did not learn from."""
    kinds, read = crops.classes, fitted.chances.argmax(axis=1)
    right = read == kinds
    return {
        "n_crops": len(right),
        "accuracy": round(float(right.mean()), 4),
        "calibration_error": round(reliability(fitted.chances.max(axis=1).astype(np.float64), right).ece, 4),
        "accuracy_by_labels": [[n, round(share, 4)] for n, share in fitted.by_labels],
        "kinds": {
            name: {"n": int((kinds == k).sum()), "n_right": int(right[kinds == k].sum())}
            for k, name in enumerate(CATEGORIES)
        },
        "confusions": confusions(kinds, read, len(CATEGORIES)).tolist(),
    }
