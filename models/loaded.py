"""The loaded networks as the rest of the house knows them: uint8 arrays in, numpy and our own words out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.checkpoint import Metadata, file_sha256, load_checkpoint, load_weights
from models.classifier import ClassifierConfig, DigitClassifier, predict
from models.detector import DetectorConfig, DigitDetector
from models.judge import JudgeConfig, NumberJudge
from models.memory import keep_freed_memory
from models.orienter import OrienterConfig, PageOrienter, orienting_windows
from models.recogniser import N_CLASSES, N_COLUMNS, NumberRecogniser, RecogniserConfig
from models.rescorer import DigitRescorer, RescorerConfig, box_features
from models.scale import Look, look_at, settle_scale
from models.tiles import detect_boxes
from pipeline.confidence import Confidence
from pipeline.errors import MissingError
from pipeline.ink import ink_map
from pipeline.page import Box, Detection, PageDetections
from pipeline.strips import Strips

SCORE_BAR = 0.20  # hardly a weaker box is a digit
_SURE_BAR = 0.40  # for boxes that say how large digits are
_TURN_BAR = 0.4  # a page is looked at turned only where the orienter is this sure
_STRIPS = 256  # numbers looked at at a time, so that memory is bounded

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Orienter:
    """The loaded orienter; `sha256` names its checkpoint."""

    network: PageOrienter
    device: torch.device
    sha256: str

    def turned(self, look: Look) -> int:
        """Return by how many degrees clockwise a page must be turned to be upright, by a look at it.

        That is 0, 90, 180 or 270; 0 where the page doesn't say it clearly.
        """
        windows = orienting_windows(look)
        batch = torch.from_numpy(windows)[:, None].to(self.device).float() / 255
        with torch.inference_mode():
            logits = self.network(batch.contiguous(memory_format=torch.channels_last)).float()
            chances = torch.softmax(torch.log_softmax(logits, dim=1).mean(dim=0), dim=0).cpu().numpy()
        best = int(chances.argmax())
        return best * 90 if chances[best] >= _TURN_BAR else 0


@dataclass(frozen=True, slots=True)
class Detector:
    """The loaded detector; `sha256` names its checkpoint."""

    network: DigitDetector
    device: torch.device
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
        """Return what a page, uint8 (H, W), is multiplied by to be read; `look` is as for `detect`."""
        return settle_scale(grey, look or look_at(grey), lambda ink: self.boxes(ink, _SURE_BAR))

    def boxes(self, ink: npt.NDArray[np.uint8], threshold: float) -> npt.NDArray[np.float32]:
        """Return the boxes of digits on an ink map, uint8 (h, w), as `detect_boxes` does."""
        return detect_boxes(self.network, ink, threshold, self.device)


@dataclass(frozen=True, slots=True)
class Classifier:
    """The loaded classifier; `sha256` names its checkpoint."""

    network: DigitClassifier
    confidence: Confidence
    device: torch.device
    sha256: str

    def chances(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return class probabilities of crops, uint8 (N, 2, 40, 40).

        They are float32 (N, 11): digits 0 to 9, then reject.
        """
        logits = predict(self.network, crops, self.device)
        return np.asarray(torch.softmax(logits, dim=1).numpy(), np.float32)


@dataclass(frozen=True, slots=True)
class Rescorer:
    """The loaded rescorer; `sha256` names its checkpoint."""

    network: DigitRescorer
    device: torch.device
    sha256: str

    def odds(self, chances: npt.NDArray[np.float32], found: PageDetections) -> npt.NDArray[np.float64]:
        """Return the log-odds that each detection of a page holds the digit that is best in it, (N,).

        `chances` float32 (N, 11) are the classifier's.
        """
        features = torch.from_numpy(box_features(chances, found)).to(self.device)
        with torch.inference_mode():
            return np.asarray(self.network(features).cpu().numpy(), np.float64)


@dataclass(frozen=True, slots=True)
class Recogniser:
    """The loaded recogniser; `sha256` names its checkpoint."""

    network: NumberRecogniser
    device: torch.device
    sha256: str

    def columns(self, strips: Strips) -> npt.NDArray[np.float32]:
        """Return the log chances of what stands in each column of strips, float32 (M, 36, 11).

        `strips` are uint8 (M, 3, 36, 144); it looks at their ink alone.
        """
        columns = [np.zeros((0, N_COLUMNS, N_CLASSES), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(strips), _STRIPS):
                logits = self.network(_seen(strips[start : start + _STRIPS, :1], self.device))
                columns.append(F.log_softmax(logits.float(), dim=2).cpu().numpy())
        return np.concatenate(columns)


@dataclass(frozen=True, slots=True)
class Judge:
    """The loaded judge; `sha256` names its checkpoint."""

    network: NumberJudge
    device: torch.device
    sha256: str

    def odds(self, strips: Strips, clues: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the log-odds that each number is right, (M,).

        `strips` uint8 (M, 3, 36, 144) and `clues` float32 (M, 81) are what it sees of them.
        """
        odds = [np.zeros(0, np.float64)]
        with torch.inference_mode():
            for start in range(0, len(strips), _STRIPS):
                seen = _seen(strips[start : start + _STRIPS], self.device)
                said = torch.from_numpy(clues[start : start + _STRIPS]).to(self.device)
                judged = self.network(seen, said)
                odds.append(judged.cpu().numpy().astype(np.float64))
        return np.concatenate(odds)


def load_detector(file: Path, device: str = "auto") -> Detector:
    """Return the detector of a checkpoint; MissingError if it or the device is not there."""
    network, _, place = _loaded(
        "digit-detector", lambda config: DigitDetector(DetectorConfig(**config)), file, device
    )
    return Detector(network, place, file_sha256(file))


def load_orienter(file: Path, device: str = "auto") -> Orienter:
    """Return the orienter of a checkpoint; MissingError if it or the device is not there."""
    network, _, place = _loaded(
        "page-orienter", lambda config: PageOrienter(OrienterConfig(**config)), file, device
    )
    return Orienter(network, place, file_sha256(file))


def load_classifier(file: Path, device: str = "auto", *, with_confidence: bool = True) -> Classifier:
    """Return the classifier of a checkpoint; MissingError if it or the device is not there.

    Without its confidence it is as it was when its training ended.
    """
    network, metadata, place = _loaded(
        "digit-classifier", lambda config: DigitClassifier(ClassifierConfig(**config)), file, device
    )
    fitted = metadata.confidence if with_confidence else {}
    try:
        confidence = Confidence(**{kind: tuple(weights) for kind, weights in fitted.items()})
    except (TypeError, ValueError) as error:
        raise MissingError(
            f"{file}: its confidence is none of ours; fit it anew with `archive train confidence`: {error}"
        ) from error
    return Classifier(network, confidence, place, file_sha256(file))


def load_rescorer(file: Path, device: str = "auto") -> Rescorer:
    """Return the rescorer of a checkpoint; MissingError if it or the device is not there."""
    network, _, place = _loaded(
        "digit-rescorer", lambda config: DigitRescorer(RescorerConfig(**config)), file, device
    )
    return Rescorer(network, place, file_sha256(file))


def load_recogniser(file: Path, device: str = "auto") -> Recogniser:
    """Return the recogniser of a checkpoint; MissingError if it or the device is not there."""
    network, _, place = _loaded(
        "number-recogniser", lambda config: NumberRecogniser(RecogniserConfig(**config)), file, device
    )
    return Recogniser(network, place, file_sha256(file))


def load_judge(file: Path, device: str = "auto") -> Judge:
    """Return the judge of a checkpoint; MissingError if it or the device is not there."""
    network, _, place = _loaded(
        "number-judge", lambda config: NumberJudge(JudgeConfig(**config)), file, device
    )
    return Judge(network, place, file_sha256(file))


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is a GPU where there is one.  Raises MissingError."""
    keep_freed_memory()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MissingError(f"device {name!r} can't be used: {str(error).splitlines()[0]}") from error
    return device


def _seen(strips: Strips, device: torch.device) -> Tensor:
    """Return strips, uint8 (M, C, 36, 144), as networks see them, float 0 to 1."""
    seen = torch.from_numpy(np.ascontiguousarray(strips)).to(device).float() / 255
    return seen.contiguous(memory_format=torch.channels_last)


def _loaded(
    kind: str, build: Callable[[dict[str, Any]], Network], file: Path, device: str
) -> tuple[Network, Metadata, torch.device]:
    """Return a network of this kind, ready to read, what its checkpoint says, and where it computes."""
    weights, metadata = load_checkpoint(file, kind)
    try:
        # JSON knows no tuples
        network = build({k: tuple(v) if isinstance(v, list) else v for k, v in metadata.config.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise MissingError(f"{file}: its configuration makes no {kind}: {error}") from error
    load_weights(network, weights, file)
    place = pick_device(device)
    _ready(network, place)
    return network, metadata, place


def _ready(network: nn.Module, device: torch.device) -> None:
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
    network.requires_grad_(False).to(device).to(memory_format=torch.channels_last)
