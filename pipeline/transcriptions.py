"""Reading transcriptions: the lines of a page from ALTO 4 or PAGE XML."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import SourceError
from pipeline.paths import path_to_text, printable

# a line that is all number; transcribers write the column rule of a fee as |
_NUMBER_LINE = re.compile(r"[\d\s.,|]*\d[\d\s.,|]*")
# what may stand between two digits of a number: people write 3.75 and 4|50, and 17 000 on lines of their own
_INSIDE_NUMBER = re.compile(r"[.,|\s]*")
_INSIDE_TEXT = re.compile(r"[.,|]?")
# what stands for a word that nobody could read
_UNREAD = re.compile(r"X{2,}|\?{2,}|\[\.*\]|…")
# a box outside all lines belongs to the nearest one within so many of its heights: lines are drawn too close
BESIDE = 0.5
# what ALTO's tags and PAGE's `production` call lines that nobody wrote by hand, also behind a colon
_PRINT = re.compile(r"(.*:)?(print|printed|typed|typewritten)", re.IGNORECASE)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".jp2")


@dataclass(frozen=True, eq=False, slots=True)
class Line:
    """One line of a transcription.

    `polygon` is float32 (P, 2) and `baseline` float32 (B, 2), B may be 0; both xy in page pixels.  `printed`:
    its transcription says that it is print, or typewritten.
    """

    polygon: npt.NDArray[np.float32]
    baseline: npt.NDArray[np.float32]
    text: str
    printed: bool = False

    @property
    def digits(self) -> str:
        """The digits of the text, in order."""
        return "".join(self.text[spot] for spot in self.spots)

    @property
    def spots(self) -> list[int]:
        """The places of its digits in the text."""
        return [i for i, character in enumerate(self.text) if character in "0123456789"]

    @property
    def is_number(self) -> bool:
        """Whether the line is all number."""
        return _NUMBER_LINE.fullmatch(self.text.strip()) is not None

    def goes_on(self, before: int, here: int) -> bool:
        """Whether two digits side by side, at these places of the text, may be of one number."""
        inside = _INSIDE_NUMBER if self.is_number else _INSIDE_TEXT
        return inside.fullmatch(self.text, before + 1, here) is not None

    @property
    def is_unread(self) -> bool:
        """Whether part of the line was not transcribed."""
        return _UNREAD.search(self.text) is not None


def find_transcribed(folder: Path) -> list[tuple[Path, Path]]:
    """Return (image, transcription) of each XML below a folder (or of the one given) that has its image."""
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.xml"))
    pairs = []
    for file in files:
        images = (file.with_suffix(suffix) for suffix in IMAGE_SUFFIXES)
        image = next((image for image in images if image.exists()), None)
        if image is not None:
            pairs.append((image, file))
    return pairs


def require_transcribed(*places: Path) -> list[tuple[Path, Path]]:
    """Return what `find_transcribed` does of some folders or files; SourceError where that is nothing."""
    pairs = [pair for place in places for pair in find_transcribed(place)]
    if not pairs:
        where = printable(path_to_text(places[0]))
        raise SourceError(f"{where}: no transcription (.xml) with its page image beside it")
    return pairs


def read_lines(file: Path) -> list[Line]:
    """Return the lines of an ALTO 4 or PAGE file that have a polygon; SourceError if it is neither."""
    try:
        root = ET.parse(file).getroot()
    except (ET.ParseError, OSError) as error:
        raise SourceError(f"{file}: no transcription can be read: {error}") from error
    kind = _local(root.tag).lower()
    if kind not in ("alto", "pcgts"):
        raise SourceError(f"{file}: is neither ALTO nor PAGE but <{_local(root.tag)}>")
    read = _alto_line if kind == "alto" else _page_line
    try:
        printed = _printed_lines(root)
        elements = [element for element in root.iter() if _local(element.tag) == "TextLine"]
        lines = [read(element, printed=element in printed) for element in elements]
    except ValueError as error:
        raise SourceError(f"{file}: has a line whose place is no number: {error}") from error
    return [line for line in lines if len(line.polygon) >= 3]


def held_boxes(
    polygons: Sequence[npt.NDArray[Any]], boxes: npt.NDArray[np.float64], reach: float
) -> npt.NDArray[np.bool_]:
    """Return which of L polygons hold which of N boxes (N, 4), xyxy, bool (L, N), by their centres.

    People draw polygons too close now and then, so that the last digit of a number lies outside.  A box in no
    polygon belongs to the nearest one if that is no further than `reach` heights of the box away.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    held = np.array([_inside(polygon, centres) for polygon in polygons], bool)
    held = held.reshape(len(polygons), len(boxes))
    alone = np.flatnonzero(~held.any(axis=0))
    if reach and len(alone) and len(polygons):
        away = np.array([_distances(polygon, centres[alone]) for polygon in polygons])  # (L, those alone)
        nearest = away.argmin(axis=0)
        near = away.min(axis=0) <= reach * (boxes[alone, 3] - boxes[alone, 1])
        held[nearest[near], alone[near]] = True
    return held


def _inside(polygon: npt.NDArray[Any], points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which points (N, 2) lie in a polygon (P, 2), by the even-odd rule."""
    x, y = points[:, 0], points[:, 1]
    inside = np.zeros(len(points), bool)
    corners = polygon.astype(np.float64)
    for (px, py), (qx, qy) in zip(np.roll(corners, 1, axis=0), corners, strict=True):
        if py != qy:
            inside ^= ((qy > y) != (py > y)) & (x < (px - qx) * (y - qy) / (py - qy) + qx)
    return inside


def _distances(polygon: npt.NDArray[Any], points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far points (N, 2) are from the sides of a polygon (P, 2), (N,)."""
    corners = polygon.astype(np.float64)
    sides = np.roll(corners, -1, axis=0) - corners
    from_corner = points[:, None] - corners  # (N, P, 2)
    along = (from_corner * sides).sum(axis=2) / (sides**2).sum(axis=1).clip(1e-9)
    apart = from_corner - along.clip(0, 1)[..., None] * sides
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]).min(axis=1))


def _printed_lines(root: ET.Element) -> set[ET.Element]:
    """Return the lines of a file that it says are print: by a tag of ALTO, or as PAGE's production."""
    tags = {
        element.get("ID"): _PRINT.fullmatch(element.get("LABEL", "")) is not None
        for element in root.iter()
        if _local(element.tag).endswith("Tag")
    }
    lines = set()
    for block in root.iter():
        said = _PRINT.fullmatch(block.get("production", "")) is not None
        if said or any(tags.get(name) for name in block.get("TAGREFS", "").split()):
            lines |= {line for line in block.iter() if _local(line.tag) == "TextLine"}
    return lines


def _alto_line(element: ET.Element, *, printed: bool) -> Line:
    polygon, words = _points(None), []
    for child in element:
        if _local(child.tag) == "Shape":
            shape = next((part for part in child if _local(part.tag) == "Polygon"), None)
            polygon = _points(shape.get("POINTS") if shape is not None else None)
        elif _local(child.tag) == "String":
            words.append(child.get("CONTENT", ""))
    if len(polygon) == 0 and element.get("HPOS") is not None:
        x, y, w, h = (float(element.get(key, "0")) for key in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
        polygon = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], np.float32)
    return Line(polygon, _points(element.get("BASELINE")), " ".join(words), printed)


def _page_line(element: ET.Element, *, printed: bool) -> Line:
    polygon, baseline, text = _points(None), _points(None), ""
    for child in element:
        if _local(child.tag) == "Coords":
            polygon = _points(child.get("points"))
        elif _local(child.tag) == "Baseline":
            baseline = _points(child.get("points"))
        elif _local(child.tag) == "TextEquiv":
            unicode = next((part for part in child if _local(part.tag) == "Unicode"), None)
            text = (unicode.text if unicode is not None else None) or ""
    return Line(polygon, baseline, text, printed)


def _local(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]


def _points(text: str | None) -> npt.NDArray[np.float32]:
    values = [float(value) for value in re.split(r"[\s,]+", (text or "").strip()) if value]
    return np.array(list(zip(values[::2], values[1::2], strict=False)), np.float32).reshape(-1, 2)
