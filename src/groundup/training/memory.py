"""How the C library hands out memory: keep what is freed, so that the next step finds it again.

glibc gives each large block back to the kernel when it is freed and gets it anew, zeroed page by page, when it is asked
for again. A training step frees and asks for the same hundreds of megabytes each time; on a CPU that was a fifth of
nanoGPT's step (docs/measurements.md).

What is kept has holes: glibc before 2.38 asks for 96 bytes more than a tensor takes to align it, so that a hole is too small for
the next tensor of the same size. Where layers are computed again this ate what that saved (2.6 times what was asked for), so
such runs, which have chosen memory before time, give large blocks back.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGE = 2**31 - 1


KEPT = 2**30  # the most a block may have to come from the heap that is kept
SPARED = 2**20  # the same where memory counts before time


def keep_freed_memory(*, sparing: bool = False) -> bool:
    """Tell glibc's malloc to keep freed memory in this process, with `sparing` that of small blocks alone; returns whether it obeyed
    (False elsewhere)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(M_MMAP_THRESHOLD, SPARED if sparing else KEPT) and libc.mallopt(M_TRIM_THRESHOLD, LARGE))
    except (OSError, AttributeError):
        return False


def give_back() -> None:
    """Give what is kept and free to the kernel: what was tried leaves holes of its own sizes behind, and the run's are others."""
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
