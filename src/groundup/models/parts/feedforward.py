"""The feed-forward sublayer: SwiGLU (Shazeer 2020) or squared ReLU (So et al. 2021, arXiv 2109.08668)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.stacked import Stacked


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), no biases; gate and input side by side in one matrix product."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = Stacked(config.width, (config.feedforward, config.feedforward))
        self.down = nn.Linear(config.feedforward, config.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        gate, up = self.gate_up(x_BTD).chunk(2, dim=-1)
        y_BTD: Tensor = self.down(F.silu(gate) * up)
        return y_BTD


class _SquaredReLU(torch.autograd.Function):
    """relu(x)^2 with its gradient 2 relu(x) written out: three passes over memory for autograd's seven."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return torch.addcmul(grad.new_zeros(()), grad, positive, value=2)


class SquaredReLU(nn.Module):
    """down(relu(up(x))^2), no biases."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.feedforward, bias=False)
        self.down = nn.Linear(config.feedforward, config.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        y_BTD: Tensor = self.down(_SquaredReLU.apply(self.up(x_BTD)))  # type: ignore[no-untyped-call]
        return y_BTD


def feedforward(config: ModelConfig) -> nn.Module:
    """The sublayer a config asks for."""
    return SwiGLU(config) if config.activation == "swiglu" else SquaredReLU(config)
