"""What the commands of `archive train` share: how a training begins, and how it is kept."""

import math
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch

from models.checkpoint import Metadata, grow_into, load_checkpoint, save_checkpoint
from models.device import pick_device
from models.training import Losses, Measure, Progress, Recipe, Training
from pipeline.errors import OutputError, SourceError, UsageError
from pipeline.label_sets import read_label_set
from pipeline.labels import LabelledPage
from pipeline.plots import draw_curves
from pipeline.settings import Settings

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Job:
    """What a training is given: where it computes, what it writes, what it starts from, and its data."""

    device: str
    output: Path
    start: str | None  # a checkpoint, or "shipped"
    data: tuple[str, ...]

    def begin(
        self,
        kind: str,
        build: "Callable[[], nn.Module]",
        config: dict[str, Any],
        recipe: Recipe,
        learns: Collection[str] = (),
    ) -> "Keeper":
        """Return the training of a network of this kind: a new one, or the one that was cut.

        Where `learns` names some of its layers, only those learn, and the others stay as they are.
        """
        device = pick_device(self.device)
        check_folder(self.output)
        torch.manual_seed(recipe.seed)
        network = build()
        if self.start is not None:
            file = started_from(self.start, kind)
            if file.resolve() == self.output.resolve():
                raise UsageError(f"{file}: would be overwritten by what goes on from it; give another -o")
            weights, _ = load_checkpoint(file, kind, to_train=True)
            grow_into(network, weights, file)
        if learns:
            network.requires_grad_(False)
            for name in learns:
                network.get_submodule(name).requires_grad_(True)
        names = [Path(text.partition("=")[0]).name for text in self.data]
        metadata = Metadata(kind, config, data=names, recipe=said_command(), commit=commit_of_code())
        return Keeper(self.output, Training(network, recipe, device), metadata)


class Keeper:
    """Says where a training stands and keeps it every minute: the same command goes on where it was cut."""

    def __init__(self, file: Path, training: Training, metadata: Metadata) -> None:
        self.file, self.training, self.metadata = file, training, metadata
        self.state = file.with_name(file.name + ".state")
        if self.state.exists():
            self._go_on()

    def run(
        self,
        batches_of: "Callable[[np.random.Generator], Iterator[Any]]",
        losses_of: "Callable[[nn.Module, Any, torch.device], Losses]",
        measure: Measure | None = None,
    ) -> None:
        """Train until the recipe is done; a training that goes on draws other batches than before."""
        training = self.training
        torch.manual_seed(training.recipe.seed + training.step)  # going on, crops are changed in other ways
        batches = batches_of(np.random.default_rng([training.recipe.seed, training.step]))
        training.run(
            batches,
            lambda net, batch: losses_of(net, batch, training.device),
            self._say,
            self._save,
            measure,
        )

    def finish(self, metrics: dict[str, Any] | None = None, *, quietly: bool = False) -> None:
        """Write the checkpoint and its learning curve, and say so: on stdout, or on stderr `quietly`."""
        metadata = replace(self.metadata, metrics=metrics or {})
        save_checkpoint(self.file, self.training.network.state_dict(), metadata)
        picture = self.file.with_suffix(".png")
        draw_curves(picture, self.training.curve, self.training.measured, self.file.stem)
        self.state.unlink(missing_ok=True)
        click.echo(f"{self.file}: {self.training.step} steps {metrics or ''}", err=quietly)
        click.echo(f"{picture}: learning curve", err=True)

    def _go_on(self) -> None:
        self.training.load_state(self.state, _label())
        click.echo(f"goes on at {self.training.spent_s / 60:.0f} min, step {self.training.step}", err=True)

    def _say(self, at: Progress) -> None:
        losses = "  ".join(f"{name} {loss:.3f}" for name, loss in at.losses.items())
        click.echo(f"{at.done:4.0%}  step {at.step}  loss  {losses}", err=True)

    def _save(self) -> None:
        self.training.save_state(self.state, _label())


def started_from(start: str, kind: str) -> Path:
    """Return the checkpoint that a training goes on from; `shipped` is the one of this version."""
    if start != "shipped":
        return Path(start)
    file = Settings.model_fields[kind.rpartition("-")[2]].default
    assert isinstance(file, Path)
    return file


def read_sets(sets: tuple[str, ...]) -> list[tuple[list[LabelledPage], float]]:
    """Return the pages of label sets given as `FOLDER[=SHARE]`, each with its share."""
    return [(read_pages(folder), share) for folder, share in map(folder_share, sets)]


def read_pages(folder: Path) -> list[LabelledPage]:
    """Return the pages of a label set; SourceError where it has none."""
    pages = read_label_set(folder)
    if not pages:
        raise SourceError(f"{folder}: the label set has no pages")
    return pages


def check_folder(file: Path) -> None:
    """Raise OutputError where the folder of a file that will be written is not there.

    Raises UsageError for a name that the picture beside it would take.
    """
    if file.suffix == ".png":
        raise UsageError(f"{file}: is the name of the picture beside it; name the checkpoint otherwise")
    if not file.resolve().parent.is_dir():
        raise OutputError(f"{file}: its folder is not there; make it first")


def said_command() -> str:
    """Return the command that was given, without the folders of this machine."""
    return " ".join(["archive", *map(_without_folder, sys.argv[1:])])


def commit_of_code() -> str:
    """Return the commit of the code that trains, or nothing where it is no checkout."""
    here = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def folder_share(text: str) -> tuple[Path, float]:
    """Return folder and share of `FOLDER[=SHARE]`; UsageError where the share is no number above 0."""
    folder, _, text_of_share = text.partition("=")
    try:
        share = float(text_of_share or 1.0)
    except ValueError as error:
        raise UsageError(f"{text}: the share behind = is no number") from error
    if not 0 < share < math.inf:
        raise UsageError(f"{text}: the share behind = must be more than 0")
    return Path(folder), share


def _label() -> str:
    """Return what tells this training from others: the whole command."""
    return " ".join(["archive", *sys.argv[1:]])


def _without_folder(word: str) -> str:
    """Return a word of a command without the folders of this machine.

    >>> _without_folder("sets/registers/=0.7"), _without_folder("--output=x/c.safetensors")
    ('registers=0.7', '--output=c.safetensors')
    """
    head, equals, tail = word.partition("=")
    return (Path(head).name or head) + equals + (Path(tail).name or tail)
