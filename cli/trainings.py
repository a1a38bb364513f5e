"""What the commands of `archive train` share: where a training starts, and how it is kept."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.checkpoint import Metadata, grow_into, load_checkpoint, save_checkpoint
from models.training import Losses, Progress, Training
from pipeline.errors import UsageError
from pipeline.plots import draw_curves

if TYPE_CHECKING:
    from torch import nn


class Keeper:
    """Says where a training stands and keeps it every minute: the same command goes on where it was cut."""

    def __init__(self, file: Path, training: Training, metadata: Metadata) -> None:
        self.file, self.training, self.metadata = file, training, metadata
        self.state = file.with_name(file.name + ".state")
        if self.state.exists():
            self._go_on()

    def run(self, batches: Iterator[Any], losses_of: "Callable[[nn.Module, Any], Losses]") -> None:
        """Train until the time is over."""
        self.training.run(batches, losses_of, self._say, self._save)

    def finish(self, metrics: dict[str, float] | None = None) -> None:
        """Write the checkpoint and its learning curve, and say so."""
        metadata = replace(self.metadata, metrics=metrics or {})
        save_checkpoint(self.file, self.training.network.state_dict(), metadata)
        picture = self.file.with_suffix(".png")
        draw_curves(picture, self.training.curve, f"{self.file.name}: loss by minutes")
        self.state.unlink(missing_ok=True)
        click.echo(f"{self.file}: {self.training.step} steps {metrics or ''}")
        click.echo(f"{picture}: learning curve", err=True)

    def _go_on(self) -> None:
        recipe = self.training.load_state(self.state)
        if recipe != self.metadata.recipe:
            raise UsageError(
                f"{self.state}: is of another training ({recipe}); give that command, or remove the file"
            )
        click.echo(f"goes on at {self.training.spent_s / 60:.0f} min, step {self.training.step}", err=True)

    def _say(self, at: Progress) -> None:
        losses = "  ".join(f"{name} {loss:.3f}" for name, loss in at.losses.items())
        click.echo(f"{at.done:4.0%}  step {at.step}  loss  {losses}", err=True)

    def _save(self) -> None:
        self.training.save_state(self.state, self.metadata.recipe)


def folder_share(text: str) -> tuple[Path, float]:
    """Return folder and share of `FOLDER[=SHARE]`; UsageError where the share is no number."""
    folder, _, share = text.partition("=")
    try:
        return Path(folder), float(share or 1.0)
    except ValueError as error:
        raise UsageError(f"{text}: the share behind = is no number") from error


def start_from(start: Path | None, network: "nn.Module", kind: str) -> None:
    """Put the weights of a checkpoint of this kind into a network, where one is given."""
    if start is not None:
        weights, _ = load_checkpoint(start, kind)
        grow_into(network, weights)


def metadata_of(kind: str, config: Any, sets: tuple[str, ...]) -> Metadata:
    """Return what a new checkpoint says about itself: its configuration, data, command and commit."""
    names = [Path(text.partition("=")[0]).name for text in sets]
    # the command without the folders of this machine
    recipe = " ".join(Path(word).name if "/" in word else word for word in ["archive", *sys.argv[1:]])
    return Metadata(kind, asdict(config), data=names, recipe=recipe, commit=commit_of_code())


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
