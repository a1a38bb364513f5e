"""A page read by all networks in one call, as its stages do one after the other."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.loaded import (
    Detector,
    Orienter,
    load_classifier,
    load_detector,
    load_judge,
    load_orienter,
    load_recogniser,
    load_rescorer,
)
from models.reader import CropsRead, Readers, read_crops
from models.scale import look_at
from pipeline.crops import Crops, cut_crops
from pipeline.marks import with_marks
from pipeline.page import PageDetections
from pipeline.settings import Settings
from pipeline.turning import turn_back, turn_page

_SURE_BAR = 0.75
# so much of what a page shows as it lies must be found on it turned: letters upside down look like digits,
# so that upright there may be fewer (0.7 to 2.4 on registers), and printed figures do (0.4 to 0.5)
_SHARE_LEFT = 0.6


@dataclass(frozen=True, eq=False, slots=True)
class PageSeen:
    """What was found on a page, not read yet, and the seconds that it took."""

    found: PageDetections
    crops: Crops
    detect_s: float


@dataclass(frozen=True, eq=False, slots=True)
class PageRead:
    """What the networks read on a page, and the seconds that they took."""

    found: PageDetections
    read: CropsRead
    detect_s: float
    classify_s: float


@dataclass(frozen=True, slots=True)
class Chain:
    """The networks that read a page, in their order."""

    orienter: Orienter
    detector: Detector
    readers: Readers

    def see(self, grey: npt.NDArray[np.uint8]) -> PageSeen:
        """Return what is found on a page, uint8 (H, W)."""
        began = time.perf_counter()
        found = find_digits(grey, self.orienter, self.detector)
        return PageSeen(found, cut_crops(grey, found), time.perf_counter() - began)

    def read(self, grey: npt.NDArray[np.uint8], seen: PageSeen | None = None) -> PageRead:
        """Return what stands on a page, uint8 (H, W); `seen` where it was looked at already."""
        seen = seen or self.see(grey)
        began = time.perf_counter()
        read = read_crops(seen.found, seen.crops, self.readers)
        return PageRead(seen.found, read, seen.detect_s, time.perf_counter() - began)


def load_chain(settings: Settings, *, with_confidence: bool = True) -> Chain:
    """Return the networks that the settings name; MissingError if one or the device is not there."""
    return Chain(
        load_orienter(settings.orienter, settings.device),
        load_detector(settings.detector, settings.device),
        Readers(
            load_classifier(settings.classifier, settings.device, with_confidence=with_confidence),
            load_rescorer(settings.rescorer, settings.device),
            load_recogniser(settings.recogniser, settings.device),
            load_judge(settings.judge, settings.device),
        ),
    )


def find_digits(grey: npt.NDArray[np.uint8], orienter: Orienter, detector: Detector) -> PageDetections:
    """Return the digits of a page, uint8 (H, W), whichever way up it lies; boxes in its own pixels."""
    return with_marks(grey, _boxes(grey, orienter, detector))


def _boxes(grey: npt.NDArray[np.uint8], orienter: Orienter, detector: Detector) -> PageDetections:
    look = look_at(grey)
    plain = detector.detect(grey, look)
    turned = orienter.turned(look)
    if turned == 0:
        return plain
    found = detector.detect(turn_page(grey, turned))
    # not on one network's word alone: turned the wrong way, most digits vanish
    if _sure(found) < _SHARE_LEFT * _sure(plain):
        return plain
    return turn_back(found, turned, grey.shape[1], grey.shape[0])


def _sure(found: PageDetections) -> float:
    """Return the summed score of the detections that leave little doubt."""
    return sum(detection.score for detection in found.detections if detection.score >= _SURE_BAR)
