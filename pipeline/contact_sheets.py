"""Contact sheets: many small pictures with boxes and what they are said to be, judged at one look."""

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.errors import OutputError
from pipeline.page import Box

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

# the sheet in pixels: what a screen shows without scrolling sideways, and with little of it downwards
_WIDTH, _HEIGHT = 1500, 1400
_GAP = 10
_TITLE_PX = 34
_ROW_PX = 15  # a row of labels or of caption
_SMALL_PX = 240  # narrower pictures are shown twice as large
_TALLEST_PX = 400
_LEAST_PX = 90  # a strip leaves its caption at least this room
_FONT = cv2.FONT_HERSHEY_SIMPLEX  # knows ASCII only
_LETTER_PX = 7.6  # of a caption, on average

# what normalising leaves outside ASCII
_ALIKE = str.maketrans({"°": "o", "–": "-", "—": "-", "’": "'", "œ": "oe", "Œ": "OE", "æ": "ae", "ß": "ss"})

# OpenCV's order, blue first
_PAPER, _BACK, _TEXT = (255, 255, 255), (222, 222, 222), (40, 40, 40)
_SURE, _DOUBTFUL = (200, 110, 0), (30, 30, 220)


@dataclass(frozen=True, eq=False, slots=True)
class Strip:
    """A picture with boxes on it: uint8 (h, w) grey or (h, w, 3) RGB, 255 is paper.

    Each of `boxes` is a box in the picture's pixels, what stands below it, and whether it is doubtful
    (drawn red, else blue).  `notes` stand among these texts with no box: an x and what is said there.
    """

    picture: Picture
    boxes: tuple[tuple[Box, str, bool], ...]
    caption: str
    notes: tuple[tuple[float, str], ...] = ()
    enlarged: bool = True  # twice as large, where it is narrow


def draw_sheet(file: Path, strips: Sequence[Strip], title: str) -> None:
    """Write `sheet_png` to a file, in a folder that is made for it; OutputError if it can't be."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(sheet_png(strips, title))
    except OSError as error:
        raise OutputError(f"{file}: can't be written: {error.strerror or error}") from error


def sheet_png(strips: Sequence[Strip], title: str, height_px: int = _HEIGHT) -> bytes:
    """Return strips below a title as a PNG 1500 px wide and at most `height_px` high.

    They stand from the top left, each where it first fits; those for which no room is left are left out,
    and the title says of how many.
    """
    placed, height = _place([_tile(strip) for strip in strips], height_px)
    left_out = f" ({len(placed)} of {len(strips)} shown)" if len(placed) < len(strips) else ""
    sheet = np.full((height, _WIDTH, 3), _BACK, np.uint8)
    _write(sheet, title + left_out, (_GAP, _TITLE_PX - 12), 0.6)
    for tile, x, y in placed:
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return bytes(cv2.imencode(".png", sheet)[1].tobytes())


def _place(tiles: Sequence[Picture], height_px: int) -> tuple[list[tuple[Picture, int, int]], int]:
    """Return tiles with their x and y on shelves, of which the last one may grow, and the sheet's height."""
    shelves: list[tuple[int, int, int]] = []  # y, height, x from which it is free
    placed, below = [], _TITLE_PX
    for tile in tiles:
        height, width = tile.shape[:2]
        for i, (y, room, x) in enumerate(shelves):
            if i == len(shelves) - 1 and y + height + _GAP <= height_px:
                room = max(room, height)
            if height <= room and x + width + _GAP <= _WIDTH:
                shelves[i] = (y, room, x + width + _GAP)
                placed.append((tile, x, y))
                break
        else:
            if below + height + _GAP <= height_px:
                placed.append((tile, _GAP, below))
                shelves.append((below, height, _GAP + width + _GAP))
        below = shelves[-1][0] + shelves[-1][1] + _GAP if shelves else _TITLE_PX
    return placed, below


def _tile(strip: Strip) -> Picture:
    """Return a strip as it is shown, uint8 (h, w, 3): its picture, labels under the boxes, its caption."""
    shown = strip.picture
    if shown.ndim == 2:
        shown = np.asarray(cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR), np.uint8)
    else:
        shown = np.asarray(cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), np.uint8)
    height, width = shown.shape[:2]
    zoom = min(
        2.0 if strip.enlarged and width <= _SMALL_PX else 1.0,
        (_WIDTH - 2 * _GAP) / width,
        _TALLEST_PX / height,
    )
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    shown = np.asarray(cv2.resize(shown, size, interpolation=interpolation), np.uint8)
    labels = _labels(strip, zoom)
    n_rows = 1 + max((row for *_, row in labels), default=-1)
    wide = max([size[0], _LEAST_PX, *(x + _text_width(text) for text, _, x, _ in labels)])
    wide = min(wide, _WIDTH - 2 * _GAP)
    caption = textwrap.wrap(ascii_of(strip.caption), int(wide / _LETTER_PX), max_lines=3, placeholder="...")
    tile = np.full((size[1] + (n_rows + len(caption)) * _ROW_PX + 4, wide, 3), _PAPER, np.uint8)
    tile[: size[1], : size[0]] = shown
    for box, _, doubtful in strip.boxes:
        # a pixel outside, so that no ink is hidden
        corner = (int(box.x0 * zoom) - 1, int(box.y0 * zoom) - 1)
        opposite = (round(box.x1 * zoom), round(box.y1 * zoom))
        cv2.rectangle(tile, corner, opposite, _DOUBTFUL if doubtful else _SURE, 1)
    for text, colour, x, row in labels:
        _write(tile, text, (x, size[1] + (row + 1) * _ROW_PX - 3), 0.45, colour)
    for row, line in enumerate(caption, n_rows + 1):
        _write(tile, line, (2, size[1] + row * _ROW_PX - 3), 0.4)
    return tile


def _labels(strip: Strip, zoom: float) -> list[tuple[str, Colour, int, int]]:
    """Return each box's label and each note, its colour, its x and its row below the picture.

    A label that would touch another goes a row down.
    """
    ends: list[int] = []
    labels = []
    said = [(box.centre[0], label, _DOUBTFUL if doubtful else _SURE) for box, label, doubtful in strip.boxes]
    said += [(centre, note, _TEXT) for centre, note in strip.notes]
    for centre, label, colour in sorted(said, key=lambda entry: entry[0]):
        text = ascii_of(label)
        x = max(0, round(centre * zoom - _text_width(text) / 2))
        row = next((i for i, end in enumerate(ends) if x > end + 1), len(ends))
        ends[row : row + 1] = [x + _text_width(text)]
        labels.append((text, colour, x, row))
    return labels


def _text_width(text: str) -> int:
    """Return the width of a label in pixels."""
    (width, _), _ = cv2.getTextSize(text, _FONT, 0.45, 1)
    return int(width)


def ascii_of(text: str) -> str:
    """Return a text in ASCII: letters without their accents, ? for what has no likeness there.

    >>> ascii_of("dépôt n° 5 – 12 ₶")
    'depot no 5 - 12 ?'
    """
    apart = unicodedata.normalize("NFKD", text.translate(_ALIKE))
    bare = "".join(character for character in apart if not unicodedata.combining(character))
    return bare.encode("ascii", "replace").decode()


def _write(picture: Picture, text: str, at: tuple[int, int], size: float, colour: Colour = _TEXT) -> None:
    cv2.putText(picture, ascii_of(text), at, _FONT, size, colour, 1, cv2.LINE_AA)
