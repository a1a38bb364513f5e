"""`archive why`: how a value came about, told as a person would."""

import time
from typing import TYPE_CHECKING, Any

import click

from cli.options import common_options, database_of, json_option
from cli.terminal import SCHEMA_VERSION, print_json, shown_path

if TYPE_CHECKING:
    from pipeline.page import Box
    from pipeline.provenance import DigitRead, Origin
    from pipeline.records import Value

_SHOWN_HASH = 12


@click.command()
@click.argument("id", metavar="ID")
@json_option
@common_options
@click.pass_context
def why(ctx: click.Context, id: str, json: bool) -> None:
    """Say where a value comes from: page, box, networks, rule, person.

    ID is a record of `archive query --record`, as 12.3, or one value of it,
    as 12.3.fee.

    \b
    Examples:
      archive why 12.3
      archive why 12.3.fee
      archive why 12.3.fee --json
    """
    from pipeline.database import reading
    from pipeline.provenance import digits_of, origin_of

    with database_of(ctx) as db, reading(db) as conn:
        origin = origin_of(conn, id)
        ledger_id = int(origin.id.partition(".")[0])
        digits = {value.column: digits_of(conn, ledger_id, value.members) for value in origin.values}
    if json:
        print_json({"schema_version": SCHEMA_VERSION, **_as_json(origin, digits)})
    else:
        _tell(origin, digits)


def _tell(origin: "Origin", digits: "dict[str, tuple[DigitRead, ...]]") -> None:
    what = "what stands once on" if origin.row == 0 else f"row {origin.row} of"
    print(f"{origin.id}: {what} page {origin.page} of {shown_path(origin.path)}")
    print(f"scan       {origin.sha256[:_SHOWN_HASH]}, unchanged while its SHA-256 begins so")
    if origin.kind is not None:
        print(f"kind       {origin.kind}")
    print(f"form       {origin.form} ({origin.form_sha256[:_SHOWN_HASH]})")
    read = f"read {_day(origin.finished_at)}" if origin.finished_at else "read"
    print(f"run        {origin.run_id}, {read}")
    networks = [f"{kind} {sha256[:_SHOWN_HASH]}" for kind, sha256 in origin.networks.items()]
    for k in range(0, len(networks), 2):
        print(f"{'networks' if k == 0 else '':<11}{', '.join(networks[k : k + 2])}")
    for value in origin.values:
        print()
        _tell_value(value, digits[value.column], origin)


def _tell_value(value: "Value", digits: "tuple[DigitRead, ...]", origin: "Origin") -> None:
    from pipeline.records import PERSON, RULE

    if not value.text and value.made_by != PERSON:
        print(f"{value.column}: nothing was read there")
        return
    means = f", which means {value.value}" if value.value not in ("", value.text) else ""
    print(f"{value.column}: {value.text or 'empty'}{means}")
    said = [one for one in origin.corrections if one.field == value.column]
    if value.made_by == PERSON and said:
        print(
            f"  {said[-1].who} said so on {_day(said[-1].made_at)}; it was {said[-1].was or 'empty'} before"
        )
        for one in said[:-1]:
            print(f"  before that {one.who} said {one.text or 'that it is empty'} on {_day(one.made_at)}")
    elif value.made_by == RULE:
        print(f"  read as {value.replaced}; a rule of the form took this reading instead, the only one that")
        print(f"  networks read and that keeps the rule (its chance was {value.confidence:.3f} by itself)")
    else:
        print(f"  as it was read, {value.confidence:.1%} sure that all of it is right")
    if value.flag:
        print(f"  flagged: {value.flag}")
    others = ", ".join(f"{one.text} {one.probability:.3f}" for one in value.alternatives[:5])
    if others:
        print(f"  it may also be {others}")
    if value.box is not None:
        print(f"  it stands at {_box(value.box)} of the page")
    for read in digits:
        what = "no digit" if read.digit is None else str(read.digit)
        also = ", ".join(
            f"{'none' if other is None else other} {chance:.3f}" for other, chance in read.runners_up
        )
        print(f"    {what}  {read.confidence:.3f} sure, box {_box(read.box)}; next {also or 'nothing'}")


def _as_json(origin: "Origin", digits: "dict[str, tuple[DigitRead, ...]]") -> dict[str, Any]:
    from pipeline.export_records import value_json

    return {
        "id": origin.id,
        "document": origin.path,
        "sha256": origin.sha256,
        "page": origin.page,
        "row": origin.row,
        "kind": origin.kind,
        "form": {"name": origin.form, "sha256": origin.form_sha256},
        "run": {
            "id": origin.run_id,
            "started_at": origin.started_at,
            "finished_at": origin.finished_at,
            "networks": origin.networks,
            "settings": origin.settings,
        },
        "fields": {
            value.column: value_json(value)
            | {
                "alternatives": [[one.text, round(one.probability, 6)] for one in value.alternatives],
                "digits": [
                    {
                        "digit": one.digit,
                        "confidence": round(one.confidence, 6),
                        "score": round(one.score, 6),
                        "box": [round(edge, 2) for edge in one.box.corners],
                        "runners_up": [[digit, round(chance, 6)] for digit, chance in one.runners_up],
                    }
                    for one in digits[value.column]
                ],
                "corrections": [
                    {"text": one.text, "was": one.was, "who": one.who, "made_at": one.made_at}
                    for one in origin.corrections
                    if one.field == value.column
                ],
            }
            for value in origin.values
        },
    }


def _box(box: "Box") -> str:
    return f"{box.x0:.0f},{box.y0:.0f} to {box.x1:.0f},{box.y1:.0f}"


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
