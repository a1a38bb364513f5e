"""How well a form makes records of the notaries' registers: rows, and their fields before and after rules.

    python benchmarks/notary_form.py FOLDER [--form examples/notary-1928.toml] [--list]
        [--scale 0.7] [--turn 2] [--shift 150]

FOLDER has page images with their ALTO files, whose text blocks are tagged by column: `Col_1` (register
number), `Col_2` (day of the deed), `Col_6` (day of registration), `Col_7` (fee, francs | centimes).  A row is
a `Col_1` line that is all digits.  A record is of the row whose baseline is the nearest to its own number's,
within half of the rows' usual distance; the other columns' lines belong to the row that they stand beside or
below, by the baselines of the text (`Col_5`) between its lines.  A value is right where all its digits are,
an amount's on either side of its rule, of day/month the day; what the transcription leaves without digits is
counted apart.  Intervals hold 95 % (Wilson 1927).  With --scale, --turn and --shift the pages are changed
before they are read, and the records compared with those of the page as it is.
"""

import argparse
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from machine import describe_machine

from models.whole import Chain, load_chain
from pipeline.form_files import read_form
from pipeline.forms import Form
from pipeline.frames import Frame, find_frame
from pipeline.intervals import share_interval
from pipeline.normalising import RULE_MARK
from pipeline.records import RULE, Record, build_records
from pipeline.rules import apply_rules
from pipeline.settings import Settings

COLUMNS = {"number": "Col_1", "day": "Col_2", "registered": "Col_6", "fee": "Col_7"}
TEXT = "Col_5"
LINE_ABOVE = 0.5  # of the distance of two lines of text, where what belongs to a row begins

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class TrueRow:
    """A row as it is transcribed: how high its number stands, and the texts of its fields."""

    v: float
    texts: dict[str, str]


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page's frame, and its records before and after rules."""

    frame: Frame
    plain: tuple[Record, ...]
    ruled: tuple[Record, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--form", type=Path, default=Path("examples/notary-1928.toml"))
    parser.add_argument("--list", action="store_true", help="say which values are wrong")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--turn", type=float, default=0.0, help="degrees clockwise")
    parser.add_argument("--shift", type=int, default=0, help="pixels of margin on the left and above")
    args = parser.parse_args()
    print(describe_machine())
    form, chain = read_form(args.form), load_chain(Settings())
    changed = (args.scale, args.turn, args.shift) != (1.0, 0.0, 0)
    tally: Counter[str] = Counter()
    for file in sorted(args.folder.glob("*.jpg")):
        grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        if grey is None:
            raise SystemExit(f"{file}: can't be read")
        page = read(np.asarray(grey, np.uint8), chain, form)
        count(tally, file, page, form, said=args.list)
        if changed:
            other = read(changed_page(np.asarray(grey, np.uint8), args), chain, form)
            compare(tally, file, page.ruled, other.ruled)
    report(tally, changed=changed)


def read(grey: Grey, chain: Chain, form: Form) -> ReadPage:
    frame, page = find_frame(grey), chain.read(grey)
    plain = build_records(page.found.detections, page.read.readings, page.read.numbers, frame, form)
    return ReadPage(frame, plain, apply_rules(plain, form))


def changed_page(grey: Grey, args: argparse.Namespace) -> Grey:
    """Return the page as another scanner would have shown it: smaller, on a larger bed, turned."""
    small = cv2.resize(grey, None, fx=args.scale, fy=args.scale, interpolation=cv2.INTER_AREA)
    wide = cv2.copyMakeBorder(
        small, args.shift, args.shift // 2, args.shift, args.shift // 2, cv2.BORDER_REPLICATE
    )
    height, width = wide.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -args.turn, 1.0)
    turned = cv2.warpAffine(wide, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, np.uint8)


def true_rows(file: Path, frame: Frame) -> list[TrueRow]:
    """Return the rows that a page's ALTO transcribes, from the top."""
    lines: dict[str, list[tuple[float, str]]] = {column: [] for column in (*COLUMNS, TEXT)}
    for name, text, baseline in transcribed(file.with_suffix(".xml")):
        for column, tag in (*COLUMNS.items(), (TEXT, TEXT)):
            if name == tag:
                lines[column].append((float(frame.to_shares(baseline)[:, 1].mean()), text))
    starts = sorted(line for line in lines["number"] if re.fullmatch(r"\d+", line[1]))
    if not starts:
        return []
    apart = float(np.median(np.diff(sorted(v for v, _ in lines[TEXT]))))
    begins = np.array([v for v, _ in starts]) - LINE_ABOVE * apart
    rows = [TrueRow(v, {"number": text}) for v, text in starts]
    for column in ("day", "registered", "fee"):
        for v, text in sorted(
            lines[column], reverse=column == "day"
        ):  # of several the one at its place stays
            row = int(np.searchsorted(begins, v, side="right")) - 1
            if row >= 0:
                rows[row].texts[column] = text
    return rows


def transcribed(file: Path) -> Iterator[tuple[str, str, npt.NDArray[np.float64]]]:
    """Yield the tag of the block, the text and the baseline (N, 2) of each line of an ALTO file."""
    root = ET.parse(file).getroot()
    labels = {tag.get("ID"): tag.get("LABEL", "") for tag in root.iter() if tag.tag.endswith("OtherTag")}
    for block in root.iter():
        if not block.tag.endswith("TextBlock"):
            continue
        names = [labels.get(word, "") for word in (block.get("TAGREFS") or "").split()]
        for line in block.iter():
            values = re.findall(r"[-\d.]+", line.get("BASELINE", "")) if line.tag.endswith("TextLine") else []
            if len(values) >= 4:
                text = " ".join(part.get("CONTENT", "") for part in line if part.tag.endswith("String"))
                for name in names:
                    yield name, text.strip(), np.array(values, np.float64).reshape(-1, 2)


def matched(rows: list[TrueRow], page: ReadPage) -> dict[int, int]:
    """Return which record (value) is of which row (key): each the nearest, and of one row."""
    own = [
        (k, float(page.frame.to_shares([((box.x0 + box.x1) / 2, box.y1)])[0, 1]))
        for k, record in enumerate(page.plain)
        if record.has("number") and (box := record["number"].box) is not None
    ]
    apart = float(np.median(np.diff([row.v for row in rows]))) if len(rows) > 1 else 0.02
    pairs = sorted((abs(v - row.v), i, k) for i, row in enumerate(rows) for k, v in own)
    found: dict[int, int] = {}
    for away, i, k in pairs:
        if away < apart / 2 and i not in found and k not in found.values():
            found[i] = k
    return found


def count(tally: Counter[str], file: Path, page: ReadPage, form: Form, *, said: bool) -> None:
    rows = true_rows(file, page.frame)
    of = matched(rows, page)
    n_records = sum(record.has("number") for record in page.plain)
    tally["rows"] += len(rows)
    tally["rows found"] += len(of)
    tally["extra"] += n_records - len(of)
    for i, row in enumerate(rows):
        for column, truth in row.texts.items():
            has_digits = bool(re.search(r"\d", truth))
            what = column if has_digits else f"{column} without digits"
            tally[what] += 1
            if i not in of:
                continue
            plain, ruled = page.plain[of[i]][column], page.ruled[of[i]][column]
            before, after = is_right(truth, plain.text, column), is_right(truth, ruled.text, column)
            tally[f"{what} plain"] += before
            tally[f"{what} ruled"] += after
            tally[f"{what} made right"] += after and not before
            tally[f"{what} made wrong"] += before and not after
            tally[f"{what} chosen"] += ruled.made_by == RULE
            tally[f"{what} wrong and flagged"] += not after and ruled.flag is not None
            tally[f"{what} right and flagged"] += after and ruled.flag is not None
            if said and not after:
                others = [f"{one.text} {one.probability:.3f}" for one in plain.alternatives]
                read = f"{plain.text!r}, {ruled.text!r} {ruled.flag or ''} {others}"
                print(f"{file.stem}: {column} {truth!r}: {read}", file=sys.stderr)
    if said:
        for k, record in enumerate(page.plain):
            if k not in of.values() and record.has("number"):
                print(f"{file.stem}: extra {record['number'].text!r} at {record.start:.3f}", file=sys.stderr)


def is_right(truth: str, text: str, column: str) -> bool:
    """Whether all digits are as transcribed; of an amount those on either side of its rule."""
    if column != "fee":
        return digits(truth.partition("/")[0]) == digits(text)  # 4/11 is the fourth
    ours, theirs = ([*map(digits, one.split(RULE_MARK)), ""][:2] for one in (text, truth))
    return ours == theirs


def digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def compare(tally: Counter[str], file: Path, one: tuple[Record, ...], other: tuple[Record, ...]) -> None:
    """Count how many records of a page are the same on its changed copy, value by value."""
    tally["changed: records"] += len(one)
    tally["changed: records there"] += len(other)
    ours, theirs = (
        [tuple(value.text for value in record.values) for record in page] for page in (one, other)
    )
    common = Counter(ours) & Counter(theirs)
    tally["changed: same"] += common.total()
    if len(ours) == len(theirs):
        pairs = [(a, b) for a, b in zip(ours, theirs, strict=True)]
        tally["changed: values"] += sum(len(a) for a, _ in pairs)
        tally["changed: same values"] += sum(x == y for a, b in pairs for x, y in zip(a, b, strict=True))


def report(tally: Counter[str], *, changed: bool) -> None:
    n = tally["rows"]
    extra = f"{tally['extra']} records more ({tally['extra'] / n:.1%})"
    print(f"{n} rows: {share(tally['rows found'], n)} found, {extra}")
    print("| field | values | before rules | after | made right | made wrong | chosen | wrong, flagged |")
    print("|---|---|---|---|---|---|---|---|")
    for column in COLUMNS:
        for what in (column, f"{column} without digits"):
            if m := tally[what]:
                wrong = m - tally[f"{what} ruled"]
                cells = [
                    what,
                    str(m),
                    share(tally[f"{what} plain"], m),
                    share(tally[f"{what} ruled"], m),
                    *(str(tally[f"{what} {word}"]) for word in ("made right", "made wrong", "chosen")),
                    f"{tally[f'{what} wrong and flagged']} of {wrong}",
                ]
                print(f"| {' | '.join(cells)} |")
    if changed:
        print(
            f"changed pages: {tally['changed: records there']} records for {tally['changed: records']},"
            f" {tally['changed: same']} of them equal; {tally['changed: same values']} of"
            f" {tally['changed: values']} values"
        )


def share(k: int, n: int) -> str:
    low, high = share_interval(k, n)
    return f"{k / n:.1%} ({low:.1%} to {high:.1%})"


if __name__ == "__main__":
    main()
