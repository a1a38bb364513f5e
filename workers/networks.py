"""The networks of this process: each loads once, when the first page needs it, under a lock."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pipeline.errors import SourceError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from models.loaded import Classifier, Detector, Judge, Orienter, Recogniser, Rescorer


class _Named(Protocol):
    @property
    def sha256(self) -> str: ...


Loaded = TypeVar("Loaded", bound=_Named)


class Networks:
    """Loads the networks that the settings name, and gives them to pages of their own run only."""

    def __init__(self, settings: Settings) -> None:
        lock = threading.Lock()
        self.orienter = OneNetwork("orienter", lambda: _load_orienter(settings), lock)
        self.detector = OneNetwork("detector", lambda: _load_detector(settings), lock)
        self.classifier = OneNetwork("classifier", lambda: _load_classifier(settings), lock)
        self.rescorer = OneNetwork("rescorer", lambda: _load_rescorer(settings), lock)
        self.recogniser = OneNetwork("recogniser", lambda: _load_recogniser(settings), lock)
        self.judge = OneNetwork("judge", lambda: _load_judge(settings), lock)

    def load(self) -> None:
        """Load all of them; MissingError if one can't be."""
        self.orienter()
        self.detector()
        self.classifier()
        self.rescorer()
        self.recogniser()
        self.judge()


class OneNetwork(Generic[Loaded]):
    """One network, which loads when it is first called for."""

    def __init__(self, kind: str, load: Callable[[], Loaded], lock: threading.Lock) -> None:
        self._kind, self._load, self._lock = kind, load, lock
        self._loaded: Loaded | None = None

    def __call__(self, sha256: str | None = None) -> Loaded:
        """Return the network, which must have the hash that the page's run names, if it names one.

        Raises MissingError where the weights can't be loaded, SourceError where they are others.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
        have = self._loaded.sha256
        if sha256 is not None and sha256 != have:
            raise SourceError(
                f"the page was registered for the {self._kind} {sha256[:12]}, and the weights here are"
                f" {have[:12]}: give the old weights, or `archive ingest --again` to read it with these"
            )
        return self._loaded


# torch takes seconds to import: only when a network is called for


def _load_orienter(settings: Settings) -> "Orienter":
    from models.loaded import load_orienter

    return load_orienter(settings.orienter, settings.device)


def _load_detector(settings: Settings) -> "Detector":
    from models.loaded import load_detector

    return load_detector(settings.detector, settings.device)


def _load_classifier(settings: Settings) -> "Classifier":
    from models.loaded import load_classifier

    return load_classifier(settings.classifier, settings.device)


def _load_rescorer(settings: Settings) -> "Rescorer":
    from models.loaded import load_rescorer

    return load_rescorer(settings.rescorer, settings.device)


def _load_recogniser(settings: Settings) -> "Recogniser":
    from models.loaded import load_recogniser

    return load_recogniser(settings.recogniser, settings.device)


def _load_judge(settings: Settings) -> "Judge":
    from models.loaded import load_judge

    return load_judge(settings.judge, settings.device)
