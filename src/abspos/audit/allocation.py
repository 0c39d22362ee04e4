"""How a job's process takes memory from the system."""

from __future__ import annotations

import ctypes
import os

#: Options of glibc's mallopt: size of what is freed before memory goes back to the system, size
#: asked for at once, and number of allocations that are mapped by themselves.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Have large tensors take memory that others left, instead of new pages from the system.

    Where a variable MALLOC_* is set, or the C library is not glibc, nothing changes.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for option, value in ((TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 2**26), (MMAP_MAX, 0)):
            mallopt(option, value)
