"""`archive train`: the training of each network, on label sets that `archive labels` made."""

from dataclasses import asdict
from pathlib import Path

import click

from cli.options import A_FILE, Decorated, common_options, data_option, settings_of
from cli.train_classifier import classifier
from cli.train_on_pages import confidence, judge, rescorer
from cli.train_sorter import sorter
from pipeline.errors import SourceError


def _training_options(command: Decorated) -> Decorated:
    for add in (
        click.option(
            "--from", "start", metavar="FILE", help="Go on from this checkpoint, or from the one `shipped`."
        ),
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
            "-o", "--output", type=A_FILE, required=True, metavar="FILE", help="The checkpoint to write."
        ),
        data_option(required=True),
    ):
        command = add(command)
    return command


@click.group()
def train() -> None:
    """Train a network.

    `--data` names label sets from `archive labels`; SHARE is how much of the training each gives.
    The same command runs on a CPU or a GPU.  Cut short, it goes on where it was when it is given
    again.  Beside the checkpoint stands a picture of the learning curve.

    \b
    Examples:
      archive train detector --data labels=0.7 --data drawn=0.3 -o detector.safetensors
      archive train classifier --from shipped --data mine -o classifier.safetensors
    """


@train.command()
@_training_options
@common_options
@click.pass_context
def detector(
    ctx: click.Context, data: tuple[str, ...], output: Path, minutes: float, seed: int, start: str | None
) -> None:
    """Train the digit detector on label sets.

    \b
    Examples:
      archive train detector --data labels=0.7 --data drawn=0.3 -o detector.safetensors
      archive train detector --from shipped --data mine --minutes 10 -o mine.safetensors
    """
    from cli.trainings import Job, read_sets
    from models.detector import DetectorConfig, DigitDetector
    from models.train_detector import Windows, detector_batches, detector_losses, detector_recipe

    config, recipe = DetectorConfig(), detector_recipe(minutes, seed, goes_on=start is not None)
    job = Job(settings_of(ctx, promoted=False).device, output, start, data)
    training = job.begin("digit-detector", lambda: DigitDetector(config), asdict(config), recipe)
    pages = read_sets(data)
    training.run(lambda rng: detector_batches(pages, Windows(), rng), detector_losses)
    training.finish()


@train.command()
@_training_options
@common_options
@click.pass_context
def orienter(
    ctx: click.Context, data: tuple[str, ...], output: Path, minutes: float, seed: int, start: str | None
) -> None:
    """Train the network that tells which way up a page is.

    It needs pages that are upright, and none of their labels.

    \b
    Examples:
      archive train orienter --data labels --minutes 5 -o orienter.safetensors
      archive train orienter --from shipped --data mine --minutes 2 -o mine.safetensors
    """
    from cli.trainings import Job, read_sets
    from models.orienter import OrienterConfig, PageOrienter
    from models.train_orienter import orienter_batches, orienter_losses, orienter_recipe

    config, recipe = OrienterConfig(), orienter_recipe(minutes, seed, goes_on=start is not None)
    job = Job(settings_of(ctx, promoted=False).device, output, start, data)
    training = job.begin("page-orienter", lambda: PageOrienter(config), asdict(config), recipe)
    pages = read_sets(data)
    training.run(lambda rng: orienter_batches(pages, rng), orienter_losses)
    training.finish()


@train.command()
@_training_options
@click.option(
    "--boxes",
    type=A_FILE,
    required=True,
    metavar="FILE",
    help="Learn from the boxes that this detector draws.",
)
@common_options
@click.pass_context
def recogniser(
    ctx: click.Context,
    data: tuple[str, ...],
    output: Path,
    minutes: float,
    seed: int,
    start: str | None,
    boxes: Path,
) -> None:
    """Train the network that reads whole numbers, on label sets.

    \b
    Examples:
      archive train recogniser --data labels --boxes detector.safetensors -o recogniser.safetensors
      archive train recogniser --from shipped --data mine --boxes d.safetensors -o mine.safetensors
    """
    import numpy as np

    from cli.trainings import Job, read_sets
    from models.loaded import load_detector
    from models.recogniser import NumberRecogniser, RecogniserConfig
    from models.train_recogniser import page_numbers, recogniser_batches, recogniser_losses, recogniser_recipe

    config, recipe = RecogniserConfig(), recogniser_recipe(minutes, seed, goes_on=start is not None)
    job = Job(settings_of(ctx, promoted=False).device, output, start, data)
    training = job.begin("number-recogniser", lambda: NumberRecogniser(config), asdict(config), recipe)
    drawer = load_detector(boxes, "cpu")
    rng = np.random.default_rng(seed)
    numbers = [(page_numbers(pages, drawer, rng), share) for pages, share in read_sets(data)]
    if not any(part.texts for part, _ in numbers):
        raise SourceError("no number was found on the pages: there is nothing to learn from")
    training.run(lambda rng: recogniser_batches(numbers, rng), recogniser_losses)
    training.finish()


for command in (classifier, rescorer, judge, confidence, sorter):
    train.add_command(command)
