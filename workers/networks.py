"""The networks of this process: each loads once, when the first page needs it, under a lock."""

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pipeline.errors import DeviceError, MissingError, SourceError
from pipeline.network_store import file_hash, network_file
from pipeline.settings import Settings
from pipeline.sorting import SORTER
from workers.app import CLASSIFY, DETECT

if TYPE_CHECKING:
    from models.loaded import Classifier, Detector, Judge, Orienter, Recogniser, Rescorer
    from models.sorting import Sorter


class _Named(Protocol):
    @property
    def sha256(self) -> str: ...


Loaded = TypeVar("Loaded", bound=_Named)

Load = Callable[[Path, str, int], Loaded]  # a checkpoint, the device, how many crops at a time
# the file of a checkpoint, by its kind and hash; FileNotFoundError where there is none
Find = Callable[[str, str], Path]


class Networks:
    """Loads the networks that the settings name, and gives them to pages that are to be read with them only.

    Others, of another run or a kind of page, are had by `find`; without it, from the store beside the
    database.
    """

    def __init__(self, settings: Settings, find: Find | None = None) -> None:
        lock = threading.Lock()
        find = find or (lambda kind, sha256: network_file(settings.networks, kind, sha256))

        def one(kind: str, file: Path | None, load: Load[Loaded]) -> OneNetwork[Loaded]:
            return OneNetwork(
                kind, file, lambda path: load(path, settings.device, settings.batch), lock, find
            )

        self.sorter = one(SORTER, None, _load_sorter)
        self.orienter = one("orienter", settings.orienter, _load_orienter)
        self.detector = one("detector", settings.detector, _load_detector)
        self.classifier = one("classifier", settings.classifier, _load_classifier)
        self.rescorer = one("rescorer", settings.rescorer, _load_rescorer)
        self.recogniser = one("recogniser", settings.recogniser, _load_recogniser)
        self.judge = one("judge", settings.judge, _load_judge)

    def load(self, stages: Collection[str]) -> None:
        """Load those that the settings name for these stages; MissingError if one can't be."""
        if DETECT in stages:
            self.orienter()
            self.detector()
        if CLASSIFY in stages:
            self.classifier()
            self.rescorer()
            self.recogniser()
            self.judge()


class OneNetwork(Generic[Loaded]):
    """One kind of network, which loads when it is first called for; some others are kept beside it.

    `file` is that of the settings, None where they name none.
    """

    def __init__(
        self,
        kind: str,
        file: Path | None,
        load: Callable[[Path], Loaded],
        lock: threading.Lock,
        find: Find,
    ) -> None:
        self._kind, self._file, self._load, self._lock, self._find = kind, file, load, lock, find
        self._own: Loaded | None = None
        self._others: dict[str, Loaded] = {}

    def __call__(self, sha256: str | None = None) -> Loaded:
        """Return the network, which has the hash that the page is to be read with, if one is named.

        Raises MissingError where weights can't be loaded, SourceError where those of the page are not here.
        """
        with self._lock:
            if self._own is None and self._file is not None:
                self._own = self._load(self._file)
            if self._own is not None and sha256 in (None, self._own.sha256):
                return self._own
            assert sha256 is not None, f"no {self._kind} is the usual one"
            return self._other(sha256)

    def _loaded(self, file: Path) -> Loaded:
        """Load another network than the usual one: what is wrong with it is wrong for its pages alone."""
        try:
            return self._load(file)
        except DeviceError:
            raise
        except MissingError as error:
            raise SourceError(f"the {self._kind} that the page is to be read with: {error}") from error

    def _other(self, sha256: str) -> Loaded:
        found = self._others.pop(sha256, None)
        if found is None:
            with suppress(FileNotFoundError):
                file = self._find(self._kind, sha256)
                if file_hash(file) == sha256:
                    found = self._loaded(file)
        if found is None:
            have = f", and the weights here are {self._own.sha256[:12]}" if self._own is not None else ""
            raise SourceError(
                f"the page was registered for the {self._kind} {sha256[:12]}, which is not here{have}: give"
                f" these weights, or `archive ingest --again` to read it with others"
            )
        self._others[sha256] = found  # the last one used stands last
        while len(self._others) > _OTHERS:
            self._others.pop(next(iter(self._others)))
        return found


_OTHERS = 32  # networks of other runs and of kinds of pages that are kept, of each kind of network

# torch takes seconds to import: only when a network is called for


def _load_sorter(file: Path, device: str, batch: int) -> "Sorter":
    from models.sorting import load_sorter

    return load_sorter(file, device, batch)


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
