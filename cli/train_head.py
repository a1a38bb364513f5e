"""`archive train classifier --recipe features+head`: a simple classifier on the features of a network."""

import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from cli.terminal import SCHEMA_VERSION, print_json_line
from cli.train_reference import draw_test
from cli.trainings import check_folder, folder_share, started_from
from models.checkpoint import file_sha256
from models.device import pick_device
from models.features import choose_head, features_of, save_head
from models.loaded import classifier_network
from models.training_crops import mnist_crops
from pipeline.plots import draw_by_labels
from pipeline.settings import Settings

_HELD = 0.3  # of the training digits validate


def train_head(
    settings: Settings, data: Sequence[str], output: Path, start: str, seed: int, *, as_json: bool
) -> None:
    """Choose a simple classifier on the features of a trained one, and write it with its pictures."""
    check_folder(output)
    device = pick_device(settings.device)
    file = started_from(start, "digit-classifier")
    network = classifier_network(file).to(device)
    tests = [mnist_crops(folder_share(text)[0], "t10k") for text in data]
    began, began_cpu = time.monotonic(), time.process_time()
    crops = [mnist_crops(folder_share(text)[0]) for text in data]
    seen = np.concatenate([features_of(network, part, device) for part in crops])
    digits = np.concatenate([part.classes for part in crops])
    order = np.random.default_rng(seed).permutation(len(digits))
    n = len(order) - round(_HELD * len(order))
    learnt, validating = ((seen[some], digits[some]) for some in (order[:n], order[n:]))
    chosen = choose_head(learnt, validating, seed)
    save_head(output, chosen.head)
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - began_cpu
    truth = np.concatenate([part.classes for part in tests])
    read = chosen.head.predict(np.concatenate([features_of(network, part, device) for part in tests]))
    accuracies = {name: round(rows[-1][1], 4) for name, rows in chosen.by_labels.items()}
    figures = {
        "head": chosen.name,
        "features_of": file_sha256(file),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "validation_accuracies": accuracies,
        "validation_accuracy": accuracies[chosen.name],
        "test_accuracy": round(float((read == truth).mean()), 4),
    }
    curve = output.with_suffix(".png")
    draw_by_labels(curve, chosen.by_labels, output.stem, "validation accuracy")
    picture = draw_test(output, truth, read, f"features and {chosen.name}")
    click.echo(f"{output}: {figures}", err=as_json)
    for drawn, what in ((curve, "learning curve"), (picture, "confusion matrix")):
        click.echo(f"{drawn}: {what}", err=True)
    if as_json:
        print_json_line(
            {
                "schema_version": SCHEMA_VERSION,
                "recipe": "features+head",
                "seed": seed,
                "checkpoint": str(output),
                **figures,
            }
        )
