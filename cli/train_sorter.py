"""`archive train sorter`: the network that says which kind a page is, from a folder of a few of each."""

from pathlib import Path

import click

from cli.options import A_FILE, FOLDER, common_options, settings_of
from pipeline.errors import UsageError

OURS = "detector"
BACKBONES = (OURS, "vgg16", "alexnet", "resnet18", "mobilenet_v2", "mobilenet_v3_small")


@click.command()
@click.option(
    "--data",
    type=FOLDER,
    required=True,
    metavar="FOLDER",
    help="A folder with a sub-folder of scans for each kind, or a label set.",
)
@click.option("--name", required=True, help="What to call it, in `archive ingest --sorter NAME` too.")
@click.option("-o", "--output", type=A_FILE, metavar="FILE", help="Write the checkpoint here as well.")
@click.option(
    "--backbone",
    "backbones",
    type=click.Choice(BACKBONES),
    default=(OURS,),
    show_default=True,
    multiple=True,
    help="The network whose features are taken; twice for those of two.",
)
@click.option(
    "--backbone-weights",
    type=A_FILE,
    metavar="FILE",
    help="Its weights, where none can be downloaded (of the published one, where there are two).",
)
@click.option(
    "--thaw",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Let the last N blocks of the backbone learn too.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same sorter.")
@click.option("--json", is_flag=True, help="Print JSON, with its schema_version.")
@common_options
@click.pass_context
def sorter(
    ctx: click.Context,
    data: Path,
    name: str,
    output: Path | None,
    backbones: tuple[str, ...],
    backbone_weights: Path | None,
    thaw: int,
    seed: int,
    json: bool,
) -> None:
    """Train a network that says which kind a page is.

    Each sub-folder of FOLDER is a kind, and the scans in it are pages of that
    kind: two or more of each, 5 to 2,000 in all.  The sorter is kept beside
    the database with pictures of its learning curve and its errors.  What a
    network makes of a page is kept in the cache, so that the next training
    takes seconds.  Accuracy is by cross-validation: every page is sorted by a
    sorter that never saw it.

    Where FOLDER is a label set of `archive labels`, what learns is a sorter of
    crops: handwritten digit, printed digit, letter or noise, on the features
    of our classifier.  It reads in no chain, so it is kept as a file of its
    own, NAME.safetensors unless --output says another.

    The published backbones learned photographs of things. They are downloaded
    at first, or given as the .pth file of torchvision.  One of them beside our
    detector, which knows writing, sorts better than either.

    \b
    Examples:
      archive train sorter --data kinds --name letters
      archive train sorter --data kinds --name letters-2 --backbone detector --backbone mobilenet_v2
      archive train sorter --data kinds --name vgg --backbone vgg16 --backbone-weights vgg16.pth
    """
    from cli.sorter_training import Wish, train_sorter
    from pipeline.label_sets import INDEX

    settings = settings_of(ctx, promoted=False)
    if (data / INDEX).exists():
        from cli.crop_sorter_training import train_crop_sorter

        if backbones != (OURS,) or backbone_weights or thaw:
            raise UsageError(
                "a sorter of crops learns on the features of our classifier: leave out --backbone,"
                " --backbone-weights and --thaw"
            )
        train_crop_sorter(settings, data, output or Path(f"{name}.safetensors"), seed, as_json=json)
        return
    if len(set(backbones)) < len(backbones) or len(set(backbones) - {OURS}) > 1:
        raise UsageError("give each --backbone once, and one published network at most")
    wish = Wish(data, name, output, backbones, backbone_weights, thaw, seed, as_json=json)
    train_sorter(settings, wish)
