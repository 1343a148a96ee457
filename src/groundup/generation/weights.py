"""Linear maps as decoding reads them: the same weights in 32, 16 or 8 bits.

At one token a step a map is read whole for two operations a weight, so its bytes are its time:

    fp32   exact, 4 bytes a weight
    bf16   2 bytes; half the time where the processor multiplies bf16 itself, many times slower where it does not
    int8   1 byte and a scale a row (the row's largest weight is 127); inputs in bf16, since torch's kernel is 16 times
           slower with fp32 ones. From `DENSE_FROM` rows on the weights are turned back into bf16: then the product
           itself is the work

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Precision = Literal["fp32", "bf16", "int8"]
Choice = Literal["auto", "fp32", "bf16", "int8"]
DENSE_FROM = 32  # rows
LARGE = 20_000_000  # parameters; reading a smaller model takes less time than calling its operations


class Map(Protocol):
    """y = x W^T + b; float32 in, float32 out."""

    def __call__(self, x_NI: Tensor) -> Tensor:
        """(N, I) to (N, O)."""
        ...

    def onto(self, stream_NO: Tensor, x_NI: Tensor) -> Tensor:
        """What the map makes of x, added to the stream."""
        ...


class Dense:
    """float32."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        self.weight, self.turned, self.bias = weight_OI, weight_OI.T, bias_O

    def __call__(self, x_NI: Tensor) -> Tensor:
        """(N, I) to (N, O)."""
        return F.linear(x_NI, self.weight, self.bias)

    def onto(self, stream_NO: Tensor, x_NI: Tensor) -> Tensor:
        """In one call where there is no bias."""
        if self.bias is None:
            return torch.addmm(stream_NO, x_NI, self.turned)
        return F.linear(x_NI, self.weight, self.bias).add_(stream_NO)


class _Rounded:
    """What the 16- and 8-bit maps share: the bias and the sum stay float32."""

    bias: Tensor | None

    def product(self, x_NI: Tensor) -> Tensor:
        """x W^T, (N, O) in bf16."""
        raise NotImplementedError

    def __call__(self, x_NI: Tensor) -> Tensor:
        """(N, I) to (N, O)."""
        y_NO = self.product(x_NI).float()
        return y_NO if self.bias is None else y_NO.add_(self.bias)

    def onto(self, stream_NO: Tensor, x_NI: Tensor) -> Tensor:
        """The stream and what the map makes of x."""
        return self(x_NI).add_(stream_NO)


class Half(_Rounded):
    """bf16."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        self.weight, self.bias = weight_OI.bfloat16(), bias_O

    def product(self, x_NI: Tensor) -> Tensor:
        """(N, O)."""
        return F.linear(x_NI.bfloat16(), self.weight)


class Int8(_Rounded):
    """int8 with one scale a row. The scale is rounded to bf16 first and the weights by that, so it adds no error of its own."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        largest_O = weight_OI.abs().amax(dim=1).float()
        self.scale = (largest_O / 127).clamp(min=1e-30).bfloat16()
        self.weight = (weight_OI.float() / self.scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        self.bias = bias_O

    def product(self, x_NI: Tensor) -> Tensor:
        """(N, O)."""
        x_NI = x_NI.bfloat16()
        if x_NI.shape[0] < DENSE_FROM:
            return torch.ops.aten._weight_int8pack_mm(x_NI, self.weight, self.scale)
        return F.linear(x_NI, self.weight.bfloat16() * self.scale[:, None])


KINDS: dict[Precision, type[Dense] | type[Half] | type[Int8]] = {"fp32": Dense, "bf16": Half, "int8": Int8}


def packed(weight_OI: Tensor, bias_O: Tensor | None, precision: Precision) -> Map:
    """A map of these weights. In fp32 they are shared, not copied: training on changes them here too."""
    bias = None if bias_O is None else bias_O.detach().float()
    return KINDS[precision](weight_OI.detach().float(), bias)


def pack(linear: nn.Linear, precision: Precision) -> Map:
    """The same of a linear layer."""
    return packed(linear.weight, linear.bias, precision)


def chosen(wish: Choice, parameters: int) -> Precision:
    """`auto`: bf16 for a model large enough to be slow to read, where the processor multiplies it; else fp32."""
    if wish != "auto":
        return wish
    return "bf16" if parameters >= LARGE and multiplies_bf16() else "fp32"


@cache
def multiplies_bf16() -> bool:
    """Whether the processor multiplies bf16 itself. Without that torch emulates it, 44 to 500 times slower (pytorch#146508)."""
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in asked if hasattr(torch.cpu, name))
