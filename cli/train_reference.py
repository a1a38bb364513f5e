"""`archive train classifier --recipe NAME`: the reference networks, on MNIST's digits."""

import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from sklearn.metrics import confusion_matrix

from cli.terminal import SCHEMA_VERSION, print_json_line
from cli.trainings import Job, folder_share
from models.references import REFERENCES, build_reference, reference_metadata
from models.train_reference import (
    Digits,
    digit_accuracy,
    digit_chances,
    reference_batches,
    reference_losses,
)
from models.training import Measure
from pipeline.hands import read_mnist
from pipeline.plots import draw_confusions
from pipeline.settings import Settings


def train_reference(
    settings: Settings,
    name: str,
    data: Sequence[str],
    output: Path,
    minutes: float | None,
    seed: int,
    *,
    as_json: bool,
) -> None:
    """Train a reference network; write its checkpoint, learning curves and confusion matrix.

    The last share of the training digits validates, and the test digits are read once, at the end.
    """
    reference = REFERENCES[name]
    test = pooled_digits(data, "t10k")
    learnt, validating = pooled_digits(data, "train").parted(reference.held)
    kind, config = reference_metadata(name)
    job = Job(settings.device, output, None, tuple(data))
    training = job.begin(
        kind,
        lambda: build_reference(reference.config),
        config,
        reference.recipe(seed, minutes, len(learnt)),
    )
    device = training.training.device
    began, goes_on = time.process_time(), training.training.step > 0
    training.run(
        lambda rng: reference_batches(learnt, reference.batch, rng),
        lambda network, batch, at: reference_losses(network, batch, reference, at),
        Measure(
            -(-len(learnt) // reference.batch),
            lambda network: {"validation": digit_accuracy(network, validating, device)},
        ),
    )
    cpu_s = time.process_time() - began
    network = training.training.network
    read = digit_chances(network, test.images, device).argmax(axis=1)
    figures = {
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "steps": training.training.step,
        "seconds": round(training.training.spent_s, 1),
        "cpu_seconds": None if goes_on else round(cpu_s, 1),  # of a training that was cut nobody knows
        "validation_accuracy": round(digit_accuracy(network, validating, device), 4),
        "test_accuracy": round(float((read == test.digits).mean()), 4),
    }
    training.finish(figures, quietly=as_json)
    picture = draw_test(output, test.digits, read, name)
    click.echo(f"{picture}: confusion matrix", err=True)
    if as_json:
        print_json_line(
            {
                "schema_version": SCHEMA_VERSION,
                "recipe": name,
                "seed": seed,
                "checkpoint": str(output),
                **figures,
            }
        )


def pooled_digits(data: Sequence[str], part: str) -> Digits:
    """Return the digits of one part of MNIST's folders, "train" or "t10k"; raises as `read_mnist`."""
    read = [read_mnist(folder_share(text)[0], part) for text in data]
    return Digits(np.concatenate([images for images, _ in read]), np.concatenate([d for _, d in read]))


def draw_test(output: Path, digits: np.ndarray, read: np.ndarray, name: str) -> Path:
    """Draw the confusion matrix of a test beside a checkpoint, and return the picture's path."""
    picture = output.with_name(f"{output.stem}-confusions.png")
    counts = np.asarray(confusion_matrix(digits, read, labels=range(10)), np.int64)
    draw_confusions(
        picture, counts, f"{name}: {len(digits):,} test digits, {int((digits != read).sum())} wrong"
    )
    return picture
