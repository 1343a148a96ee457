"""A compiler that was killed leaves half a library; the next run must not trip over it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._filelock import FileLock

from groundup.training.precision import forget_unfinished

COMPILES = """
import torch
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.training.precision import compiled
model = build(ModelConfig(vocabulary=64, context=16, layers=1, width=16, heads=2, kv_heads=2, feedforward=32), seed=0)
compiled(model)
model(torch.zeros(1, 8, dtype=torch.int64), torch.arange(8)[None]).sum().backward()
"""


def test_half_libraries_go_and_whole_ones_stay(tmp_path: Path) -> None:
    whole = next(Path(torch.__file__).parent.glob("lib/libshm*.so")).read_bytes()
    folder = tmp_path / "ab"
    folder.mkdir()
    for name, contents in (("whole", whole), ("empty", b""), ("half", whole[: len(whole) // 2]), ("cut", whole[:-1]), ("stub", whole[:20]), ("holes", bytes(5000)), ("taken", b"")):
        (folder / f"{name}.main.so").write_bytes(contents)
    (tmp_path / "locks").mkdir()
    with FileLock(str(tmp_path / "locks" / "taken.lock")):  # a compiler is at work on it
        forget_unfinished(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["taken.main.so", "whole.main.so"]
    forget_unfinished(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["whole.main.so"]
    forget_unfinished(tmp_path / "none")


@pytest.mark.slow
def test_a_run_after_a_killed_compiler_compiles_anew(tmp_path: Path) -> None:
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}

    def run() -> None:
        subprocess.run([sys.executable, "-c", COMPILES], env=environment, check=True, timeout=300)

    run()
    libraries = list(tmp_path.glob("*/*.so"))
    assert libraries
    for path in libraries:
        path.write_bytes(path.read_bytes()[:1000])
    run()
    assert all(path.stat().st_size > 1000 for path in libraries if path.exists())
