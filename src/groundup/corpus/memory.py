"""How much memory this process came to hold."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """The most that was resident since it was made, files in memory included; since the process began where Linux is not."""

    def __init__(self) -> None:
        with suppress(OSError):
            RESET.write_text("5")  # Linux: forget the peak so far

    def bytes(self) -> int:
        """The peak so far."""
        with suppress(OSError):
            for line in STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
