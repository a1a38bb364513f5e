"""Which networks there are: shipped, added, named by settings; which of them read now, and what they read."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import MissingError, UsageError
from pipeline.network_store import SHOWN_HASH, Card, file_hash, look_through, network_file
from pipeline.promotions import History, in_place, read_history, was_promoted
from pipeline.runs import Run, all_runs
from pipeline.settings import NETWORKS, STORED, Settings

READS, SHIPPED, ADDED, PROMOTED, WAS_PROMOTED = "reads now", "shipped", "added", "promoted", "was promoted"


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is at hand; `card` is None for one that was not added."""

    kind: str
    sha256: str
    file: Path
    name: str
    shipped: bool
    card: Card | None

    @property
    def id(self) -> str:
        """What people call it by."""
        return self.sha256[:SHOWN_HASH]


@dataclass(frozen=True, slots=True)
class AtHand:
    """All networks of this archive, by kind and then shipped, added (oldest first), named by a setting.

    `named` are the kinds that a setting names, `history` what was promoted.  By kind, `in_place` is the hash
    of what reads where no setting names one, `reads` of what reads now; a file that is missing has none.
    """

    networks: tuple[Network, ...]
    named: frozenset[str]
    history: History
    in_place: Mapping[str, str | None]
    reads: Mapping[str, str | None]

    def state(self, network: Network) -> str:
        """Return in a word or two what part a network has."""
        kind, sha256 = network.kind, network.sha256
        if sha256 == self.reads[kind]:
            return READS
        if sha256 == in_place(self.history.get(kind, ())):
            return PROMOTED  # and a setting goes before it
        if sha256 in was_promoted(self.history.get(kind, ())):
            return WAS_PROMOTED
        return SHIPPED if network.shipped else ADDED

    def find(self, word: str) -> Network:
        """Return the network that a word names: a kind (what reads now), the start of a hash, or a name.

        UsageError where there is none, or more than one.
        """
        if word in NETWORKS:
            found = [n for n in self.networks if n.kind == word and n.sha256 == self.reads[word]]
        else:
            found = [n for n in self.networks if n.name == word]
            found = found or [n for n in self.networks if word and n.sha256.startswith(word.lower())]
        if not found:
            raise UsageError(f"no network is called {word}; `archive models list` shows what there is")
        if len(found) > 1:
            several = ", ".join(f"{n.kind} {n.id}" for n in found)
            raise UsageError(f"{word} may be one of several networks: {several}; give more of the hash")
        return found[0]

    def called(self, kind: str, sha256: str | None) -> str:
        """Return a network's hash and name for people."""
        name = next((n.name for n in self.networks if (n.kind, n.sha256) == (kind, sha256)), None)
        short = "unknown" if sha256 is None else sha256[:SHOWN_HASH]
        return f"{kind} {short}" + (f" ({name})" if name else "")


def at_hand(settings: Settings, *, history: History | None = None) -> AtHand:
    """Return all networks; `settings` are those without promoted ones.

    `history` takes the place of the store's, which is not read then; without it MissingError where the
    store's is damaged.
    """
    named = frozenset(kind for kind in NETWORKS if kind in settings.model_fields_set)
    if history is None:
        history = read_history(settings.networks)
    cards = look_through(settings.networks, STORED).cards
    networks: list[Network] = []
    places: dict[str, str | None] = {}
    reads: dict[str, str | None] = {}
    for kind in STORED:
        shipped: Path | None = Settings.model_fields[kind].default if kind in NETWORKS else None
        own = None if shipped is None else file_hash(shipped)
        of_kind = {card.sha256: card for card in cards if card.kind == kind}
        if shipped is not None and own is not None:
            networks.append(Network(kind, own, shipped, shipped.stem, True, of_kind.get(own)))
        networks += [
            Network(kind, sha256, network_file(settings.networks, kind, sha256), card.name, False, card)
            for sha256, card in of_kind.items()
            if sha256 != own
        ]
        places[kind] = reads[kind] = in_place(history.get(kind, ())) or own
        if kind in named:
            file: Path = getattr(settings, kind)
            reads[kind] = sha256 = file_hash(file)
            if sha256 is not None and sha256 != own and sha256 not in of_kind:
                networks.append(Network(kind, sha256, file, file.stem, False, None))
    return AtHand(tuple(networks), named, history, places, reads)


def runs_of(settings: Settings) -> list[Run] | None:
    """Return the runs of the database; None where there is none yet."""
    from pipeline.database import open_database, reading

    with suppress(MissingError):
        db = open_database(settings.database_url, create=False)
        try:
            with reading(db) as conn:
                return all_runs(conn)
        finally:
            db.dispose()
    return None


def read_by(runs: Sequence[Run], network: Network) -> list[Run]:
    """Return the runs that a network took part in."""
    return [run for run in runs if run.networks.get(network.kind) == network.sha256]
