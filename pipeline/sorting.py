"""How the pages of a run are sorted before they are read, and which path each kind of page takes.

A sorter says which kind a page is.  Sorters can stand in a chain: first the kind of document, then the kind
of page, which is then written `register/cover`.  A run keeps all of it, with networks by their hash, so that
it depends on no file that changes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SORTER = "sorter"  # the kind of network that a sorter is
BETWEEN = "/"  # stands between the kinds of a chain, so that no kind's name has it

End = Literal["skip", "person"]  # nothing reads the page; a person decides


@dataclass(frozen=True, slots=True)
class KindPath:
    """What becomes of pages of a kind; without anything said they are read by the usual networks.

    `networks` are those that read in place of the usual ones, by kind, their SHA-256.  `sorter` is a further
    sorter, of which `kinds` has every class; such a kind has no end and no networks: its kinds have them.
    """

    end: End | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    sorter: str | None = None
    kinds: Mapping[str, "KindPath"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sorting:
    """A sorter by its SHA-256, and the path of every class of it.

    A page goes to a person where a sorter's confidence is below `doubtful_below`.
    """

    sorter: str
    doubtful_below: float
    kinds: Mapping[str, KindPath]

    def path_of(self, kind: str) -> KindPath | None:
        """Return the path of a kind, written `register/cover` in a chain; None for one that isn't known.

        A kind that a further sorter divides is known too, though no page ends there.
        """
        kinds, path = self.kinds, None
        for name in kind.split(BETWEEN):
            if (path := kinds.get(name)) is None:
                return None
            kinds = path.kinds
        return path

    def final_kinds(self) -> tuple[str, ...]:
        """Return the kinds that a page can end in, by name; those that a further sorter divides are none."""
        return tuple(kind for kind, path in _walk(self.kinds) if path.sorter is None)


def networks_of(sorting: Sorting) -> frozenset[tuple[str, str]]:
    """Return all networks that a sorting needs, as (kind of network, SHA-256); sorters are of kind SORTER."""
    needed = {(SORTER, sorting.sorter)}
    for _, path in _walk(sorting.kinds):
        needed |= set(path.networks.items())
        if path.sorter is not None:
            needed.add((SORTER, path.sorter))
    return frozenset(needed)


def as_json(sorting: Sorting) -> dict[str, Any]:
    """Return a sorting as JSON, equal ones as equal text: ordered by name, and nothing that is empty."""
    return {
        "sorter": sorting.sorter,
        "doubtful_below": sorting.doubtful_below,
        "kinds": _kinds_as_json(sorting.kinds),
    }


def sorting_of(values: Mapping[str, Any]) -> Sorting:
    """Return the sorting that `as_json` made values of."""
    return Sorting(values["sorter"], values["doubtful_below"], _kinds_of(values["kinds"]))


def _walk(kinds: Mapping[str, KindPath], above: str = "") -> Iterator[tuple[str, KindPath]]:
    """Yield every kind as it is written, by name, each before its own kinds.

    By name and not in the order of the classes, which a run's JSON, whose keys are sorted, doesn't keep.
    """
    for name, path in sorted(kinds.items(), key=lambda item: item[0]):
        yield above + name, path
        yield from _walk(path.kinds, above + name + BETWEEN)


def _kinds_as_json(kinds: Mapping[str, KindPath]) -> dict[str, Any]:
    return {name: _path_as_json(kinds[name]) for name in sorted(kinds)}


def _path_as_json(path: KindPath) -> dict[str, Any]:
    values = {
        "end": path.end,
        "networks": dict(sorted(path.networks.items())),
        "sorter": path.sorter,
        "kinds": _kinds_as_json(path.kinds),
    }
    return {key: value for key, value in values.items() if value}


def _kinds_of(values: Mapping[str, Any]) -> dict[str, KindPath]:
    return {
        name: KindPath(
            path.get("end"),
            dict(path.get("networks", {})),
            path.get("sorter"),
            _kinds_of(path.get("kinds", {})),
        )
        for name, path in values.items()
    }
