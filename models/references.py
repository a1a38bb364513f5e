"""The reference networks that were published for MNIST's digits, each with the recipe it is trained by."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoint import Metadata, load_checkpoint, load_weights
from models.dense import DenseConfig, DenseNetwork, one_hot_loss
from models.plain_cnn import PlainCnn, PlainCnnConfig
from models.small_cnn import SmallCnn, SmallCnnConfig
from models.training import Recipe
from pipeline.errors import MissingError

Config = DenseConfig | SmallCnnConfig | PlainCnnConfig


@dataclass(frozen=True, slots=True)
class Reference:
    """A network and how it was published to be trained: epochs, digits in a batch, share held back.

    Of the training digits the last share `held` validates.  `moved` digits are turned and shifted, anew each
    time.
    """

    config: Config
    epochs: int
    batch: int
    held: float
    learning_rate: float = 1e-3
    optimizer: Literal["adamw", "adam", "rmsprop"] = "adam"
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    plain: bool = True
    moved: bool = False

    def recipe(self, seed: int, minutes: float | None, n_digits: int) -> Recipe:
        """Return the recipe for so many digits to learn from: its epochs, or as many minutes."""
        n_steps = self.epochs * -(-n_digits // self.batch) if minutes is None else None
        return Recipe(
            minutes or 0.0, self.learning_rate, 0.0, seed, n_steps, optimizer=self.optimizer, plain=self.plain
        )


def _mlp(*hidden: int, epochs: int = 5, dropout: float = 0.0) -> Reference:
    config = DenseConfig(hidden, last_is_sigmoid=False, dropout=dropout)
    return Reference(config, epochs, batch=128, held=0.3)


def _plain(kernel_px: int, channels: tuple[int, ...]) -> Reference:
    config = PlainCnnConfig(kernel_px, channels)
    return Reference(config, epochs=150, batch=120, held=1 / 12, optimizer="adamw", plain=False, moved=True)


REFERENCES = {
    "dense-784": Reference(
        DenseConfig(),
        epochs=30,
        batch=20,
        held=0.2,
        learning_rate=2e-5,
        optimizer="rmsprop",
        loss=one_hot_loss,
    ),
    "mlp-50": _mlp(50),
    "mlp-500": _mlp(500),
    "mlp-5x50": _mlp(*[50] * 5),
    "mlp-5x50-dropout": _mlp(*[50] * 5, dropout=0.2),
    "mlp-5x50-dropout-50": _mlp(*[50] * 5, dropout=0.2, epochs=50),
    "mlp-5x500-25": _mlp(*[500] * 5, epochs=25),
    "cnn-3x25": Reference(SmallCnnConfig(), epochs=5, batch=128, held=0.3),
    "cnn-simple-3": _plain(3, (32, 48, 64, 80, 96, 112, 128, 144, 160, 176)),
    "cnn-simple-5": _plain(5, (32, 64, 96, 128, 160)),
    "cnn-simple-7": _plain(7, (48, 96, 144, 192)),
}


def build_reference(config: Config) -> nn.Module:
    """Return a new network by its configuration."""
    match config:
        case DenseConfig():
            return DenseNetwork(config)
        case SmallCnnConfig():
            return SmallCnn(config)
        case PlainCnnConfig():
            return PlainCnn(config)


def reference_metadata(name: str) -> tuple[str, dict[str, object]]:
    """Return the kind and the configuration that the checkpoint of a reference network says."""
    return "reference-network", {"reference": name, **asdict(REFERENCES[name].config)}


def load_reference(file: Path) -> tuple[nn.Module, Metadata]:
    """Return the reference network of a checkpoint, ready to read; MissingError says what is wrong."""
    weights, metadata = load_checkpoint(file, "reference-network")
    name = str(metadata.config.get("reference"))
    if name not in REFERENCES:
        raise MissingError(f"{file}: holds the reference network {name!r}, which this version does not know")
    network = build_reference(REFERENCES[name].config)
    load_weights(network, weights, file)
    return network.eval().requires_grad_(False), metadata
