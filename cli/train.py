"""`archive train`: the training of each network, on label sets that `archive labels` made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.options import common_options, network_options, settings_of

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
    The same command runs on a CPU or a GPU.  Cut short, it goes on where it was when it is given
    again.  Beside the checkpoint stands a picture of the learning curve.

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
    import numpy as np

    from cli.trainings import Keeper, folder_share, metadata_of, start_from
    from models.detector import DetectorConfig, DigitDetector
    from models.reader import pick_device
    from models.train_detector import Windows, detector_batches, detector_losses, detector_recipe
    from models.training import Training
    from pipeline.label_sets import read_label_set

    device = pick_device(settings_of(ctx).device)
    network = DigitDetector(DetectorConfig())
    start_from(start, network, "digit-detector")
    shares = [(read_label_set(folder), share) for folder, share in map(folder_share, sets)]
    training = Training(network, detector_recipe(minutes, seed, goes_on=start is not None), device)
    keeper = Keeper(output, training, metadata_of("digit-detector", DetectorConfig(), sets))
    batches = detector_batches(shares, Windows(), np.random.default_rng([seed, training.step]))
    keeper.run(batches, lambda net, batch: detector_losses(net, batch, device))
    keeper.finish()


@train.command()
@_training_options
@common_options
@click.pass_context
def orienter(
    ctx: click.Context, sets: tuple[str, ...], output: Path, minutes: float, seed: int, start: Path | None
) -> None:
    """Train the network that tells which way up a page is.

    It needs pages that are upright, and none of their labels.

    \b
    Examples:
      archive train orienter labels --minutes 5 -o orienter.safetensors
      archive train orienter mine --start orienter.safetensors --minutes 2 -o mine.safetensors
    """
    import numpy as np

    from cli.trainings import Keeper, folder_share, metadata_of, start_from
    from models.orienter import OrienterConfig, PageOrienter
    from models.reader import pick_device
    from models.train_orienter import orienter_batches, orienter_losses, orienter_recipe
    from models.training import Training
    from pipeline.label_sets import read_label_set

    device = pick_device(settings_of(ctx).device)
    network = PageOrienter(OrienterConfig())
    start_from(start, network, "page-orienter")
    shares = [(read_label_set(folder), share) for folder, share in map(folder_share, sets)]
    training = Training(network, orienter_recipe(minutes, seed, goes_on=start is not None), device)
    keeper = Keeper(output, training, metadata_of("page-orienter", OrienterConfig(), sets))
    batches = orienter_batches(shares, np.random.default_rng([seed, training.step]))
    keeper.run(batches, lambda net, batch: orienter_losses(net, batch, device))
    keeper.finish()


@train.command()
@_training_options
@click.option(
    "--mnist", type=_FOLDER, metavar="FOLDER", help="Learn from MNIST's digits too (its four idx files)."
)
@click.option("--boxes", type=_FILE, metavar="FILE", help="Learn from the boxes that this detector draws.")
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
) -> None:
    """Train the digit classifier on label sets, and on MNIST.

    \b
    Examples:
      archive train classifier labels=0.7 drawn=0.15 --mnist mnist -o classifier.safetensors
      archive train classifier labels --boxes detector.safetensors -o classifier.safetensors
    """
    import numpy as np

    from cli.trainings import Keeper, folder_share, metadata_of, start_from
    from models.calibrate import accuracy
    from models.classifier import ClassifierConfig, DigitClassifier
    from models.reader import load_detector, pick_device
    from models.train_classifier import classifier_batches, classifier_losses, classifier_recipe
    from models.training import Training
    from models.training_crops import mnist_crops, page_crops
    from pipeline.label_sets import read_label_set

    device = pick_device(settings_of(ctx).device)
    network = DigitClassifier(ClassifierConfig())
    start_from(start, network, "digit-classifier")
    drawer = load_detector(boxes, "cpu").network if boxes else None
    rng = np.random.default_rng(seed)
    crops = [(page_crops(read_label_set(f), drawer, rng), share) for f, share in map(folder_share, sets)]
    if mnist:
        crops.append((mnist_crops(mnist), 0.15))
    training = Training(network, classifier_recipe(minutes, seed, goes_on=start is not None), device)
    names = (*sets, *(["mnist"] if mnist else []))
    keeper = Keeper(output, training, metadata_of("digit-classifier", ClassifierConfig(), names))
    batches = classifier_batches(crops, np.random.default_rng([seed, training.step]))
    keeper.run(batches, lambda net, batch: classifier_losses(net, batch, device))
    metrics: dict[str, float] = {}
    if mnist:
        metrics["mnist test accuracy"] = round(accuracy(network, mnist_crops(mnist, "t10k")), 4)
    keeper.finish(metrics)


@train.command()
@click.argument("pages", type=_FOLDER)
@click.option("-o", "--output", type=_FILE, required=True, metavar="FILE", help="The checkpoint to write.")
@network_options
@common_options
@click.pass_context
def confidence(ctx: click.Context, pages: Path, output: Path) -> None:
    """Fit how sure digits and numbers are to transcribed pages.

    PAGES is a folder of ALTO 4 or PAGE XML files with their images, which no network was trained on.
    They are read, and the classifier is written anew with a confidence that says how often it was
    right on them.

    \b
    Examples:
      archive train confidence registers/dev -o classifier.safetensors
      archive train confidence mine --detector d.safetensors --classifier c.safetensors -o c2.safetensors
    """
    from cli.fitting import fit_on_pages

    click.echo(fit_on_pages(settings_of(ctx), pages, output))
