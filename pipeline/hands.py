"""Single digits of many writers, from public collections: MNIST's idx files, and folders of pictures."""

import csv
import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.errors import MissingError, SourceError
from pipeline.ink import ink_map

Picture = npt.NDArray[np.uint8]

MNIST_PX = 28  # the side of its pictures
_HEIGHT_PX = 28  # pictures of a folder are brought to this height


@dataclass(frozen=True, eq=False, slots=True)
class Hands:
    """Digits cut to their ink: `pictures` are uint8 (h, w), ink is 255; `digits` int64 (N,)."""

    pictures: tuple[Picture, ...]
    digits: npt.NDArray[np.int64]


def read_hands(folder: Path) -> Hands:
    """Return the digits of a folder: MNIST's four idx files, or pictures with a `PATH;NUM` index.

    Raises MissingError where the folder is neither, SourceError where what it holds can't be used.
    """
    if holds_mnist(folder):
        images, digits = read_mnist(folder, "train")
        inked = images.any(axis=(1, 2))
        return Hands(tuple(_to_ink(image) for image in images[inked]), digits[inked])
    indexes = sorted(folder.glob("*.csv"))
    if not indexes:
        raise MissingError(f"{folder}: holds neither MNIST's idx files nor pictures with a .csv index")
    return _read_pictures(folder, indexes[0])


def holds_mnist(folder: Path) -> bool:
    """Say whether a folder holds MNIST's idx files."""
    return (folder / "train-images-idx3-ubyte.gz").exists()


def pooled(hands: Sequence[Hands]) -> Hands:
    """Return the digits of several collections as one."""
    pictures = (picture for one in hands for picture in one.pictures)
    return Hands(tuple(pictures), np.concatenate([one.digits for one in hands]))


def read_mnist(folder: Path, part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return MNIST's images uint8 (N, 28, 28) and digits int64 (N,); `part` is "train" or "t10k"."""
    images = _idx(folder / f"{part}-images-idx3-ubyte.gz", (MNIST_PX, MNIST_PX))
    digits = _idx(folder / f"{part}-labels-idx1-ubyte.gz", ()).astype(np.int64)
    if len(images) != len(digits):
        raise SourceError(f"{folder}: has {len(images)} images and {len(digits)} labels of {part}")
    return images, digits


def _idx(file: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the entries of an idx file of bytes, uint8 (N, *shape)."""
    if not file.exists():
        raise MissingError(f"{file}: is missing; the folder of MNIST holds its four idx files")
    try:
        with gzip.open(file) as opened:
            content = opened.read()
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{file}: is damaged: {error}") from error
    n = int.from_bytes(content[4:8], "big")
    # two zeros, 8 for bytes, how many sizes follow; then each size in four bytes
    header = bytes([0, 0, 8, 1 + len(shape)]) + b"".join(v.to_bytes(4, "big") for v in (n, *shape))
    if not content.startswith(header) or len(content) != len(header) + n * math.prod(shape):
        raise SourceError(f"{file}: is no idx file of digits, or is cut short")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(-1, *shape)


def _read_pictures(folder: Path, index: Path) -> Hands:
    """Read pictures of one digit, or of a number whose digits stand apart, named in a `PATH;NUM` index."""
    files = {file.stem.partition(".")[0]: file for file in sorted(folder.rglob("*")) if file.suffix != ".csv"}
    pictures: list[Picture] = []
    digits: list[int] = []
    try:
        with index.open(encoding="utf-8-sig", newline="") as opened:
            rows = [(Path(row["PATH"]), row["NUM"]) for row in csv.DictReader(opened, delimiter=";")]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError) as error:
        raise SourceError(f"{index}: is no index of pictures with the columns PATH;NUM") from error
    for path, number in rows:
        file = files.get(path.stem.partition(".")[0])
        grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) if file else None
        if grey is None or not (number and number.isascii() and number.isdigit()):
            continue
        parts = _parts(np.asarray(grey, np.uint8))
        if len(parts) == len(number):
            pictures += parts
            digits += [int(character) for character in number]
    if not pictures:
        raise SourceError(f"{folder}: has no picture whose parts of ink are the digits of {index.name}")
    return Hands(tuple(pictures), np.array(digits, np.int64))


def _parts(grey: Picture) -> list[Picture]:
    """Return the parts of ink of a picture that may be digits, left to right, 28 pixels high."""
    ink = ink_map(grey)
    ink[:4], ink[-4:], ink[:, :4], ink[:, -4:] = 0, 0, 0, 0  # the frames that some scans have
    n, _, stats, _ = cv2.connectedComponentsWithStats((ink > 90).astype(np.uint8), connectivity=8)
    boxes = sorted((x, y, w, h) for x, y, w, h, area in stats[1:n] if h > 24 and area > 60)
    parts = []
    for x, y, w, h in boxes:
        part = ink[y : y + h, x : x + w]
        width = max(3, round(w * _HEIGHT_PX / h))
        parts.append(
            np.asarray(cv2.resize(part, (width, _HEIGHT_PX), interpolation=cv2.INTER_AREA), np.uint8)
        )
    return parts


def _to_ink(image: Picture) -> Picture:
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
