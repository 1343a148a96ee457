"""Rotary positions (Su et al. 2021), in the half-rotation layout of Hugging Face's Llama.

Shapes: B batch, T time, K heads, H head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Tables of cosines and sines for every position of the context; grown when a longer one is asked for."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, head_width: int, context: int, base: float) -> None:
        super().__init__()
        frequencies = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
        angles_TH = torch.arange(context, dtype=torch.float64)[:, None] * frequencies
        self.register_buffer("cosine", angles_TH.cos().float(), persistent=False)
        self.register_buffer("sine", angles_TH.sin().float(), persistent=False)

    def forward(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine for each position, (B, T, 1, H/2)."""
        return self.cosine[positions_BT].unsqueeze(2), self.sine[positions_BT].unsqueeze(2)


def rotate(x_BTKH: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate each pair (i, i + H/2) of a head by its position's angle; computed in float32, returned in x's format."""
    if torch.compiler.is_compiling():  # the compiler does it in one pass of its own
        first, second = x_BTKH.chunk(2, dim=-1)
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1).to(x_BTKH.dtype)
    y_BTKH: Tensor = _Rotation.apply(x_BTKH, cosine, sine)  # type: ignore[no-untyped-call]
    return y_BTKH


def _rotated(x_BTKH: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x_BTKH.chunk(2, dim=-1)
    y_BTKH = torch.empty(x_BTKH.shape, dtype=cosine.dtype, device=x_BTKH.device)
    low, high = y_BTKH.chunk(2, dim=-1)
    torch.mul(first, cosine, out=low).addcmul_(second, sine, value=-1)
    torch.mul(second, cosine, out=high).addcmul_(first, sine)
    return y_BTKH.to(x_BTKH.dtype)


class _Rotation(torch.autograd.Function):
    """The gradient of a rotation is the rotation back: two passes over memory each way."""

    @staticmethod
    def forward(ctx: Any, x_BTKH: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotated(x_BTKH, cosine, sine)

    @staticmethod
    def backward(ctx: Any, grad_BTKH: Tensor) -> Any:
        cosine, sine = ctx.saved_tensors
        return _rotated(grad_BTKH, cosine, -sine), None, None
