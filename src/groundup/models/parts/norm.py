"""Normalisation: RMSNorm (Zhang & Sennrich 2019), torch's own fused implementation."""

from torch import nn


def norm(width: int, eps: float) -> nn.Module:
    """RMSNorm over the last dimension with a learned scale, started at 1."""
    return nn.RMSNorm(width, eps=eps)
