"""The networks of this process: each loads once, when the first page needs it, under a lock."""

import threading
from typing import TYPE_CHECKING

from pipeline.errors import SourceError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from models.reader import Classifier, Detector, Orienter, Rescorer


class Networks:
    """Loads the networks that the settings name, and gives them to pages of their own run only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._orienter: Orienter | None = None
        self._detector: Detector | None = None
        self._classifier: Classifier | None = None
        self._rescorer: Rescorer | None = None

    def orienter(self, sha256: str | None = None) -> "Orienter":
        """Return the orienter; as `detector`."""
        with self._lock:
            if self._orienter is None:
                from models.reader import load_orienter

                self._orienter = load_orienter(self._settings.orienter, self._settings.device)
            _must_match("orienter", self._orienter.sha256, sha256)
            return self._orienter

    def detector(self, sha256: str | None = None) -> "Detector":
        """Return the detector, which must have the hash that the page's run names.

        Raises MissingError where the weights can't be loaded, SourceError where they are others.
        """
        with self._lock:
            if self._detector is None:
                from models.reader import load_detector  # torch takes seconds to import

                self._detector = load_detector(self._settings.detector, self._settings.device)
            _must_match("detector", self._detector.sha256, sha256)
            return self._detector

    def classifier(self, sha256: str | None = None) -> "Classifier":
        """Return the classifier; as `detector`."""
        with self._lock:
            if self._classifier is None:
                from models.reader import load_classifier

                self._classifier = load_classifier(self._settings.classifier, self._settings.device)
            _must_match("classifier", self._classifier.sha256, sha256)
            return self._classifier

    def rescorer(self, sha256: str | None = None) -> "Rescorer":
        """Return the rescorer; as `detector`."""
        with self._lock:
            if self._rescorer is None:
                from models.reader import load_rescorer

                self._rescorer = load_rescorer(self._settings.rescorer, self._settings.device)
            _must_match("rescorer", self._rescorer.sha256, sha256)
            return self._rescorer


def _must_match(kind: str, have: str, wanted: str | None) -> None:
    if wanted is not None and wanted != have:
        raise SourceError(
            f"the page was registered for the {kind} {wanted[:12]}, and the weights here are {have[:12]}:"
            " give the old weights, or `archive ingest --again` to read it with these"
        )
