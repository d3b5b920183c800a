"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let what is freed be used again instead of going back to the system, where glibc is the allocator.

    A training step makes and frees the same large arrays again and again. By default glibc returns many of
    them, and the system clears each page anew: up to a sixth of the processor time of a step.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Older ones refuse more than 32 MiB; the second call alone would fix the first threshold where it is, far lower.
    if mallopt is not None and (mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_THRESHOLD, 1 << 25)):
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
