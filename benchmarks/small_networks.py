"""Networks of random weights that see digits here and there: fast, to test all that is around them."""

from dataclasses import asdict
from pathlib import Path

import torch

from models.checkpoint import Metadata, save_checkpoint
from models.classifier import ClassifierConfig, DigitClassifier
from models.detector import DetectorConfig, DigitDetector


def save_small_networks(detector_file: Path, classifier_file: Path, seed: int = 0) -> None:
    """Write a small detector and a small classifier, the same each time for a seed."""
    torch.manual_seed(seed)
    config = DetectorConfig(channels=(8, 8, 8, 8), head=8)
    detector = DigitDetector(config).eval()
    with torch.no_grad():  # sees digits here and there, and none where there is no ink
        detector.maps.weight.data[:4] *= 200
        detector.maps.bias.data[:4] -= detector(torch.zeros(1, 1, 64, 64))[0, 0].max() + 2.2
    detector_file.parent.mkdir(exist_ok=True)
    save_checkpoint(detector_file, detector.state_dict(), Metadata("digit-detector", asdict(config)))
    small = {"channels": [8, 8, 8, 8], "hidden": 8, "dropout": 0.0}
    classifier = DigitClassifier(ClassifierConfig(channels=(8, 8, 8, 8), hidden=8, dropout=0.0))
    save_checkpoint(classifier_file, classifier.state_dict(), Metadata("digit-classifier", small))
