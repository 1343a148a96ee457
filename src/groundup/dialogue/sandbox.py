"""Python that a model wrote, run where it can do little harm: for rewards that a unit test decides.

    run("def add(a, b): return a + b", "assert add(2, 2) == 4")     ->  passed

    time         a limit on the clock and on the CPU; the answer and all it has started are killed
    memory       of each process (RLIMIT_AS)
    processes    counted many times a second; beyond the limit all are killed. Where namespaces are permitted its processes are
                 the kernel's to kill together, so that none gets away
    files        one file's size, all of them together, and where the kernel has Landlock nothing outside its folder can be changed
    network      none, where namespaces are permitted

What was in force stands in `Outcome.isolation`, and `run` says once what is not. It keeps a model's mistakes and its cheapest tricks
(leaving early, printing "passed") from doing harm. It is no wall against an attacker: the code runs as the same user and can read
what that user can. For code of strangers, train in a container or a virtual machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from groundup.errors import GroundupError, RequestError
from groundup.progress import say

INSIDE = Path(__file__).with_name("confined.py")
GRACE = 10.0  # seconds beyond the limit in which the supervisor tidies up before it is killed itself
OUTPUT = 4_000  # characters of output that are kept
Why = Literal["passed", "failed", "time", "memory", "processes", "files"]


@dataclass(frozen=True)
class Limits:
    """What a run may take."""

    seconds: float = 5.0
    """On the clock, and rounded up on the CPU."""
    memory: int = 512 << 20
    """Bytes of address space, of each process; Python and its libraries take about 100 MB of it."""
    processes: int = 8
    """At once, the first included."""
    file_bytes: int = 8 << 20
    """Of one file, output included."""
    folder_bytes: int = 32 << 20
    """Of all files together."""


@dataclass(frozen=True)
class Isolation:
    """What was in force beyond limits."""

    network: bool
    """No network."""
    processes: bool
    """Processes in a namespace of their own."""
    files: bool
    """Nothing outside the folder can be changed."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    why: Why
    """`passed`: code and tests ran to their end; `failed`: they did not; else the limit that stopped them."""
    seconds: float
    isolation: Isolation
    output: str = ""
    """The end of what was printed, tracebacks included."""

    @property
    def passed(self) -> bool:
        """Whether all went well."""
        return self.why == "passed"


def run(code: str, tests: str = "", limits: Limits | None = None) -> Outcome:
    """Run `code` and then `tests` in the same namespace, in a process of its own, and clean up after it.

    Raises RequestError on a system without what it takes (Linux), GroundupError where the supervisor itself fails.
    """
    if sys.platform != "linux":
        raise RequestError("rewards by unit tests need Linux", where="dialogue.verify", do="Use exact answers or patterns here.")
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="groundup-sandbox-", ignore_cleanup_errors=True) as root:
        folder, output = Path(root) / "work", Path(root) / "output"
        folder.mkdir()
        task = {
            "code": code, "tests": tests, "nonce": secrets.token_hex(16), "folder": str(folder), "output": str(output), "seconds": limits.seconds,
            "memory": limits.memory, "processes": limits.processes, "file_bytes": limits.file_bytes, "folder_bytes": limits.folder_bytes,
            "others": _processes_of_this_user(),
        }  # fmt: skip
        found = _supervised(json.dumps(task), folder, limits.seconds + GRACE)
        isolation = Isolation(**found["isolation"])
        _tell(isolation)
        printed = output.read_bytes()[-4 * OUTPUT :].decode("utf-8", errors="replace")[-OUTPUT:] if output.exists() else ""
        return Outcome(found["why"], round(found["seconds"], 4), isolation, printed)


def _supervised(task: str, folder: Path, patience: float) -> dict[str, Any]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(INSIDE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environment,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(task.encode(), timeout=patience)
        if process.returncode == 0:
            found: dict[str, Any] = json.loads(out)
            return found
        what = err.decode(errors="replace").strip().splitlines()[-1:] or [f"status {process.returncode}"]
    except subprocess.TimeoutExpired:
        what = [f"no answer within {patience:.0f} s"]
    except ValueError:
        what = ["no readable answer"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    raise GroundupError(f"the sandbox's supervisor failed: {what[0]}", where="dialogue.verify", do="Run the same answer again; if it stays so, use another kind of reward.")


def _processes_of_this_user() -> int:
    """How many there are (RLIMIT_NPROC counts them all)."""
    uid, count = os.getuid(), 0
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                count += path.stat().st_uid == uid
            except OSError:
                continue
    return count


@cache
def _tell(isolation: Isolation) -> None:
    missing = [
        what for what, there in (("the network is not cut off", isolation.network), ("files outside can be changed", isolation.files)) if not there
    ]
    if missing:
        say(f"sandbox: {' and '.join(missing)}, since this system does not permit it; run it in a container to be safe")
