"""The loaded sorter as the rest of the house knows it: a page in, the chances of its kinds out."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.batching import Batcher, Images, tensor
from models.checkpoint import file_sha256, load_checkpoint, load_weights
from models.device import pick_place
from models.loaded import make_ready
from models.sorter import PageSorter, SorterConfig
from pipeline.errors import MissingError
from pipeline.sorting_view import sorting_view

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sorter:
    """The loaded sorter; `sha256` names its checkpoint, `classes` are the names of its kinds."""

    batcher: Batcher[Floats]
    classes: tuple[str, ...]
    sha256: str

    def sort(self, grey: npt.NDArray[np.uint8]) -> Floats:
        """Return the calibrated chances that a page, uint8 (H, W), is of each kind, float32 (K,).

        They are in the order of `classes`, and their sum is 1.  Half the page's size says the same, nearly:
        sides of 512 pixels do.  May be called from several threads.
        """
        (chances,) = self.batcher(sorting_view(grey)[None])
        return chances


def load_sorter(file: Path, device: str = "auto", batch: int = 0) -> Sorter:
    """Return the sorter of a checkpoint, in full precision; MissingError if it or the device is not there.

    Each page goes through by itself, so that what is said of it does not depend on what comes with it.
    `batch` is how many crops at a time suit the device, as for all networks of a process.
    """
    network, config = read_sorter(file)
    place = replace(pick_place(device, batch), dtype=torch.float32)
    make_ready(network, place)

    def chances(images: Images, _: None) -> Floats:
        with torch.inference_mode():
            logits = network(tensor(images[0], place)) / config.temperature
            return np.asarray(torch.softmax(logits, dim=1).cpu().numpy(), np.float32)

    return Sorter(Batcher(chances, place, 1), config.classes, file_sha256(file))


def read_sorter(file: Path) -> tuple[PageSorter, SorterConfig]:
    """Return the network of a sorter's checkpoint, to read or to go on from, and its configuration.

    Raises MissingError.
    """
    weights, metadata = load_checkpoint(file, "page-sorter")
    # JSON knows no tuples
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in metadata.config.items()}
    try:
        config = SorterConfig(**values)
        if len(config.classes) < 2 or not config.temperature > 0:
            raise ValueError("it needs two kinds or more, and a temperature above 0")
        network = PageSorter(config)
    except (TypeError, ValueError, AttributeError) as error:
        raise MissingError(f"{file}: its configuration makes no page-sorter: {error}") from error
    load_weights(network, weights, file)
    return network.eval(), config
