"""Batches across pages: what several threads ask of one network at a time runs together.

A thread whose turn it is takes along what the others wait for.  So a device that is busy gets larger
batches, an idle one answers at once, and nobody waits for a batch to fill.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from models.device import Place
from pipeline.errors import DeviceError, is_out_of_memory

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Images = tuple[npt.NDArray[Any], ...]  # what a network takes, each with the same N first


@dataclass(eq=False, slots=True)
class _Request(Generic[Answer]):
    """What one thread asks: N images, one answer each."""

    images: Images
    about: Hashable
    answers: Sequence[Answer] = ()
    error: Exception | None = None
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def n(self) -> int:
        return len(self.images[0])

    @property
    def kind(self) -> Hashable:
        """Requests of one kind can share a batch."""
        return self.about, tuple(array.shape[1:] for array in self.images)


class Batcher(Generic[Answer]):
    """Gives the images of many threads to a network, at most `most` at a time.

    `run(images, about)` returns one answer for each of N images; only images of one shape, and asked `about`
    the same, share a batch.  Where memory does not suffice, batches are half as large from then on.
    """

    def __init__(self, run: Callable[[Images, Any], Iterable[Answer]], place: Place, most: int) -> None:
        self._run = run
        self._place = place
        self._most = max(1, most)
        self._turns = threading.Semaphore(place.n_turns)
        self._lock = threading.Lock()
        self._waiting: list[_Request[Answer]] = []

    def __call__(self, *images: npt.NDArray[Any], about: Hashable = None) -> list[Answer]:
        """Return one answer for each of N images, in order.

        Raises DeviceError where the device fails, and whatever the network does.
        """
        most = self._most
        requests = [
            _Request[Answer](tuple(array[start : start + most] for array in images), about)
            for start in range(0, len(images[0]), most)
        ]
        with self._lock:
            self._waiting += requests
        answers: list[Answer] = []
        try:
            for request in requests:
                with self._turns:
                    self._answer(self._take(request))
                request.over.wait()
                if request.error is not None:
                    raise request.error
                answers += request.answers
        finally:  # after an error nobody asks for the rest
            with self._lock:
                self._waiting = [request for request in self._waiting if request not in requests]
        return answers

    def _take(self, first: _Request[Answer]) -> list[_Request[Answer]]:
        """Take a request and those that fit in with it off the list; none if another thread has taken it."""
        with self._lock:
            if first not in self._waiting:
                return []
            taken, n = [first], first.n
            for other in self._waiting:
                if other is not first and other.kind == first.kind and n + other.n <= self._most:
                    taken.append(other)
                    n += other.n
            self._waiting = [request for request in self._waiting if request not in taken]
            return taken

    def _answer(self, requests: Sequence[_Request[Answer]]) -> None:
        if not requests:
            return
        try:
            columns = zip(*(request.images for request in requests), strict=True)
            images = tuple(np.concatenate(arrays) if len(arrays) > 1 else arrays[0] for arrays in columns)
            answers = self._compute(images, requests[0].about)
            start = 0
            for request in requests:
                request.answers = answers[start : start + request.n]
                start += request.n
        except Exception as error:
            if len(requests) > 1 and not isinstance(error, DeviceError):
                for request in requests:  # what one of them met is not the others' fault
                    self._answer([request])
                return
            for request in requests:
                request.error = error
        finally:
            for request in requests:
                request.over.set()

    def _compute(self, images: Images, about: Hashable) -> list[Answer]:
        n = len(images[0])
        try:
            with self._place.turn():
                return list(self._run(images, about))
        except Exception as error:
            full = is_out_of_memory(error)
            if self._place.is_gpu and n == 1 if full else self._place.failed(error):
                raise DeviceError(f"device {self._place.device}: {_first_line(error)}") from error
            if n == 1 or not full:
                raise
        # here, and not above: there the traceback still held what filled the memory
        half = n // 2
        self._most = min(self._most, half)
        log.warning("device %s: out of memory; batches of %d from now on", self._place.device, self._most)
        self._place.free()
        parts = (tuple(array[:half] for array in images), tuple(array[half:] for array in images))
        return [answer for part in parts for answer in self._compute(part, about)]


def tensor(images: npt.NDArray[np.uint8], place: Place) -> torch.Tensor:
    """Return images, uint8 (N, C, H, W), as a network at this place sees them: float, 0 to 1."""
    seen = torch.from_numpy(np.ascontiguousarray(images)).to(place.device).to(place.dtype).div(255)
    return seen.contiguous(memory_format=torch.channels_last)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
