"""How drawn pages look and are laid out: one neat ledger, and everything else there is in an archive."""

from dataclasses import dataclass, field

import numpy as np

from pipeline.inking import FACES
from pipeline.paper import Look

# What a column can hold, and how much room it asks for in digit heights; text takes what is left.
COLUMNS = {
    "running": 5.4,
    "day": 3.4,
    "year": 4.8,
    "amount": 8.2,
    "count": 4.8,
    "date": 11.0,
    "printed": 5.4,
    "figures": 3.4,
    "text": 0.0,
}


@dataclass(frozen=True, slots=True)
class PageStyle:
    """How a page is laid out: sizes in pixels, `row_pitch` in digit heights, shares from 0 to 1.

    `columns` are keys of COLUMNS from left to right; `fill` is how often a cell is filled in,
    `row_fill` how often a row is; `rules` is "solid", "double", "dotted" or "none";
    `numbers_in_text` is how often a word of a text column is a number instead; `face` is the face of print
    of columns of figures.
    """

    width: int = 1240
    height: int = 1754
    digit_px: float = 28.0
    row_pitch: float = 2.2
    columns: tuple[str, ...] = ("running", "day", "text", "amount", "year")
    neat: bool = True
    n_hands: int = 1
    fill: float = 1.0
    row_fill: float = 1.0
    numbers_in_text: float = 0.12
    face: str = ""
    rules: str = "solid"
    row_rules: bool = True
    header: bool = True
    skew_deg: float = 0.0
    look: Look = field(default_factory=Look)


def clean_style(name: str = "ledger", seed: int = 0) -> PageStyle:
    """Return a style by its name: "ledger" is neat and always the same, "varied" is drawn from `seed`."""
    if name == "ledger":
        return PageStyle()
    if name == "varied":
        return _varied(np.random.default_rng([seed, 1]))
    raise ValueError(f"no style {name!r}: there are ledger and varied")


def _varied(rng: np.random.Generator) -> PageStyle:
    width = int(rng.integers(900, 1600))
    kinds = ["register", "accounts", "crowded", "letter", "printed", "figures"]
    kind = rng.choice(kinds, p=[0.36, 0.18, 0.18, 0.1, 0.08, 0.1])
    # registers have digits of 21 px at a page width of 1800, from 13 to 38; cut-outs have larger ones
    digit_px = float(np.clip(np.exp(rng.normal(np.log(24), 0.32)), 13, 60))
    row_pitch = rng.uniform(1.5, 3.6)
    columns: list[str]
    if kind == "register":
        columns = ["running", "day", "text"]
        columns += list(rng.choice(["amount", "year", "count", "text", "date"], int(rng.integers(0, 3))))
    elif kind == "letter":
        columns = ["text"]
    elif kind == "figures":
        columns = ["figures"] * int(
            rng.integers(4, 1 + max(4, int((width / digit_px - 4) / COLUMNS["figures"])))
        )
        row_pitch = rng.uniform(1.2, 1.9)
    else:
        narrow = ["count", "amount", "day", "year", "running"]
        if kind == "printed":
            narrow = ["printed", "printed", "day"]
        columns = []
        room = width / digit_px - 6
        while (column := str(rng.choice(narrow))) and COLUMNS[column] * 1.1 < room:
            columns.append(column)
            room -= COLUMNS[column] * 1.1
        if kind == "crowded":
            row_pitch = rng.uniform(1.12, 1.6)
    return PageStyle(
        width=width,
        height=int(width * rng.uniform(0.7, 1.45)),
        digit_px=digit_px,
        row_pitch=float(row_pitch),
        columns=tuple(columns) or ("count",),
        neat=False,
        n_hands=int(rng.integers(1, 4)),
        fill=float(rng.uniform(0.5, 1.0)),
        row_fill=float(rng.uniform(0.5, 1.0)),
        numbers_in_text=float(rng.uniform(0.05, 0.4)),
        face=str(rng.choice(FACES)),
        rules=str(rng.choice(["solid", "double", "dotted", "none"], p=[0.45, 0.2, 0.2, 0.15])),
        row_rules=bool(rng.uniform() < 0.6),
        header=bool(rng.uniform() < 0.7),
        skew_deg=float(np.clip(rng.normal(0, 0.6), -1.5, 1.5)),
        look=any_look(rng),
    )


def neat_look(rng: np.random.Generator) -> Look:
    """Return a look of a well made scan: even light, dark ink."""
    tone = rng.uniform(225, 245)
    return Look(paper=(tone, tone * rng.uniform(0.94, 0.99), tone * rng.uniform(0.84, 0.95)), fading=0.1)


def any_look(rng: np.random.Generator) -> Look:
    """Return a look out of the whole range, from a fresh colour scan to a worn microfilm."""
    grey = bool(rng.uniform() < 0.4)
    tone = rng.uniform(130, 250)
    warm = rng.uniform(0.72, 1.0)
    paper = (tone, tone * (0.4 + 0.6 * warm), tone * warm)
    dark = rng.uniform(0.05, 0.5) * tone
    ink = (dark, dark * rng.uniform(0.8, 1.0), dark * rng.uniform(0.7, 1.3))
    line = rng.uniform(0.3, 0.85) * tone
    return Look(
        grey=grey,
        paper=paper,
        ink=ink,
        print=(dark * 1.1, dark * 1.1, dark * 1.1),
        rules=(line * rng.uniform(0.7, 1.15), line * rng.uniform(0.8, 1.0), line * rng.uniform(0.8, 1.15)),
        unevenness=float(rng.uniform(0.0, 0.18)),
        grain=float(rng.uniform(0, 5)),
        fading=float(rng.uniform(0, 0.6) ** 1.3),
        bleed=float(rng.uniform(0.03, 0.3)) if rng.uniform() < 0.45 else 0.0,
        stains=int(rng.integers(0, 9)) if rng.uniform() < 0.6 else 0,
        specks=int(rng.integers(0, 120)) if rng.uniform() < 0.6 else 0,
        border=float(rng.uniform(0.005, 0.05)) if rng.uniform() < 0.35 else 0.0,
        blur=float(rng.uniform(0.2, 1.3)),
        noise=float(rng.uniform(0, 8)),
        jpeg=int(rng.integers(35, 92)) if rng.uniform() < 0.7 else None,
    )
