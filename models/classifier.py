"""The digit classifier: a small convolutional network over the two views of a crop.

Eleven classes: ten digits, and a reject.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import Block, conv
from pipeline.crops import VIEWS

N_CLASSES = 11  # ten digits, and REJECT for a crop that shows none


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """Plain numbers that make a classifier."""

    channels: tuple[int, int, int, int] = (24, 40, 80, 128)  # at 40, 20, 10 and 5 pixels
    hidden: int = 128
    dropout: float = 0.2


class DigitClassifier(nn.Module):
    """Crops (N, 2, 40, 40), float 0 to 1, ink is 1 → logits (N, 11): digits 0 to 9, then reject.

    Residual blocks at three resolutions (He and others 2016, "Deep Residual Learning").
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        a, b, c, d = config.channels
        self.fine = conv(len(VIEWS), a)
        self.at20 = nn.Sequential(conv(a, b, stride=2), Block(b))
        self.at10 = nn.Sequential(conv(b, c, stride=2), Block(c))
        self.at5 = nn.Sequential(conv(c, d, stride=2), Block(d))
        self.hidden = nn.Linear(d * 5 * 5, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(config.hidden, N_CLASSES)

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 2, 40, 40) → (N, 11)."""
        logits: Tensor = self.classes(self.dropout(self.features(crops)))
        return logits

    def features(self, crops: Tensor) -> Tensor:
        """(N, 2, 40, 40) → (N, 128): what the last layer tells the classes by."""
        x = self.at5(self.at10(self.at20(self.fine(crops)))).flatten(1)  # (N, d·5·5)
        return F.relu(self.hidden(self.dropout(x)))


def classifier_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean cross-entropy; smoothed, since a few of the labels are wrong."""
    return F.cross_entropy(logits.float(), classes, label_smoothing=0.05)
