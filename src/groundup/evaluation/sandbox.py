"""Running code that a model wrote, which nobody has read: in a process of its own, with limits, and only where that was asked for.

    passes(program)    True where the program runs to its end within its limits and raises nothing

The process has an empty folder, no environment, a limit of time and memory, and hooks that refuse to open files for writing, sockets, other
programs and foreign libraries. It must say a word at its end that it cannot know, so that leaving early is no way to pass. This keeps
accidents away, not an attacker: whoever expects one runs the whole evaluation in a container without a network.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 10.0
MEMORY_BYTES = 1 << 30
_GUARD = """
import sys as _sys
def _hook(event, args, refused=("socket", "subprocess", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.kill", "os.remove", "os.rename",
        "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink", "os.truncate", "shutil", "ctypes", "signal", "pty", "webbrowser", "ftplib", "smtplib")):
    if event.startswith(refused) or (event == "open" and args[2] & 3):
        raise PermissionError(event)
_sys.addaudithook(_hook)
del _sys, _hook
"""


def passes(program: str, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES) -> bool:
    """Run a Python program in a process of its own."""
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="groundup-") as folder:
        path = Path(folder) / "program.py"
        path.write_text(program, encoding="utf-8", errors="replace")
        # the program is compiled and run as a file of its own, the word is known only to what stands around it
        around = f"{_GUARD}exec(compile(open('program.py', encoding='utf-8').read(), 'program.py', 'exec'), {{'__name__': '__main__'}})\nprint('\\n{word}')"

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        said = Path(folder) / "said"
        with said.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", around], cwd=folder, env={}, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=limit,
            )  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return process.returncode == 0 and said.read_bytes().rstrip().endswith(word.encode())
