"""The recogniser: reads a number as a whole from its ink, without boxes.

The other networks read digit by digit, and where one box is missing or a letter was boxed their readings
do not show it.  This one sees the strip of a number and says, column by column, which digits stand there
(connectionist temporal classification: Graves and others 2006).  Where it reads a number otherwise, other
ways to put its boxes together are weighed (`models/revision.py`); where the two agree the number is surer.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import Block, conv
from pipeline.strips import STRIP_PX

NOTHING = 10  # the class of a column where no digit is told
N_CLASSES = 11
N_COLUMNS = STRIP_PX[1] // 4
N_ANSWERS = 6  # of a number: see `answers_to`
LEAST_LOG = -30.0  # the log chance of another text is no smaller
_FLOOR = -12.0  # no chance is smaller than e to this
_AHEAD = 3  # digits more or less that still make a difference
_LIKELY = 0.002  # digits of a column that are less likely are no part of other texts
_BEAM = 10  # texts that are followed from column to column
_AT_A_TIME = 256  # numbers, so that memory is bounded

Floats = npt.NDArray[np.float64]
Columns = npt.NDArray[np.float32]  # log chances of columns, (M, 36, 11)


@dataclass(frozen=True, slots=True)
class RecogniserConfig:
    """Plain numbers that make a recogniser."""

    channels: tuple[int, int, int, int] = (16, 32, 48, 80)  # two at stride 2, then 4, then 8 by 4
    width: int = 128  # of a column
    dropout: float = 0.2


class NumberRecogniser(nn.Module):
    """Ink of strips (M, 1, 36, 144), float 0 to 1, ink is 1 → logits (M, 36, 11) of columns from the left."""

    def __init__(self, config: RecogniserConfig) -> None:
        super().__init__()
        a, b, c, d = config.channels
        self.fine = nn.Sequential(conv(1, a, stride=2), conv(a, b))
        self.at4 = nn.Sequential(conv(b, c, stride=2), Block(c))
        self.tall = nn.Sequential(nn.MaxPool2d((2, 1), ceil_mode=True), conv(c, d), Block(d))
        rows = -(-STRIP_PX[0] // 8)
        self.columns = nn.Sequential(
            nn.Conv2d(d, config.width, (rows, 1), bias=False),
            nn.BatchNorm2d(config.width),
            nn.ReLU(inplace=True),
        )
        # the number in the middle counts, not the ones beside it
        self.place = nn.Parameter(torch.zeros(1, config.width, 1, N_COLUMNS))
        self.along = nn.Sequential(_along(config.width), _along(config.width))
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(config.width, N_CLASSES)

    def forward(self, ink: Tensor) -> Tensor:
        """(M, 1, 36, 144) → (M, 36, 11)."""
        x = self.columns(self.dropout(self.tall(self.at4(self.fine(ink))))) + self.place  # (M, width, 1, 36)
        for layer in self.along:
            x = x + layer(x)
        logits: Tensor = self.classes(self.dropout(x[:, :, 0].transpose(1, 2)))
        return logits


def _along(n: int) -> nn.Sequential:
    """Return what a column learns from those beside it: four on each side."""
    first = nn.Conv2d(n, n, (1, 9), padding=(0, 4), groups=n, bias=False)
    return nn.Sequential(first, conv(n, n, size=1), nn.Conv2d(n, n, (1, 3), padding=(0, 1)))


def recogniser_loss(logits: Tensor, texts: Sequence[str]) -> Tensor:
    """Return the mean of minus the log chance of the true texts, a digit; logits (M, 36, 11)."""
    n_told = sum(len(text) + 1 for text in texts)  # that nothing follows is told too
    return -log_chances(F.log_softmax(logits.float(), dim=2), texts).sum() / max(n_told, 1)


def log_chances(columns: Tensor, texts: Sequence[str]) -> Tensor:
    """Return the log chance of each text, (M,), by log chances of columns, float (M, 36, 11).

    It is minus infinity where a text has no room in the columns.
    """
    if not texts:  # torch refuses none
        return columns.new_zeros(0)
    digits = torch.tensor([int(digit) for text in texts for digit in text], dtype=torch.long)
    lengths = torch.tensor([len(text) for text in texts], dtype=torch.long)
    n_columns = torch.full((len(texts),), columns.shape[1], dtype=torch.long)
    by_column = columns.transpose(0, 1)  # (36, M, 11)
    return -F.ctc_loss(by_column, digits, n_columns, lengths, blank=NOTHING, reduction="none")


def has_room(text: str) -> bool:
    """Return whether the columns can tell a text: equal digits side by side need one between them."""
    return len(text) + sum(a == b for a, b in itertools.pairwise(text)) <= N_COLUMNS


def best_texts(columns: Columns) -> list[str]:
    """Return the text of the likeliest path through columns, float (M, 36, 11), of each of M numbers."""
    texts = []
    for path in columns.argmax(axis=2).tolist():
        kept = [c for c, last in zip(path, [NOTHING, *path], strict=False) if c not in (last, NOTHING)]
        texts.append("".join(map(str, kept)))
    return texts


def likely_texts(columns: Columns, n: int) -> list[list[str]]:
    """Return the n likeliest texts of each of M numbers, best first, by columns, float (M, 36, 11).

    By prefix beam search (Hannun, Maas, Jurafsky and Ng 2014, "First-Pass Large Vocabulary Continuous Speech
    Recognition Using Bi-Directional Recurrent DNNs"): paths that tell the same text count together.
    """
    chances = np.exp(columns)
    told = np.asarray((chances[:, :, :NOTHING] > _LIKELY).any(axis=2))  # (M, 36): most columns tell no digit
    return [
        _beam(rows[some].tolist(), np.flatnonzero(some).tolist(), n)
        for rows, some in zip(chances, told, strict=True)
    ]


def _beam(rows: Sequence[Sequence[float]], places: Sequence[int], n: int) -> list[str]:
    """Return the n likeliest texts by the chances (K, 11) of those columns that may tell a digit."""
    beam = {"": (1.0, 0.0)}  # the chances of each text so far: of paths beyond its last digit, and on it
    for row, place, last in zip(rows, places, [-1, *places], strict=False):
        nothing = row[NOTHING]
        likely = [(str(digit), chance) for digit, chance in enumerate(row[:NOTHING]) if chance > _LIKELY]
        beyond, on = dict[str, float](), dict[str, float]()
        for text, (over, told) in beam.items():
            if place > last + 1:  # nothing stood between
                over, told = over + told, 0.0
            beyond[text] = (over + told) * nothing
            for digit, chance in likely:
                longer = text + digit
                if text[-1:] != digit:
                    on[longer] = on.get(longer, 0.0) + (over + told) * chance
                else:  # the same digit goes on, or another one follows
                    on[text] = on.get(text, 0.0) + told * chance
                    on[longer] = on.get(longer, 0.0) + over * chance
        both = {text: (beyond.get(text, 0.0), on.get(text, 0.0)) for text in (beyond | on)}
        beam = dict(sorted(both.items(), key=lambda one: -sum(one[1]))[:_BEAM])
    return sorted(beam, key=lambda text: -sum(beam[text]))[:n]


def agreement(said: Floats) -> Floats:
    """Return the log-odds that the recogniser reads the same, (M,), by its answers (M, 6)."""
    return np.asarray(said[:, 0] - said[:, 3])


def text_chances(said: Floats) -> Floats:
    """Return the log chances that the recogniser gives the texts, (M,), by its answers (M, 6)."""
    return np.asarray(said[:, 0])


def answers_to(texts: Sequence[str], columns: Columns) -> Floats:
    """Return what the recogniser says to numbers that were read as these texts, float64 (M, 6).

    By its log chances of columns, float32 (M, 36, 11): the log chance of the text, of its own reading, and of
    the first given the second; the log chance that the text is wrong; whether the two are the same; how
    many digits more its own has.
    """
    if not texts:
        return np.zeros((0, N_ANSWERS))
    parts = range(0, len(texts), _AT_A_TIME)
    return np.concatenate([_answers(texts[k : k + _AT_A_TIME], columns[k : k + _AT_A_TIME]) for k in parts])


def _answers(texts: Sequence[str], columns: Columns) -> Floats:
    own = best_texts(columns)
    of_text, of_own = (_bounded(said, columns) for said in (texts, own))
    same = np.array([a == b for a, b in zip(texts, own, strict=True)], np.float64)
    longer = np.array([len(b) - len(a) for a, b in zip(texts, own, strict=True)], np.float64)
    wrong = np.log(np.maximum(-np.expm1(of_text), np.exp(_FLOOR)))
    return np.column_stack([of_text, of_own, of_text - of_own, wrong, same, longer.clip(-_AHEAD, _AHEAD)])


def _bounded(texts: Sequence[str], columns: Columns) -> Floats:
    """Return the log chance of each text, (M,); without room in the columns it is as small as any."""
    room = np.array([has_room(text) for text in texts])
    said = [text if has_room(text) else "" for text in texts]
    chances = log_chances(torch.from_numpy(columns), said).numpy().astype(np.float64)
    return np.asarray(np.where(room, chances.clip(_FLOOR, 0), _FLOOR))
