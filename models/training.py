"""The training loop of every network: a time budget, an averaged network, and a state to go on from."""

import contextlib
import math
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """Plain numbers of a training."""

    minutes: float
    learning_rate: float
    weight_decay: float
    seed: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands: share of its time, steps, and the running losses by name."""

    done: float
    step: int
    losses: dict[str, float]


class Training:
    """One training of one network; `run` ends when its minutes are over, however often it was cut.

    What is kept is an average of the network over its last steps (Polyak and Juditsky 1992), which reads
    better than the last step alone.  The learning rate rises for the first 3 % of the time and
    falls along a cosine after.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.step, self.spent_s = 0, 0.0
        self.running: dict[str, float] = {}
        self.curve: list[tuple[float, dict[str, float]]] = []  # minutes, losses

    def run(
        self,
        batches: Iterator[Any],
        losses_of: Callable[[nn.Module, Any], Losses],
        on_progress: Callable[[Progress], None],
        on_save: Callable[[], None],
    ) -> None:
        """Train until the minutes are over; then the network holds the averaged weights.

        `batches` never end; `on_save` is called every minute and at the end.
        """
        self.network.train()
        began, said, saved = time.monotonic() - self.spent_s, time.monotonic(), time.monotonic()
        precision = _precision(self.network, batches, losses_of, self.device)
        for batch in batches:
            now = time.monotonic()
            self.spent_s = now - began
            done = self.spent_s / (self.recipe.minutes * 60)
            if done >= 1:
                break
            self.take_step(batch, losses_of, precision, done)
            if now - said >= _SAY_EVERY_S:
                said = now
                self.curve.append((self.spent_s / 60, dict(self.running)))
                on_progress(Progress(done, self.step, dict(self.running)))
            # soon for the first time: a command that is cut early is given again too
            if now - saved >= (_SAVE_EVERY_S if self.step > 1 else 0):
                saved = now
                on_save()
        self.network.load_state_dict(self.average)
        self.network.eval()
        on_save()

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

    def take_step(
        self,
        batch: Any,
        losses_of: Callable[[nn.Module, Any], Losses],
        precision: torch.dtype,
        done: float,
    ) -> None:
        """Learn from one batch; `done` is the share of the time that is over."""
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * schedule(done)
        with _autocast(self.device, precision):
            losses = losses_of(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        stays = min(_AVERAGED, self.step / (self.step + 10))
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
    """Return the share of the learning rate at a share of the time: a short rise, then a cosine."""
    return min(1.0, done / _WARM_UP + 0.05) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


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
