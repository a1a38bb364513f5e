"""`archive train classifier`: our own, one that goes on from another, and the reference networks."""

from pathlib import Path

import click
from click.core import ParameterSource

from cli.options import A_FILE, FOLDER, common_options, data_option, settings_of
from pipeline.errors import UsageError

RECIPES = (
    *("dense-784", "mlp-50", "mlp-500", "mlp-5x50", "mlp-5x50-dropout", "mlp-5x50-dropout-50"),
    *("mlp-5x500-25", "cnn-3x25", "cnn-simple-3", "cnn-simple-5", "cnn-simple-7", "features+head"),
)


@click.command()
@data_option(required=False)
@click.option("-o", "--output", type=A_FILE, metavar="FILE", help="The checkpoint to write.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="How long to train.  [default: 30; 1 to go on; a recipe its epochs]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same order of digits.")
@click.option(
    "--from", "start", metavar="FILE", help="Go on from this checkpoint, or from the one `shipped`."
)
@click.option("--freeze", type=click.Choice(["features"]), help="Going on, let only the last layer learn.")
@click.option("--boxes", type=A_FILE, metavar="FILE", help="Learn from the boxes that this detector draws.")
@click.option(
    "--held",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.2,
    show_default=True,
    help="Going on, the share of the labels held back to measure by.",
)
@click.option(
    "--measure",
    type=FOLDER,
    multiple=True,
    metavar="FOLDER",
    help="Going on, measure by this too: a label set, or MNIST.",
)
@click.option(
    "--recipe",
    type=click.Choice(RECIPES),
    metavar="NAME",
    help="Train a reference network on MNIST instead.",
)
@click.option("--json", is_flag=True, help="End with one line of JSON, with its schema_version.")
@common_options
@click.pass_context
def classifier(
    ctx: click.Context,
    data: tuple[str, ...],
    output: Path | None,
    minutes: float | None,
    seed: int,
    start: str | None,
    freeze: str | None,
    boxes: Path | None,
    held: float,
    measure: tuple[Path, ...],
    recipe: str | None,
    json: bool,
) -> None:
    """Train the digit classifier.

    `--data` names label sets from `archive labels`, and folders with MNIST's idx files.  A training that
    goes on from another classifier says how well both read labels that were held back, and old digits.
    A reference network (`--recipe`) learns from MNIST, `--data mnist` where nothing else is said.

    \b
    Examples:
      archive train classifier --data labels=0.7 --data mnist=0.3 -o classifier.safetensors
      archive train classifier --from shipped --data mine -o mine.safetensors
      archive train classifier --from shipped --data mine --freeze features -o mine.safetensors
      archive train classifier --recipe dense-784 --seed 1 --data mnist --json

    \b
    Recipes:
      dense-784             dense 784, 256 and 64 neurons
      mlp-50, mlp-500       one hidden layer
      mlp-5x50              five hidden layers of 50
      mlp-5x50-dropout      with dropout; mlp-5x50-dropout-50 for 50 epochs
      mlp-5x500-25          five hidden layers of 500, 25 epochs
      cnn-3x25              three convolutions of 25 filters
      cnn-simple-3, -5, -7  plain convolutions with one size of kernel
      features+head         a network's features with the best of three simple classifiers
    """
    settings = settings_of(ctx, promoted=False)
    if recipe is not None:
        if freeze or boxes or measure or (start and recipe != "features+head"):
            raise UsageError(f"--recipe {recipe} takes none of --from, --freeze, --boxes and --measure")
        if minutes and recipe == "features+head":
            raise UsageError("--recipe features+head takes no --minutes")
        if any("=" in text for text in data):
            raise UsageError(f"--recipe {recipe} learns from all digits alike: --data takes no share")
        data = data or ("mnist",)
        if recipe == "features+head":
            from cli.train_head import train_head

            output = output or _unless_there(Path(f"{recipe}-{seed}.skops"))
            train_head(settings, data, output, start or "shipped", seed, as_json=json)
        else:
            from cli.train_reference import train_reference

            output = output or _unless_there(Path(f"{recipe}-{seed}.safetensors"))
            train_reference(settings, recipe, data, output, minutes, seed, as_json=json)
        return
    for missing, option in ((not data, "--data"), (output is None, "--output")):
        if missing:
            raise UsageError(f"Missing option {option!r}")
    held_given = ctx.get_parameter_source("held") is not ParameterSource.DEFAULT
    if start is None and (freeze or measure or held_given):
        raise UsageError("--freeze, --held and --measure are for a training that goes on: give --from")
    assert output is not None
    from cli.classifying import GoingOn, train_digit_classifier

    going_on = GoingOn(start, freeze is not None, held if start else 0.0, measure)
    train_digit_classifier(settings, data, output, minutes, seed, boxes, going_on, as_json=json)


def _unless_there(file: Path) -> Path:
    """Return a file that nobody named, unless it is there: another training made it."""
    if file.exists():
        raise UsageError(f"{file} is there already; remove it, or name another with -o")
    return file
