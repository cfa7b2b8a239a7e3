"""Memory that one training step frees is kept for the next (chapter 9).

The C library of Linux gives large blocks back to the system as soon as they are free. A training step frees all that it
used and the next one takes as much again, page by page: on a CPU that is a fifth of its time.
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of two parameters of glibc's ``mallopt`` (malloc.h)."""

LARGEST_BLOCK = 2**25
"""Bytes, the most that glibc accepts: larger blocks go back to the system at once, as before."""


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for this process; whether it does. Not on Windows and macOS, whose
    libraries are others. No result depends on it (chapter 9)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent from musl
    return bool(mallopt and mallopt(MMAP_THRESHOLD, LARGEST_BLOCK) and mallopt(TRIM_THRESHOLD, 2**30))
