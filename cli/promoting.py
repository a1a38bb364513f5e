"""`archive models promote`: two networks read the same transcribed pages; the better one reads on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cli.networks import AtHand, Network
from cli.report import columns, rounded, shown
from cli.terminal import SCHEMA_VERSION, counted, print_json, print_table, say
from cli.truths import read_truths
from models.any_network import kind_of, with_network
from models.checkpoint import Metadata
from models.evaluation import EvaluatedPage
from models.paired_evaluation import evaluate_by_each, paired
from models.whole import load_chain
from pipeline.errors import PagesFailedError, QualityError, UsageError
from pipeline.network_store import SHOWN_HASH, add
from pipeline.paired import Comparison, Pairs, compare
from pipeline.promotions import in_place, promote, promoted_files
from pipeline.settings import NETWORKS, Settings
from pipeline.transcriptions import read_lines, require_transcribed


@dataclass(frozen=True, slots=True)
class Wish:
    """A network that is to read from now on, the pages it must be better on, and by what.

    `only_option`: an option of this command alone names the network of its kind that reads now.
    """

    network: Network
    folder: Path
    by: str | None
    p_bar: float
    dry_run: bool
    only_option: bool
    as_json: bool


@dataclass(frozen=True, slots=True)
class Tested:
    """How the network that is to read compares with another; `refusal` is empty where it may replace it."""

    old: str  # the other's hash
    comparison: Comparison
    by: str
    refusal: str


def promote_if_better(settings: Settings, plain: Settings, every: AtHand, wish: Wish) -> None:
    """Measure, print, and promote; QualityError where the network is refused.

    `settings` are those in force, `plain` the same without promoted networks.  Raises SourceError where the
    folder holds no truth, PagesFailedError where one of its pages can't be read, BusyError.
    """
    new = wish.network
    promoted = in_place(every.history.get(new.kind, ()))
    others = _others(settings, every, new)
    if new.sha256 == promoted or not others:
        if wish.as_json:
            print_json(_as_json(wish, [], taken=False))
        say(f"{every.called(new.kind, new.sha256)} is in place already: nothing to do")
        _tell_setting(plain, every, wish)
        return
    tests = _measured(settings, wish, others)
    refusals = [test.refusal for test in tests if test.refusal]
    if not wish.as_json:
        _print(every, wish, tests)
    elif refusals or wish.dry_run:
        print_json(_as_json(wish, tests, taken=False))
    metadata = kind_of(new.file)[1]
    _tell_about(settings, every, wish, metadata)
    name = f"{new.kind} {new.id} ({new.name})"
    if refusals:
        raise QualityError(f"{name} is refused: {'; '.join(refusals)}")
    if wish.dry_run:
        say(f"{name} would be promoted")
        return
    add(plain.networks, new.file, new.kind, new.sha256, name=new.name, note="")
    figures = {"on": str(wish.folder.resolve()), "p_bar": wish.p_bar, "tests": [_figures(t) for t in tests]}
    replaced = every.in_place[new.kind] or others[0][0]
    promote(plain.networks, new.kind, new.sha256, over=promoted, replaced=replaced, figures=figures)
    if wish.as_json:  # not before it is so
        print_json(_as_json(wish, tests, taken=True))
    say(f"{name} is promoted")
    _tell_setting(plain, every, wish)


def tell_who_reads(settings: Settings, every: AtHand, kind: str) -> None:
    """Say which network of a kind reads from now on; `settings` are those without promoted networks."""
    if kind in every.named:
        say(
            f"the setting {kind} names {getattr(settings, kind)}, which goes before: without it"
            f" {every.called(kind, every.in_place[kind])} reads"
        )
    else:
        say(f"{every.called(kind, every.reads[kind])} reads from now on")


def _others(settings: Settings, every: AtHand, new: Network) -> list[tuple[str, Path]]:
    """Return the hashes and files of the networks that the new one must be better than.

    That is the one that reads now, and where a setting names that, also the one that the new one replaces.
    """
    shipped: Path = Settings.model_fields[new.kind].default
    behind = promoted_files(settings.networks, [new.kind]).get(new.kind, shipped)
    both = (
        (every.reads[new.kind], getattr(settings, new.kind)),
        (every.in_place[new.kind], behind),
    )
    found = {sha256: file for sha256, file in reversed(both) if sha256 is not None and sha256 != new.sha256}
    return list(reversed(found.items()))


def _measured(settings: Settings, wish: Wish, others: Sequence[tuple[str, Path]]) -> list[Tested]:
    """Return how the new network compares with each of the others."""
    items = require_transcribed(wish.folder)
    kind = wish.network.kind
    # the one that reads now first: it is in the chain as that is loaded
    now = load_chain(settings.model_copy(update={kind: others[0][1]}))
    files = [*(file for _, file in others[1:]), wish.network.file]
    chains = [now, *(with_network(now, kind, file, settings.device) for file in files)]

    def read(image: Path, grey: npt.NDArray[np.uint8], transcription: Path) -> tuple[EvaluatedPage, ...]:
        return evaluate_by_each(chains, grey, read_lines(transcription))

    pages = [page for page in read_truths(items, settings, read) if page is not None]
    if len(pages) < len(items):
        raise PagesFailedError(
            f"{counted(len(items) - len(pages), 'page')} of {wish.folder} can't be read: mend or remove them,"
            " so that all is measured that was named"
        )
    tests = []
    for place, (sha256, _) in enumerate(others):
        comparison = compare([paired(page[place], page[-1]) for page in pages])
        by = wish.by or ("cells" if comparison.cells.n else "digits")
        pairs = comparison.cells if by == "cells" else comparison.digits
        if not pairs.n:
            raise UsageError(f"{wish.folder} has no {by} to measure by")
        refusal = comparison.refusal(by, wish.p_bar, sha256[:SHOWN_HASH])
        tests.append(Tested(sha256, comparison, by, refusal))
    return tests


def _print(every: AtHand, wish: Wish, tests: Sequence[Tested]) -> None:
    kind = wish.network.kind
    for place, test in enumerate(tests):
        found = test.comparison
        print(("\n" if place else "") + f"new  {kind} {wish.network.id} ({wish.network.name})")
        reads = "reads now" if test.old == every.reads[kind] else "in place where no setting names one"
        print(f"old  {every.called(kind, test.old)}, {reads}")
        print(f"read on {counted(found.n_pages, 'page')} of {wish.folder}\n")
        heads = ("all", "old right", "new right", "only old", "only new", "p")
        rows = [("number cells", found.cells), ("digits", found.digits)]
        print_table(columns("read right", *heads), [_row(name, pairs) for name, pairs in rows if pairs.n])
        f1 = found.f1
        bounds = (f"{f1.new - f1.old:+.4f}", f"{f1.low:+.4f}", f"{f1.high:+.4f}")
        print()
        print_table(
            columns("", "old", "new", "difference", "95 % from", "to"),
            [("digits, F1", shown(f1.old), shown(f1.new), *bounds)],
        )


def _row(name: str, pairs: Pairs) -> tuple[str, ...]:
    counts = (pairs.n, pairs.n_old, pairs.n_new, pairs.n_only_old, pairs.n_only_new)
    return (name, *(f"{count:,}" for count in counts), f"{pairs.p:.2g}")


def _tell_about(settings: Settings, every: AtHand, wish: Wish, metadata: Metadata) -> None:
    """Say what a person must know who lets this network read, beside the figures."""
    new, measured_on = wish.network, wish.folder.resolve().name
    if measured_on in metadata.data:
        say(f"note: it may have learned from these pages: its checkpoint names {measured_on}")
    fitted = metadata if new.kind == "classifier" else kind_of(settings.classifier)[1]
    if not fitted.confidence:
        say("note: the classifier has no fitted confidence; `archive train confidence` gives it one")
        return
    if "confidence of" in fitted.metrics:
        say(
            f"note: its confidence is that of {fitted.metrics['confidence of'][:SHOWN_HASH]}, from which it"
            " went on; `archive train confidence` fits its own"
        )
    reads = {**every.reads, new.kind: new.sha256}
    others = [kind for kind in NETWORKS if fitted.metrics.get(f"with {kind}", reads[kind]) != reads[kind]]
    if others:
        say(
            f"note: the classifier's confidence was fitted with another {', '.join(others)};"
            " `archive train confidence` fits it anew"
        )


def _tell_setting(plain: Settings, every: AtHand, wish: Wish) -> None:
    """Say where a setting goes before what is promoted."""
    kind = wish.network.kind
    if kind not in every.named:
        return
    if wish.only_option:
        say(f"--{kind} was for this command; where no setting names a {kind}, {wish.network.id} reads")
    else:
        say(
            f"the setting {kind} names {getattr(plain, kind)}, which goes before: take it away, and"
            f" {wish.network.id} reads"
        )


def _as_json(wish: Wish, tests: Sequence[Tested], *, taken: bool) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": wish.network.kind,
        "new": wish.network.sha256,
        "on": str(wish.folder),
        "p_bar": wish.p_bar,
        "tests": [_figures(test) | {"refusal": test.refusal or None} for test in tests],
        "better": bool(tests) and not any(test.refusal for test in tests),
        "promoted": taken,
    }


def _figures(test: Tested) -> dict[str, Any]:
    found = test.comparison

    def of(pairs: Pairs) -> dict[str, Any]:
        return asdict(pairs) | {"n_old": pairs.n_old, "n_new": pairs.n_new, "p": pairs.p}

    return {
        "old": test.old,
        "n_pages": found.n_pages,
        "by": test.by,
        "cells": of(found.cells),
        "digits": of(found.digits),
        "f1": {name: rounded(value) for name, value in asdict(found.f1).items()},
    }
