"""Every reference network and ours: trained through the command line, and one table of what they read.

    python benchmarks/reference_networks.py DATA -o FOLDER [--seeds 3] [--cnn-minutes 10] [--only NAME]

DATA holds `mnist/` and `registers/dev/`.  Each recipe is trained for each seed by `archive train classifier
--recipe NAME --json`; what is trained already (its .json lies in FOLDER) is not trained again, so that a run
that was cut goes on.  The plain CNNs (`cnn-simple-*`) are given so many minutes each where there is no
GPU; three of them vote by their mean chances.  All are read on MNIST's test digits, on the same reduced to
16 × 16 pixels and brought back, and on digits cut from registers, brought into MNIST's form.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from machine import describe_machine
from PIL import Image

from models.features import features_of, load_head
from models.labelled_boxes import shown
from models.loaded import classifier_network
from models.references import REFERENCES, load_reference
from models.train_reference import Digits, digit_chances
from models.training_crops import TrainingCrops, crops_of_pictures, page_crops
from pipeline.confidence import REJECT
from pipeline.hands import MNIST_PX, read_mnist
from pipeline.label_sets import read_label_set
from pipeline.page import Box
from pipeline.settings import WEIGHTS

PLAIN = ("cnn-simple-3", "cnn-simple-5", "cnn-simple-7")
INK_PX = 20  # MNIST's digits are so large, and stand with their centre of mass in the middle of 28 pixels
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Sets:
    """What is read: by name, as MNIST shows it and as our classifier sees it."""

    pictures: dict[str, Digits]
    crops: dict[str, TrainingCrops]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cnn-minutes", type=float, default=10.0)
    parser.add_argument("--only", nargs="*", default=[*REFERENCES, "features+head"])
    args = parser.parse_args()
    print(describe_machine())
    args.output.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seeds):
        for name in args.only:
            train(name, seed, args.data.resolve() / "mnist", args.output, args.cnn_minutes)
    sets = read_sets(args.data, args.output)
    print(
        "| network | parameters | seconds | of a core | MNIST test | lowest, highest | 16 × 16 |"
        " registers/dev |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in args.only:
        read = [read_by(name, seed, sets, args.output) for seed in range(args.seeds)]
        told = [json.loads(file_of(name, seed, args.output).read_text()) for seed in range(args.seeds)]
        took = tuple(statistics.mean(each[key] for each in told) for key in ("seconds", "cpu_seconds"))
        print(row(name, told[0].get("parameters"), took, accuracies(read, sets)))
    if set(PLAIN) <= set(args.only):
        votes = [
            {
                part: sum(chances_of(name, seed, sets, args.output)[part] for name in PLAIN).argmax(axis=1)
                for part in sets.pictures
            }
            for seed in range(args.seeds)
        ]
        print(row("vote of the three", None, None, accuracies(votes, sets)))
    names = [name for name in args.only if name != "features+head"]
    pictures = (("curves", ".png", 2, 760), ("confusions", "-confusions.png", 3, 560))
    for what, end, across, width_px in pictures if names else ():  # a head has none of their shape
        picture = args.output / f"reference-{what}.png"
        tile([args.output / f"{name}-0{end}" for name in names], picture, across, width_px)
        print(f"seed 0: {picture}", file=sys.stderr)
    for name, blind in (("ours, as shipped", False), ("ours, its far view blank", True)):
        print(row(name, n_of_ours(), None, accuracies([read_by_ours(sets, blind=blind)], sets)))


def train(name: str, seed: int, mnist: Path, folder: Path, cnn_minutes: float) -> None:
    """Train a network unless that is done; the command's last line is kept as its .json."""
    told = file_of(name, seed, folder)
    if told.exists():
        return
    words = ["train", "classifier", "--recipe", name, "--seed", str(seed), "--data", str(mnist), "--json"]
    if name in PLAIN and not torch.cuda.is_available():
        words += ["--minutes", str(cnn_minutes)]
    command = [sys.executable, "-c", "from cli.main import main; main()", *words]
    print(f"{name}, seed {seed}", file=sys.stderr)
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    halfway = told.with_suffix(".part")
    halfway.write_text(done.stdout.splitlines()[-1] + "\n")
    halfway.replace(told)


def file_of(name: str, seed: int, folder: Path) -> Path:
    return folder / f"{name}-{seed}.json"


def read_sets(data: Path, folder: Path) -> Sets:
    """Return what is read; labels of registers are made once, by `archive labels`."""
    labels = folder / "registers-dev"
    if not labels.exists():
        words = ["labels", str(data.resolve() / "registers" / "dev"), "-o", str(labels)]
        command = [sys.executable, "-c", "from cli.main import main; main()", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    images, digits = read_mnist(data / "mnist", "t10k")
    small = np.stack([coarse(image) for image in images])
    of_mnist, of_small = crops_of_pictures(images, digits), crops_of_pictures(small, digits)
    pages = read_label_set(labels)
    of_pages = page_crops(pages, None, np.random.default_rng(0))
    are_digits = of_pages.classes != REJECT
    cut = [picture for page in pages for picture in like_mnist(page)]
    truth = np.array([digit.digit for page in pages for digit in page.digits])
    return Sets(
        {
            "test": Digits(images, digits),
            "small": Digits(small, digits),
            "registers": Digits(np.stack(cut), truth),
        },
        {
            "test": of_mnist,
            "small": of_small,
            "registers": TrainingCrops(of_pages.crops[are_digits], of_pages.classes[are_digits]),
        },
    )


def coarse(image: np.ndarray) -> np.ndarray:
    """Return a picture reduced to 16 × 16 pixels and brought back."""
    small = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (MNIST_PX, MNIST_PX), interpolation=cv2.INTER_LINEAR), np.uint8)


def like_mnist(page) -> list[np.ndarray]:
    """Return the labelled digits of a page in MNIST's form, each uint8 (28, 28)."""
    _, large = shown(page, np.random.default_rng(0), scales=0.0)
    return [picture_of(large.ink, digit.box) for digit in large.digits]


def picture_of(ink: np.ndarray, box: Box) -> np.ndarray:
    """Return the ink in a box, its longer side 20 pixels, its centre of mass in the middle of 28."""
    x0, y0, x1, y1 = (round(v) for v in box.corners)
    part = ink[max(y0, 0) : max(y1, y0 + 1), max(x0, 0) : max(x1, x0 + 1)]
    picture = np.zeros((MNIST_PX, MNIST_PX), np.uint8)
    if part.size == 0:
        return picture
    zoom = INK_PX / max(part.shape)
    size = (max(1, round(part.shape[1] * zoom)), max(1, round(part.shape[0] * zoom)))
    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    mass = part.astype(np.float64) + 1e-9
    y, x = ((mass * grid).sum() / mass.sum() for grid in np.mgrid[0 : part.shape[0], 0 : part.shape[1]])
    shift = np.array([[1, 0, MNIST_PX / 2 - 0.5 - x], [0, 1, MNIST_PX / 2 - 0.5 - y]])
    return np.asarray(cv2.warpAffine(part, shift, (MNIST_PX, MNIST_PX)), np.uint8)


def chances_of(name: str, seed: int, sets: Sets, folder: Path) -> dict[str, np.ndarray]:
    network, _ = load_reference(folder / f"{name}-{seed}.safetensors")
    return {part: digit_chances(network, digits.images, CPU) for part, digits in sets.pictures.items()}


def read_by(name: str, seed: int, sets: Sets, folder: Path) -> dict[str, np.ndarray]:
    """Return the digits that a trained network reads in each set."""
    if name == "features+head":
        head = load_head(folder / f"{name}-{seed}.skops")
        network = classifier_network(WEIGHTS / "digit_classifier.safetensors")
        return {part: head.predict(features_of(network, crops, CPU)) for part, crops in sets.crops.items()}
    return {part: chances.argmax(axis=1) for part, chances in chances_of(name, seed, sets, folder).items()}


def read_by_ours(sets: Sets, *, blind: bool) -> dict[str, np.ndarray]:
    """Return what the shipped classifier reads, best of the ten digits; `blind`: its far view is paper."""
    network = classifier_network(WEIGHTS / "digit_classifier.safetensors")
    read = {}
    for part, crops in sets.crops.items():
        seen = crops.seen.copy()
        if blind:
            seen[:, 1] = 0
        best = []
        with torch.inference_mode():
            for start in range(0, len(seen), 256):
                some = torch.from_numpy(seen[start : start + 256]).float().div(255)
                best.append(network(some)[:, :REJECT].argmax(dim=1).numpy())
        read[part] = np.concatenate(best)
    return read


def tile(pictures: list[Path], file: Path, across: int, width_px: int) -> None:
    """Draw pictures of one shape side by side, reduced, into one file."""
    parts = [Image.open(picture).convert("RGB") for picture in pictures]
    height_px = round(parts[0].height * width_px / parts[0].width)
    sheet = Image.new("RGB", (across * width_px, -(-len(parts) // across) * height_px), "white")
    for k, part in enumerate(parts):
        place = (k % across * width_px, k // across * height_px)
        sheet.paste(part.resize((width_px, height_px), Image.Resampling.LANCZOS), place)
    sheet.quantize(64).save(file, optimize=True)


def n_of_ours() -> int:
    network = classifier_network(WEIGHTS / "digit_classifier.safetensors")
    return sum(weight.numel() for weight in network.parameters())


def accuracies(read: list[dict[str, np.ndarray]], sets: Sets) -> dict[str, list[float]]:
    """Return the share of each set's digits that each network reads right."""
    return {
        part: [float((one[part] == digits.digits).mean()) for one in read]
        for part, digits in sets.pictures.items()
    }


def row(name: str, n: int | None, took_s: tuple[float, ...] | None, shares: dict[str, list[float]]) -> str:
    test = shares["test"]
    spread = f"{min(test):.4f}, {max(test):.4f}" if len(test) > 1 else ""
    cells = [
        name,
        f"{n:,}" if n else "",
        *(f"{seconds:,.0f}" for seconds in took_s or ()),
        *([] if took_s else ["", ""]),
        f"{statistics.mean(test):.4f}",
        spread,
        *(f"{statistics.mean(shares[part]):.4f}" for part in ("small", "registers")),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
