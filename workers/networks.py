"""The networks of this process: each loads once, when the first page needs it, under a lock."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pipeline.errors import SourceError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from models.loaded import Classifier, Detector, Judge, Orienter, Recogniser, Rescorer


class _Named(Protocol):
    @property
    def sha256(self) -> str: ...


Loaded = TypeVar("Loaded", bound=_Named)

Load = Callable[[Path, str, int], Loaded]  # a checkpoint, the device, how many crops at a time
Find = Callable[[str], Path]  # the file of a checkpoint, by its hash; FileNotFoundError where there is none


class Networks:
    """Loads the networks that the settings name, and gives them to pages of their own run only.

    A run of other networks gets them by `find`, where many machines share them.
    """

    def __init__(self, settings: Settings, find: Find | None = None) -> None:
        lock = threading.Lock()

        def one(kind: str, file: Path, load: Load[Loaded]) -> OneNetwork[Loaded]:
            return OneNetwork(
                kind, file, lambda path: load(path, settings.device, settings.batch), lock, find
            )

        self.orienter = one("orienter", settings.orienter, _load_orienter)
        self.detector = one("detector", settings.detector, _load_detector)
        self.classifier = one("classifier", settings.classifier, _load_classifier)
        self.rescorer = one("rescorer", settings.rescorer, _load_rescorer)
        self.recogniser = one("recogniser", settings.recogniser, _load_recogniser)
        self.judge = one("judge", settings.judge, _load_judge)

    def load(self) -> None:
        """Load all of them; MissingError if one can't be."""
        self.orienter()
        self.detector()
        self.classifier()
        self.rescorer()
        self.recogniser()
        self.judge()


class OneNetwork(Generic[Loaded]):
    """One kind of network, which loads when it is first called for; some of other runs are kept beside it."""

    def __init__(
        self,
        kind: str,
        file: Path,
        load: Callable[[Path], Loaded],
        lock: threading.Lock,
        find: Find | None,
    ) -> None:
        self._kind, self._file, self._load, self._lock, self._find = kind, file, load, lock, find
        self._own: Loaded | None = None
        self._others: dict[str, Loaded] = {}

    def __call__(self, sha256: str | None = None) -> Loaded:
        """Return the network, which has the hash that the page's run names, if it names one.

        Raises MissingError where weights can't be loaded, SourceError where those of the run are not here.
        """
        with self._lock:
            if self._own is None:
                self._own = self._load(self._file)
            if sha256 in (None, self._own.sha256):
                return self._own
            return self._other(str(sha256), self._own.sha256)

    def _other(self, sha256: str, have: str) -> Loaded:
        found = self._others.pop(sha256, None)
        if found is None and self._find is not None:
            with suppress(FileNotFoundError):
                found = self._load(self._find(sha256))
        if found is None:
            raise SourceError(
                f"the page was registered for the {self._kind} {sha256[:12]}, and the weights here are"
                f" {have[:12]}: give the old weights, or `archive ingest --again` to read it with these"
            )
        self._others[sha256] = found  # the last one used stands last
        while len(self._others) > _OTHERS:
            self._others.pop(next(iter(self._others)))
        return found


_OTHERS = 2  # networks of other runs that are kept, of each kind

# torch takes seconds to import: only when a network is called for


def _load_orienter(file: Path, device: str, batch: int) -> "Orienter":
    from models.loaded import load_orienter

    return load_orienter(file, device, batch)


def _load_detector(file: Path, device: str, batch: int) -> "Detector":
    from models.loaded import load_detector

    return load_detector(file, device, batch)


def _load_classifier(file: Path, device: str, batch: int) -> "Classifier":
    from models.loaded import load_classifier

    return load_classifier(file, device, batch)


def _load_rescorer(file: Path, device: str, batch: int) -> "Rescorer":
    from models.loaded import load_rescorer

    return load_rescorer(file, device, batch)


def _load_recogniser(file: Path, device: str, batch: int) -> "Recogniser":
    from models.loaded import load_recogniser

    return load_recogniser(file, device, batch)


def _load_judge(file: Path, device: str, batch: int) -> "Judge":
    from models.loaded import load_judge

    return load_judge(file, device, batch)
