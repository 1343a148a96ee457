"""Rotary positions (Su et al. 2021), in the half-rotation layout of Hugging Face's Llama.

Shapes: B batch, T time, K heads, H head width.
"""

from __future__ import annotations

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
    """Rotate each pair (i, i + H/2) of a head by its position's angle."""
    first, second = x_BTKH.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1).to(x_BTKH.dtype)
