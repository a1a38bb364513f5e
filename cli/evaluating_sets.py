"""`archive evaluate` on fields with boxes (COCO), on single digits (MNIST) and on printed tables."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from cli.report import Report, Table, columns, rounded, shown
from cli.terminal import Column
from cli.truths import exported, read_truths
from cli.wrong_cells import wrong_field
from models.evaluation import DigitsRead, class_confusions, read_digits
from models.loaded import Classifier
from models.training_crops import mnist_crops
from models.whole import Chain
from pipeline.coco import Field, FieldScore, field_confusions, read_coco, score_field
from pipeline.contact_sheets import Strip
from pipeline.intervals import interval, share
from pipeline.printed import PrintedScore, find_printed, read_values, score_printed
from pipeline.settings import Settings

Grey = npt.NDArray[np.uint8]


def evaluate_fields(chain: Chain, settings: Settings, folder: Path, part: str) -> tuple[Report, int]:
    """Return the report on a part of a COCO folder, each field read as a page, and how many could not be."""

    def measure(
        image: Path, grey: Grey, field: Field
    ) -> tuple[Field, DigitsRead, FieldScore, tuple[int, Strip]]:
        read = read_digits(chain, grey)
        score = score_field(field, read.boxes, read.digits, read.scores.tolist())
        return field, read, score, wrong_field(grey, field, read, score)

    fields = read_coco(folder, part)
    read = list(read_truths([(field.image, field) for field in fields], settings, measure))
    done = [row for row in read if row is not None]
    counts = np.array(
        [
            (
                score.exact,
                len(score.pairs),
                sum(field.digits[i] == found.digits[j] for i, j in score.pairs),
                len(field.digits),
                len(found.digits),
            )
            for field, found, score, _ in done
        ],
        np.float64,
    ).reshape(-1, 5)
    n = len(done)
    exact, matched, right, truth, found_boxes = (int(total) for total in counts.sum(axis=0))
    figures = {
        "amounts": exact / n if n else 0.0,
        "boxes_f1": 2 * matched / (truth + found_boxes) if truth + found_boxes else 0.0,
        "f1": 2 * right / (truth + found_boxes) if truth + found_boxes else 0.0,
        "classifier": right / matched if matched else 0.0,
    }
    intervals = {
        "amounts": interval(counts, lambda c: c[..., 0] / n),
        "boxes_f1": interval(counts, lambda c: share(2 * c[..., 1], c[..., 3] + c[..., 4])),
        "f1": interval(counts, lambda c: share(2 * c[..., 2], c[..., 3] + c[..., 4])),
        "classifier": interval(counts, lambda c: share(c[..., 2], c[..., 1])),
    }
    said = {
        "amounts": f"amounts read exactly, {exact} of {n}",
        "boxes_f1": f"boxes, F1 at IoU 0.5, {matched} of {truth} digits, {found_boxes} found",
        "f1": "boxes of the right digit, F1",
        "classifier": f"classifier, {right} of {matched} boxes",
    }
    table = Table(
        f"{folder.name}, {part}: each field read as a page; 95 % by resampling the fields",
        (Column("", shortened=True), *(Column(title, right=True) for title in ("share", "from", "to"))),
        tuple((said[name], shown(value), *map(shown, intervals[name])) for name, value in figures.items()),
    )
    details = {
        "part": part,
        "fields": n,
        "fields_exact": exact,
        "digits": truth,
        "found": found_boxes,
        "matched": matched,
        "right": right,
        "intervals": {name: [rounded(low), rounded(high)] for name, (low, high) in intervals.items()},
    }
    confusions = np.zeros((11, 11), np.int64)
    for field, found, score, _ in done:
        confusions += field_confusions(field, score, found.digits)
    worst = sorted((row[3] for row in done if not row[2].exact), key=lambda item: -item[0])
    report = Report(
        kind="fields",
        figures=figures,
        details=details,
        tables=(table,),
        confusions=confusions,
        pages=tuple(exported(field.image, found) for field, found, _, _ in done),
        worst=("worst-fields.png", [strip for _, strip in worst]),
    )
    return report, len(read) - n


def evaluate_digits(classifier: Classifier, folder: Path) -> Report:
    """Return the report on MNIST's test digits, which go through the classifier as crops."""
    of_all, of_ten = class_confusions(classifier, mnist_crops(folder, "t10k"))
    n = int(of_all.sum())
    right, right_of_ten = int(of_all.trace()), int(of_ten.trace())
    figures = {"accuracy": right / n, "accuracy_of_ten": right_of_ten / n}
    table = Table(
        f"MNIST's {n:,} test digits through the classifier",
        (Column(""), *(Column(title, right=True) for title in ("right", "wrong", "share"))),
        (
            ("of eleven classes, reject too", f"{right:,}", f"{n - right:,}", f"{right / n:.4f}"),
            (
                "best of the ten digits",
                f"{right_of_ten:,}",
                f"{n - right_of_ten:,}",
                f"{right_of_ten / n:.4f}",
            ),
        ),
    )
    details = {"digits": n, "right": right, "right_of_ten": right_of_ten}
    return Report("digits", figures, details, (table,), of_all)


def evaluate_tables(chain: Chain, settings: Settings, folder: Path) -> tuple[Report, int]:
    """Return the report on printed tables with known values, and how many pages could not be read."""

    def measure(image: Path, grey: Grey, values: Path) -> tuple[Path, DigitsRead, PrintedScore]:
        rows = read_values(values)
        read = read_digits(chain, grey)
        return image, read, score_printed(rows, read.numbers)

    read = list(read_truths(find_printed(folder), settings, measure))
    done = [row for row in read if row is not None]
    scores = {image.stem: score for image, _, score in done}
    whole = sum(scores.values(), start=PrintedScore())
    figures = {
        "recall": whole.right / whole.expected if whole.expected else 0.0,
        "precision": whole.right / whole.found if whole.found else 0.0,
        "numbers": whole.numbers_exact / whole.numbers_expected if whole.numbers_expected else 0.0,
        "missed": float(whole.missed),
        "false": float(whole.false),
    }
    rows = {**scores, "all": whole} if len(scores) != 1 else scores
    digits = Table(
        "Digits: rows of the table and lines of the page paired in order; what the table\n"
        "lacks (headings) counts as false, what the image lacks as missed",
        columns("page", "expected", "found", "right", "missed", "false"),
        tuple(
            (name, *(f"{v:,}" for v in (s.expected, s.found, s.right, s.missed, s.false)))
            for name, s in rows.items()
        ),
    )
    numbers = Table(
        "Numbers, wherever on the page they stand",
        columns("page", "expected", "found", "exact", "missing", "extra"),
        tuple((name, *(f"{v:,}" for v in s.numbers)) for name, s in rows.items()),
    )
    details = {
        "pages": [{"name": name, **_counts(score)} for name, score in scores.items()],
        "all": _counts(whole),
    }
    report = Report(
        kind="tables",
        figures=figures,
        details=details,
        tables=(digits, numbers),
        confusions=whole.confusions,
        pages=tuple(exported(image, found) for image, found, _ in done),
    )
    return report, len(read) - len(done)


def _counts(score: PrintedScore) -> dict[str, int]:
    expected, found, exact, missing, extra = score.numbers
    return {
        "digits": score.expected,
        "found": score.found,
        "right": score.right,
        "missed": score.missed,
        "false": score.false,
        "numbers": expected,
        "numbers_found": found,
        "numbers_exact": exact,
        "numbers_missing": missing,
        "numbers_extra": extra,
    }
