"""The crop sorter: says of a crop whether it shows a handwritten digit, a printed one, a letter, or noise.

A head on the frozen features of a digit classifier (`models/head.py`).  It is no part of the chain that
reads pages: `docs/crop-sorter.md` has what it brought there.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.batching import Batcher, Images, tensor
from models.checkpoint import file_sha256
from models.classifier import ClassifierConfig, DigitClassifier
from models.head import Head, HeadConfig
from models.loaded import loaded_network

KIND = "crop-sorter"
CATEGORIES = ("handwritten digit", "printed digit", "letter", "noise")
N_DIGIT_CATEGORIES = 2  # the first ones


@dataclass(frozen=True, slots=True)
class CropSorterConfig:
    """Plain numbers that make a crop sorter: those of its classifier, of its head, and its temperature."""

    channels: tuple[int, int, int, int]
    hidden: int
    head_hidden: int
    temperature: float


class CropSorterNetwork(nn.Module):
    """Crops (N, 2, 40, 40), float 0 to 1, ink is 1 → logits (N, 4), one a category."""

    def __init__(self, config: CropSorterConfig) -> None:
        super().__init__()
        self.classifier = DigitClassifier(ClassifierConfig(config.channels, config.hidden))
        self.classifier.classes = None  # type: ignore[assignment]  # only its features are asked for
        self.head = Head(HeadConfig(config.hidden, len(CATEGORIES), config.head_hidden))

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 2, 40, 40) → (N, 4)."""
        logits: Tensor = self.head(self.classifier.features(crops))
        return logits


@dataclass(frozen=True, slots=True)
class CropSorter:
    """The loaded crop sorter; `sha256` names its checkpoint."""

    batcher: Batcher[npt.NDArray[np.float32]]
    sha256: str

    def chances(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the calibrated chance of each category for crops, uint8 (N, 2, 40, 40), float32 (N, 4)."""
        return np.array(self.batcher(crops), np.float32).reshape(-1, len(CATEGORIES))


def load_crop_sorter(file: Path, device: str = "auto", batch: int = 0) -> CropSorter:
    """Return the crop sorter of a checkpoint; MissingError if it or the device is not there.

    `batch` is how many crops at a time suit the device; 0: as many as suits most.
    """
    network, metadata, place = loaded_network(
        KIND, lambda config: CropSorterNetwork(CropSorterConfig(**config)), file, device, batch, exactly=True
    )
    temperature = float(metadata.config["temperature"])

    def chances(images: Images, _: None) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logits = network(tensor(images[0], place)) / temperature
            return np.asarray(torch.softmax(logits.float(), dim=1).cpu().numpy(), np.float32)

    return CropSorter(Batcher(chances, place, place.batch), file_sha256(file))
