"""The loaded networks as the rest of the house knows them: uint8 arrays in, numpy and our own words out.

What threads ask at the same time shares batches (`models/batching.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.batching import Batcher, Images, tensor
from models.checkpoint import Metadata, file_sha256, load_checkpoint, load_weights
from models.classifier import N_CLASSES, ClassifierConfig, DigitClassifier
from models.detector import DetectorConfig, DigitDetector, decode_maps
from models.device import Place, pick_place
from models.judge import JudgeConfig, NumberJudge
from models.orienter import OrienterConfig, PageOrienter, orienting_windows
from models.recogniser import N_CLASSES as N_MARKS
from models.recogniser import N_COLUMNS, NumberRecogniser, RecogniserConfig
from models.rescorer import DigitRescorer, RescorerConfig, box_features
from models.scale import Look, look_at, settle_scale
from models.tiles import Boxes, detect_boxes
from pipeline.confidence import Confidence
from pipeline.errors import MissingError
from pipeline.ink import ink_map
from pipeline.page import Box, Detection, PageDetections
from pipeline.strips import Strips

SCORE_BAR = 0.20  # hardly a weaker box is a digit
_SURE_BAR = 0.40  # for boxes that say how large digits are
_TURN_BAR = 0.4  # a page is looked at turned only where the orienter is this sure

Network = TypeVar("Network", bound=nn.Module)
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Orienter:
    """The loaded orienter; `sha256` names its checkpoint."""

    batcher: Batcher[Floats]
    sha256: str

    def turned(self, look: Look) -> int:
        """Return by how many degrees clockwise a page must be turned to be upright, by a look at it.

        That is 0, 90, 180 or 270; 0 where the page doesn't say it clearly.
        """
        logits = torch.from_numpy(np.stack(self.batcher(orienting_windows(look)[:, None])))  # (K, 4)
        chances = torch.softmax(torch.log_softmax(logits, dim=1).mean(dim=0), dim=0).numpy()
        best = int(chances.argmax())
        return best * 90 if chances[best] >= _TURN_BAR else 0


@dataclass(frozen=True, slots=True)
class Detector:
    """The loaded detector; `sha256` names its checkpoint."""

    batcher: Batcher[Boxes]
    exact: Batcher[Boxes]  # in full precision
    place: Place
    sha256: str

    def detect(self, grey: npt.NDArray[np.uint8], look: Look | None = None) -> PageDetections:
        """Return the digits of an upright page, uint8 (H, W), best first; boxes in page pixels.

        `look` is a look at the page, where there was one already.
        """
        scale = self.scale_of(grey, look)
        ink = ink_map(grey, scale)
        found = self.boxes(ink, SCORE_BAR)
        # what the ink map was really multiplied by, which rounding to whole pixels changed a little
        factors = np.array([ink.shape[1] / grey.shape[1], ink.shape[0] / grey.shape[0]] * 2)
        limits = np.array([grey.shape[1], grey.shape[0]] * 2, np.float64)
        boxes = np.clip(found[:, :4] / factors, 0, limits)
        detections = tuple(
            Detection(Box(*(float(v) for v in box)), float(score))
            for box, score in zip(boxes, found[:, 4], strict=True)
            if box[2] > box[0] and box[3] > box[1]
        )
        return PageDetections(detections, scale)

    def scale_of(self, grey: npt.NDArray[np.uint8], look: Look | None = None) -> float:
        """Return what a page, uint8 (H, W), is multiplied by to be read; `look` is as for `detect`.

        In full precision everywhere: on a page read a hundredth larger, one digit in ten is another.
        """
        return settle_scale(grey, look or look_at(grey), self._sure)

    def _sure(self, ink: npt.NDArray[np.uint8]) -> Boxes:
        return detect_boxes(ink, lambda tiles: self.exact(tiles, about=_SURE_BAR))

    def boxes(self, ink: npt.NDArray[np.uint8], threshold: float) -> Boxes:
        """Return the boxes of digits on an ink map, uint8 (h, w), as `detect_boxes` does.

        Those with a score of at least `threshold`.
        """
        return detect_boxes(ink, lambda tiles: self.batcher(self.place.padded(tiles), about=threshold))


@dataclass(frozen=True, slots=True)
class Classifier:
    """The loaded classifier; `sha256` names its checkpoint."""

    batcher: Batcher[Floats]
    confidence: Confidence
    sha256: str

    def chances(self, crops: npt.NDArray[np.uint8]) -> Floats:
        """Return class probabilities of crops, uint8 (N, 2, 40, 40).

        They are float32 (N, 11): digits 0 to 9, then reject.
        """
        return np.array(self.batcher(crops), np.float32).reshape(-1, N_CLASSES)


@dataclass(frozen=True, slots=True)
class Rescorer:
    """The loaded rescorer; `sha256` names its checkpoint."""

    batcher: Batcher[float]
    sha256: str

    def odds(self, chances: Floats, found: PageDetections) -> npt.NDArray[np.float64]:
        """Return the log-odds that each detection of a page holds the digit that is best in it, (N,).

        `chances` float32 (N, 11) are the classifier's.
        """
        return np.array(self.batcher(box_features(chances, found)), np.float64)


@dataclass(frozen=True, slots=True)
class Recogniser:
    """The loaded recogniser; `sha256` names its checkpoint."""

    batcher: Batcher[Floats]
    sha256: str

    def columns(self, strips: Strips) -> Floats:
        """Return the log chances of what stands in each column of strips, float32 (M, 36, 11).

        `strips` are uint8 (M, 3, 36, 144); it looks at their ink alone.
        """
        return np.array(self.batcher(strips[:, :1]), np.float32).reshape(-1, N_COLUMNS, N_MARKS)


@dataclass(frozen=True, slots=True)
class Judge:
    """The loaded judge; `sha256` names its checkpoint."""

    batcher: Batcher[float]
    sha256: str

    def odds(self, strips: Strips, clues: Floats) -> npt.NDArray[np.float64]:
        """Return the log-odds that each number is right, (M,).

        `strips` uint8 (M, 3, 36, 144) and `clues` float32 (M, 81) are what it sees of them.
        """
        return np.array(self.batcher(strips, clues), np.float64)


def load_detector(file: Path, device: str = "auto", batch: int = 0) -> Detector:
    """Return the detector of a checkpoint; MissingError if it or the device is not there.

    `batch` is how many crops at a time suit the device, and tiles in proportion; 0: as many as suits most.
    """

    def batcher(*, exactly: bool) -> tuple[Batcher[Boxes], Place]:
        network, _, place = loaded_network(
            "digit-detector",
            lambda config: DigitDetector(DetectorConfig(**config)),
            file,
            device,
            batch,
            exactly=exactly,
        )

        def find(images: Images, threshold: float) -> list[Boxes]:
            with torch.inference_mode():
                every = network(tensor(images[0], place))
                return [decode_maps(maps, threshold).cpu().numpy() for maps in every]

        return Batcher(find, place, place.n_tiles), place

    fast, place = batcher(exactly=False)
    exact = fast if place.dtype == torch.float32 else batcher(exactly=True)[0]
    return Detector(fast, exact, place, file_sha256(file))


def load_orienter(file: Path, device: str = "auto", batch: int = 0) -> Orienter:
    """Return the orienter of a checkpoint; raises and batches as `load_detector`."""
    network, _, place = loaded_network(
        "page-orienter", lambda config: PageOrienter(OrienterConfig(**config)), file, device, batch
    )

    def logits(images: Images, _: None) -> Floats:
        with torch.inference_mode():
            return _on_cpu(network(tensor(images[0], place)))

    return Orienter(Batcher(logits, place, place.batch), file_sha256(file))


def load_classifier(
    file: Path, device: str = "auto", batch: int = 0, *, with_confidence: bool = True
) -> Classifier:
    """Return the classifier of a checkpoint; raises and batches as `load_detector`.

    Without its confidence it is as it was when its training ended.
    """
    network, metadata, place = loaded_network(
        "digit-classifier", lambda config: DigitClassifier(ClassifierConfig(**config)), file, device, batch
    )
    fitted = metadata.confidence if with_confidence else {}
    try:
        confidence = Confidence(**{kind: tuple(weights) for kind, weights in fitted.items()})
    except (TypeError, ValueError) as error:
        raise MissingError(
            f"{file}: its confidence is none of ours; fit it anew with `archive train confidence`: {error}"
        ) from error

    def chances(images: Images, _: None) -> Floats:
        with torch.inference_mode():
            return _on_cpu(torch.softmax(network(tensor(images[0], place)).float(), dim=1))

    return Classifier(Batcher(chances, place, place.batch), confidence, file_sha256(file))


def classifier_network(file: Path) -> DigitClassifier:
    """Return the classifier of a checkpoint as a network, to measure it or to take its features."""
    network, _ = _built("digit-classifier", lambda config: DigitClassifier(ClassifierConfig(**config)), file)
    return network.eval()


def load_rescorer(file: Path, device: str = "auto", batch: int = 0) -> Rescorer:
    """Return the rescorer of a checkpoint; raises and batches as `load_detector`."""
    network, _, place = loaded_network(
        "digit-rescorer",
        lambda config: DigitRescorer(RescorerConfig(**config)),
        file,
        device,
        batch,
        exactly=True,
    )

    def odds(features: Images, _: None) -> Floats:
        with torch.inference_mode():
            return _on_cpu(network(torch.from_numpy(features[0]).to(place.device)))

    return Rescorer(Batcher(odds, place, place.batch), file_sha256(file))


def load_recogniser(file: Path, device: str = "auto", batch: int = 0) -> Recogniser:
    """Return the recogniser of a checkpoint; raises and batches as `load_detector`."""
    network, _, place = loaded_network(
        "number-recogniser", lambda config: NumberRecogniser(RecogniserConfig(**config)), file, device, batch
    )

    def columns(images: Images, _: None) -> Floats:
        with torch.inference_mode():
            return _on_cpu(F.log_softmax(network(tensor(images[0], place)).float(), dim=2))

    return Recogniser(Batcher(columns, place, place.batch), file_sha256(file))


def load_judge(file: Path, device: str = "auto", batch: int = 0) -> Judge:
    """Return the judge of a checkpoint; raises and batches as `load_detector`."""
    network, _, place = loaded_network(
        "number-judge",
        lambda config: NumberJudge(JudgeConfig(**config)),
        file,
        device,
        batch,
        exactly=True,
    )

    def odds(seen: Images, _: None) -> Floats:
        strips, clues = seen
        with torch.inference_mode():
            return _on_cpu(network(tensor(strips, place), torch.from_numpy(clues).to(place.device)))

    return Judge(Batcher(odds, place, place.batch), file_sha256(file))


def _on_cpu(answers: Tensor) -> Floats:
    return np.asarray(answers.float().cpu().numpy(), np.float32)


def loaded_network(
    kind: str,
    build: Callable[[dict[str, Any]], Network],
    file: Path,
    device: str,
    batch: int,
    *,
    exactly: bool = False,
) -> tuple[Network, Metadata, Place]:
    """Return a network of this kind, ready to read, what its checkpoint says, and where it computes.

    `exactly`: in full precision, wherever it is.
    """
    network, metadata = _built(kind, build, file)
    place = pick_place(device, batch)
    if exactly:
        place = replace(place, dtype=torch.float32)
    make_ready(network, place)
    return network, metadata, place


def _built(kind: str, build: Callable[[dict[str, Any]], Network], file: Path) -> tuple[Network, Metadata]:
    """Return a network of this kind with the weights of a checkpoint, and what that says."""
    weights, metadata = load_checkpoint(file, kind)
    try:
        # JSON knows no tuples
        network = build({k: tuple(v) if isinstance(v, list) else v for k, v in metadata.config.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise MissingError(f"{file}: its configuration makes no {kind}: {error}") from error
    load_weights(network, weights, file)
    return network, metadata


def make_ready(network: nn.Module, place: Place) -> None:
    """Make a network ready to read: batch normalisation folded into the convolutions (the same, faster)."""
    network.eval()
    for module in network.modules():
        if (
            isinstance(module, nn.Sequential)
            and isinstance(module[0], nn.Conv2d)
            and isinstance(module[1], nn.BatchNorm2d)
        ):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()
    network.requires_grad_(False).to(place.device, place.dtype).to(memory_format=torch.channels_last)
