"""Which sorter and paths the settings name: found, checked, and brought to where those who read find them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from cli.networks import Network, at_hand
from pipeline.database import reading
from pipeline.errors import MissingError, UsageError
from pipeline.form_files import FormFile
from pipeline.network_store import SHOWN_HASH, add, file_hash, network_file
from pipeline.page_paths import FoundNetwork, SorterAtHand, read_page_paths
from pipeline.runs import all_sortings
from pipeline.sharing import share_weights
from pipeline.sorting import SORTER, Sorting, networks_of
from pipeline.storage import Files

if TYPE_CHECKING:
    from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class NamedSorting:
    """A sorting, the files of its networks, by kind and SHA-256, and the forms of kinds of pages."""

    sorting: Sorting
    files: Mapping[tuple[str, str], Path]
    forms: Mapping[str, FormFile]

    def keep(self, folder: Path) -> None:
        """Keep its networks in the store, where an engine finds them; raises as `network_store.add`."""
        for (kind, sha256), file in self.files.items():
            add(folder, file, kind, sha256, name=file.stem, note="named by a sorter or a paths file")


def find_sorting(settings: "Settings") -> NamedSorting | None:
    """Return the sorting that the settings name; None where they name none.

    Raises UsageError or MissingError where the sorter is not to be had, SettingsError for a mistake in the
    paths file.
    """
    if not settings.sorter:
        if settings.paths is not None:
            raise UsageError(
                "--paths says what becomes of kinds of pages: name the sorter with --sorter, too"
            )
        return None
    finder = _Finder(settings)
    sorter = finder.find(SORTER, settings.sorter, Path())
    paths = read_page_paths(settings.paths, SorterAtHand(sorter.sha256, sorter.classes), finder.find)
    needed = networks_of(paths.sorting)
    files = {key: file for key, file in finder.files.items() if key in needed}
    return NamedSorting(paths.sorting, files, paths.forms)


class _Finder:
    """Finds networks by a file or by what people call them, and remembers where they are."""

    def __init__(self, settings: "Settings") -> None:
        self._networks = at_hand(settings).networks
        self.files: dict[tuple[str, str], Path] = {}

    def find(self, kind: str, word: str, folder: Path) -> FoundNetwork:
        """Return a network of this kind that loads; MissingError or UsageError where there is none."""
        from models.any_network import kind_of, load_any  # torch takes seconds to import
        from models.sorting import Sorter

        file = folder / word
        try:
            is_file = file.is_file()
        except OSError:  # no file has such a name
            is_file = False
        if not is_file:
            file = self._named(kind, word).file
        sha256 = file_hash(file)
        if sha256 is None:
            raise MissingError(f"{file}: can't be read")
        is_kind, _ = kind_of(file)
        if is_kind != kind:
            raise UsageError(f"{word} is a {is_kind}, not a {kind}")
        network = load_any(kind, file, "cpu")
        self.files[kind, sha256] = file
        return FoundNetwork(sha256, network.classes if isinstance(network, Sorter) else ())

    def _named(self, kind: str, word: str) -> Network:
        of_kind = [network for network in self._networks if network.kind == kind]
        found = [network for network in of_kind if network.name == word]
        found = found or [network for network in of_kind if network.sha256.startswith(word.lower())]
        if not found:
            names = ", ".join(dict.fromkeys(network.name for network in of_kind))
            have = f"there are {names}" if names else "there is none yet (`archive train sorter`)"
            raise MissingError(f"no file and no {kind} is called {word}; {have}")
        if len({network.sha256 for network in found}) > 1:
            hashes = ", ".join(network.sha256[:SHOWN_HASH] for network in found)
            raise UsageError(f"{word} may be one of several networks: {hashes}; give the hash")
        return found[0]


def share_sortings(db: Engine, settings: "Settings", files: Files) -> None:
    """Bring the networks of all sortings of the database to where workers find them, as far as they are here.

    A command without a broker may have sorted pages that workers are to read now.
    """
    with reading(db) as conn:
        needed = {key for sorting in all_sortings(conn) for key in networks_of(sorting)}
    here = {sha256: network_file(settings.networks, kind, sha256) for kind, sha256 in needed}
    share_weights(files, {sha256: file for sha256, file in here.items() if file_hash(file) == sha256})
