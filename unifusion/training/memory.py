"""Keeping freed memory in the process: training frees and takes the same gigabyte each step."""

from __future__ import annotations

import ctypes
import logging
import sys

__all__ = ["keep_freed_memory"]

log = logging.getLogger(__name__)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_LARGEST = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Tell glibc not to hand freed memory back to the system; returns whether it listened (elsewhere nothing is done).

    Measured on two cores of a virtual machine: a step of stage `ground` took 7 to 13 s, nearly all of it page faults of memory that
    had just been given back, and 2.4 s with this.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library (musl)
        return False
    done = [mallopt(_ARENA_MAX, 1), mallopt(_MMAP_THRESHOLD, 1 << 30), mallopt(_TRIM_THRESHOLD, _LARGEST), mallopt(_TOP_PAD, 256 << 20)]
    log.debug("mallopt answered %s", done)
    return all(done)
