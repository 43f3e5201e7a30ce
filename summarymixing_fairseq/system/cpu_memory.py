"""Keep what a CPU run frees, in place of handing every large tensor's pages back and faulting them in again."""

from __future__ import annotations

import ctypes
import os
import sys

SWITCH = "SUMMARYMIXING_KEEP_FREED_MEMORY"
# glibc's <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Have glibc serve large blocks from its heap and keep the heap: for the whole process, on Linux with glibc.

    By default glibc maps every block of more than 32 MiB anew and returns it when freed; the page faults then take
    several times as long as the arithmetic of an elementwise operation. What a run has once used, it keeps.

    Returns:
        Whether it took effect: not where another C library is, nor with SUMMARYMIXING_KEEP_FREED_MEMORY=0.
    """
    if os.environ.get(SWITCH, "1") == "0" or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
