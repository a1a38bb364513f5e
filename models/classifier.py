"""The digit classifier: a small convolutional network over one crop, ten digits and a reject class."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from models.detector import conv

REJECT = 10  # the class of a crop that shows no digit
N_CLASSES = 11


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """Plain numbers that make a classifier."""

    channels: tuple[int, int, int] = (32, 64, 128)  # at 40, 20 and 10 pixels
    hidden: int = 128
    dropout: float = 0.2


class DigitClassifier(nn.Module):
    """Crops (N, 1, S, S), float 0 to 1, ink is 1 → logits (N, 11): digits 0 to 9, then reject."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        a, b, c = config.channels
        self.fine = nn.Sequential(conv(1, a), conv(a, a), nn.MaxPool2d(2))
        self.middle = nn.Sequential(conv(a, b), conv(b, b), nn.MaxPool2d(2))
        self.coarse = nn.Sequential(conv(b, c), conv(c, c), nn.MaxPool2d(2))
        self.hidden = nn.Linear(c * 5 * 5, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(config.hidden, N_CLASSES)

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 1, 40, 40) → (N, 11)."""
        x = self.coarse(self.middle(self.fine(crops))).flatten(1)  # (N, c·5·5)
        logits: Tensor = self.classes(self.dropout(F.relu(self.hidden(x))))
        return logits


def classifier_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean cross-entropy; smoothed, since a few of the labels are wrong."""
    return F.cross_entropy(logits.float(), classes, label_smoothing=0.05)
