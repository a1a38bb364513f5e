"""Drawn pages of four kinds that are easy to name and come in many looks: two forms, covers, blanks.

A form keeps its columns and rules; hands, filling, paper, skew and scan change from page to page.  A blank
may be plain, ruled, squared, or a printed form in which nothing is written; the other side's writing may
shine through, and a page number may stand in its corner.  A cover is board, cloth, leather or marbled
paper with a title on it or on a label.  The same kind and seed give the same page.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.drawn import PageStyle, draw_page
from pipeline.glyphs import NAMES, WORDS
from pipeline.inking import FACES, print_width
from pipeline.layout import fill_in
from pipeline.paper import Floats, Look, clouds, develop
from pipeline.pens import Hand, any_hand
from pipeline.sheet import Sheet
from pipeline.styles import any_look

Pixels = NDArray[np.uint8]  # (H, W) grey or (H, W, 3) RGB

# what may vary from page to page of a form is changed below
FORM_A = PageStyle(columns=("running", "day", "text", "amount", "year"), row_pitch=2.2, neat=False)
FORM_B = PageStyle(
    columns=("date", "text", "count", "count", "amount"), row_pitch=3.0, rules="double", neat=False
)
_BOARDS = (
    (96, 70, 52),
    (120, 96, 70),
    (70, 82, 70),
    (66, 70, 88),
    (150, 130, 104),
    (176, 164, 142),
    (92, 50, 46),
)
_TITLES = ("REGISTRE", "REPERTOIRE", "COMPTES", "MINUTES", "TABLES", "JOURNAL", "ACTES", "RECETTES", "CAHIER")


def draw_kind(kind: str, seed: int) -> Pixels:
    """Return a page of a kind, a key of DRAWN."""
    rng = np.random.default_rng([seed, *kind.encode()])
    return DRAWN[kind](rng)


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Return width and height as scans of pages have them."""
    width = int(rng.integers(1300, 2300))
    return width, int(width * rng.uniform(1.25, 1.55))


def _look(rng: np.random.Generator) -> Look:
    return replace(any_look(rng), jpeg=None)  # compressed when it is written, like the real ones


def _form(rng: np.random.Generator, form: PageStyle) -> PageStyle:
    """Return a form as one clerk filled it in and one scanner saw it."""
    width, height = _size(rng)
    return replace(
        form,
        width=width,
        height=height,
        digit_px=width / 44 * rng.uniform(0.93, 1.07),
        n_hands=int(rng.integers(1, 3)),
        fill=float(rng.uniform(0.5, 1.0)),
        row_fill=float(rng.uniform(0.25, 1.0)),
        skew_deg=float(np.clip(rng.normal(0, 0.7), -2, 2)),
        look=_look(rng),
    )


def _filled(form: PageStyle) -> Callable[[np.random.Generator], Pixels]:
    return lambda rng: draw_page(int(rng.integers(2**31)), _form(rng, form)).pixels


def _blank(rng: np.random.Generator) -> Pixels:
    width, height = _size(rng)
    kind = rng.choice(["plain", "lines", "squares", "form"], p=[0.35, 0.25, 0.1, 0.3])
    skew = float(np.clip(rng.normal(0, 0.8), -2, 2))
    look = replace(_look(rng), bleed=0.0, stains=int(rng.integers(0, 12)))
    sheet = Sheet(height, width, skew)
    if kind == "form":
        some = [FORM_A, FORM_B, PageStyle(columns=("count",) * 6), PageStyle(columns=("text", "text"))]
        form = _form(rng, some[rng.integers(len(some))])
        empty = replace(form, width=width, height=height, row_fill=0.0, header=bool(rng.uniform() < 0.8))
        fill_in(rng, sheet, empty)
    elif kind != "plain":
        _rule_paper(rng, sheet, squares=kind == "squares")
    if rng.uniform() < 0.3:  # a page number
        x = width * (0.9 if rng.uniform() < 0.7 else 0.05)
        sheet.write(rng, any_hand(rng), str(rng.integers(1, 400)), x, 0.05 * height, width / 50)
    if rng.uniform() < 0.5:  # the other side shines through
        back = Sheet(height, width, -skew)
        form = _form(rng, FORM_A if rng.uniform() < 0.5 else FORM_B)
        bare = replace(form, rules="none", row_rules=False, header=False, width=width, height=height)
        fill_in(rng, back, bare)
        soft = cv2.GaussianBlur(back.ink[:, ::-1].copy(), (0, 0), float(rng.uniform(1.0, 2.5)))
        faint = cv2.convertScaleAbs(soft, alpha=float(rng.uniform(0.05, 0.3)))
        cv2.max(sheet.print, faint, dst=sheet.print)
    return _edges(rng, develop(rng, look, sheet.ink, sheet.print, sheet.rules))


def _rule_paper(rng: np.random.Generator, sheet: Sheet, *, squares: bool) -> None:
    """Rule writing paper: lines, with a margin now and then, or squares."""
    width, height = sheet.width, sheet.height
    pitch, thick, strength = width / rng.uniform(18, 50), width / 1600, rng.uniform(0.2, 0.8)
    for y in np.arange(height * rng.uniform(0.02, 0.12), height, pitch):
        sheet.rule((-width, y), (2 * width, y), thick, strength)
    for x in np.arange(rng.uniform(0, pitch), width, pitch) if squares else ():
        sheet.rule((x, -height), (x, 2 * height), thick, strength)
    if rng.uniform() < 0.4:
        x = width * rng.uniform(0.08, 0.2)
        sheet.rule((x, -height), (x, 2 * height), 1.5 * thick, min(1.4 * strength, 1.0))


def _edges(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Darken a side towards the fold, and show the edges of the pages below or the table on another."""
    height, width = pixels.shape[:2]
    light = np.ones((height, width), np.float32)
    x = np.arange(width, dtype=np.float32) / width
    if rng.uniform() < 0.6:
        light *= 1 - rng.uniform(0.15, 0.6) * np.exp(-x / rng.uniform(0.02, 0.1))
    if rng.uniform() < 0.4:  # the edges of other pages, beside it
        n, at = int(rng.integers(2, 7)), 1 - rng.uniform(0.01, 0.05)
        for edge in at + (1 - at) * np.sort(rng.uniform(0, 1, n)):
            light *= 1 - rng.uniform(0.1, 0.4) * np.exp(-(((x - edge) * width / 2.5) ** 2))
    if rng.uniform() < 0.35:  # the table
        border = width * rng.uniform(0.01, 0.06, 4)
        dark = rng.uniform(0.05, 0.5)
        top, bottom, left, right = (int(b) for b in border)
        inside = np.zeros((height, width), np.float32)
        inside[top : height - bottom, left : width - right] = 1
        light *= dark + (1 - dark) * cv2.GaussianBlur(inside, (0, 0), 2)
    if rng.uniform() < 0.5:
        light = light[:, ::-1]
    return _lit(pixels, light)


def _lit(pixels: Pixels, light: Floats) -> Pixels:
    light = light if pixels.ndim == 2 else light[..., None]
    return np.asarray(np.clip(pixels * light, 0, 255), np.uint8)


def _cover(rng: np.random.Generator) -> Pixels:
    width, height = _size(rng)
    tone = np.array(_BOARDS[rng.integers(len(_BOARDS))]) * rng.uniform(0.75, 1.35)
    board = (float(tone[0]), float(tone[1]), float(tone[2]))
    dark = 0.3 * min(board)
    look = Look(
        grey=bool(rng.uniform() < 0.3),
        paper=board,
        ink=(dark, dark, dark),
        print=(dark, dark, dark),
        rules=(dark, dark, dark),
        unevenness=float(rng.uniform(0.05, 0.2)),
        grain=float(rng.uniform(3, 10)),
        stains=int(rng.integers(0, 14)),
        specks=int(rng.integers(0, 200)),
        blur=float(rng.uniform(0.4, 1.4)),
        noise=float(rng.uniform(1, 8)),
    )
    sheet = Sheet(height, width, float(rng.normal(0, 0.6)))
    labelled = rng.uniform() < 0.65
    if not labelled:
        box = width * 0.15, height * rng.uniform(0.12, 0.35), width * 0.85, height * rng.uniform(0.5, 0.75)
        _title(rng, sheet, box, framed=bool(rng.uniform() < 0.6))
    if rng.uniform() < 0.25:  # a frame pressed into the board
        _frame(rng, sheet, (0.05 * width, 0.04 * height, 0.95 * width, 0.96 * height))
    pixels = develop(rng, look, sheet.ink, sheet.print, sheet.rules)
    pixels = _lit(pixels, _texture(rng, (height, width)))
    if labelled:
        label_width = int(width * rng.uniform(0.35, 0.7))
        label_height = int(label_width * rng.uniform(0.4, 1.0))
        at = int(rng.uniform(0.35, 0.65) * (width - label_width)), int(height * rng.uniform(0.08, 0.5))
        _paste(rng, pixels, _label(rng, label_width, label_height), at)
    if rng.uniform() < 0.35:  # the archive's own shelf mark
        side = int(width * rng.uniform(0.1, 0.18))
        corner = int(width * rng.uniform(0.03, 0.1)), int(height * rng.uniform(0.85, 0.93) - side * 0.6)
        _paste(rng, pixels, _shelf_mark(rng, side, int(side * 0.6)), corner)
    return _edges(rng, pixels)


def _texture(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return how board, cloth, leather or marbled paper lightens each pixel, float32 (H, W) around 1."""
    height, width = shape
    light = np.ones(shape, np.float32)
    what = rng.choice(["board", "cloth", "leather", "marbled"])
    if what == "cloth":
        pitch = rng.uniform(4, 9)
        y, x = np.ogrid[:height, :width]
        weave = np.sin(x * (2 * np.pi / pitch)) * np.sin(y * (2 * np.pi / pitch))
        light += (rng.uniform(0.04, 0.15) * weave).astype(np.float32)
    elif what == "leather":
        noise = rng.standard_normal((height // 3 + 1, width // 3 + 1)).astype(np.float32)
        grain = cv2.resize(cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.7, 2)), (width, height))
        light += np.float32(rng.uniform(0.1, 0.3)) * np.asarray(grain, np.float32)
    elif what == "marbled":
        veins = clouds(rng, shape, int(rng.integers(15, 50))) + 0.6 * clouds(
            rng, shape, int(rng.integers(50, 120))
        )
        light += np.float32(rng.uniform(0.15, 0.45)) * np.sin(veins * rng.uniform(3, 8))
    if rng.uniform() < 0.5:  # the back of the book, in another stuff
        edge = int(width * rng.uniform(0.08, 0.2))
        light[:, :edge] *= rng.uniform(0.5, 0.85)
        light[:, edge : edge + 3] *= 0.6
    if rng.uniform() < 0.5:  # scuffed: the pale inside of the board shows
        worn = np.clip(clouds(rng, shape, int(rng.integers(20, 60))) - rng.uniform(0.5, 0.8), 0, 1)
        light += np.float32(rng.uniform(0.5, 2)) * worn
    for _ in range(int(rng.integers(0, 12))):  # scratches
        start = rng.uniform(0, 1, 2) * (width, height)
        end = start + rng.normal(0, 0.12 * width, 2)
        ends = [tuple(int(v) for v in point) for point in (start, end)]
        cv2.line(light, ends[0], ends[1], float(rng.uniform(0.6, 1.5)), int(rng.integers(1, 4)), cv2.LINE_AA)
    return light


def _label(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """Return a paper label with a title, printed or written, most often in a frame."""
    sheet = Sheet(height, width)
    inset = 0.06 * width
    _title(rng, sheet, (inset, inset, width - inset, height - inset), framed=bool(rng.uniform() < 0.75))
    look = replace(_look(rng), grey=False, border=0.0, stains=int(rng.integers(0, 4)), bleed=0.0)
    return develop(rng, look, sheet.ink, sheet.print, sheet.rules)


def _shelf_mark(rng: np.random.Generator, width: int, height: int) -> Pixels:
    sheet = Sheet(height, width)
    number = str(rng.integers(10, 9999))
    size = 0.4 * height
    if rng.uniform() < 0.5:
        sheet.print_text(number, 0.15 * width, 0.7 * height, size, bold=0.3)
    else:
        sheet.write(rng, any_hand(rng), number, 0.15 * width, 0.7 * height, size)
    look = replace(_look(rng), grey=False, border=0.0, stains=0, bleed=0.0, paper=(235.0, 230.0, 215.0))
    return develop(rng, look, sheet.ink, sheet.print, sheet.rules)


def _paste(rng: np.random.Generator, board: Pixels, label: Pixels, at: tuple[int, int]) -> None:
    """Lay a label on the board, a little turned, its corners worn now and then."""
    if board.ndim == 2 and label.ndim == 3:
        label = np.asarray(cv2.cvtColor(label, cv2.COLOR_RGB2GRAY), np.uint8)
    elif board.ndim == 3 and label.ndim == 2:
        label = np.asarray(cv2.cvtColor(label, cv2.COLOR_GRAY2RGB), np.uint8)
    height, width = label.shape[:2]
    there = np.full((height, width), 255, np.uint8)
    if rng.uniform() < 0.5:
        for x, y in ((0, 0), (width, 0), (0, height), (width, height)):
            axes = (int(width * rng.uniform(0, 0.12)), int(height * rng.uniform(0, 0.12)))
            cv2.ellipse(there, (x, y), axes, 0, 0, 360, 0, -1)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.normal(0, 1.2)), 1.0)
    turn[:, 2] += at
    size = (board.shape[1], board.shape[0])
    laid = cv2.warpAffine(label, turn, size, flags=cv2.INTER_LINEAR)
    where = cv2.warpAffine(there, turn, size, flags=cv2.INTER_LINEAR).astype(np.float32) / 255
    shadow = 1 - 0.5 * cv2.GaussianBlur(where, (0, 0), 4)
    if board.ndim == 3:
        where, shadow = where[..., None], shadow[..., None]
    board[:] = np.clip(board * shadow * (1 - where) + laid * where, 0, 255).astype(np.uint8)


def _title(
    rng: np.random.Generator, sheet: Sheet, box: tuple[float, float, float, float], *, framed: bool
) -> None:
    """Set a title into a box: a few centred lines, all of them printed or some of them written."""
    x0, y0, x1, y1 = box
    if framed:
        _frame(rng, sheet, box)
    lines = [str(rng.choice(_TITLES))]
    if rng.uniform() < 0.6:
        lines.append(str(rng.choice(["de", "des", "No. " + str(rng.integers(1, 90))])))
    if rng.uniform() < 0.6:
        lines.append(" ".join(str(w).upper() for w in rng.choice(NAMES + WORDS, int(rng.integers(1, 3)))))
    year = int(rng.integers(1720, 1945))
    lines.append(f"{year} - {year + int(rng.integers(1, 12))}" if rng.uniform() < 0.5 else str(year))
    face, by_hand, hand = str(rng.choice(FACES)), rng.uniform(0, 1), any_hand(rng)
    pitch = (y1 - y0) / (len(lines) + 0.6)
    for k, line in enumerate(lines):
        size = pitch * rng.uniform(0.3, 0.55)
        baseline = y0 + pitch * (k + 1)
        if rng.uniform() < by_hand * 0.8:
            _written(rng, sheet, hand, line, (x0, x1), baseline, size)
            continue
        wide = sum(print_width(c, size, face) for c in line)
        size *= min(1.0, 0.86 * (x1 - x0) / wide)
        wide = sum(print_width(c, size, face) for c in line)
        sheet.print_text(
            line, (x0 + x1 - wide) / 2, baseline, size, face=face, bold=float(rng.uniform(0, 0.8))
        )
    if rng.uniform() < 0.3:  # a rule below
        y = baseline + 0.3 * pitch
        sheet.rule((x0 + 0.35 * (x1 - x0), y), (x1 - 0.35 * (x1 - x0), y), (x1 - x0) / 200, 1.0)


def _written(
    rng: np.random.Generator,
    sheet: Sheet,
    hand: Hand,
    line: str,
    sides: tuple[float, float],
    baseline: float,
    size: float,
) -> None:
    """Write a line of a title by hand, from where it is about centred."""
    words = line.lower().split()
    room = sum(len(word) * 0.6 + 0.5 for word in words) * size
    size *= min(1.0, 0.85 * (sides[1] - sides[0]) / room)
    room = sum(len(word) * 0.6 + 0.5 for word in words) * size
    x = max((sides[0] + sides[1] - room) / 2, sides[0] + 0.05 * (sides[1] - sides[0]))
    for word in words:
        if word.isdigit():
            x = sheet.write(rng, hand, word, x, baseline, size)
        elif word.isalpha():
            x = sheet.word(rng, hand, word, x, baseline, 0.6 * size)
        x += 0.5 * size


def _frame(rng: np.random.Generator, sheet: Sheet, box: tuple[float, float, float, float]) -> None:
    """Rule a frame of one to three lines."""
    x0, y0, x1, y1 = box
    thick = (x1 - x0) / 250
    for k in range(int(rng.integers(1, 4))):
        by = k * thick * rng.uniform(3, 6)
        a, b, c, d = x0 + by, y0 + by, x1 - by, y1 - by
        for start, end in (((a, b), (c, b)), ((c, b), (c, d)), ((c, d), (a, d)), ((a, d), (a, b))):
            sheet.rule(start, end, thick * rng.uniform(0.6, 1.8), 0.9)


DRAWN: Mapping[str, Callable[[np.random.Generator], Pixels]] = {
    "form-a": _filled(FORM_A),
    "form-b": _filled(FORM_B),
    "cover": _cover,
    "blank": _blank,
}
