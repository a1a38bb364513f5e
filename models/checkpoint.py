"""Checkpoints: a safetensors file whose metadata says everything that reading it right needs.

The metadata is one JSON object under the key `archive`: format version, kind of network, its
configuration, what it is shown, temperature, metrics, data sets, recipe and commit.  Loading is strict and
says what differs.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from models.judge import N_CLUES
from models.rescorer import N_FEATURES
from models.scale import DIGIT_PX, ORIENT_DIGIT_PX
from pipeline.crops import CROP_SIZE_PX, CROP_ZOOM, VIEWS
from pipeline.errors import MissingError, OutputError
from pipeline.hands import MNIST_PX
from pipeline.settings import NETWORKS
from pipeline.sorting_view import LAYERS, VIEW_PX
from pipeline.strips import STRIP_DIGIT_PX, STRIP_PX

FORMAT_VERSION = 1
# what the networks of this version are shown: weights that learned from other pictures read wrongly
SHOWN: dict[str, dict[str, Any]] = {
    "page-orienter": {"digit_px": ORIENT_DIGIT_PX},
    "digit-detector": {"digit_px": DIGIT_PX},
    "digit-rescorer": {"n_features": N_FEATURES},
    "number-recogniser": {"strip_px": list(STRIP_PX), "strip_digit_px": STRIP_DIGIT_PX},
    "number-judge": {"n_clues": N_CLUES, "strip_px": list(STRIP_PX), "strip_digit_px": STRIP_DIGIT_PX},
    "digit-classifier": {"digit_px": DIGIT_PX * CROP_ZOOM, "crop_px": CROP_SIZE_PX, "views": list(VIEWS)},
    "crop-sorter": {"digit_px": DIGIT_PX * CROP_ZOOM, "crop_px": CROP_SIZE_PX, "views": list(VIEWS)},
    "page-sorter": {"view_px": VIEW_PX, "layers": list(LAYERS)},
    "reference-network": {"digit_px": MNIST_PX},
}


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a checkpoint says about itself beside its weights."""

    kind: str  # a key of `SHOWN`
    config: dict[str, Any]
    confidence: dict[str, list[float]] = field(default_factory=dict)  # of a classifier, with its detector
    metrics: dict[str, Any] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    recipe: str = ""
    commit: str = ""
    format_version: int = FORMAT_VERSION


def save_checkpoint(file: Path, weights: dict[str, torch.Tensor], metadata: Metadata) -> None:
    """Write weights and metadata to a safetensors file, whole or not at all; OutputError."""
    halfway = file.with_name(file.name + ".part")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    said = asdict(metadata) | {"shown": SHOWN[metadata.kind]}
    try:
        save_file(tensors, halfway, metadata={"archive": json.dumps(said, sort_keys=True)})
        halfway.chmod(0o644)
        halfway.replace(file)
    except (SafetensorError, OSError) as error:
        halfway.unlink(missing_ok=True)
        raise OutputError(f"{file}: can't be written: {error}") from error


def load_checkpoint(
    file: Path, kind: str, *, to_train: bool = False
) -> tuple[dict[str, torch.Tensor], Metadata]:
    """Return the weights and metadata of a checkpoint of this kind; MissingError says what is wrong.

    Weights that were shown other pictures than this version shows are only good to train on from.
    """
    if not file.exists():
        name = kind.rpartition("-")[2]
        hint = f"; give others with --{name}" if name in NETWORKS else ""
        raise MissingError(f"{file}: there are no weights here{hint}")
    try:
        with safe_open(file, framework="pt") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise MissingError(f"{file}: the weights are damaged: {error}") from error
    metadata, shown = read_metadata(file)
    if metadata.kind != kind:
        raise MissingError(f"{file}: holds a {metadata.kind}, not a {kind}")
    if shown != SHOWN[kind] and not to_train:
        raise MissingError(f"{file}: learned from {shown}, this version shows {SHOWN[kind]}; train it on")
    return weights, metadata


def read_metadata(file: Path) -> tuple[Metadata, dict[str, Any] | None]:
    """Return what a checkpoint says about itself, and what its network was shown; MissingError."""
    try:
        with safe_open(file, framework="pt") as opened:
            written = (opened.metadata() or {}).get("archive")
    except (SafetensorError, OSError) as error:
        raise MissingError(f"{file}: the weights are damaged: {error}") from error
    if written is None:
        raise MissingError(f"{file}: is no checkpoint of ours: its metadata is missing")
    try:
        values = json.loads(written)
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise MissingError(f"{file}: has format {version}, this version reads {FORMAT_VERSION}")
        shown = values.pop("shown", None)
        values.pop("temperature", None)  # of earlier versions, and always 1
        return Metadata(**values), shown
    except (TypeError, ValueError, AttributeError) as error:
        raise MissingError(f"{file}: its metadata can't be understood: {error}") from error


def load_weights(network: torch.nn.Module, weights: dict[str, torch.Tensor], file: Path) -> None:
    """Put weights into a network; MissingError names the first layer that differs."""
    expected = network.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        ours = tuple(expected[name].shape) if name in expected else None
        theirs = tuple(weights[name].shape) if name in weights else None
        if ours != theirs:
            raise MissingError(f"{file}: layer {name} is {theirs} in the file, {ours} by its configuration")
    network.load_state_dict(weights)


def grow_into(network: torch.nn.Module, weights: dict[str, torch.Tensor], file: Path) -> None:
    """Put the weights of a network of the same kind, perhaps a smaller one, into a network.

    A layer that has become larger keeps the old weights as its first ones, and zeros for what it
    sees in addition; a layer that is new stays as it was made.  MissingError names a layer that has
    become smaller or is gone.
    """
    grown = network.state_dict()
    for name, old in weights.items():
        room = tuple(grown[name].shape) if name in grown else ()
        if len(room) != old.dim() or any(a < b for a, b in zip(room, old.shape, strict=True)):
            raise MissingError(f"{file}: layer {name} is {tuple(old.shape)}, the network to train has {room}")
    with torch.no_grad():
        for name, old in weights.items():
            new = grown[name]  # shares its memory with the network
            if new.shape != old.shape and new.dim() > 1:
                new[: old.shape[0]] = 0  # the old outputs don't see the new inputs
            new[tuple(slice(n) for n in old.shape)] = old


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes; MissingError if it can't be read."""
    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise MissingError(f"{file}: can't be read: {error.strerror}") from error
