"""Simple classifiers on the frozen features of a trained network: the classical transfer of learning.

Donahue and others 2014, "DeCAF: A Deep Convolutional Activation Feature for Generic Visual Recognition".
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import skops.io
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.classifier import DigitClassifier
from models.training_crops import TrainingCrops
from pipeline.errors import MissingError

Features = npt.NDArray[np.float32]  # (N, F)
Labelled = tuple[Features, npt.NDArray[np.int64]]  # and the digits (N,)

_BATCH = 256
_SHARES = (0.01, 0.1, 1.0)  # of the digits that are learned from, for the learning curve
_LEAST = 100
# what a file may hold beside numbers: trees of scikit-learn's own
_TRUSTED = ["sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]

HEADS: dict[str, Callable[[int], Any]] = {
    "logistic regression": lambda seed: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=300, random_state=seed)
    ),
    "random forest": lambda seed: RandomForestClassifier(200, random_state=seed),
    "boosted trees": lambda seed: HistGradientBoostingClassifier(max_iter=60, random_state=seed),
}


@dataclass(frozen=True, slots=True)
class ChosenHead:
    """The simple classifier that reads validation digits best.

    `by_labels` are rows of (digits learned from, share of validation digits read right) for each candidate.
    """

    name: str
    head: Any  # of scikit-learn
    by_labels: dict[str, list[tuple[int, float]]]


def features_of(network: DigitClassifier, crops: TrainingCrops, device: torch.device) -> Features:
    """Return the features of crops, float32 (N, F)."""
    network.eval()
    features = [np.zeros((0, network.classes.in_features), np.float32)]
    with torch.inference_mode():
        seen = crops.seen
        for start in range(0, len(seen), _BATCH):
            some = torch.from_numpy(seen[start : start + _BATCH]).to(device).float().div(255)
            features.append(network.features(some).float().cpu().numpy())
    return np.concatenate(features)


def choose_head(learnt: Labelled, validating: Labelled, seed: int) -> ChosenHead:
    """Fit each simple classifier to more and more digits, and choose by those that validate."""
    by_labels: dict[str, list[tuple[int, float]]] = {}
    fitted = {}
    for name, make in HEADS.items():
        for n in _sizes(len(learnt[1])):
            fitted[name] = make(seed).fit(learnt[0][:n], learnt[1][:n])
            by_labels.setdefault(name, []).append((n, float(fitted[name].score(*validating))))
    best = max(by_labels, key=lambda name: by_labels[name][-1][1])
    return ChosenHead(best, fitted[best], by_labels)


def _sizes(n: int) -> list[int]:
    """Return how many of n digits are learned from in turn: never so few that a class is likely missing."""
    return sorted({max(round(share * n), min(n, _LEAST)) for share in _SHARES})


def save_head(file: Path, head: Any) -> None:
    """Write a simple classifier as plain data, whole or not at all."""
    halfway = file.with_name(file.name + ".part")
    skops.io.dump(head, halfway)
    halfway.replace(file)


def load_head(file: Path) -> Any:
    """Return a simple classifier that `save_head` wrote; nothing in the file is run.  Raises MissingError."""
    try:
        return skops.io.load(file, trusted=_TRUSTED)
    except Exception as error:  # a damaged file fails in many ways
        raise MissingError(f"{file}: can't be read as a simple classifier: {error}") from error
