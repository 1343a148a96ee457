"""Data parallelism by sums: each process works on its own micro-batches, and one addition makes them a batch.

An objective returns sums and the trainer divides once by the global weight sum, so the update is the same however many
processes share the work, even when their shares are not equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes that train together; one alone when torch.distributed is not initialised."""

    rank: int = 0
    size: int = 1

    @classmethod
    def present(cls) -> World:
        """The processes of this run."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else cls()

    @property
    def first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def share(self, parts: int) -> range:
        """Which of a step's micro-batches are this process's."""
        return range(self.rank, parts, self.size)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes; one message, in the tensors' own dtype."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def union(self, names: set[str]) -> list[str]:
        """All names that any process has, sorted."""
        if self.size == 1:
            return sorted(names)
        gathered: list[set[str]] = [set() for _ in range(self.size)]
        dist.all_gather_object(gathered, names)
        return sorted(set().union(*gathered))

    def gather(self, row: list[float]) -> Tensor:
        """All processes' rows of numbers, (processes, numbers), float64."""
        rows = torch.empty(self.size, len(row), dtype=torch.float64)
        dist.all_gather_single(rows, torch.tensor([row], dtype=torch.float64))
        return rows

    def collect(self, value: T) -> list[T]:
        """What each process has, on all, in the order of their ranks."""
        if self.size == 1:
            return [value]
        gathered: list[T | None] = [None] * self.size
        dist.all_gather_object(gathered, value)
        return [one for one in gathered if one is not None]

    def agree(self, value: T) -> T:
        """The first process's value, on all."""
        if self.size == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, src=0)
        return told[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()
