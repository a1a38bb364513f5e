"""A network of whichever kind: what its checkpoint says it is, loaded strictly, and put into a chain."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from models.checkpoint import SHOWN, Metadata, read_metadata
from models.loaded import (
    Classifier,
    Detector,
    Judge,
    Orienter,
    Recogniser,
    Rescorer,
    load_classifier,
    load_detector,
    load_judge,
    load_orienter,
    load_recogniser,
    load_rescorer,
)
from models.sorting import Sorter, load_sorter
from models.whole import Chain
from pipeline.errors import MissingError
from pipeline.settings import STORED

AnyNetwork = Orienter | Detector | Classifier | Rescorer | Recogniser | Judge | Sorter

_LOAD: dict[str, Callable[[Path, str], AnyNetwork]] = {
    "orienter": load_orienter,
    "detector": load_detector,
    "classifier": load_classifier,
    "rescorer": load_rescorer,
    "recogniser": load_recogniser,
    "judge": load_judge,
    "sorter": load_sorter,
}


def kind_of(file: Path) -> tuple[str, Metadata]:
    """Return the kind of a checkpoint's network as the store names it, and its metadata; MissingError."""
    metadata, _ = read_metadata(file)
    kind = metadata.kind.rpartition("-")[2]
    if metadata.kind not in SHOWN or kind not in STORED or metadata.kind == "crop-sorter":
        raise MissingError(f"{file}: holds a {metadata.kind}, and no network that reads pages")
    return kind, metadata


def load_any(kind: str, file: Path, device: str = "auto") -> AnyNetwork:
    """Return the network of a checkpoint of this kind; MissingError says what is wrong with it."""
    return _LOAD[kind](file, device)


def with_network(chain: Chain, kind: str, file: Path, device: str = "auto") -> Chain:
    """Return a chain in which another network of this kind reads, and all others are the same."""
    network = load_any(kind, file, device)
    match network:
        case Orienter():
            return replace(chain, orienter=network)
        case Detector():
            return replace(chain, detector=network)
        case Classifier():
            return replace(chain, readers=replace(chain.readers, classifier=network))
        case Rescorer():
            return replace(chain, readers=replace(chain.readers, rescorer=network))
        case Recogniser():
            return replace(chain, readers=replace(chain.readers, recogniser=network))
        case Sorter():
            return chain  # which kind a page is changes nothing of what is read of it
        case Judge():
            return replace(chain, readers=replace(chain.readers, judge=network))
