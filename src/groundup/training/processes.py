"""Joining the processes that torchrun started."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from groundup import progress


def started() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def follows() -> bool:
    """Whether this is not the first of several processes, which alone writes and speaks."""
    return started() > 1 and os.environ.get("RANK", "0") != "0"


def device() -> str:
    """What this process computes on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def join(timeout_seconds: float) -> None:
    """Meet the others. A message that takes longer than `timeout_seconds` ends the process, and torchrun starts all again."""
    if started() == 1 or dist.is_initialized():
        return
    progress.quiet = follows()
    if device() == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device() == "cuda" else "gloo", timeout=timedelta(seconds=timeout_seconds))


def leave() -> None:
    """Part from the others."""
    if dist.is_initialized():
        dist.destroy_process_group()
