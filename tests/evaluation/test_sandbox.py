"""The sandbox: what passes passes, and whatever a program tries it fails, in time, and leaves nothing behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from groundup.evaluation.sandbox import passes


def test_a_right_program_passes() -> None:
    assert passes("import math, typing, collections\n\ndef f(x):\n    return math.sqrt(x)\n\nassert f(4) == 2\nprint('words')\n")


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 == 2",
        "def f(:\n",
        "raise SystemExit(0)",
        "import os; os._exit(0)",
        "open('x', 'w')",
        "import socket; socket.socket()",
        "import os; os.system('true')",
        "import subprocess; subprocess.run(['true'])",
        "x = [0] * 10**10",
        "def f():\n    return f()\nf()",
        "\x00",
        "print('x' * 10**8)",
    ],
)
def test_others_do_not(program: str) -> None:
    assert not passes(program, seconds=5)


def test_a_program_without_end_is_stopped(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert not passes("while True: pass", seconds=0.5)
    assert time.monotonic() - begun < 3
