"""Calibration: the temperature at which a classifier's confidence says how often it is right.

Temperature scaling: Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks".
"""

import torch
import torch.nn.functional as F

from models.classifier import DigitClassifier
from models.training_crops import MARGIN_PX, TrainingCrops

_BATCH = 256


def fit_temperature(network: DigitClassifier, held_out: TrainingCrops) -> float:
    """Return the temperature with the least cross-entropy on crops that the network never learned from."""
    logits, classes = predict(network, held_out), torch.from_numpy(held_out.classes)
    choices = torch.logspace(-1, 1, 81)  # 0.1 to 10 in steps of 6 %
    losses = torch.stack([F.cross_entropy(logits / choice, classes) for choice in choices])
    return float(choices[int(losses.argmin())])


def accuracy(network: DigitClassifier, crops: TrainingCrops) -> float:
    """Return the share of crops whose best class, of all eleven, is right."""
    return float((predict(network, crops).argmax(dim=1) == torch.from_numpy(crops.classes)).float().mean())


def predict(network: DigitClassifier, wide: TrainingCrops) -> torch.Tensor:
    """Return the logits (N, 11) of wide crops as they stand, their margins cut off."""
    network.eval()
    device = next(network.parameters()).device
    inner = wide.crops[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    answers = [torch.zeros(0, 11)]
    with torch.inference_mode():
        for start in range(0, len(inner), _BATCH):
            batch = torch.from_numpy(inner[start : start + _BATCH].copy())[:, None].to(device).float() / 255
            answers.append(network(batch).float().cpu())
    return torch.cat(answers)
