"""What `archive models list` and `archive models show` print."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cli.networks import AtHand, Network, read_by, runs_of
from cli.terminal import SCHEMA_VERSION, Column, counted, print_json, print_table, print_wrapped
from pipeline.network_store import SHOWN_HASH
from pipeline.promotions import PROMOTED, Event
from pipeline.runs import Run
from pipeline.settings import Settings

_COLUMNS = (
    Column("KIND"),
    Column("ID"),
    Column("NAME", shortened=True),
    Column("STATE"),
    Column("ADDED"),
    Column("PAGES", right=True),
)


def print_networks(settings: Settings, every: AtHand, *, as_json: bool) -> None:
    """Print a line a network, with the pages it read where there is a database."""
    runs = runs_of(settings)
    if as_json:
        values = [_brief(every, network, runs) for network in every.networks]
        print_json({"schema_version": SCHEMA_VERSION, "networks": values})
        return
    print_table(
        _COLUMNS,
        (
            (
                network.kind,
                network.id,
                network.name,
                every.state(network),
                _added(network),
                "–" if runs is None else f"{sum(run.n_done for run in read_by(runs, network)):,}",
            )
            for network in every.networks
        ),
    )


def print_network(settings: Settings, every: AtHand, network: Network, *, as_json: bool) -> None:
    """Print all that is known of a network; MissingError where its checkpoint can't be read."""
    from models.any_network import kind_of

    runs = runs_of(settings)
    metadata = asdict(kind_of(network.file)[1])
    events = [event for event in every.history.get(network.kind, ()) if _concerns(event, network)]
    read = None if runs is None else read_by(runs, network)
    if as_json:
        value = _brief(every, network, runs) | {
            "file": str(network.file),
            "card": None if network.card is None else asdict(network.card),
            "checkpoint": metadata,
            "history": [asdict(event) for event in events],
            "runs": None
            if read is None
            else [
                {
                    "run": run.run_id,
                    "started_at": run.started_at,
                    "n_pages": run.n_done,
                    "n_digits": run.n_digits,
                }
                for run in read
            ],
        }
        print_json({"schema_version": SCHEMA_VERSION, "network": value})
        return
    print(f"{every.called(network.kind, network.sha256)}, {every.state(network)}")
    _say("file", str(network.file))
    _say("sha256", network.sha256)
    if network.card is not None:
        _say("added", f"{_time(network.card.added)}, from {network.card.source}")
        _say("note", network.card.note)
    for key in ("recipe", "commit"):
        _say(key, metadata[key])
    _say("learned", ", ".join(metadata["data"]))
    _say("config", _listed(metadata["config"]))
    _say("metrics", _listed(metadata["metrics"]))
    for event in events:
        _say("history", _told(every, network, event))
    _say("read", _what(read))
    for run in read or ():
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started_at))
        of = f"{counted(run.n_done, 'page')}, {counted(run.n_digits, 'digit')}"
        _say("", f"run {run.run_id} of {began}: {of}")


def _brief(every: AtHand, network: Network, runs: Sequence[Run] | None) -> dict[str, Any]:
    read = None if runs is None else read_by(runs, network)
    return {
        "kind": network.kind,
        "sha256": network.sha256,
        "name": network.name,
        "state": every.state(network),
        "shipped": network.shipped,
        "added": None if network.card is None else network.card.added,
        "n_runs": None if read is None else len(read),
        "n_pages": None if read is None else sum(run.n_done for run in read),
        "n_digits": None if read is None else sum(run.n_digits for run in read),
    }


def _added(network: Network) -> str:
    if network.card is not None and not network.shipped:
        return network.card.added[:10]
    return "shipped" if network.shipped else "by setting"


def _say(head: str, text: str) -> None:
    if text:
        print_wrapped(f"  {head:<8} ", text)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    is_hash = isinstance(value, str) and len(value) == 64
    return value[:SHOWN_HASH] if is_hash else str(value)


def _concerns(event: Event, network: Network) -> bool:
    return network.sha256 in (event.sha256, event.replaced)


def _told(every: AtHand, network: Network, event: Event) -> str:
    at = _time(event.at)
    if event.action != PROMOTED:
        if event.replaced == network.sha256:
            return f"{at} taken back"
        return f"{at} reads again, instead of {every.called(network.kind, event.replaced)}"
    if event.sha256 != network.sha256:
        return f"{at} replaced by {every.called(network.kind, event.sha256)}"
    told = f"{at} promoted"
    if event.replaced != network.sha256:
        told += f", instead of {every.called(network.kind, event.replaced)}"
    for test in event.figures.get("tests", ()):
        cells, f1 = test["cells"], test["f1"]
        told += (
            f"; on {test['n_pages']} pages of {event.figures['on']} against {_short(test['old'])}: cells"
            f" {cells['n_old']:,} → {cells['n_new']:,} of {cells['n']:,} (p = {cells['p']:.2g}),"
            f" F1 {f1['old']:.4f} → {f1['new']:.4f}"
        )
    return told


def _time(at: str) -> str:
    """Return a time of the store for people."""
    return at[:16].replace("T", " ") + " UTC"


def _what(read: Sequence[Run] | None) -> str:
    if read is None:
        return "there is no database yet"
    n_pages, n_digits = sum(run.n_done for run in read), sum(run.n_digits for run in read)
    return f"{counted(n_pages, 'page')}, {counted(n_digits, 'digit')} in {counted(len(read), 'run')}"
