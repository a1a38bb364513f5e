"""What `archive threshold` found out: tables and advice for people, JSON for programs, files in a folder."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli.accepting import Accepted, Chosen
from cli.output import replacing
from cli.report import columns, rounded
from cli.terminal import SCHEMA_VERSION, counted, print_table, print_wrapped
from pipeline.contact_sheets import draw_sheet
from pipeline.errors import OutputError
from pipeline.plots import draw_trade_off
from pipeline.thresholds import least_kept

# a hand or a form is on one or two pages of so few, and the pages still to come have others
FEW_PAGES = 10
N_SURELY_WRONG = 48  # so many fit on a sheet
_CSV_TITLES = ("kind", "threshold", "found", "kept", "kept_share", "right", "right_of_kept")


def print_accepted(accepted: Accepted) -> None:
    """Print the tables on stdout, and below them what is missing and how a threshold is used."""
    n_first, n_second = map(len, accepted.halves)
    titles = columns("", "threshold", "found", "kept", "of found", "right", "of kept")
    print(f"Accepted without a person, {_percent(accepted.target)} of it right, by {_pages(accepted)}")
    print_table(titles, [_row(kind, each.whole) for kind, each in accepted.kinds.items()])
    print("\nDoes it hold? Fitted and chosen on one half of the pages, used on the other")
    ways = (f"{n_first} → {counted(n_second, 'page')}", f"{n_second} → {counted(n_first, 'page')}")
    print_table(
        titles,
        [
            _row(f"{kind}, {way}", chosen)
            for kind, each in accepted.kinds.items()
            for way, chosen in zip(ways, each.elsewhere, strict=True)
        ],
    )
    print()
    for note in notes(accepted):
        print_wrapped("! ", note)
    for line in _advice(accepted):
        print_wrapped("", line)


def accepted_json(accepted: Accepted, n_left_out: int) -> dict[str, Any]:
    """Return it for programs."""
    return {
        "schema_version": SCHEMA_VERSION,
        "target": accepted.target,
        "n_pages": accepted.n_pages,
        "n_left_out": n_left_out,
        "halves": [list(half) for half in accepted.halves],
        **{
            kind: {
                **_figures(each.whole),
                "elsewhere": [
                    {"chosen_on": half, **_figures(chosen)} for half, chosen in enumerate(each.elsewhere)
                ],
            }
            for kind, each in accepted.kinds.items()
        },
        "notes": list(notes(accepted)),
    }


def write_accepted(accepted: Accepted, n_left_out: int, folder: Path) -> list[str]:
    """Write figures, every threshold and the pictures to a folder, and return their names; OutputError."""
    figures = json.dumps(accepted_json(accepted, n_left_out), ensure_ascii=False, indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("threshold.json", figures), ("trade-off.csv", _csv(accepted))):
            with replacing(folder / name) as file:
                file.write(text.encode())
        draw_trade_off(
            folder / "trade-off.png",
            {kind: each.curve for kind, each in accepted.kinds.items()},
            {kind: each.whole.kept for kind, each in accepted.kinds.items()},
            {kind: [chosen.kept for chosen in each.elsewhere] for kind, each in accepted.kinds.items()},
            accepted.target,
        )
    except OSError as error:
        raise OutputError(f"{folder} can't be written to: {error.strerror or error}") from error
    surest = accepted.wrong[:N_SURELY_WRONG]
    title = f"The surest {len(surest)} of {counted(len(accepted.wrong), 'wrong number')}"
    draw_sheet(folder / "surest-wrong.png", surest, f"{title}: was it the reading, or the transcription?")
    return ["threshold.json", "trade-off.csv", "trade-off.png", "surest-wrong.png"]


def notes(accepted: Accepted) -> Iterator[str]:
    """Yield what must be known before the figures are believed."""
    if accepted.n_pages < FEW_PAGES:
        yield (
            f"{_pages(accepted)} are too few: pages differ more than chance does. Transcribe {FEW_PAGES} or "
            "more, of many hands, before you trust a threshold."
        )
    target, least = _percent(accepted.target), least_kept(accepted.target)
    for kind, each in accepted.kinds.items():
        if each.whole.kept.n < least:
            yield (
                f"{each.whole.kept.n:,} {kind} are too few for {target}: that takes {least:,} at least, all "
                "of them right."
            )
        elif each.whole.threshold is None:
            yield f"No threshold keeps {kind} of which {target} are right: a person must look at each."
        elif any(chosen.threshold is None for chosen in each.elsewhere):
            yield (
                f"On one half of the pages alone no threshold keeps {kind} of which {target} are right: the "
                "one above rests on little."
            )


def _advice(accepted: Accepted) -> Iterator[str]:
    """Yield how the threshold of numbers is used, as far as there is one."""
    threshold = accepted.kinds["numbers"].whole.threshold
    if threshold is not None:
        yield f"archive query --confidence {threshold:g} --limit 0   numbers that can be accepted"
        yield f"archive query --doubtful {threshold:g} --limit 0     numbers to look at, worst first"
    if accepted.kinds["digits"].whole.threshold is not None:
        yield "archive export digits -o digits.jsonl   each digit with its confidence"
    yield "What was not found is in neither: archive evaluate says how much is missed."


def _row(name: str, chosen: Chosen) -> tuple[str, ...]:
    kept = chosen.kept
    threshold = "none" if chosen.threshold is None else f"{chosen.threshold:.4f}"
    shares = ["–" if share is None else f"{100 * share:.1f} %" for share in (kept.kept, kept.right_of_kept)]
    return name, threshold, f"{kept.n:,}", f"{kept.n_kept:,}", shares[0], f"{kept.n_right:,}", shares[1]


def _figures(chosen: Chosen) -> dict[str, Any]:
    kept = chosen.kept
    return {
        "threshold": chosen.threshold,
        "n": kept.n,
        "n_kept": kept.n_kept,
        "kept": None if kept.kept is None else rounded(kept.kept),
        "n_right": kept.n_right,
        "right_of_kept": None if kept.right_of_kept is None else rounded(kept.right_of_kept),
    }


def _csv(accepted: Accepted) -> str:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(_CSV_TITLES)
    for kind, each in accepted.kinds.items():
        curve = each.curve
        for threshold, n_kept, n_right in zip(
            curve.thresholds.tolist(), curve.n_kept.tolist(), curve.n_right.tolist(), strict=True
        ):
            shares = rounded(n_kept / curve.n), n_right, rounded(n_right / n_kept)
            out.writerow((kind, threshold, curve.n, n_kept, *shares))
    return text.getvalue()


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _pages(accepted: Accepted) -> str:
    return counted(accepted.n_pages, "transcribed page")
