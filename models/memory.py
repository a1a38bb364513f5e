"""Memory that networks free is kept for the next layer, instead of being asked of the system anew.

By default the C library gives every large block back when it is freed, and the system hands out the next one
filled with zeros: a fifth of the time of a convolutional network on a CPU.  And each thread has a heap of
its own, which holds what the others could use.
"""

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt(3)
_LARGEST_KEPT = 32 << 20  # bytes; a larger block is the system's, as before
_KEPT = 256 << 20  # bytes that are kept at most at the end of the heap


@cache
def keep_freed_memory() -> None:
    """Keep memory that is freed in this process, for all threads; does nothing where the C library can't.

    To be called before threads are started that compute.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
    mallopt(_TRIM_THRESHOLD, _KEPT)
