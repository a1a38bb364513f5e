"""The sorter: says which kind a page is, by frozen features of a network and a small head on them.

The features are those of our detector, which knows writing, or of a published network that learned
photographs (Donahue and others 2014, "DeCAF"; Yosinski and others 2014, "How transferable are features in
deep neural networks?").  Of their last maps it sees the largest values over a coarse grid, where on the page
what stands, and deviations over the whole page, how unevenly.
"""

import pickle
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
from pipeline.sorting_view import VIEW_PX

DETECTOR = "detector"
PUBLISHED = ("vgg16", "alexnet", "resnet18", "mobilenet_v3_small")  # networks of torchvision
BACKBONES = (DETECTOR, *PUBLISHED)
_GRID = 4  # so many parts of the page across, and down
_PUBLISHED_PX = 224
# brightness of the photographs that the published networks learned from, red, green and blue
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LEFT_OUT = ("classifier.", "fc.")  # layers of theirs that say what a photograph shows

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class SorterConfig:
    """What makes a sorter: plain numbers, its backbone and the names of its kinds."""

    backbone: str  # one of `BACKBONES`
    classes: tuple[str, ...]
    hidden: int = 64
    temperature: float = 1.0
    channels: tuple[int, int, int, int] = DetectorConfig().channels  # of our detector, where that is it
    blocks: tuple[int, int, int] = DetectorConfig().blocks


class DetectorFeatures(nn.Module):
    """The encoder of our detector: views (N, 1, 512, 512), float 0 to 1 → features (N, F)."""

    def __init__(self, channels: tuple[int, int, int, int], blocks: tuple[int, int, int]) -> None:
        super().__init__()
        whole = DigitDetector(DetectorConfig(channels=channels, blocks=blocks))
        self.stem, self.down4, self.down8, self.down16 = whole.stem, whole.down4, whole.down8, whole.down16
        self.n_features = channels[-1] * (_GRID * _GRID + 1)

    def forward(self, views: Tensor) -> Tensor:
        """(N, 1, 512, 512) → (N, F), of its maps at stride 16."""
        return _pooled(self.down16(self.down8(self.down4(self.stem(views)))))

    def blocks(self) -> list[nn.Module]:
        """Return its parts that can be thawed, the last one last."""
        return [self.stem, self.down4, self.down8, self.down16]


class PublishedFeatures(nn.Module):
    """The convolutions of a network of torchvision: views (N, 1, 512, 512), 0 to 1 → features (N, F)."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        import torchvision  # takes long, and our own backbone needs none of it

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
            self.n_features = self(torch.zeros(1, 1, VIEW_PX, VIEW_PX)).shape[1]

    def forward(self, views: Tensor) -> Tensor:
        """(N, 1, 512, 512) → (N, F), of its last maps."""
        size = (_PUBLISHED_PX, _PUBLISHED_PX)
        paper = 1 - F.interpolate(
            views, size, mode="bilinear", antialias=True
        )  # (N, 1, 224, 224), white is 1
        x = (paper.expand(-1, 3, -1, -1) - self.mean) / self.std  # (N, 3, 224, 224)
        for block in self.blocks():
            x = block(x)
        return _pooled(x)

    def blocks(self) -> list[nn.Module]:
        """Return its parts that can be thawed, the last one last."""
        net = self.network
        if hasattr(net, "features"):
            return list(net.features)
        stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        return [stem, net.layer1, net.layer2, net.layer3, net.layer4]


Backbone = DetectorFeatures | PublishedFeatures


class PageSorter(nn.Module):
    """Views (N, 1, 512, 512), float 0 to 1, ink is 1 → logits (N, K) of the kinds."""

    def __init__(self, config: SorterConfig) -> None:
        super().__init__()
        self.backbone = build_backbone(config.backbone, config.channels, config.blocks)
        self.head = Head(HeadConfig(self.backbone.n_features, len(config.classes), config.hidden))

    def forward(self, views: Tensor) -> Tensor:
        """(N, 1, 512, 512) → (N, K)."""
        logits: Tensor = self.head(self.backbone(views))
        return logits


def sorter_loss(logits: Tensor, kinds: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (N, K) for kinds (N,)."""
    return F.cross_entropy(logits.float(), kinds)


def build_backbone(name: str, channels: tuple[int, int, int, int], blocks: tuple[int, int, int]) -> Backbone:
    """Return a backbone without its weights; ValueError for a name that is none of `BACKBONES`."""
    if name not in BACKBONES:
        raise ValueError(f"there is no backbone {name}; there are {', '.join(BACKBONES)}")
    return DetectorFeatures(channels, blocks) if name == DETECTOR else PublishedFeatures(name)


def load_backbone(name: str, file: Path | None, detector: Path) -> tuple[Backbone, DetectorConfig]:
    """Return a backbone with its weights, ready to read, and the configuration that it has if it is ours.

    Weights are those of `file`: a checkpoint of our detector, else a .pth of torchvision.  Without it they
    are those of `detector`, or are downloaded once.  MissingError says what is wrong with a file, or that
    there is no network.
    """
    config = DetectorConfig()
    if name == DETECTOR:
        file = file or detector
        weights, metadata = load_checkpoint(file, "digit-detector")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in metadata.config.items()
        }
        try:
            config = DetectorConfig(**values)
        except TypeError as error:
            raise MissingError(f"{file}: its configuration makes no digit-detector: {error}") from error
        backbone: Backbone = DetectorFeatures(config.channels, config.blocks)
        parts = {part for part, _ in backbone.named_children()}
        load_weights(backbone, {n: w for n, w in weights.items() if n.partition(".")[0] in parts}, file)
    else:
        published = PublishedFeatures(name)
        weights = _downloaded(name) if file is None else read_pth(file)
        kept = {n: w for n, w in weights.items() if not n.startswith(_LEFT_OUT)}
        load_weights(published.network, kept, file or Path(name))
        backbone = published
    return backbone.eval().requires_grad_(False), config


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
        weights: Weights = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(
            progress=False, check_hash=True
        )
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
