"""The feed-forward sublayer: plain, gated (Shazeer 2020), squared ReLU (So et al. 2021, arXiv 2109.08668)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.stacked import Stacked


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


def _squared_relu(x: Tensor) -> Tensor:
    y: Tensor = _SquaredReLU.apply(x)  # type: ignore[no-untyped-call]
    return y


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "relu2": _squared_relu, "gelu": F.gelu, "gelu_tanh": _gelu_tanh, "silu": F.silu,
    "reglu": F.relu, "geglu": F.gelu, "geglu_tanh": _gelu_tanh, "swiglu": F.silu,
}  # fmt: skip
"""By activation; of a gated one, what the gate goes through."""


class Gated(nn.Module):
    """down(f(gate(x)) * up(x)); gate and input side by side in one matrix product."""

    def __init__(self, width: int, inner: int, activation: str, bias: bool = False) -> None:
        super().__init__()
        self.function = FUNCTIONS[activation]
        self.gate_up = Stacked(width, (inner, inner), bias)
        self.down = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        y: Tensor = self.down(self.function(gate) * up)
        return y


class Plain(nn.Module):
    """down(f(up(x)))."""

    def __init__(self, width: int, inner: int, activation: str, bias: bool = False) -> None:
        super().__init__()
        self.function = FUNCTIONS[activation]
        self.up = nn.Linear(width, inner, bias=bias)
        self.down = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        y: Tensor = self.down(self.function(self.up(x)))
        return y


def plain_or_gated(config: ModelConfig, inner: int | None = None) -> Gated | Plain:
    """One sublayer that all tokens take."""
    kind = Gated if config.gated else Plain
    return kind(config.width, inner or config.feedforward, config.activation, config.bias)
