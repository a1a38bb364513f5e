"""Transcribed pages as labelled pages, by their ink alone or with what the networks see on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cli.terminal import say
from models.scale import DIGIT_PX
from pipeline.alignment import Candidates
from pipeline.errors import SourceError
from pipeline.ink import ink_map
from pipeline.labels import LABEL_DIGIT_PX, Ink, LabelledPage, label_page, label_scale, lines_with_digits
from pipeline.paths import path_to_text, printable
from pipeline.settings import Settings
from pipeline.sources import probe, read_page
from pipeline.transcriptions import read_lines, require_transcribed

if TYPE_CHECKING:
    from models.loaded import Classifier, Detector


@dataclass(frozen=True, slots=True)
class Networks:
    """What labels are aligned with."""

    detector: "Detector"
    classifier: "Classifier"

    def scale_of(self, grey: npt.NDArray[np.uint8]) -> float:
        """Return the scale that brings the digits of a page, uint8 (H, W), to the labels' size."""
        return self.detector.scale_of(grey) * LABEL_DIGIT_PX / DIGIT_PX

    def look(self, ink: Ink, written: Ink) -> Candidates:
        """Return what the networks see on an ink map where digits are written."""
        from models.candidates import find_candidates  # torch takes seconds to import

        return find_candidates(ink, written, self.detector, self.classifier)


@dataclass(slots=True)
class Transcribed:
    """Page images with their transcriptions; those that can't be read go on `failed` and are named.

    Without networks only lines that are all number are labelled.
    """

    pairs: Sequence[tuple[Path, Path]]
    max_pixels: int
    networks: Networks | None
    failed: list[Path] = field(default_factory=list)

    def pages(self) -> Iterator[LabelledPage]:
        """Yield the pages with their labels."""
        for image, transcription in self.pairs:
            try:
                page = self._label(image, transcription)
            except SourceError as error:
                say(str(error))
                self.failed.append(image)
            else:
                yield page

    def _label(self, image: Path, transcription: Path) -> LabelledPage:
        lines = read_lines(transcription)
        try:
            format = probe(image, max_pixels=self.max_pixels).format
            grey = read_page(image, format, None, 0, max_pixels=self.max_pixels, render_dpi=300)
        except SourceError as error:
            raise SourceError(f"{printable(path_to_text(image))}: {error}") from error
        networks = self.networks
        scale = networks.scale_of(grey) if networks else label_scale(grey.shape[1], grey.shape[0])
        ink = ink_map(grey, scale)
        collection = printable(path_to_text(image.parent.resolve().name)) or "pages"
        name = f"{collection}-{printable(path_to_text(image.stem))}"
        found = networks.look(ink, lines_with_digits(ink.shape, lines, scale)) if networks else None
        return label_page(name, ink, lines, scale, found, collection)


def find_pages(paths: Sequence[Path], settings: Settings, *, ink_only: bool) -> Transcribed:
    """Return the transcribed pages under some paths; SourceError where there are none, MissingError."""
    pairs = require_transcribed(*paths)
    return Transcribed(pairs, settings.max_pixels, None if ink_only else _networks(settings))


def _networks(settings: Settings) -> Networks:
    from models.loaded import load_classifier, load_detector

    return Networks(
        load_detector(settings.detector, settings.device),
        load_classifier(settings.classifier, settings.device),
    )
