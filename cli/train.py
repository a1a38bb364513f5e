"""`archive train`: the training of each network, on label sets that `archive labels` made."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.options import common_options, settings_of

if TYPE_CHECKING:
    import torch

    from models.checkpoint import Metadata
    from models.train_detector import Progress

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


def _training_options(command: Decorated) -> Decorated:
    for add in (
        click.option("--start", type=_FILE, metavar="FILE", help="Go on from this checkpoint."),
        click.option(
            "--seed", type=int, default=0, show_default=True, help="Same seed, same order of pages."
        ),
        click.option(
            "--minutes",
            type=click.FloatRange(0, min_open=True),
            default=30.0,
            show_default=True,
            help="How long to train.",
        ),
        click.option(
            "-o", "--output", type=_FILE, required=True, metavar="FILE", help="The checkpoint to write."
        ),
        click.argument("sets", nargs=-1, required=True, metavar="FOLDER[=SHARE]…"),
    ):
        command = add(command)
    return command


@click.group()
def train() -> None:
    """Train a network.

    FOLDERs are label sets from `archive labels`; SHARE is how much of the training each gives.
    The same command runs on a CPU or a GPU.

    \b
    Examples:
      archive train detector labels=0.7 drawn=0.3 --minutes 30 -o detector.safetensors
      archive train classifier labels=0.7 drawn=0.15 --mnist mnist -o classifier.safetensors
    """


@train.command()
@_training_options
@common_options
@click.pass_context
def detector(
    ctx: click.Context, sets: tuple[str, ...], output: Path, minutes: float, seed: int, start: Path | None
) -> None:
    """Train the digit detector on label sets.

    \b
    Examples:
      archive train detector labels=0.7 drawn=0.3 --minutes 30 -o detector.safetensors
      archive train detector mine --start detector.safetensors --minutes 10 -o mine.safetensors
    """
    from models.detector import DetectorConfig, DigitDetector
    from models.reader import pick_device
    from models.train_detector import DetectorRecipe, train_detector
    from pipeline.label_sets import read_label_set

    settings = settings_of(ctx)
    network = DigitDetector(DetectorConfig())
    _start_from(start, network, "digit-detector")
    shares = [(read_label_set(folder), share) for folder, share in map(_folder_share, sets)]
    metadata = _metadata("digit-detector", DetectorConfig(), sets)
    keep = _Keeper(output, network, metadata)
    recipe = DetectorRecipe(minutes=minutes, seed=seed)
    train_detector(network, shares, recipe, pick_device(settings.device), keep.progress)
    keep.save(metadata)
    click.echo(f"{output}: {keep.n_steps} steps")


@train.command()
@_training_options
@click.option(
    "--mnist", type=_FOLDER, metavar="FOLDER", help="Learn from MNIST's digits too (its four idx files)."
)
@click.option("--boxes", type=_FILE, metavar="FILE", help="Learn from the boxes that this detector draws.")
@click.option("--calibrate", type=_FOLDER, metavar="FOLDER", help="Fit the confidence on this label set.")
@common_options
@click.pass_context
def classifier(
    ctx: click.Context,
    sets: tuple[str, ...],
    output: Path,
    minutes: float,
    seed: int,
    start: Path | None,
    mnist: Path | None,
    boxes: Path | None,
    calibrate: Path | None,
) -> None:
    """Train the digit classifier on label sets, and on MNIST.

    \b
    Examples:
      archive train classifier labels=0.7 drawn=0.15 --mnist mnist -o classifier.safetensors
      archive train classifier labels --boxes detector.safetensors --calibrate dev -o c.safetensors
    """
    import numpy as np

    from models.calibrate import accuracy, fit_temperature
    from models.classifier import ClassifierConfig, DigitClassifier
    from models.reader import load_detector, pick_device
    from models.train_classifier import ClassifierRecipe, train_classifier
    from models.training_crops import mnist_crops, page_crops
    from pipeline.label_sets import read_label_set

    settings = settings_of(ctx)
    network = DigitClassifier(ClassifierConfig())
    _start_from(start, network, "digit-classifier")
    device = pick_device(settings.device)
    drawer = load_detector(boxes, "cpu").network if boxes else None
    rng = np.random.default_rng(seed)
    crops = [(page_crops(read_label_set(f), drawer, rng), share) for f, share in map(_folder_share, sets)]
    if mnist:
        crops.append((mnist_crops(mnist), 0.15))
    metadata = _metadata("digit-classifier", ClassifierConfig(), (*sets, *(["mnist"] if mnist else [])))
    keep = _Keeper(output, network, metadata)
    recipe = ClassifierRecipe(minutes=minutes, seed=seed)
    train_classifier(network, crops, recipe, device, keep.progress)
    metrics: dict[str, float] = {}
    temperature = 1.0
    if mnist:
        metrics["mnist test accuracy"] = round(accuracy(network, mnist_crops(mnist, "t10k")), 4)
    if calibrate:
        held_out = page_crops(read_label_set(calibrate), drawer, rng)
        temperature = fit_temperature(network, held_out)
        metrics["held-out accuracy, eleven classes"] = round(accuracy(network, held_out), 4)
    keep.save(_metadata("digit-classifier", ClassifierConfig(), metadata.data, temperature, metrics))
    click.echo(f"{output}: {keep.n_steps} steps, temperature {temperature:.2f} {metrics or ''}")


class _Keeper:
    """Says where a training stands, and keeps a checkpoint every minute, so that a cut costs little."""

    def __init__(self, file: Path, network: "torch.nn.Module", metadata: "Metadata") -> None:
        self.file, self.network, self.metadata = file, network, metadata
        self.n_steps, self._said, self._saved = 0, time.monotonic(), time.monotonic()

    def progress(self, at: "Progress") -> None:
        self.n_steps = at.step
        now = time.monotonic()
        if now - self._said >= 10:
            self._said = now
            losses = " ".join(f"{loss:.3f}" for loss in at.losses)
            click.echo(f"{at.done:4.0%}  step {at.step}  loss {losses}", err=True)
        if now - self._saved >= 60:
            self._saved = now
            self.save(self.metadata)

    def save(self, metadata: "Metadata") -> None:
        from models.checkpoint import save_checkpoint

        save_checkpoint(self.file, self.network.state_dict(), metadata)


def _folder_share(text: str) -> tuple[Path, float]:
    from pipeline.errors import UsageError

    folder, _, share = text.partition("=")
    try:
        return Path(folder), float(share or 1.0)
    except ValueError as error:
        raise UsageError(f"{text}: the share behind = is no number") from error


def _start_from(start: Path | None, network: "torch.nn.Module", kind: str) -> None:
    from models.checkpoint import load_checkpoint, load_weights

    if start is not None:
        weights, _ = load_checkpoint(start, kind)
        load_weights(network, weights, start)


def _metadata(
    kind: str,
    config: Any,
    sets: tuple[str, ...] | list[str],
    temperature: float = 1.0,
    metrics: dict[str, float] | None = None,
) -> "Metadata":
    from dataclasses import asdict

    from models.checkpoint import Metadata

    names = [Path(text.partition("=")[0]).name for text in sets]
    # the command without the folders of this machine
    recipe = " ".join(Path(word).name if "/" in word else word for word in ["archive", *sys.argv[1:]])
    return Metadata(kind, asdict(config), temperature, metrics or {}, names, recipe, _commit())


def _commit() -> str:
    """Return the commit of the code that trains, or nothing where it is no checkout."""
    here = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
