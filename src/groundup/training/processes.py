"""Joining the processes that torchrun started."""

from __future__ import annotations

import os
import secrets
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from groundup import progress
from groundup.errors import GroundupError


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
    store, rank, size = next(rendezvous("env://", timeout=timedelta(seconds=timeout_seconds)))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device() == "cuda" else "gloo", timeout=timedelta(seconds=timeout_seconds), rank=rank, world_size=size,
        store=PrefixStore(agree(store, rank, size, timeout_seconds), store),
    )  # fmt: skip


def agree(store: Store, rank: int, size: int, seconds: float) -> str:
    """A name that the living processes share and dead ones never had. Raises GroundupError where not all come in time.

    torchrun keeps one store over its restarts, and the addresses of processes that are no more stay in it (seen with torch 2.13: the
    second start connects to the first one's ports). So the first process asks a question that none has heard, each
    answers with a word of its own, and the first tells all answers: who finds its own word there is among the living.
    """
    mine, deadline = secrets.token_hex(8), time.monotonic() + seconds
    if rank == 0:
        store.set("question", mine)
    while time.monotonic() < deadline:
        question: str = store.get("question").decode()
        if rank == 0:
            answers = [store.get(f"answer-{other}").decode() for other in range(1, size) if store.check([f"answer-{other}"])]
            if len(answers) == size - 1 and all(answer.startswith(question) for answer in answers):
                store.set("answers", " ".join([question, *answers]))
                return question
        else:
            store.set(f"answer-{rank}", question + mine)
            if store.check(["answers"]) and question + mine in store.get("answers").decode().split():
                return question
        time.sleep(0.05)
    raise GroundupError(f"not all of {size} processes came within {seconds:g} s", where=f"process {rank}", do="Look at the machine of the one that is missing.")


def leave() -> None:
    """Part from the others."""
    if dist.is_initialized():
        dist.destroy_process_group()
