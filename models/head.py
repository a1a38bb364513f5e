"""What is learned on the frozen features of a network: one hidden layer, from as few as two of a kind.

Features of a network that learned something else, and a small classifier on them, are the classical
transfer of learning (Donahue and others 2014, "DeCAF"; Yosinski and others 2014, "How transferable are
features in deep neural networks?").  Its chances are calibrated by one temperature (Guo and others 2017,
"On Calibration of Modern Neural Networks"), fitted to images that the head did not learn from.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Features = npt.NDArray[np.float32]  # (N, F)
Kinds = npt.NDArray[np.int64]  # (N,)
Copies = npt.NDArray[np.float32]  # (C, N, F)
Chances = npt.NDArray[np.float32]  # (N, K)

_MOST = 5.0  # a feature further from its mean, in standard deviations, says no more
_N_FOLDS = 5
_SHARES = (0.4,)  # of the labels, for the accuracy by how many there are
_BATCH = 64
_N_STEPS, _LEAST_EPOCHS, _MOST_EPOCHS = 150, 10, 60
_N_DIRECTIONS = 256  # in which features vary most: the head learns along these
_N_SAMPLE = 512  # so many images say which those are
_LEARNING_RATE, _WEIGHT_DECAY = 4e-3, 0.1
_CONSTANT = 1e-5  # a feature that varies less than this share of its size is taken as constant
_TEMPERATURES = np.geomspace(0.05, 20.0, 400)


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """Plain numbers that make a head."""

    n_features: int
    n_classes: int
    hidden: int = 64
    dropout: float = 0.3  # share of the hidden layer that is left out at each step of training


class Head(nn.Module):
    """Features (N, F), float → logits (N, K)."""

    mean: Tensor  # (F,) of the features that were learned from
    std: Tensor  # (F,)

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.n_features))
        self.register_buffer("std", torch.ones(config.n_features))
        self.dense = nn.Linear(config.n_features, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(config.hidden, config.n_classes)

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) → (N, K)."""
        x = self.standardised(features)
        logits: Tensor = self.classes(self.dropout(F.relu(self.dense(x))))
        return logits

    def standardised(self, features: Tensor) -> Tensor:
        """(N, F) → the same shape, of mean 0 and deviation 1 over what was learned from."""
        return ((features - self.mean) / self.std).clamp(-_MOST, _MOST)


@dataclass(frozen=True, slots=True)
class FittedHead:
    """A head that has learned, and what images that it did not learn from say of it.

    `head` is ready to read; softmax(logits / `temperature`) is its calibrated chance.  `chances` float32
    (N, K) are calibrated ones of each image from a head that learned without it.  `curve` has the mean loss
    by epoch, of what was learned from and of what was held out; `by_labels` the share of held out images
    that is right, by how many labels were learned from.
    """

    config: HeadConfig
    head: Head
    temperature: float
    chances: Chances
    curve: tuple[tuple[float, dict[str, float]], ...]
    by_labels: tuple[tuple[int, float], ...]


def fit_head(
    features: Features,
    kinds: Kinds,
    n_classes: int,
    seed: int,
    hidden: int = 64,
    copies: Copies | None = None,
) -> FittedHead:
    """Return the head that features float32 (N, F) of images of known kinds int64 (N,) make.

    Each of the `n_classes` kinds, 0 to K - 1, has two images or more.  `copies` are features of changed
    copies of the images, float32 (C, N, F), to learn from too; what the head is worth is said of the images
    alone.  The same arguments give the same head.
    """
    assert np.bincount(kinds, minlength=n_classes).min() >= 2, "a kind of one image can't be held out"
    config = HeadConfig(features.shape[1], n_classes, hidden)
    rng = np.random.default_rng(seed)
    folds = folds_of(kinds, rng)
    logits = np.zeros((len(kinds), n_classes), np.float32)
    curves, n_learned, n_right = [], np.zeros(len(_SHARES) + 1), np.zeros(len(_SHARES) + 1)
    for fold in range(int(folds.max()) + 1):
        held, learnt = folds == fold, np.flatnonzero(folds != fold)
        for place, share in enumerate((*_SHARES, 1.0)):
            some = _some(learnt, kinds, share, rng)
            learned = _with_copies(features, kinds, copies, some)
            head, curve = _fit(config, learned, (features[held], kinds[held]), seed)
            logits[held] = head_logits(head, features[held])  # those of the last one, of all labels, stay
            n_learned[place] += len(some)
            n_right[place] += int((logits[held].argmax(axis=1) == kinds[held]).sum())
        curves.append(curve)
    temperature = fit_temperature(logits, kinds)
    head = learn_head(features, kinds, n_classes, seed, hidden, copies)
    n_epochs = min(len(curve) for curve in curves)
    losses = np.mean([curve[:n_epochs] for curve in curves], axis=0)  # (epochs, 2)
    by_labels = {
        round(n / (folds.max() + 1)): float(right / len(kinds))
        for n, right in zip(n_learned, n_right, strict=True)
    }
    return FittedHead(
        config,
        head,
        temperature,
        calibrated(logits, temperature),
        tuple((k + 1.0, {"training": float(a), "held out": float(b)}) for k, (a, b) in enumerate(losses)),
        tuple(by_labels.items()),
    )


def learn_head(
    features: Features,
    kinds: Kinds,
    n_classes: int,
    seed: int,
    hidden: int = 64,
    copies: Copies | None = None,
) -> Head:
    """Return the head that `fit_head` makes of the same images, and nothing of what it is worth."""
    learned = _with_copies(features, kinds, copies, np.arange(len(kinds)))
    return _fit(HeadConfig(features.shape[1], n_classes, hidden), learned, None, seed)[0]


def head_logits(head: Head, features: Features) -> Chances:
    """Return the logits of features float32 (N, F), float32 (N, K)."""
    head.eval()
    with torch.inference_mode():
        return np.asarray(head(torch.from_numpy(features)).numpy(), np.float32)


def calibrated(logits: Chances, temperature: float) -> Chances:
    """Return the chances of logits (N, K), float32 of the same shape, each row of sum 1."""
    return np.asarray(torch.softmax(torch.from_numpy(logits) / temperature, dim=1).numpy(), np.float32)


def fit_temperature(logits: Chances, kinds: Kinds) -> float:
    """Return the temperature by which logits (N, K) say the kinds (N,) best.

    Each truth is smoothed as if every kind had been met once more (Platt 1999): where all of ten images are
    right, nobody knows yet whether one in twenty is wrong.
    """
    n, n_classes = logits.shape
    truth = np.full((n, n_classes), 1 / (n + n_classes))
    truth[np.arange(n), kinds] += n / (n + n_classes)
    scaled = logits[None].astype(np.float64) / _TEMPERATURES[:, None, None]  # (T, N, K)
    scaled -= scaled.max(axis=2, keepdims=True)
    logs = scaled - np.log(np.exp(scaled).sum(axis=2, keepdims=True))
    return float(_TEMPERATURES[(logs * truth).sum(axis=(1, 2)).argmax()])


def folds_of(kinds: Kinds, rng: np.random.Generator) -> Kinds:
    """Return the fold of each image, (N,): of each kind about as many in every fold.

    Two of a kind are never all in one fold, so that no kind is held out whole.
    """
    n_folds = min(_N_FOLDS, int(np.bincount(kinds).max()))
    folds, n_before = np.zeros(len(kinds), np.int64), 0
    for kind in np.unique(kinds):
        members = rng.permutation(np.flatnonzero(kinds == kind))
        folds[members] = (n_before + np.arange(len(members))) % n_folds
        n_before += len(members)
    return folds


def _with_copies(
    features: Features, kinds: Kinds, copies: Copies | None, some: Kinds
) -> tuple[Features, Kinds]:
    """Return features and kinds of some images, and those of their copies behind them."""
    if copies is None or len(copies) == 0:
        return features[some], kinds[some]
    every = np.concatenate([features[some], *copies[:, some]])
    return every, np.tile(kinds[some], 1 + len(copies))


def _some(learnt: Kinds, kinds: Kinds, share: float, rng: np.random.Generator) -> Kinds:
    """Return a share of the images to learn from, (n,), at least one of each kind."""
    if share == 1.0:
        return learnt
    parts = []
    for kind in np.unique(kinds):
        members = rng.permutation(learnt[kinds[learnt] == kind])
        parts.append(members[: max(1, round(share * len(members)))])
    return np.concatenate(parts)


def _fit(
    config: HeadConfig, learnt: tuple[Features, Kinds], held: tuple[Features, Kinds] | None, seed: int
) -> tuple[Head, list[tuple[float, float]]]:
    """Return the head of some images, and its loss on them and on those held out after each epoch.

    Images say nothing of directions in which they don't vary, and gradients never have a part there: so
    what is trained sees the few hundred directions in which they vary most, and what it learned is turned
    back into weights of the features.  That gives the same kind of head in a tenth of the time.
    """
    head = Head(config)
    seen, kinds = torch.from_numpy(learnt[0]), torch.from_numpy(learnt[1])
    std, mean = torch.std_mean(seen, dim=0, correction=0)
    head.mean.copy_(mean)
    head.std.copy_(torch.where(std > _CONSTANT * (1 + mean.abs()), std, torch.ones_like(std)))
    directions = _directions(head.standardised(seen))  # (F, R)
    small_seen = head.standardised(seen) @ directions  # (N, R)
    small_held = head.standardised(torch.from_numpy(held[0])) @ directions if held else None
    n_batches = -(-len(kinds) // _BATCH)
    n_epochs = min(max(round(_N_STEPS / n_batches), _LEAST_EPOCHS), _MOST_EPOCHS)
    curve = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dense, classes = (
            nn.Linear(directions.shape[1], config.hidden),
            nn.Linear(config.hidden, config.n_classes),
        )
        small = nn.Sequential(dense, nn.ReLU(), nn.Dropout(config.dropout), classes)
        optimizer = torch.optim.AdamW(small.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs * n_batches)
        for _ in range(n_epochs):
            small.train()
            for some in torch.split(torch.randperm(len(kinds)), _BATCH):
                loss = F.cross_entropy(small(small_seen[some]), kinds[some])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                falling.step()
            if held is not None and small_held is not None:
                with torch.inference_mode():
                    small.eval()
                    of_learnt = F.cross_entropy(small(small_seen), kinds)
                    of_held = F.cross_entropy(small(small_held), torch.from_numpy(held[1]))
                curve.append((float(of_learnt), float(of_held)))
    with torch.no_grad():
        head.dense.weight.copy_(dense.weight @ directions.T)
        head.dense.bias.copy_(dense.bias)
    head.classes.load_state_dict(classes.state_dict())
    return head.eval(), curve


def _directions(x: Tensor) -> Tensor:
    """Return the directions in which standardised features (N, F) vary most, (F, R), R at most 256.

    They are scaled so that what stands along them has a mean square of 1.
    """
    x = x[:: -(-len(x) // _N_SAMPLE)]
    values, along = torch.linalg.eigh(x.double() @ x.double().T)  # (N,), (N, N), rising
    kept = values > 1e-9 * values[-1:].clamp(min=1e-12)
    values, along = values[kept][-_N_DIRECTIONS:], along[:, kept][:, -_N_DIRECTIONS:]
    if len(values) == 0:  # all images are the same
        return torch.zeros(x.shape[1], 1)
    scale = (len(x) * len(values) / values.sum()).sqrt()
    directions: Tensor = x.T.double() @ (along / values.sqrt()) * scale
    return directions.float()
