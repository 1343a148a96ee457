"""What a process sends: every collective is seen, torch's own (FSDP's, the pipeline's) and ours.

Bytes are those of the ring algorithms (Thakur et al. 2005; Chan et al. 2007), of n processes and N bytes in all:

    all-gather, reduce-scatter  (n - 1) / n N        all-reduce  2 (n - 1) / n N        send  N
    all-to-all                  what is for others   broadcast   N / n, about: not counted, none occurs in a step
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of each collective under the name of its axis."""

    def __init__(self, axes: dict[str, str], sent: dict[str, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.axes, self.sent = axes, sent

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self._count(func._schema.name.removeprefix("c10d::"), func, args)
        return func(*args, **(kwargs or {}))

    def _count(self, name: str, func: Any, args: Any) -> None:
        given = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)}
        boxed = given.get("process_group")
        if boxed is None:
            return
        group = dist.ProcessGroup.unbox(boxed)
        n = group.size()
        axis = self.axes.get(group.group_name, "other")
        match name:
            case "allreduce_":
                bytes_ = 2 * (n - 1) * _bytes(given["tensors"]) // n
            case "_allgather_base_":
                bytes_ = (n - 1) * _bytes(given["output_tensor"]) // n
            case "_reduce_scatter_base_":
                bytes_ = (n - 1) * _bytes(given["input_tensor"]) // n
            case "send":
                bytes_ = _bytes(given["tensors"])
            case "alltoall_base_":
                sizes, whole = given["input_split_sizes"], given["input"]
                row = _bytes(whole) // max(1, len(whole))
                own = sizes[group.rank()] if sizes else len(whole) // n
                bytes_ = _bytes(whole) - own * row
            case _:
                return
        self.sent[axis] = self.sent.get(axis, 0) + bytes_


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(_bytes(one) for one in value)


@contextmanager
def traffic(axes: dict[str, str]) -> Iterator[dict[str, int]]:
    """Bytes that this process sends while the block runs, by axis; `axes`: by the name of a process group (others: `other`)."""
    sent: dict[str, int] = {}
    with _Seen(axes, sent):
        yield sent
