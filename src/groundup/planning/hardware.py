"""What this machine can do, measured on the spot: cores, memory, and the rate of its matrix products."""

from __future__ import annotations

import platform
import shutil
import time
from typing import Any

import psutil
import torch

SHAPE = (2048, 512, 2048)  # rows, inner, columns: a feed-forward layer of a small model
PROBE = (64, 128, 128)  # small enough that emulated bf16 (1 GFLOP/s seen on an AVX2 machine) costs milliseconds


def matmul_gflops(dtype: torch.dtype, shape: tuple[int, int, int] = SHAPE, seconds: float = 0.5) -> float:
    """The best rate of a matrix product over a short while, in GFLOP/s (a multiply-add counts as two)."""
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(rows, inner, generator=generator).to(dtype)
    right = torch.randn(inner, columns, generator=generator).to(dtype)
    torch.mm(left, right)  # the first product chooses a kernel
    best, runs, end = float("inf"), 0, time.perf_counter() + seconds
    while runs < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        torch.mm(left, right)
        best, runs = min(best, time.perf_counter() - began), runs + 1
    return 2 * rows * inner * columns / best / 1e9


def measure() -> dict[str, Any]:
    """The machine as the planner and the report want it: cores, memory (GiB), GFLOP/s in fp32 and bf16."""
    fp32 = matmul_gflops(torch.float32)
    # bf16 without hardware for it is emulated, 44 to 500 times slower (pytorch#146508): probe small before a real measure
    probe = matmul_gflops(torch.bfloat16, PROBE, 0.02) / matmul_gflops(torch.float32, PROBE, 0.02)
    bf16 = matmul_gflops(torch.bfloat16) if probe > 0.5 else probe * fp32
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "fp32_gflops": round(fp32, 1),
        "bf16_gflops": round(bf16, 1),
        "compiler": next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), None),
    }
