"""Which path a page takes by its kind: the file of `archive ingest --paths`, checked when it is loaded.

Each mistake is a SettingsError of one line with the line of the file it is on (`pipeline/toml_files.py`).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import MissingError, SettingsError, UsageError
from pipeline.form_files import FormFile, load_form
from pipeline.network_store import SHOWN_HASH
from pipeline.paths import printable
from pipeline.settings import NETWORKS
from pipeline.sorting import BETWEEN, SORTER, KindPath, Sorting
from pipeline.toml_files import Keys, TomlFile, hint, read_toml

DOUBTFUL_BELOW = 0.8  # where the file says nothing
_KEYS = ("doubtful_below", "kinds")
_FORM = "form"
_KEYS_OF_KIND = ("path", "sorter", "kinds", _FORM, *NETWORKS)
_PATHS = ("skip", "person", "read")


@dataclass(frozen=True, slots=True)
class SorterAtHand:
    """A sorter and its classes."""

    sha256: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A network that a word of the file names; `classes` are a sorter's, of others none."""

    sha256: str
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PagePaths:
    """How pages are sorted, and the forms of kinds.

    Forms are no part of a run: one may change, and nothing is read anew.
    """

    sorting: Sorting
    forms: Mapping[str, FormFile] = field(default_factory=dict)


# (kind of network or SORTER, word, folder): the network of that kind that the word names, a file relative to
# the folder or one of the store; MissingError or UsageError where there is none
Find = Callable[[str, str, Path], FoundNetwork]


def read_page_paths(file: Path | None, sorter: SorterAtHand, find: Find) -> PagePaths:
    """Return how pages are sorted by `sorter`, and what `file` says of each of its kinds.

    Without a file, and for kinds that it doesn't name, pages are read by the usual networks.  Networks and
    form of a kind that a further sorter divides are those of all its kinds that don't name others.  Raises
    SettingsError.
    """
    if wrong := _odd(sorter.sha256[:SHOWN_HASH], sorter.classes):
        raise SettingsError(printable(wrong))
    if file is None:
        usual = {kind: KindPath() for kind in sorter.classes}
        return PagePaths(Sorting(sorter.sha256, DOUBTFUL_BELOW, usual))
    toml = read_toml(file)
    values = toml.values
    toml.refuse_unknown((), values, _KEYS)
    below = values.get("doubtful_below", DOUBTFUL_BELOW)
    if isinstance(below, bool) or not isinstance(below, int | float) or not 0 <= below <= 1:
        raise toml.wrong(("doubtful_below",), f"doubtful_below is {below!r}, not a number from 0 to 1")
    paths = _PathsFile(toml, find)
    kinds = paths.kinds(("kinds",), values.get("kinds", {}), sorter, (sorter.sha256,), _Read({}))
    return PagePaths(Sorting(sorter.sha256, float(below), kinds), paths.forms)


@dataclass(frozen=True, slots=True)
class _Read:
    """What pages are read by: networks in place of the usual ones, and a form."""

    networks: Mapping[str, str]
    form: FormFile | None = None


@dataclass(frozen=True, slots=True)
class _PathsFile:
    toml: TomlFile
    find: Find
    forms: dict[str, FormFile] = field(default_factory=dict)  # of the kinds so far, as they are written

    def kinds(
        self, keys: Keys, given: Any, sorter: SorterAtHand, above: Keys, read: _Read
    ) -> dict[str, KindPath]:
        """Return the path of every kind of a sorter.

        `given` is what stands at `keys`, `above` has the sorters of the chain so far, this one included, and
        `read` is what the kind above says.
        """
        self.toml.refuse_other_than_table(keys, given)
        for kind in given:
            if kind not in sorter.classes:
                in_chain = f"; write it {'.'.join((*keys, kind.replace(BETWEEN, '.kinds.')))}"
                meant = in_chain if BETWEEN in kind else hint(kind, sorter.classes)
                raise self.toml.wrong((*keys, kind), f"unknown kind {kind!r}{meant}")
        return {kind: self.kind((*keys, kind), given.get(kind, {}), above, read) for kind in sorter.classes}

    def kind(self, keys: Keys, given: Any, above: Keys, read: _Read) -> KindPath:
        """Return the path of one kind, and note its form."""
        self.toml.refuse_other_than_table(keys, given)
        self.toml.refuse_unknown(keys, given, _KEYS_OF_KIND)
        path = given.get("path", "read")
        if path not in _PATHS:
            raise self.toml.wrong((*keys, "path"), f"path is {path!r}, not skip, person or read")
        if path != "read" and (useless := [key for key in given if key in (SORTER, _FORM, *NETWORKS)]):
            raise self.toml.wrong(
                (*keys, "path"),
                f"path is {path!r}, so that {useless[0]} has no use: leave out one of the two",
            )
        if "kinds" in given and SORTER not in given:
            raise self.toml.wrong((*keys, "kinds"), f"kinds of {keys[-1]!r} need a sorter that tells them")
        own = {name: self.network((*keys, name), given[name]).sha256 for name in NETWORKS if name in given}
        form = self.form((*keys, _FORM), given[_FORM]) if _FORM in given else read.form
        read = _Read({**read.networks, **own}, form)
        if path != "read":
            return KindPath(path)
        if SORTER not in given:
            if form is not None:
                self.forms[BETWEEN.join(keys[1::2])] = form  # without `kinds`, which stands before each
            return KindPath(networks=read.networks)
        found = self.network((*keys, SORTER), given[SORTER])
        wrong = _odd(repr(given[SORTER]), found.classes)
        if found.sha256 in above:
            wrong = f"sorter {given[SORTER]!r} has sorted these pages already: it stands above in this chain"
        if wrong:
            raise self.toml.wrong((*keys, SORTER), wrong)
        further = SorterAtHand(found.sha256, found.classes)
        kinds = self.kinds((*keys, "kinds"), given.get("kinds", {}), further, (*above, found.sha256), read)
        return KindPath(sorter=found.sha256, kinds=kinds)

    def network(self, keys: Keys, word: Any) -> FoundNetwork:
        """Return the network that a word names; the last key says its kind."""
        if not _is_word(word):
            raise self.toml.wrong(keys, f"{keys[-1]} is {word!r}, not a file or the name of a network")
        try:
            return self.find(keys[-1], word, self.toml.file.parent)
        except (MissingError, UsageError) as error:
            raise self.toml.wrong(keys, str(error)) from error

    def form(self, keys: Keys, word: Any) -> FormFile:
        """Return the form in the file that a word names."""
        if not _is_word(word):
            raise self.toml.wrong(keys, f"form is {word!r}, not a file")
        try:
            return load_form(self.toml.file.parent / word)
        except SettingsError as error:
            raise self.toml.wrong(keys, str(error)) from error


def _is_word(word: Any) -> bool:
    return isinstance(word, str) and bool(word) and "\0" not in word  # no file's name has that


def _odd(sorter: str, classes: Collection[str]) -> str:
    """Return what is wrong with the names of a sorter's classes; nothing where all can be kinds."""
    wrong = [name for name in classes if BETWEEN in name or not name.isprintable() or not name.strip()]
    if not wrong and len(set(classes)) == len(classes):
        return ""
    why = "is no name for people" if wrong else "stands there twice"
    if wrong and BETWEEN in wrong[0]:
        why = f"has a {BETWEEN}, which stands between the kinds of a chain"
    name = wrong[0] if wrong else next(name for name in classes if list(classes).count(name) > 1)
    return f"sorter {sorter}: its class {name!r} {why}; train it with another name"
