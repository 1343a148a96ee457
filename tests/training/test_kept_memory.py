"""Freed memory is kept for the next step; a run that recomputes gives large blocks back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from groundup.models.build import build
from groundup.models.config import resolved
from groundup.training.stage import layers_in, recompute, recomputes

MIB = 2**20
PROBE = """
import psutil, sys, torch
from groundup.training.memory import keep_freed_memory
assert keep_freed_memory(sparing=sys.argv[1] == "sparing")
before = psutil.Process().memory_info().rss
torch.ones(16 * 2**20)  # 64 MiB, gone at once
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_freed_blocks_are_kept_or_given_back() -> None:
    kept, spared = (int(subprocess.run([sys.executable, "-c", PROBE, how], capture_output=True, text=True, check=True).stdout) for how in ("keeping", "sparing"))
    assert kept > 60 * MIB and spared < 30 * MIB


def test_a_model_says_whether_it_recomputes() -> None:
    model = build(resolved("llama", layers=2, width=32, heads=2, context=16, vocabulary=64), seed=0)
    for layer in layers_in(model):
        recompute(layer, "none")
    assert not recomputes(model)
    for layer in layers_in(model):
        recompute(layer, "full")
    assert recomputes(model)
