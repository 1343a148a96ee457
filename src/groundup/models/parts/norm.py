"""Normalisation: RMSNorm (Zhang & Sennrich 2019), LayerNorm (Ba et al. 2016) and BatchNorm (Ioffe & Szegedy 2015)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn


class _RMSNorm(torch.autograd.Function):
    """RMSNorm whose gradient is written out: half the passes over memory of torch's composite one on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor | None, eps: float) -> Tensor:
        precise = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=precise)
        inverse = length.square().div(x.shape[-1]).add(eps).rsqrt()
        normal = x * inverse
        ctx.save_for_backward(normal, inverse, scale)
        ctx.dtype = x.dtype
        y: Tensor = normal if scale is None else normal * scale
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        normal, inverse, scale = ctx.saved_tensors
        grad_scale = None
        if scale is not None:
            grad_scale = (grad * normal).flatten(0, -2).sum(0)
            grad = grad * scale
        along = torch.linalg.vecdot(grad.to(normal.dtype), normal).unsqueeze(-1).div(normal.shape[-1])
        return torch.addcmul(grad, normal, along, value=-1).mul(inverse).to(ctx.dtype), grad_scale, None


def rms_norm(x: Tensor, scale: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * scale over the last dimension; computed in float32 at least, returned in x's format."""
    y: Tensor = _RMSNorm.apply(x, scale, eps)  # type: ignore[no-untyped-call]
    return y


class RMSNorm(nn.Module):
    """RMSNorm with a learned scale, started at 1, or with none."""

    def __init__(self, width: int, eps: float, scale: bool) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width)) if scale else None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return rms_norm(x_BTD, self.weight, self.eps)


class BatchNorm(nn.BatchNorm1d):
    """Each channel over all places of the micro-batch; running statistics in evaluation.

    The one norm that depends on how a batch is cut into micro-batches.
    """

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return super().forward(x_BTD.flatten(0, -2)).view_as(x_BTD)


def norm(kind: Literal["rms", "layer", "batch", "none"], width: int, eps: float, scale: bool = True, bias: bool = True) -> nn.Module:
    """A norm over the last dimension, its learned scale (if any) started at 1; `bias`: LayerNorm's shift beside it."""
    if kind == "rms":
        return RMSNorm(width, eps, scale)
    if kind == "layer":
        return nn.LayerNorm(width, eps=eps, elementwise_affine=scale, bias=bias)
    if kind == "none":
        return nn.Identity()
    return BatchNorm(width, eps=eps, affine=scale)
