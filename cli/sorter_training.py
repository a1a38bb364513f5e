"""What `archive train sorter` does: features, a head, the store, pictures, and what it is worth."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cli.models import check_name
from cli.terminal import SCHEMA_VERSION, Column, counted, duration, print_json, print_table, say
from cli.trainings import check_folder, commit_of_code, said_command
from models.checkpoint import Metadata, file_sha256, save_checkpoint
from models.device import pick_device
from models.head import FittedHead
from models.sorter import SorterConfig, load_backbone
from models.train_sorter import (
    Reading,
    SortedSet,
    Thawed,
    check_thaw,
    put_together,
    read_set,
    thaw,
    train_head,
)
from pipeline.errors import UsageError
from pipeline.intervals import share_interval
from pipeline.network_store import SHOWN_HASH, add, look_through, network_file
from pipeline.plots import draw_confusions, draw_curves
from pipeline.reliability import reliability
from pipeline.settings import Settings

KIND = "sorter"
_COLUMNS = (Column("KIND", shortened=True), Column("PAGES", right=True), Column("FOUND", right=True))


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command asks for."""

    data: Path
    name: str
    output: Path | None
    backbones: tuple[str, ...]
    backbone_weights: Path | None
    thaw: int
    seed: int
    as_json: bool


def train_sorter(settings: Settings, wish: Wish) -> None:
    """Train a sorter, keep it in the store with its pictures, and print what it is worth.

    Raises UsageError where the store has a sorter of this name: what reads by that name would be another.
    """
    check_name(wish.name)
    for card in look_through(settings.networks, (KIND,)).cards:
        if card.name == wish.name:
            short = card.sha256[:SHOWN_HASH]
            raise UsageError(
                f"{wish.name} is a sorter already ({short}, {card.added[:10]}); give another --name"
            )
    if wish.output is not None:
        check_folder(wish.output)
    began = time.monotonic()
    device = pick_device(settings.device)
    shipped: Path = Settings.model_fields["detector"].default
    backbone, ours = load_backbone(wish.backbones, wish.backbone_weights, shipped)
    check_thaw(backbone, wish.thaw)
    reading = Reading(settings.max_pixels, settings.render_dpi)
    pages = read_set(wish.data, backbone, settings.cache / "features", reading, device, say)
    seen_s = time.monotonic() - began
    say(f"{counted(len(pages.pages), 'page')}, {pages.n_cached:,} of them seen before: {duration(seen_s)}")
    fitted = train_head(pages, wish.seed)
    config = SorterConfig(
        wish.backbones, pages.classes, fitted.config.hidden, fitted.temperature, ours.channels, ours.blocks
    )
    backbone = backbone.cpu()
    thawed = None
    network = put_together(backbone, fitted.head, config)
    if wish.thaw:
        thawed = thaw(backbone, pages, fitted, config, wish.thaw, reading, wish.seed, device, say)
        network, config = thawed.network, replace(config, temperature=thawed.temperature)
    figures = _figures(pages, fitted, thawed) | {"seconds": round(time.monotonic() - began, 1)}
    metadata = Metadata(
        "page-sorter",
        asdict(config),
        metrics=figures,
        data=[wish.data.resolve().name],
        recipe=said_command(),
        commit=commit_of_code(),
    )
    sha256 = _keep(settings, wish, network.state_dict(), metadata)
    kept = network_file(settings.networks, KIND, sha256)
    pictures = _draw(kept, pages, fitted, wish.name)
    for file in (kept, *([wish.output] if wish.output else []), *pictures):
        say(f"{file}")
    if wish.as_json:
        files = {"checkpoint": str(kept), "pictures": [str(picture) for picture in pictures]}
        said = {"schema_version": SCHEMA_VERSION, "name": wish.name, "sha256": sha256}
        print_json(
            said
            | files
            | {"seed": wish.seed, "backbones": list(wish.backbones), "n_cached": pages.n_cached}
            | figures
        )
    else:
        _print(figures, wish.name, sha256)


def _keep(settings: Settings, wish: Wish, weights: dict[str, Any], metadata: Metadata) -> str:
    """Write the checkpoint to the store, and where it is asked for; return its hash."""
    with tempfile.TemporaryDirectory() as folder:
        file = wish.output or Path(folder) / "sorter.safetensors"
        save_checkpoint(file, weights, metadata)
        sha256 = file_sha256(file)
        source = str(wish.data.resolve())
        card, _ = add(settings.networks, file, KIND, sha256, name=wish.name, note="", source=source)
    if card.name != wish.name:
        raise UsageError(f"the same sorter is there already as {card.name}; name that one")
    return sha256


def _figures(pages: SortedSet, fitted: FittedHead, thawed: Thawed | None) -> dict[str, Any]:
    """Return what the sorter is worth, by pages that it did not learn from."""
    kinds, read = pages.kinds, fitted.chances.argmax(axis=1)
    right = read == kinds
    low, high = share_interval(int(right.sum()), len(right))
    figures: dict[str, Any] = {
        "n_pages": len(right),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_interval": [round(low, 4), round(high, 4)],
        "calibration_error": round(reliability(fitted.chances.max(axis=1).astype(np.float64), right).ece, 4),
        "accuracy_by_labels": [[n, round(share, 4)] for n, share in fitted.by_labels],
        "kinds": {
            name: {"n": int((kinds == k).sum()), "n_right": int(right[kinds == k].sum())}
            for k, name in enumerate(pages.classes)
        },
    }
    if thawed is not None:
        figures["thawed"] = {
            "n_held": thawed.n_held,
            "n_right": thawed.n_right,
            "n_right_frozen": thawed.n_right_frozen,
        }
    return figures


def _draw(kept: Path, pages: SortedSet, fitted: FittedHead, name: str) -> tuple[Path, Path]:
    """Draw the learning curve and the errors beside the checkpoint; return where."""
    curve, errors = kept.with_suffix(".png"), kept.with_name(f"{kept.stem}-confusions.png")
    draw_curves(curve, fitted.curve, (), f"{name}: mean of the cross-validation", "epoch")
    counts = confusions(pages.kinds, fitted.chances.argmax(axis=1), len(pages.classes))
    n_wrong = int(counts.sum() - np.trace(counts))
    draw_confusions(errors, counts, f"{name}: {len(pages.pages):,} pages, {n_wrong} wrong", pages.classes)
    return curve, errors


def confusions(kinds: npt.NDArray[np.int64], read: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """Return how many pages of each kind (rows) were taken for each, int64 (K, K)."""
    return np.bincount(kinds * n + read, minlength=n * n).reshape(n, n)


def _print(figures: dict[str, Any], name: str, sha256: str) -> None:
    low, high = figures["accuracy_interval"]
    n_pages, took = counted(figures["n_pages"], "page"), duration(figures["seconds"])
    print(f"{name} {sha256[:SHOWN_HASH]}, learned from {n_pages} in {took}")
    print(f"sorted right: {figures['accuracy']:.1%} ({low:.1%} to {high:.1%})")
    rows: Sequence[Sequence[str]] = [
        (kind, f"{of['n']:,}", f"{of['n_right'] / of['n']:.1%}") for kind, of in figures["kinds"].items()
    ]
    print_table(_COLUMNS, rows)
    if thawed := figures.get("thawed"):
        print(
            f"thawed: {thawed['n_right']} of {counted(thawed['n_held'], 'page')} held out are right,"
            f" {thawed['n_right_frozen']} with what was frozen"
        )
