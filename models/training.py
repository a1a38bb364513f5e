"""The training loop of every network: by time or by steps, an averaged network, and a state to go on from."""

import contextlib
import math
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.errors import OutputError, UsageError

Losses = dict[str, Tensor]  # by name; their sum is what falls

_SAVE_EVERY_S = 60.0
_SAY_EVERY_S = 10.0
_WARM_UP = 0.03  # share of the time in which the learning rate rises
_AVERAGED = 0.998  # of the averaged network that stays at each step, once there were enough steps


@dataclass(frozen=True, slots=True)
class Recipe:
    """Plain numbers of a training; it ends after its minutes, or after `n_steps` where they are given.

    A `plain` one keeps its learning rate and its last step, in full precision, as networks were published.
    """

    minutes: float
    learning_rate: float
    weight_decay: float
    seed: int
    n_steps: int | None = None
    optimizer: Literal["adamw", "adam", "rmsprop"] = "adamw"
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands: the share that is done, steps, and the running losses by name."""

    done: float
    step: int
    losses: dict[str, float]


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured of a network each so many steps, and at the end: figures by name."""

    every: int
    figures_of: Callable[[nn.Module], dict[str, float]]


class Training:
    """One training of one network; `run` ends when its recipe is done, however often it was cut.

    What is kept is an average of the network over its last steps (Polyak and Juditsky 1992), which reads
    better than the last step alone.  The learning rate rises for the first 3 % and falls along a
    cosine after.  A plain recipe has neither.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.optimizer = _optimizer(network, recipe)
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.step, self.spent_s = 0, 0.0
        self.running: dict[str, float] = {}
        self.curve: list[tuple[float, dict[str, float]]] = []  # minutes, losses
        self.measured: list[tuple[float, dict[str, float]]] = []  # minutes, figures

    @property
    def done(self) -> float:
        """The share of the training that is over."""
        if self.recipe.n_steps is not None:
            return self.step / self.recipe.n_steps
        return self.spent_s / (self.recipe.minutes * 60)

    def run(
        self,
        batches: Iterator[Any],
        losses_of: Callable[[nn.Module, Any], Losses],
        on_progress: Callable[[Progress], None],
        on_save: Callable[[], None],
        measure: Measure | None = None,
    ) -> None:
        """Train until the recipe is done; then the network holds the weights that are kept.

        `batches` never end; `on_save` is called every minute and at the end.
        """
        _learning(self.network)
        began, said, saved = time.monotonic() - self.spent_s, time.monotonic(), time.monotonic()
        precision = torch.float32
        if not self.recipe.plain:
            precision = _precision(self.network, batches, losses_of, self.device)
        for batch in batches:
            now = time.monotonic()
            self.spent_s = now - began
            done = self.done
            if done >= 1 and self.step:  # the shortest training takes a step
                break
            self.take_step(batch, losses_of, precision, done)
            if measure is not None and self.step % measure.every == 0:
                self._measure(measure)
                began += time.monotonic() - now  # to measure is no part of the minutes
            if now - said >= _SAY_EVERY_S:
                said = now
                self.curve.append((self.spent_s / 60, dict(self.running)))
                on_progress(Progress(done, self.step, dict(self.running)))
            # soon for the first time: a command that is cut early is given again too
            if now - saved >= (_SAVE_EVERY_S if self.step > 1 else 0):
                saved = now
                on_save()
        if measure is not None and self.step % measure.every:
            self._measure(measure)
        self.network.load_state_dict(self.average)
        self.network.eval()
        on_save()

    def _measure(self, measure: Measure) -> None:
        """Keep the figures of the weights that would be kept now, and the losses so far."""
        learning = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()
        self.measured.append((self.spent_s / 60, measure.figures_of(self.network)))
        self.curve.append((self.spent_s / 60, dict(self.running)))
        self.network.load_state_dict(learning)
        _learning(self.network)

    def save_state(self, file: Path, label: str) -> None:
        """Write what going on needs, whole or not at all; `label` says of which training it is.

        Raises OutputError.
        """
        halfway = file.with_name(file.name + ".part")
        state = {
            "label": label,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "spent_s": self.spent_s,
            "running": self.running,
            "curve": self.curve,
            "measured": self.measured,
        }
        try:
            torch.save(state, halfway)
            halfway.replace(file)
        except (RuntimeError, OSError) as error:
            halfway.unlink(missing_ok=True)
            raise OutputError(f"{file}: can't be written: {error}") from error

    def load_state(self, file: Path, label: str) -> None:
        """Go on from a state that `save_state` wrote; plain data only is read.

        Raises UsageError where it is damaged, or of a training with another label.
        """
        try:
            state = torch.load(file, map_location=self.device, weights_only=True)
            theirs = str(state["label"])
        except (RuntimeError, OSError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise UsageError(f"{file}: is damaged, remove it to begin anew: {error}") from error
        if theirs != label:
            raise UsageError(
                f"{file}: is of another training ({theirs}); give that command, or remove the file"
            )
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent_s = state["step"], state["spent_s"]
        self.running, self.curve = state["running"], state["curve"]
        self.measured = state.get("measured", [])  # an earlier version measured nothing

    def take_step(
        self,
        batch: Any,
        losses_of: Callable[[nn.Module, Any], Losses],
        precision: torch.dtype,
        done: float,
    ) -> None:
        """Learn from one batch; `done` is the share of the training that is over."""
        self.step += 1
        if not self.recipe.plain:
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * schedule(done)
        with _autocast(self.device, precision):
            losses = losses_of(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        if not self.recipe.plain:
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        stays = 0.0 if self.recipe.plain else min(_AVERAGED, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.dtype.is_floating_point:
                    self.average[name].lerp_(value, 1 - stays)
                else:
                    self.average[name].copy_(value)
        keep = min(0.98, 1 - 1 / self.step)
        for name, loss in losses.items():
            self.running[name] = keep * self.running.get(name, 0.0) + (1 - keep) * float(loss.detach())


def schedule(done: float) -> float:
    """Return the share of the learning rate at a share of the training: a short rise, then a cosine."""
    return min(1.0, done / _WARM_UP + 0.05) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def _learning(network: nn.Module) -> None:
    """Set a network to learn; a frozen batch normalisation keeps the averages it has."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over what of the network learns; epsilon and rho are Keras's."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(weights, lr=recipe.learning_rate, alpha=0.9, eps=1e-7)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(weights, lr=recipe.learning_rate, eps=1e-7)
    return torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def _autocast(device: torch.device, precision: torch.dtype) -> contextlib.AbstractContextManager[object]:
    if precision == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, precision)


def _precision(
    network: nn.Module,
    batches: Iterator[Any],
    losses_of: Callable[[nn.Module, Any], Losses],
    device: torch.device,
) -> torch.dtype:
    """Return bfloat16 where it is faster: with instructions for it three times, else ten times slower."""
    if device.type == "cuda":
        return torch.bfloat16
    batch = next(batches)
    times = {}
    with torch.no_grad():
        for precision in (torch.float32, torch.float32, torch.bfloat16):  # the first one warms up
            began = time.monotonic()
            with _autocast(device, precision):
                losses_of(network, batch)
            times[precision] = time.monotonic() - began
    return min(times, key=lambda precision: times[precision])
