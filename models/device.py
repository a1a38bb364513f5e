"""Where networks compute: the device, in which precision, and how much at a time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from models.memory import keep_freed_memory
from pipeline.errors import MissingError

CPU_BATCH, GPU_BATCH = 256, 4096  # crops at a time
CROPS_PER_TILE = 256  # a tile of a page takes as much memory as so many crops
# on a GPU one batch is put together while another one is computed; on a CPU every page computes for itself,
# so that what is read of it does not depend on which pages came with it
_GPU_TURNS, _CPU_TURNS = 2, 1024
_GPU_TILE_MULTIPLE = 128
# what CUDA says where not the work but the device is at fault
_FAILURES = ("cuda error", "cublas", "cudnn", "cusolver", "nvml", "device-side assert", "hip error")


@dataclass(slots=True)
class Use:
    """For how long a device was kept at work."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    n_now: int = 0
    since: float = 0.0
    busy_s: float = 0.0

    def take(self) -> float:
        """Return the seconds that it was at work; begin anew."""
        with self.lock:
            now = time.perf_counter()
            if self.n_now:
                self.busy_s += now - self.since
                self.since = now
            taken, self.busy_s = self.busy_s, 0.0
        return taken


@dataclass(frozen=True, slots=True)
class Place:
    """Where a network computes.

    `batch` is how many crops go through it at a time, `n_turns` how many batches may be under way.  The sides
    of tiles are multiples of `tile_multiple`, so that those of many pages have one shape.
    """

    device: torch.device
    dtype: torch.dtype
    batch: int
    n_turns: int
    tile_multiple: int = 1
    use: Use = field(default_factory=Use)

    @property
    def is_gpu(self) -> bool:
        """Whether it is no CPU."""
        return self.device.type != "cpu"

    @property
    def n_tiles(self) -> int:
        """How many tiles of pages go through at a time."""
        return max(1, self.batch // CROPS_PER_TILE)

    def padded(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return tiles, uint8 (N, 1, h, w), with paper below and to the right."""
        down, across = (-side % self.tile_multiple for side in tiles.shape[2:])
        return np.pad(tiles, ((0, 0), (0, 0), (0, down), (0, across))) if down or across else tiles

    def failed(self, error: Exception) -> bool:
        """Tell whether an error says that the device failed, and not what it was given."""
        return self.is_gpu and any(words in str(error).lower() for words in _FAILURES)

    def free(self) -> None:
        """Give memory back that the device keeps for later."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Count the time as the device's, once where several batches are under way."""
        use = self.use
        with use.lock:
            if not use.n_now:
                use.since = time.perf_counter()
            use.n_now += 1
        try:
            yield
        finally:
            with use.lock:
                use.n_now -= 1
                if not use.n_now:
                    use.busy_s += time.perf_counter() - use.since


@cache
def pick_place(name: str, batch: int = 0) -> Place:
    """Return where a device's networks compute, `batch` crops at a time; 0: as suits it.

    It is the same one for all networks of a process.  Raises MissingError as `pick_device`.
    """
    device = pick_device(name)
    if device.type == "cpu":
        return Place(device, torch.float32, batch or CPU_BATCH, _CPU_TURNS)
    torch.backends.cudnn.allow_tf32 = False  # full precision is to be that
    return Place(device, torch.float16, batch or GPU_BATCH, _GPU_TURNS, _GPU_TILE_MULTIPLE)


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is a GPU where there is one.  Raises MissingError."""
    keep_freed_memory()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MissingError(f"device {name!r} can't be used: {str(error).splitlines()[0]}") from error
    return device
