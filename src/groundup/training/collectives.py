"""Messages between the processes that share a layer, with their gradients.

Each pair is one another's gradient; x is whole on every process, x_i is process i's part, sum_i what all add up to:

    forward                          backward                        used
    enter         x -> x             all-reduce   sum_i g_i          before a matrix cut by columns
    leave         sum_i x_i          g -> g                          after a matrix cut by rows
    gather        x_i -> x           reduce-scatter                  the same two, where the stream between them
    scatter       sum_i x_i, cut     all-gather                      is cut along time (sequence parallelism)
    cut           x -> x_i           all-gather                      into such a stretch
    join          x_i -> x           g -> g_i                        out of it

(Megatron-LM's f, g, g-bar of Shoeybi et al. 2019, arXiv 1909.08053, and Korthikanti et al. 2022, arXiv 2205.05198.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Group = dist.ProcessGroup


def all_reduce(x: Tensor, group: Group, how: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
    """The sum (or another reduction) over the processes, without a gradient."""
    x = x.contiguous().clone()
    dist.all_reduce(x, how, group=group)
    return x


def _all_gather(x: Tensor, group: Group, dim: int) -> Tensor:
    x = x.movedim(dim, 0).contiguous()
    whole = x.new_empty((x.shape[0] * group.size(), *x.shape[1:]))
    dist.all_gather_single(whole, x, group=group)
    return whole.movedim(0, dim)


def _reduce_scatter(x: Tensor, group: Group, dim: int) -> Tensor:
    x = x.movedim(dim, 0).contiguous()
    part = x.new_empty((x.shape[0] // group.size(), *x.shape[1:]))
    dist.reduce_scatter_single(part, x, group=group)
    return part.movedim(0, dim)


def _own(x: Tensor, group: Group, dim: int) -> Tensor:
    return x.chunk(group.size(), dim)[group.rank()].clone(memory_format=torch.contiguous_format)  # a view would keep the whole alive


class _Message(torch.autograd.Function):
    """One message on the way forward, another on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.back = back
        return there(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return ctx.back(grad), None, None


def _message(x: Tensor, there: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
    y: Tensor = _Message.apply(x, there, back)  # type: ignore[no-untyped-call]
    return y


def _same(x: Tensor) -> Tensor:
    return x.view_as(x)


class _Exchange(torch.autograd.Function):
    """Rows to their processes: `sent[i]` rows to process i, `received[i]` from it; the gradient goes the way back."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, sent: list[int], received: list[int], group: Group) -> Tensor:
        ctx.sent, ctx.received, ctx.group = sent, received, group
        return _exchanged(x_ND, sent, received, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _exchanged(grad, ctx.received, ctx.sent, ctx.group), None, None, None


def _exchanged(x_ND: Tensor, sent: list[int], received: list[int], group: Group) -> Tensor:
    y = x_ND.new_empty((sum(received), *x_ND.shape[1:]))
    dist.all_to_all_single(y, x_ND.contiguous(), received, sent, group=group)
    return y


class _Beside(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, loss: Tensor) -> Tensor:
        ctx.save_for_backward(loss)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (loss,) = ctx.saved_tensors
        return grad, torch.ones_like(loss)


def beside(x: Tensor, loss: Tensor) -> Tensor:
    """x as it is; on the way back `loss` is minimised too, as if it had been added to the loss that x leads to."""
    y: Tensor = _Beside.apply(x, loss)  # type: ignore[no-untyped-call]
    return y


def enter(x: Tensor, group: Group) -> Tensor:
    """x as it is; the gradients of all processes are added."""
    return _message(x, _same, partial(all_reduce, group=group))


def leave(x: Tensor, group: Group) -> Tensor:
    """The sum over the processes; each has the whole gradient."""
    return _message(x, partial(all_reduce, group=group), _same)


def gather(x: Tensor, group: Group, dim: int = 1) -> Tensor:
    """All parts along `dim`; the gradients are added and cut."""
    return _message(x, partial(_all_gather, group=group, dim=dim), partial(_reduce_scatter, group=group, dim=dim))


def scatter(x: Tensor, group: Group, dim: int = 1) -> Tensor:
    """Own part along `dim` of the sum over the processes."""
    return _message(x, partial(_reduce_scatter, group=group, dim=dim), partial(_all_gather, group=group, dim=dim))


def cut(x: Tensor, group: Group, dim: int = 1) -> Tensor:
    """Own part along `dim` of what all processes have whole."""
    return _message(x, partial(_own, group=group, dim=dim), partial(_all_gather, group=group, dim=dim))


def join(x: Tensor, group: Group, dim: int = 1) -> Tensor:
    """All parts along `dim`, for what all processes go on with alike."""
    return _message(x, partial(_all_gather, group=group, dim=dim), partial(_own, group=group, dim=dim))


def exchange(x_ND: Tensor, sent: list[int], received: list[int], group: Group) -> Tensor:
    """Rows to the processes they are for, (sum of received, D)."""
    y: Tensor = _Exchange.apply(x_ND, sent, received, group)  # type: ignore[no-untyped-call]
    return y
