"""How the C library hands out memory: keep what is freed, so that the next step finds it again.

glibc gives each large block back to the kernel when it is freed and gets it anew, zeroed page by page, when it is asked
for again. A training step frees and asks for the same hundreds of megabytes each time; on a CPU that was a fifth of
nanoGPT's step (docs/measurements.md).
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGE = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep freed memory in this process; returns whether it obeyed (False elsewhere)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        # 1 GiB is the most a block may have to come from the heap that is kept
        return bool(libc.mallopt(M_MMAP_THRESHOLD, 2**30) and libc.mallopt(M_TRIM_THRESHOLD, LARGE))
    except (OSError, AttributeError):
        return False
