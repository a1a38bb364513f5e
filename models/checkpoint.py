"""Checkpoints: a safetensors file whose metadata says everything that reading it right needs.

The metadata is one JSON object under the key `archive`: format version, kind of network, its
configuration, temperature, metrics, data sets, recipe and commit.  Loading is strict and says what
differs.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pipeline.errors import MissingError

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a checkpoint says about itself beside its weights."""

    kind: str  # "page-orienter", "digit-detector" or "digit-classifier"
    config: dict[str, Any]
    temperature: float = 1.0
    confidence: dict[str, list[float]] = field(default_factory=dict)  # of a classifier, with its detector
    metrics: dict[str, Any] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    recipe: str = ""
    commit: str = ""
    format_version: int = FORMAT_VERSION


def save_checkpoint(file: Path, weights: dict[str, torch.Tensor], metadata: Metadata) -> None:
    """Write weights and metadata to a safetensors file, whole or not at all."""
    halfway = file.with_name(file.name + ".part")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, halfway, metadata={"archive": json.dumps(asdict(metadata), sort_keys=True)})
    halfway.replace(file)


def load_checkpoint(file: Path, kind: str) -> tuple[dict[str, torch.Tensor], Metadata]:
    """Return the weights and metadata of a checkpoint of this kind; MissingError says what is wrong."""
    if not file.exists():
        raise MissingError(f"{file}: there are no weights here; give others with --{kind.rpartition('-')[2]}")
    try:
        with safe_open(file, framework="pt") as opened:
            written = (opened.metadata() or {}).get("archive")
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise MissingError(f"{file}: the weights are damaged: {error}") from error
    if written is None:
        raise MissingError(f"{file}: is no checkpoint of ours: its metadata is missing")
    try:
        values = json.loads(written)
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise MissingError(f"{file}: has format {version}, this version reads {FORMAT_VERSION}")
        metadata = Metadata(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise MissingError(f"{file}: its metadata can't be understood: {error}") from error
    if metadata.kind != kind:
        raise MissingError(f"{file}: holds a {metadata.kind}, not a {kind}")
    return weights, metadata


def load_weights(network: torch.nn.Module, weights: dict[str, torch.Tensor], file: Path) -> None:
    """Put weights into a network; MissingError names the first layer that differs."""
    expected = network.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        ours = tuple(expected[name].shape) if name in expected else None
        theirs = tuple(weights[name].shape) if name in weights else None
        if ours != theirs:
            raise MissingError(f"{file}: layer {name} is {theirs} in the file, {ours} by its configuration")
    network.load_state_dict(weights)


def grow_into(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put the weights of a network of the same kind, perhaps a smaller one, into a network.

    A layer that has become larger keeps the old weights as its first ones, and zeros for what it
    sees in addition; a layer that is new stays as it was made.  MissingError names a layer that has
    become smaller or is gone.
    """
    grown = network.state_dict()
    for name, old in weights.items():
        new = grown.get(name)
        if (
            new is None
            or new.dim() != old.dim()
            or any(a < b for a, b in zip(new.shape, old.shape, strict=True))
        ):
            raise MissingError(f"layer {name} {tuple(old.shape)} has no place in the network to be trained")
        if new.shape != old.shape and new.dim() > 1:
            new[: old.shape[0]] = 0  # the old outputs don't see the new inputs
        new[tuple(slice(n) for n in old.shape)] = old
    network.load_state_dict(grown)


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes; MissingError if it can't be read."""
    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise MissingError(f"{file}: can't be read: {error.strerror}") from error
