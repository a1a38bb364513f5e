"""Digits of other hands: collections that the test writes, and numbers pasted into pages."""

import gzip
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ArchiveError, MissingError, SourceError
from pipeline.hands import Hands, pooled, read_hands, read_mnist
from pipeline.labels import LabelledDigit, LabelledPage
from pipeline.page import Box
from pipeline.pasted import paste_numbers, paste_pages, rewrite_numbers

SIZE = (600, 800)


def idx(*sizes: int, content: bytes) -> bytes:
    header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    return gzip.compress(header + content)


def write_mnist(folder: Path, n: int = 40, part: str = "train") -> np.ndarray:
    """Write n pictures of a bar whose height tells its digit, and one that is blank."""
    images = np.zeros((n, 28, 28), np.uint8)
    digits = np.arange(n, dtype=np.uint8) % 10
    for image, digit in zip(images[:-1], digits, strict=False):
        image[4 : 6 + 2 * digit, 10:14] = 255
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(n, 28, 28, content=images.tobytes()))
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(n, content=digits.tobytes()))
    return digits


def test_idx_files_become_hands_cut_to_their_ink(tmp_path: Path) -> None:
    digits = write_mnist(tmp_path)
    images, same = read_mnist(tmp_path, "train")
    assert images.shape == (40, 28, 28) and (same == digits).all()
    hands = read_hands(tmp_path)
    assert (hands.digits == digits[:-1]).all()  # the blank one is none
    assert all(picture.shape == (2 + 2 * d, 4) for picture, d in zip(hands.pictures, digits, strict=False))


def test_pictures_with_an_index_become_hands(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name, places in (("1", [50]), ("2", [20, 80]), ("3", [20, 80])):
        picture = np.full((128, 128), 230, np.uint8)
        for x in places:
            cv2.rectangle(picture, (x, 30), (x + 12, 90), 20, -1)
        cv2.imwrite(str(tmp_path / "below" / f"{name}.png"), picture)
    # a picture that shows two parts is no single digit; one is not there; one has no number
    rows = "PATH;NUM\n1.jpg;7\n2.jpg;15\n3.jpg;4\n4.jpg;9\n1.jpg;x\n"
    (tmp_path / "numbers.csv").write_text(rows, encoding="utf-8")
    hands = read_hands(tmp_path)
    assert hands.digits.tolist() == [7, 1, 5]
    assert {picture.shape[0] for picture in hands.pictures} == {28}
    both = pooled([hands, hands])
    assert both.digits.tolist() == [7, 1, 5] * 2 and len(both.pictures) == 6


@pytest.mark.parametrize(
    ("files", "error", "says"),
    [
        ({}, MissingError, "neither MNIST's idx files nor pictures"),
        ({"train-images-idx3-ubyte.gz": b"no gzip"}, SourceError, "is damaged"),
        ({"train-images-idx3-ubyte.gz": idx(3, content=b"abc")}, SourceError, "is no idx file"),
        ({"train-images-idx3-ubyte.gz": idx(2, 28, 28, content=bytes(784))}, SourceError, "cut short"),
        ({"train-images-idx3-ubyte.gz": idx(1, 28, 28, content=bytes(784))}, MissingError, "labels-idx1"),
        ({"a.csv": b"NAME,VALUE\n1,2\n"}, SourceError, "PATH;NUM"),
        ({"a.csv": b"PATH;NUM\n1.png\n"}, SourceError, "has no picture"),
        ({"a.csv": b"\xff\xfe"}, SourceError, "PATH;NUM"),
        ({"a.csv": b"PATH;NUM\n"}, SourceError, "has no picture"),
    ],
)
def test_a_folder_without_hands_is_named(
    tmp_path: Path, files: dict[str, bytes], error: type[ArchiveError], says: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=says) as raised:
        read_hands(tmp_path)
    assert str(raised.value).startswith(str(tmp_path))


def some_hands() -> Hands:
    rng = np.random.default_rng(0)
    pictures = []
    for digit in range(10):
        picture = np.zeros((26, 12 + digit % 3), np.uint8)
        cv2.putText(picture, str(digit), (0, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, int(rng.integers(1, 3)))
        rows, columns = np.flatnonzero(picture.any(axis=1)), np.flatnonzero(picture.any(axis=0))
        pictures.append(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return Hands(tuple(pictures), np.arange(10))


def some_page(seed: int) -> LabelledPage:
    """A page with a word's ink, a stretch where nothing is known, and labelled digits."""
    rng = np.random.default_rng(seed)
    ink = np.zeros(SIZE, np.uint8)
    known = np.ones(SIZE, np.uint8)
    known[300:360] = 0
    digits = []
    for _ in range(12):
        x, y = int(rng.integers(0, 780)), int(rng.integers(0, 570))
        ink[y : y + 22, x : x + 3] = 200
        digits.append(LabelledDigit(Box(x - 1, y - 1, x + 5, y + 23), 1))
    return LabelledPage("p", ink, known, tuple(digits), 12)


HANDS = some_hands()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_pasted_digits_lie_on_their_ink_and_leave_the_page_as_it_was(seed: int, n: int) -> None:
    page = some_page(seed)
    before = page.ink.copy()
    pasted = paste_numbers(page, HANDS, np.random.default_rng(seed), n)
    new = pasted.digits[len(page.digits) :]
    assert (page.ink == before).all() and pasted.digits[: len(page.digits)] == page.digits
    assert (pasted.ink >= page.ink).all() and pasted.n_written == page.n_written
    assert pasted.n_pasted == len(new) <= 8 * n
    assert [digit for line in pasted.lines for digit in line.digits] == list(new)
    assert "".join(line.text for line in pasted.lines) == "".join(str(digit.digit) for digit in new)
    for digit in new:
        x0, y0, x1, y1 = (int(v) for v in (digit.box.x0, digit.box.y0, digit.box.x1, digit.box.y1))
        assert 0 <= x0 < x1 <= SIZE[1] and 0 <= y0 < y1 <= SIZE[0]
        assert pasted.ink[y0:y1, x0:x1].max() > 60
        assert (pasted.known[y0:y1, x0:x1] == 2).all()
        assert (page.known[y0:y1, x0:x1] == 1).all()  # nothing pasted where a digit may stand unlabelled
        for own in page.digits:
            apart = own.box.x1 <= x0 or own.box.x0 >= x1 or own.box.y1 <= y0 or own.box.y0 >= y1
            assert apart


def test_a_page_without_room_stays_as_it_is() -> None:
    for page in (
        replace(some_page(0), known=np.zeros(SIZE, np.uint8)),
        LabelledPage("small", np.zeros((9, 9), np.uint8), np.ones((9, 9), np.uint8), (), 0),
    ):
        pasted = paste_numbers(page, HANDS, np.random.default_rng(0), 20)
        assert pasted.digits == page.digits and (pasted.ink == page.ink).all()


def test_the_same_seed_pastes_the_same_and_each_page_gets_its_own() -> None:
    blank = LabelledPage("p", np.zeros(SIZE, np.uint8), np.ones(SIZE, np.uint8), (), 0)
    first, second = paste_pages([blank, blank], HANDS, 5, 10)
    again, _ = paste_pages([blank, blank], HANDS, 5, 10)
    assert first.digits == again.digits and (first.ink == again.ink).all()
    assert first.digits != second.digits


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_rewritten_digits_stand_where_they_stood_and_nothing_else_changes(seed: int, share: float) -> None:
    page = some_page(seed)
    before = page.ink.copy()
    anew = rewrite_numbers(page, HANDS, np.random.default_rng(seed), share)
    assert (page.ink == before).all() and (anew.known == page.known).all()
    assert [digit.digit for digit in anew.digits] == [digit.digit for digit in page.digits]
    elsewhere = np.ones(SIZE, bool)
    for old, new in zip(page.digits, anew.digits, strict=True):
        apart = np.subtract(old.box.centre, new.box.centre)
        assert np.abs(apart).max() < 3 and new.box.height < 1.4 * old.box.height
        for box in (old.box, new.box):
            y0, x0 = max(0, round(box.y0) - 1), max(0, round(box.x0) - 1)
            elsewhere[y0 : round(box.y1) + 1, x0 : round(box.x1) + 1] = False
        if new.box != old.box:
            x0, y0, x1, y1 = (round(v) for v in (new.box.x0, new.box.y0, new.box.x1, new.box.y1))
            assert anew.ink[y0:y1, x0:x1].max() > 50
    assert (anew.ink[elsewhere] == page.ink[elsewhere]).all()
    if share == 1:
        assert sum(new.box != old.box for old, new in zip(page.digits, anew.digits, strict=True)) >= 6


def test_the_digits_of_a_number_are_rewritten_together() -> None:
    ink = np.zeros(SIZE, np.uint8)
    digits = []
    for row in range(40):
        for place in range(3):
            x, y = 40 + 14 * place + 90 * (row % 8), 40 + 60 * (row // 8)
            ink[y : y + 22, x : x + 10] = 200
            digits.append(LabelledDigit(Box(x, y, x + 10, y + 22), (row + place) % 10))
    page = LabelledPage("p", ink, np.full(SIZE, 2, np.uint8), tuple(digits), len(digits))
    anew = rewrite_numbers(page, HANDS, np.random.default_rng(0), 0.5)
    changed = [
        (anew.ink[y0:y1, x0:x1] != page.ink[y0:y1, x0:x1]).any() for x0, y0, x1, y1 in page.boxes.astype(int)
    ]
    numbers = np.array(changed).reshape(40, 3)
    assert (numbers.all(axis=1) | ~numbers.any(axis=1)).all() and 10 < numbers[:, 0].sum() < 30
