"""The sorter: says which kind a page is, by frozen features of a network and a small head on them.

The features are those of our detector, which knows writing, or of a published network that learned
photographs (Donahue and others 2014, "DeCAF"; Yosinski and others 2014, "How transferable are features in
deep neural networks?").  Of their last maps it sees the largest values over a coarse grid, where on the page
what stands, and deviations over the whole page, how unevenly.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoint import load_checkpoint, load_weights
from models.detector import DetectorConfig, DigitDetector
from models.head import Head, HeadConfig
from pipeline.errors import MissingError
from pipeline.sorting_view import LAYERS, VIEW_PX

DETECTOR = "detector"
# networks of torchvision, and the sides of the picture that each is shown: heavy ones a smaller picture
PUBLISHED = {"vgg16": 224, "alexnet": 224, "resnet18": 448, "mobilenet_v2": 448, "mobilenet_v3_small": 448}
BACKBONES = (DETECTOR, *PUBLISHED)
_PUBLISHED_WEIGHTS = "IMAGENET1K_V1"  # torchvision's name for those that it downloads
_GRID = 4  # so many parts of the page across, and down
# brightness of the photographs that the published networks learned from, red, green and blue
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LEFT_OUT = ("classifier.", "fc.")  # layers of theirs that say what a photograph shows

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class SorterConfig:
    """What makes a sorter: plain numbers, its backbones and the names of its kinds."""

    backbones: tuple[str, ...]  # of `BACKBONES`; their features stand side by side
    classes: tuple[str, ...]
    hidden: int = 64
    temperature: float = 1.0
    channels: tuple[int, int, int, int] = DetectorConfig().channels  # of our detector, where that is it
    blocks: tuple[int, int, int] = DetectorConfig().blocks


class DetectorFeatures(nn.Module):
    """The encoder of our detector, which sees ink: views (N, 2, 512, 512), 0 to 1 → features (N, F)."""

    def __init__(self, channels: tuple[int, int, int, int], blocks: tuple[int, int, int]) -> None:
        super().__init__()
        whole = DigitDetector(DetectorConfig(channels=channels, blocks=blocks))
        self.stem, self.down4, self.down8, self.down16 = whole.stem, whole.down4, whole.down8, whole.down16
        self.n_features = channels[-1] * (_GRID * _GRID + 1)

    def forward(self, views: Tensor) -> Tensor:
        """(N, 2, 512, 512) → (N, F), of its maps at stride 16."""
        return _pooled(self.down16(self.down8(self.down4(self.stem(views[:, :1])))))

    def blocks(self) -> list[nn.Module]:
        """Return its parts that can be thawed, the last one last."""
        return [self.stem, self.down4, self.down8, self.down16]


class PublishedFeatures(nn.Module):
    """The convolutions of a network of torchvision: views (N, 2, 512, 512), 0 to 1 → features (N, F).

    It sees the scan as it is and not its ink: it learned photographs.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        import torchvision  # takes long, and our own backbone needs none of it

        self._side_px, self._mobile = PUBLISHED[name], name.startswith("mobilenet")
        with torch.device("meta"):  # without memory for the layers that are left out: VGG's are 500 MB
            self.network = torchvision.models.get_model(name, weights=None)
        self.network.avgpool = self.network.classifier = self.network.fc = nn.Identity()
        self.network.to_empty(device="cpu")
        with torch.no_grad():  # what `to_empty` gives may be anything
            for value in self.network.state_dict().values():
                value.zero_()
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        self.network.eval()
        with torch.inference_mode():
            self.n_features = self(torch.zeros(1, len(LAYERS), VIEW_PX, VIEW_PX)).shape[1]

    def forward(self, views: Tensor) -> Tensor:
        """(N, 2, 512, 512) → (N, F), of its last maps."""
        size = (self._side_px, self._side_px)
        dark = F.interpolate(views[:, 1:], size, mode="bilinear", antialias=True)  # (N, 1, side, side)
        x = (1 - dark.expand(-1, 3, -1, -1) - self.mean) / self.std  # (N, 3, side, side)
        for block in self.blocks():
            x = block(x)
        return _pooled(x)

    def blocks(self) -> list[nn.Module]:
        """Return its parts that can be thawed, the last one last."""
        net = self.network
        if hasattr(net, "features"):
            # MobileNet's last one belongs to its classes of photographs
            return list(net.features)[:-1] if self._mobile else list(net.features)
        stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        return [stem, net.layer1, net.layer2, net.layer3, net.layer4]


class Backbone(nn.Module):
    """One network or several, each as it is: views (N, 2, 512, 512), 0 to 1 → their features, (N, F)."""

    def __init__(self, parts: Sequence[DetectorFeatures | PublishedFeatures]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.n_features = sum(part.n_features for part in parts)
        self.n_blocks = min(len(part.blocks()) for part in parts)

    def forward(self, views: Tensor) -> Tensor:
        """(N, 2, 512, 512) → (N, F), side by side."""
        return torch.cat([part(views) for part in self.parts], dim=1)

    def last_blocks(self, n: int) -> list[nn.Module]:
        """Return the last `n` blocks of each network, to be thawed; `n_blocks` is the most there are."""
        return [block for part in self.networks() for block in part.blocks()[-n:]]

    def networks(self) -> list[DetectorFeatures | PublishedFeatures]:
        """Return the networks, in the order of their features."""
        return [part for part in self.parts if isinstance(part, DetectorFeatures | PublishedFeatures)]


class PageSorter(nn.Module):
    """Views (N, 2, 512, 512), float 0 to 1, ink and darkness are 1 → logits (N, K) of the kinds."""

    def __init__(self, config: SorterConfig) -> None:
        super().__init__()
        self.backbone = build_backbone(config.backbones, config.channels, config.blocks)
        self.head = Head(HeadConfig(self.backbone.n_features, len(config.classes), config.hidden))

    def forward(self, views: Tensor) -> Tensor:
        """(N, 2, 512, 512) → (N, K)."""
        logits: Tensor = self.head(self.backbone(views))
        return logits


def sorter_loss(logits: Tensor, kinds: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (N, K) for kinds (N,)."""
    return F.cross_entropy(logits.float(), kinds)


def build_backbone(
    names: tuple[str, ...], channels: tuple[int, int, int, int], blocks: tuple[int, int, int]
) -> Backbone:
    """Return a backbone of one network or several, without weights.

    ValueError for no name, one twice, or one that is none of `BACKBONES`.
    """
    if not names or len(set(names)) < len(names):
        raise ValueError("a sorter needs one backbone or several, each once")
    for name in names:
        if name not in BACKBONES:
            raise ValueError(f"there is no backbone {name}; there are {', '.join(BACKBONES)}")
    return Backbone([_part(name, channels, blocks) for name in names])


def _part(
    name: str, channels: tuple[int, int, int, int], blocks: tuple[int, int, int]
) -> DetectorFeatures | PublishedFeatures:
    return DetectorFeatures(channels, blocks) if name == DETECTOR else PublishedFeatures(name)


def load_backbone(
    names: tuple[str, ...], file: Path | None, detector: Path
) -> tuple[Backbone, DetectorConfig]:
    """Return a backbone with its weights, ready to read, and the configuration that ours has if it is there.

    `names` are of `BACKBONES`, each once, one of torchvision's at most.  `file` has the weights of that one
    as a .pth, or, where there is none, is a checkpoint of our detector.  Without it they are downloaded once,
    and those of `detector` are taken for ours.  MissingError says what is wrong with a file, or that there is
    no network.
    """
    of_ours = file if file and names == (DETECTOR,) else detector
    weights, config = _read_detector(of_ours) if DETECTOR in names else ({}, DetectorConfig())
    backbone = build_backbone(names, config.channels, config.blocks)
    for name, part in zip(names, backbone.networks(), strict=True):
        if isinstance(part, DetectorFeatures):
            kept = {layer for layer, _ in part.named_children()}
            load_weights(part, {n: w for n, w in weights.items() if n.partition(".")[0] in kept}, of_ours)
        else:
            published = _downloaded(name) if file is None else read_pth(file)
            seen = {n: w for n, w in published.items() if not n.startswith(_LEFT_OUT)}
            load_weights(part.network, seen, file or Path(name))
    return backbone.eval().requires_grad_(False), config


def _read_detector(file: Path) -> tuple[Weights, DetectorConfig]:
    weights, metadata = load_checkpoint(file, "digit-detector")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in metadata.config.items()}
    try:
        return weights, DetectorConfig(**values)
    except TypeError as error:
        raise MissingError(f"{file}: its configuration makes no digit-detector: {error}") from error


def read_pth(file: Path) -> Weights:
    """Return the weights of a .pth file: tensors by name, and nothing in it is run.  Raises MissingError."""
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise MissingError(f"{file}: there are no weights here") from error
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MissingError(f"{file}: is no whole .pth file of weights: {reason}; get it again") from error
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise MissingError(f"{file}: holds no weights by the names of layers; save the network's state_dict")
    return weights


def _downloaded(name: str) -> Weights:
    import torchvision

    try:
        known = torchvision.models.get_model_weights(name)[_PUBLISHED_WEIGHTS]
        weights: Weights = known.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MissingError(
            f"the weights of {name} can't be downloaded ({reason}): give --backbone-weights FILE"
        ) from error
    return weights


def _pooled(x: Tensor) -> Tensor:
    """(N, C, h, w) → (N, 17 · C): the largest over a grid of 4 × 4, and the deviation over the page."""
    largest = F.adaptive_max_pool2d(x, _GRID).flatten(1)  # (N, 16 · C)
    # never 0, where a root has no gradient
    deviations = (x.var(dim=(2, 3), correction=0) + 1e-6).sqrt()  # (N, C)
    return torch.cat([largest, deviations], dim=1)
