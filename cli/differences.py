"""What `archive compare` says: the runs there are, and what changed between two, for people and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cli.terminal import Column, print_table, print_wrapped, shown_path
from pipeline.network_store import SHOWN_HASH
from pipeline.sorting import SORTING

if TYPE_CHECKING:
    from pipeline.changes import Tally
    from pipeline.compared import Compared, LeftOut
    from pipeline.runs import NamedPage, Run

RUN_COLUMNS = (
    Column("RUN", right=True),
    Column("STARTED"),
    Column("PAGES DONE", right=True),
    Column("DIGITS", right=True),
    Column("NETWORK"),
    Column("SHA-256"),
    Column(""),
)
N_SAID = 5  # names in a line for people
Names = Mapping[int, "NamedPage"]


def print_runs(found: Sequence["Run"]) -> None:
    """Print runs as a table: a line a network, and which of them are not those of the run before."""
    print_table(RUN_COLUMNS, _run_lines(found))


def _run_lines(found: Sequence["Run"]) -> Iterable[Sequence[str]]:
    before: Run | None = None
    for run in found:
        its = (str(run.run_id), _day_and_time(run.started_at), f"{run.n_done:,}", f"{run.n_digits:,}")
        for kind, sha256 in run.networks.items():
            changed = before is not None and before.networks.get(kind) != sha256
            yield (*its, kind, sha256[:SHOWN_HASH], "changed" if changed else "")
            its = ("", "", "", "")
        before = run


def run_json(run: "Run") -> dict[str, Any]:
    """Return a run for programs."""
    return asdict(run)


def differing_networks(a: "Run", b: "Run") -> list[str]:
    """Return the kinds of the networks that differ, in the order in which they read."""
    kinds = {**a.networks, **b.networks}
    return [kind for kind in kinds if a.networks.get(kind) != b.networks.get(kind)]


def differences(a: "Run", b: "Run") -> list[str]:
    """Return in words how two runs differ, a sentence each: their networks, then their settings."""
    kinds = differing_networks(a, b)
    n_same = len({**a.networks, **b.networks}) - len(kinds)
    if not kinds:
        said = ["All networks are the same."]
    else:
        others = "; no other differs" if n_same else ""
        which = _listed([f"{kind} ({_hash(a, kind)} in A, {_hash(b, kind)} in B)" for kind in kinds])
        said = [f"B has another {which}{others}."]
    for name in {**a.settings, **b.settings}:
        before, after = a.settings.get(name), b.settings.get(name)
        if name == SORTING and before != after:
            both = before is not None and after is not None
            alone = "A" if after is None else "B"
            said.append("B sorts its pages otherwise." if both else f"{alone} alone sorts its pages.")
        elif before != after:
            said.append(f"The setting {name} is {_value(before)} in A, {_value(after)} in B.")
    return said


def print_comparison(a: "Run", b: "Run", found: "Compared", names: Names) -> None:
    """Print what changed from run A to run B."""
    tally = found.tally
    for letter, run in (("A", a), ("B", b)):
        print(f"{letter}: run {run.run_id} of {_day_and_time(run.started_at)}")
    for sentence in differences(a, b):
        print_wrapped("", sentence)
    print()
    rows = [
        ("pages compared", tally.n_pages, ""),
        *_left_out(f"pages that only run {a.run_id} has done", found.only_a, names),
        *_left_out(f"pages that only run {b.run_id} has done", found.only_b, names),
        *_left_out("pages of PDFs, rendered otherwise", found.other_dpi, names),
        ("digits of A", tally.n_a, _mean_said(tally.confidence_a, tally.n_a)),
        ("digits of B", tally.n_b, _mean_said(tally.confidence_b, tally.n_b)),
        ("  the same digit", tally.n_same, ""),
        ("  another digit", tally.n_another, ""),
        ("  only in A", tally.n_only_a, _moved_said(tally.n_moved_a)),
        ("  only in B", tally.n_only_b, _moved_said(tally.n_moved_b)),
        ("numbers", None, ""),
        ("  same text", tally.n_numbers_same, ""),
        ("  other text", tally.n_numbers_other, ""),
        ("  gone in B", tally.n_numbers_gone, ""),
        ("  new in B", tally.n_numbers_new, ""),
    ]
    width = max(len(name) for name, *_ in rows)
    count_width = max(len(f"{count:,}") for _, count, _ in rows if count is not None)
    for name, count, remark in rows:
        head = f"{name:<{width}}  {'' if count is None else f'{count:,}':>{count_width}}"
        if remark:
            print_wrapped(f"{head}  ", remark)
        else:
            print(head.rstrip())
    if tally.n_a + tally.n_b:
        print()
        _print_digits(tally)


def comparison_json(a: "Run", b: "Run", found: "Compared", names: Names) -> dict[str, Any]:
    """Return the same for programs, every count in full."""
    tally = found.tally
    return {
        "run_a": run_json(a),
        "run_b": run_json(b),
        "differing_networks": differing_networks(a, b),
        "pages": {
            "n_compared": tally.n_pages,
            "n_only_a": found.only_a.n_pages,
            "n_only_b": found.only_b.n_pages,
            "n_other_dpi": found.other_dpi.n_pages,
            "only_a": _named_json(found.only_a, names),
            "only_b": _named_json(found.only_b, names),
            "other_dpi": _named_json(found.other_dpi, names),
        },
        "digits": {
            "n_a": tally.n_a,
            "n_b": tally.n_b,
            "n_same": tally.n_same,
            "n_another": tally.n_another,
            "n_only_a": tally.n_only_a,
            "n_only_b": tally.n_only_b,
            "n_moved_a": tally.n_moved_a,
            "n_moved_b": tally.n_moved_b,
            "mean_confidence_a": _mean(tally.confidence_a, tally.n_a),
            "mean_confidence_b": _mean(tally.confidence_b, tally.n_b),
            "table": tally.digits.tolist(),
        },
        "numbers": {
            "n_same": tally.n_numbers_same,
            "n_other": tally.n_numbers_other,
            "n_gone": tally.n_numbers_gone,
            "n_new": tally.n_numbers_new,
        },
    }


def short_count(n: int) -> str:
    """Return a count in five columns at most; nothing for none.

    >>> short_count(0), short_count(99999), short_count(123456), short_count(34567890)
    ('.', '99999', '123k', '34M')
    """
    if n < 100_000:
        return str(n or ".")
    return f"{n // 1000}k" if n < 1_000_000 else f"{n // 1_000_000}M"


def _print_digits(tally: "Tally") -> None:
    """Print the table of digits, in 71 columns at most: A's in rows, B's in columns."""
    titles = [*(str(digit) for digit in range(10)), "none"]
    rows = [[short_count(n) for n in row] for row in tally.digits.tolist()]
    width = max(len(cell) for row in (titles, *rows) for cell in row)
    for title, row in zip(["A \\ B", *titles], [titles, *rows], strict=True):
        print(f"{title:>5}", *(f"{cell:>{width}}" for cell in row))


def _left_out(what: str, pages: "LeftOut", names: Names) -> Iterable[tuple[str, int, str]]:
    if pages.n_pages:
        said = [f"{shown_path(name.path)}:{name.page}" for name in _names(pages, names)[:N_SAID]]
        yield what, pages.n_pages, ", ".join(said) + (", …" if pages.n_pages > len(said) else "")


def _named_json(pages: "LeftOut", names: Names) -> list[dict[str, Any]]:
    return [{"document": name.path, "page": name.page} for name in _names(pages, names)]


def _names(pages: "LeftOut", names: Names) -> list["NamedPage"]:
    return [names[page_id] for page_id in pages.page_ids]


def _mean(total: float, n: int) -> float | None:
    return round(total / n, 6) if n else None


def _mean_said(total: float, n: int) -> str:
    return f"mean confidence {total / n:.4f}" if n else ""


def _moved_said(n: int) -> str:
    return f"of these {n:,} in numbers that read the same" if n else ""


def _hash(run: "Run", kind: str) -> str:
    return run.networks[kind][:SHOWN_HASH] if kind in run.networks else "none"


def _value(value: object) -> str:
    return "not set" if value is None else str(value)


def _listed(words: Sequence[str]) -> str:
    """Return words as people list them.

    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _day_and_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
