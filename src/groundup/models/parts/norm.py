"""Normalisation: RMSNorm (Zhang & Sennrich 2019), LayerNorm (Ba et al. 2016) and BatchNorm (Ioffe & Szegedy 2015)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """Each channel over all places of the micro-batch; running statistics in evaluation.

    The one norm that depends on how a batch is cut into micro-batches.
    """

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return super().forward(x_BTD.flatten(0, -2)).view_as(x_BTD)


def norm(kind: Literal["rms", "layer", "batch"], width: int, eps: float, scale: bool = True) -> nn.Module:
    """A norm over the last dimension, its learned scale (if any) started at 1."""
    if kind == "rms":
        return nn.RMSNorm(width, eps=eps, elementwise_affine=scale)
    if kind == "layer":
        return nn.LayerNorm(width, eps=eps, elementwise_affine=scale)
    return BatchNorm(width, eps=eps, affine=scale)
