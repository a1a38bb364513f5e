"""The checks of `archive models verify`: every file whole, every network that read at hand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cli.checks import Check
from cli.networks import Network, at_hand, runs_of
from cli.terminal import counted
from pipeline.errors import ArchiveError, MissingError
from pipeline.network_store import SHOWN_HASH, file_hash, is_sha256, look_through, network_file
from pipeline.promotions import in_place, read_history
from pipeline.settings import NETWORKS, STORED, Settings
from pipeline.sharing import WEIGHTS
from pipeline.storage import Files

_ADD, _BACK = "add it again from a backup: archive models add FILE", "archive models rollback"


def every_network_check(settings: Settings) -> Iterator[Check]:
    """Look at one thing after the other; `settings` are those without promoted networks."""
    try:
        history = read_history(settings.networks)
    except MissingError as error:
        yield Check("promoted", "fail", str(error))
        history = {}
    promoted = {kind: sha256 for kind, events in history.items() if (sha256 := in_place(events))}
    known: set[str] = set()
    reported: set[str] = set()
    for network in _every_file(settings, at_hand(settings, history=history).networks):
        is_promoted = not network.shipped and promoted.get(network.kind) == network.sha256
        check = _file(network, is_promoted)
        (known if check.state == "ok" else reported).add(network.sha256)
        yield check
    yield from _missing(settings)
    yield from _of_shelf(settings, promoted)
    for kind, sha256 in promoted.items():
        file = network_file(settings.networks, kind, sha256)
        if not file.with_suffix(".json").exists():
            if file_hash(file) == sha256:
                yield Check(kind, "fail", f"{file}: its card is gone", f"archive models add {file}")
            else:
                reported.add(sha256)
                found = f"{sha256[:SHOWN_HASH]} is promoted, and neither it nor its card is there"
                yield Check(kind, "fail", found, f"{_ADD}, or {_BACK} {kind}")
    yield from _of_runs(settings, known, reported)


def checks_of(settings: Settings, needed: Mapping[tuple[str, str], int], *, load: bool) -> Iterator[Check]:
    """Look at each of these networks, by kind and SHA-256 with how many pages it read; `load` loads it too.

    `settings` are those without promoted networks.
    """
    there = {network.sha256: network for network in at_hand(settings, history={}).networks}
    for (kind, sha256), n_pages in needed.items():
        network = there.get(sha256)
        check = None if network is None else _file(network, False, load=load)
        if check is not None and check.state == "ok":
            yield check
        elif _is_shared(settings, sha256):
            yield Check(kind, "ok", f"{sha256[:SHOWN_HASH]}: workers' copy is whole")
        else:
            yield check or _not_at_hand(kind, sha256, n_pages)


def _every_file(settings: Settings, networks: Sequence[Network]) -> Iterator[Network]:
    """Yield each network, and once more where the store has a copy of a shipped one."""
    for network in networks:
        yield network
        if network.shipped and network.card is not None:
            file = network_file(settings.networks, network.kind, network.sha256)
            yield replace(network, file=file, shipped=False)


def _file(network: Network, is_promoted: bool, *, load: bool = True) -> Check:
    """Return whether a network's file has the bytes of its hash, and loads (unless not asked to)."""
    found = f"{network.id} {network.name}" + (", promoted" if is_promoted else "")
    mend = "install again" if network.shipped else _ADD
    if is_promoted:
        mend += f", or {_BACK} {network.kind}"
    now = file_hash(network.file)
    if now != network.sha256:
        trouble = "can't be read" if now is None else "has other bytes than its card says"
        return Check(network.kind, "fail", f"{found}: {network.file} {trouble}", mend)
    if not load:
        return Check(network.kind, "ok", f"{found}: whole")
    from models.any_network import load_any  # torch takes seconds to import

    try:
        load_any(network.kind, network.file, "cpu")
    except ArchiveError as error:
        return Check(network.kind, "fail", f"{found}: {error}", mend)
    return Check(network.kind, "ok", f"{found}: whole, loads")


def _of_shelf(settings: Settings, promoted: Mapping[str, str]) -> Iterator[Check]:
    """Return what of the store is no network with its card."""
    in_use = {network_file(settings.networks, kind, sha256) for kind, sha256 in promoted.items()}
    shelf = look_through(settings.networks, STORED)
    for file, reason in shelf.damaged:
        found, network = f"{file}: its card can't be read: {reason}", file.with_suffix(".safetensors")
        mend = f"archive models add {network}" if network.exists() else f"delete it, or {_ADD}"
        yield Check(file.parent.name, "fail", found, mend)
    for file in shelf.left_over:
        if file not in in_use:
            found = f"{file}: left by an add that was killed; nothing uses it"
            yield Check(file.parent.name, "warn", found, "add the network again, or delete the file")


def _missing(settings: Settings) -> Iterator[Check]:
    """Return which shipped networks, and which that a setting names, are not there."""
    for kind in NETWORKS:
        named: Path = getattr(settings, kind)
        if kind in settings.model_fields_set and file_hash(named) is None:
            yield Check(
                kind, "fail", f"{named}: a setting names it, and it can't be read", "mend the setting"
            )
        file: Path = Settings.model_fields[kind].default
        if file_hash(file) is None:
            yield Check(kind, "fail", f"{file}: the shipped one can't be read", "install again")


def _of_runs(settings: Settings, known: set[str], reported: set[str]) -> Iterator[Check]:
    """Return whether each network that pages were read with is at hand."""
    runs = runs_of(settings)
    if runs is None:
        return
    pages: dict[tuple[str, str], int] = {}
    for run in runs:
        for kind, sha256 in sorted(run.every_network):
            pages[kind, sha256] = pages.get((kind, sha256), 0) + run.n_done
    n_wrong = 0
    for (kind, sha256), n_pages in pages.items():
        if sha256 in known or _is_shared(settings, sha256):
            continue
        n_wrong += 1
        if sha256 not in reported:
            yield _not_at_hand(kind, sha256, n_pages)
    if not n_wrong:
        yield Check("runs", "ok", f"all {len(pages):,} networks of {counted(len(runs), 'run')} are at hand")


def _not_at_hand(kind: str, sha256: str, n_pages: int) -> Check:
    found = (
        f"{sha256[:SHOWN_HASH]} is not at hand, and {counted(n_pages, 'page was', 'pages were')} read with it"
    )
    return Check(kind, "fail", found, _ADD)


def _is_shared(settings: Settings, sha256: str) -> bool:
    """Tell whether workers' copy of a network is there, with the bytes of its hash."""
    if not is_sha256(sha256):
        return False
    files = Files(settings.files)
    here = files.local_path(WEIGHTS + sha256)
    return file_hash(here) == sha256 if here is not None else files.size(WEIGHTS + sha256) is not None
