"""Counting what is right: lines, fields, tables, confidences, chance, and pages that are altered."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.coco import Field, read_coco, score_field
from pipeline.drawn import draw_page
from pipeline.errors import SourceError, UsageError
from pipeline.intervals import interval, share
from pipeline.page import Box, Number
from pipeline.printed import read_values, score_printed
from pipeline.reliability import reliability
from pipeline.scoring import Totals, right_digits, right_numbers, score_page
from pipeline.transcriptions import Line
from pipeline.variants import in_another_hand, resized, turned


def test_each_box_of_a_field_is_taken_once() -> None:
    field = Field(Path("f"), (Box(0, 0, 10, 20), Box(12, 0, 22, 20)), (4, 2))
    twice = [Box(0, 0, 10, 19), Box(1, 0, 11, 20), Box(12, 9, 22, 20), Box(40, 0, 50, 20)]
    score = score_field(field, twice, [4, 4, 2, 9], [0.5, 0.9, 0.8, 0.7])
    assert score.pairs == ((0, 1), (1, 2)), "the better score comes first, and 0.55 is enough"
    assert (score.truth, score.found, score.exact) == ("42", "4429", False)


def test_a_coco_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val.json").write_text('{"images": [{}]}')
    with pytest.raises(SourceError, match=r"instances_val\.json: is no COCO file"):
        read_coco(tmp_path, "val")
    with pytest.raises(UsageError, match="it has val"):
        read_coco(tmp_path, "train")


def polygon_of(box: Box) -> np.ndarray:
    x0, y0, x1, y1 = box.x0 - 3, box.y0 - 3, box.x1 + 3, box.y1 + 3
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)


def number(text: str, line: int) -> Number:
    return Number(text, 1.0, Box(0, 0, 1, 1), line, tuple(range(len(text))))


def test_rows_of_a_table_are_paired_with_lines_of_the_page(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("' ','1','2'\n' 1','9.756','0,04'\n' 2','8.111','5.222'\n' Mean','7.000','6.5'\n")
    rows = read_values(file)
    assert rows == [["9756", "004"], ["8111", "5222"], ["7000", "65"]]
    page = [("1900", 0), ("9756", 1), ("004", 1), ("8117", 2), ("522", 2), ("7000", 3), ("65", 3), ("65", 3)]
    score = score_printed(rows, [number(*entry) for entry in page])
    # the heading 1900 and the second 65 are false, 8117 has a wrong digit, 522 lacks one
    assert (score.expected, score.found, score.right) == (21, 4 + 7 + 7 + 8, 7 + 6 + 6)
    assert (score.missed, score.false) == (2, 7)
    assert score.numbers == (6, 8, 4, 2, 4)
    assert int(score.confusions.sum()) == score.right + 1 + 1 + 6


def test_a_csv_in_common_quotes_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text('day,a\n1,"1,234"\n2,\n')
    assert read_values(file) == [["1234"], []]
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SourceError, match=r"t\.csv"):
        read_values(file)


def test_known_mistakes_are_counted_as_such() -> None:
    page = draw_page(5, "ledger")
    boxes, digits, lines = [], [], []
    n = {"truth": 0, "equal": 0, "substituted": 0, "added": 0, "missed": 0, "exact": 0}
    for k, drawn in enumerate(page.numbers):
        lines.append(Line(polygon_of(drawn.box), np.zeros((0, 2), np.float32), drawn.text))
        members = [page.digits[i] for i in drawn.members]
        n["truth"] += len(members)
        mistake = ("missed", "substituted", "added", "exact")[k % 4]
        n[mistake] += 1
        n["equal"] += len(members) - (mistake in ("missed", "substituted"))
        for place, member in enumerate(members):
            if mistake == "missed" and place == 0:
                continue
            boxes.append(member.box)
            digits.append((member.digit + (mistake == "substituted" and place == 0)) % 10)
        if mistake == "added":
            last = members[-1].box
            boxes.append(Box(last.x1, last.y0, last.x1 + 2, last.y1))
            digits.append((members[-1].digit + 5) % 10)
    boxes += [Box(0, 0, 2, 2), Box(1, 1, 3, 3)]  # on no line
    digits += [1, 2]
    order = np.random.default_rng(0).permutation(len(boxes))
    boxes, digits = [boxes[i] for i in order], [digits[i] for i in order]
    score = score_page(lines, boxes, digits)
    totals = Totals()
    totals.add(score, digits)
    assert (totals.truth, totals.equal, totals.found) == (n["truth"], n["equal"], len(boxes))
    assert (totals.substituted, totals.added, totals.outside) == (n["substituted"], n["added"], 2)
    assert (totals.cells, totals.cells_exact) == (len(page.numbers), n["exact"])
    assert totals.precision == n["equal"] / len(boxes)
    assert totals.recall == n["equal"] / n["truth"]
    assert totals.f1 == pytest.approx(2 * n["equal"] / (len(boxes) + n["truth"]))
    assert totals.classifier == n["equal"] / (n["equal"] + n["substituted"])
    assert int(totals.confusions[:10, 10].sum()) == n["missed"]
    assert int(right_digits(score, digits).sum()) == n["equal"]


@pytest.mark.parametrize(
    ("text", "read", "members", "right"),
    [
        ("375", "375", (0, 1, 2), True),
        ("3.75", "375", (0, 1, 2), True),
        ("3|75", "375", (0, 1, 2), True),
        ("3|75", "375", (1, 2), True),
        ("375", "375", (1, 2), False),  # not all of it
        ("375", "37", (0, 1), False),
        ("375", "3755", (0, 1, 2, 3), False),
        ("375", "376", (0, 1, 2), False),
        ("le 12 mai 1890", "121890", (0, 1), True),
        ("le 12 mai 1890", "121890", (0, 1, 2, 3, 4, 5), False),
        ("12 1890 e", "121890", (0, 1, 2, 3, 4, 5), False),
        ("rue 3,75 f", "375", (0, 1, 2), True),
        ("n°75-5.818.566 au", "755818566", (2, 3, 4, 5, 6, 7, 8), True),
        ("n°75-5.818.566 au", "755818566", (0, 1, 2, 3, 4, 5, 6, 7, 8), False),
        ("5., 8 f", "58", (0, 1), False),
    ],
)
def test_a_number_is_right_as_a_whole_only(
    text: str, read: str, members: tuple[int, ...], right: bool
) -> None:
    line = Line(
        np.array([(0, 0), (200, 0), (200, 20), (0, 20)], np.float32), np.zeros((0, 2), np.float32), text
    )
    boxes = [Box(10 * i, 2, 10 * i + 8, 18) for i in range(len(read))]
    digits = [int(character) for character in read]
    found = Number("".join(read[i] for i in members), 1.0, boxes[0], 0, members)
    assert right_numbers(score_page([line], boxes, digits), digits, [found]).tolist() == [right]


def test_a_digit_just_outside_a_line_that_was_drawn_too_close_belongs_to_it() -> None:
    def line(x0: float, x1: float, text: str) -> Line:
        corners = np.array([(x0, 0), (x1, 0), (x1, 20), (x0, 20)], np.float32)
        return Line(corners, np.zeros((0, 2), np.float32), text)

    lines = [line(0, 26, "135"), line(60, 90, "7")]
    # the 5 has its centre 6 pixels right of its line, 3 tenths of its height; the 9 is nobody's
    boxes = [
        Box(0, 0, 10, 20),
        Box(12, 0, 22, 20),
        Box(27, 0, 37, 20),
        Box(65, 0, 75, 20),
        Box(40, 0, 50, 20),
    ]
    digits = [1, 3, 5, 7, 9]
    strict, near = score_page(lines, boxes, digits), score_page(lines, boxes, digits, 0.5)
    assert strict.outside == (2, 4) and right_digits(strict, digits).tolist() == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert near.outside == (4,) and right_digits(near, digits).tolist() == [True, True, True, True, False]
    found = [Number("135", 1.0, boxes[0], 0, (0, 1, 2))]
    assert right_numbers(near, digits, found).tolist() == [True]
    # what another line holds stays there, however near this one is
    assert score_page([lines[0], line(26, 60, "5")], boxes, digits, 0.5).lines[0].found == (0, 1)


def test_a_confidence_that_is_true_has_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1.0, 200_000)
    right = rng.uniform(size=200_000) < confidence
    true, boastful = reliability(confidence, right), reliability(np.sqrt(confidence), right)
    assert true.ece < 0.005 and boastful.ece == pytest.approx(
        float((np.sqrt(confidence) - confidence).mean()), abs=0.005
    )
    assert true.kept == pytest.approx(0.05 / 0.7, abs=0.005)
    assert true.right_of_kept == pytest.approx(0.975, abs=0.01)
    assert len(true.bins) == 15


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.95, 1.0]), st.booleans()), max_size=40))
def test_the_order_of_answers_decides_nothing(answers: list[tuple[float, bool]]) -> None:
    def of(some: list[tuple[float, bool]]) -> object:
        return reliability(np.array([c for c, _ in some]), np.array([r for _, r in some], bool))

    assert of(answers) == of(answers[::-1])
    found = reliability(np.array([c for c, _ in answers]), np.array([r for _, r in answers], bool))
    assert sum(part.n for part in found.bins) == found.n == len(answers)
    assert 0 <= found.ece <= 1


def test_intervals_hold_the_figure_and_shrink_with_pages() -> None:
    def right(counts: np.ndarray) -> np.ndarray:
        return share(counts[..., 0], counts[..., 1])

    pages = np.array([[80.0, 100.0], [90.0, 100.0], [40.0, 50.0], [99.0, 100.0]])
    low, high = interval(pages, right)
    assert 0.8 <= low < 309 / 350 < high <= 0.99
    more = interval(np.tile(pages, (25, 1)), right)
    assert low < more[0] < more[1] < high
    assert interval(pages, right) == (low, high), "the same every time"
    assert interval(np.zeros((0, 2)), right) == (0.0, 0.0)


def blots(half: tuple[int, int], margin: int) -> tuple[np.ndarray, list[Line]]:
    """Return a page with three blots of twice `half` pixels, and lines that are wider by a margin."""
    page, lines = np.full((300, 401), 240, np.uint8), []
    (w, h), (a, b) = half, (half[0] + margin, half[1] + margin)
    for x, y in ((40, 30), (350, 60), (200, 270)):
        page[y - h : y + h, x - w : x + w] = 0
        corner = [(x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b)]
        lines.append(Line(np.array(corner, np.float32), np.zeros((0, 2), np.float32), "1"))
    return page, lines


@pytest.mark.parametrize(
    "alter",
    [
        lambda page, lines: resized(page, lines, 0.5),
        lambda page, lines: resized(page, lines, 1.4),
        lambda page, lines: turned(page, lines, 90),
        lambda page, lines: turned(page, lines, 180),
        lambda page, lines: turned(page, lines, 270),
        lambda page, lines: turned(page, lines, 3),
        lambda page, lines: turned(page, lines, -7),
    ],
)
def test_the_truth_moves_with_the_page(alter: Callable[..., tuple[np.ndarray, list[Line]]]) -> None:
    page, lines = blots((6, 6), margin=0)
    picture, moved = alter(page, lines)
    for line in moved:
        inside = cv2.fillPoly(
            np.zeros(picture.shape, np.uint8), [np.round(line.polygon - 0.5).astype(int)], 1
        )
        weights = np.where(inside > 0, 240.0 - picture, 0)
        rows, columns = np.indices(picture.shape)
        assert float(weights.sum()) > 0.7 * 240 * float(inside.sum())
        x, y = line.polygon.mean(axis=0)
        assert float((weights * (columns + 0.5)).sum() / weights.sum()) == pytest.approx(float(x), abs=0.6)
        assert float((weights * (rows + 0.5)).sum() / weights.sum()) == pytest.approx(float(y), abs=0.6)
        assert np.linalg.norm(line.baseline[1] - line.baseline[0]) > 4
    assert (picture < 60).sum() > 0.6 * (page == 0).sum() * picture.size / page.size


@pytest.mark.parametrize("seed", range(4))
def test_in_another_hand_digits_stay_on_their_lines(seed: int) -> None:
    page, lines = blots((6, 10), margin=4)
    changed, moved = in_another_hand(page, lines, 20.0, np.random.default_rng(seed))
    again, _ = in_another_hand(page, lines, 20.0, np.random.default_rng(seed))
    other, _ = in_another_hand(page, lines, 20.0, np.random.default_rng(seed + 9))
    assert np.array_equal(changed, again) and not np.array_equal(changed, other)
    ink = 240 - changed.clip(0, 240).astype(float)
    on_lines = np.zeros(changed.shape, np.uint8)
    for line in moved:
        alone = cv2.fillPoly(np.zeros(changed.shape, np.uint8), [np.round(line.polygon).astype(int)], 1)
        assert float(ink[alone > 0].sum()) > 0.6 * 240 * 12 * 20
        on_lines |= alone
    assert float(ink[on_lines > 0].sum()) > 0.97 * float(ink.sum())
