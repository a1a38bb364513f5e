"""`archive models`: the networks of this archive, which of them reads, and whether another one is better."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import OPTIONS, common_options, json_option, network_options, settings_of
from cli.terminal import say
from pipeline.errors import MissingError, UsageError

if TYPE_CHECKING:
    from cli.networks import AtHand, Network
    from pipeline.settings import Settings


@click.group()
@common_options
def models() -> None:
    """Add networks, see what each read, promote the better one.

    There are six kinds that read: orienter, detector, classifier, rescorer,
    recogniser and judge.  Each is named by its kind (the one that reads now),
    by the beginning of its hash, or by its name.  Sorters are kept here too.

    \b
    Examples:
      archive models list
      archive models promote mine.safetensors --on registers/dev
      archive models rollback classifier
    """


@models.command("list")
@json_option
@common_options
@click.pass_context
def list_models(ctx: click.Context, json: bool) -> None:
    """List the networks: shipped and added ones, and which of them read.

    Pages are counted where there is a database; one that was read again
    counts again.

    \b
    Examples:
      archive models list
      archive models list --json
    """
    from cli.network_tables import print_networks

    settings, every = _at_hand(ctx)
    print_networks(settings, every, as_json=json)


@models.command("show")
@click.argument("name", metavar="ID|KIND")
@json_option
@common_options
@click.pass_context
def show_model(ctx: click.Context, name: str, json: bool) -> None:
    """Show all that is known of a network, and what it read.

    \b
    Examples:
      archive models show classifier
      archive models show 9f86d081 --json
    """
    from cli.network_tables import print_network

    settings, every = _at_hand(ctx)
    print_network(settings, every, every.find(name), as_json=json)


@models.command("verify")
@json_option
@common_options
@click.pass_context
def verify_models(ctx: click.Context, json: bool) -> None:
    """Check that every network is whole, and say how to mend it.

    Hashes every file, loads it, and looks whether each network that pages
    were read with is at hand.  Ends with exit code 3 if something is wrong.

    \b
    Examples:
      archive models verify
      archive models verify --json
    """
    from cli.checks import print_checks
    from cli.verifying import every_network_check

    if print_checks(every_network_check(settings_of(ctx, promoted=False)), as_json=json):
        ctx.exit(MissingError.exit_code)


@models.command("add")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="What to call it; its file's name if not given.")
@click.option("--note", default="", help="What to remember about it.")
@common_options
@click.pass_context
def add_model(ctx: click.Context, file: Path, name: str | None, note: str) -> None:
    """Keep a network beside the database; print the beginning of its hash.

    The file is copied and stays as it is; what it holds is read from it.
    Adding a network does not make it read: `archive models promote` does.

    \b
    Examples:
      archive models add mine.safetensors
      archive models add mine.safetensors --name box-7 --note "with our clerks"
    """
    from pipeline.network_store import SHOWN_HASH, add

    settings = settings_of(ctx, promoted=False)
    found = _looked_at(file, name)
    card, is_new = add(settings.networks, file, found.kind, found.sha256, name=found.name, note=note)
    print(card.sha256[:SHOWN_HASH])
    say(f"{card.kind} {card.name} " + ("added" if is_new else "was added before: nothing new"))


@models.command("promote")
@click.argument("name", metavar="ID|FILE")
@click.option(
    "--on",
    "folder",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Transcribed pages to measure on.",
)
@click.option(
    "--by",
    type=click.Choice(["cells", "digits"]),
    help="What must be better.  [default: cells; digits where no page has any]",
)
@click.option(
    "--p",
    "p_bar",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="How likely by chance it may be at most.",
)
@click.option("--dry-run", is_flag=True, help="Measure, and say what would be done.")
@json_option
@network_options
@common_options
@click.pass_context
def promote_model(
    ctx: click.Context, name: str, folder: Path, by: str | None, p_bar: float, dry_run: bool, json: bool
) -> None:
    """Let a network read from now on, if it reads better.

    Both this network and the one that reads now read the pages of FOLDER,
    which have ALTO or PAGE transcriptions beside them.  The new one is taken
    if it reads more cells right (lines that are all number; or digits), by
    more than chance, and its F1 is not worse.  Otherwise it is refused, and
    the exit code is 7.  Choose pages that neither learned from.

    \b
    Examples:
      archive models promote mine.safetensors --on registers/dev
      archive models promote 9f86d081 --on registers/dev --by digits
      archive models promote box-7 --on registers/dev --dry-run
    """
    from cli.promoting import Wish, promote_if_better
    from pipeline.settings import NETWORKS

    settings = settings_of(ctx)
    plain, every = _at_hand(ctx)
    file = Path(name)
    network = _looked_at(file, None) if file.is_file() else every.find(name)
    if network.kind not in NETWORKS:
        raise UsageError(
            f"a {network.kind} is not promoted: `archive ingest --sorter {network.name}` names it"
        )
    for_now = network.kind in ctx.meta.get(OPTIONS, {})
    wish = Wish(network, folder, by, p_bar, dry_run=dry_run, only_option=for_now, as_json=json)
    promote_if_better(settings, plain, every, wish)


@models.command("rollback")
@click.argument("kind")
@common_options
@click.pass_context
def roll_back_model(ctx: click.Context, kind: str) -> None:
    """Let the network read again that read before the promoted one.

    Pages that were read keep what they have; their run names the network.

    \b
    Examples:
      archive models rollback classifier
    """
    from cli.networks import at_hand
    from cli.promoting import tell_who_reads
    from pipeline.promotions import promoted_files, roll_back, set_aside
    from pipeline.settings import NETWORKS

    if kind not in NETWORKS:
        raise UsageError(f"there is no kind {kind}; kinds are {', '.join(NETWORKS)}")
    settings = settings_of(ctx, promoted=False)
    if aside := set_aside(settings.networks) if settings.networks.exists() else None:
        say(f"what was promoted could not be read, and is kept as {aside}: shipped networks read now")
        event = None
    else:
        event = roll_back(settings.networks, kind) if settings.networks.exists() else None
    every = at_hand(settings)
    if event is None and not aside:
        say(f"no {kind} is promoted: nothing to take back")
    elif event is not None and event.replaced != every.in_place[kind]:
        say(f"{every.called(kind, event.replaced)} is taken back")
    tell_who_reads(settings, every, kind)
    promoted_files(settings.networks, [kind])  # what reads again may itself be damaged


def _at_hand(ctx: click.Context) -> tuple["Settings", "AtHand"]:
    from cli.networks import at_hand

    settings = settings_of(ctx, promoted=False)
    return settings, at_hand(settings)


def _looked_at(file: Path, name: str | None) -> "Network":
    """Return the network of a file, which loads; MissingError where it doesn't."""
    from cli.networks import Network
    from models.any_network import kind_of, load_any

    kind, _ = kind_of(file)
    network = Network(kind, load_any(kind, file, "cpu").sha256, file, file.stem, False, None)
    if name is None:
        return network
    check_name(name)
    return replace(network, name=name)


def check_name(name: str) -> None:
    """Raise UsageError for what no network can be called."""
    from pipeline.settings import STORED

    if not name.strip() or not name.isprintable() or name in STORED:
        raise UsageError(f"--name {name!r}: give a word or a few, and not the name of a kind")
