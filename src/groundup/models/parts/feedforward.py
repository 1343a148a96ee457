"""The feed-forward sublayer: SwiGLU (Shazeer 2020), gate and input side by side in one matrix product."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), no biases."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.width, 2 * config.feedforward, bias=False)
        self.down = nn.Linear(config.feedforward, config.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        gate, up = self.gate_up(x_BTD).chunk(2, dim=-1)
        y_BTD: Tensor = self.down(F.silu(gate) * up)
        return y_BTD
