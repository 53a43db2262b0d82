"""This process and its memory."""

from __future__ import annotations

import ctypes
import resource
import sys
from functools import cache

# mallopt's names for its dials, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@cache
def keep_freed_memory() -> None:
    """Let the C library keep memory that is freed for the next step to take, instead of handing it back to the system.

    A training step frees and asks for the same tensors again and again; fetched anew from the system each one is
    cleared page by page, which took a tenth of a small model's step. Peak memory is the same. Only glibc has this dial.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def peak_rss_bytes() -> int:
    """The most memory this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes
