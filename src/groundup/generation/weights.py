"""Linear maps as decoding reads them: the same weights in 32, 16 or 8 bits, laid out for few rows.

At one token a step a map is read whole for two operations a weight, so its bytes are its time:

    fp32   exact, 4 bytes a weight
    bf16   2 bytes
    int8   1 byte and a scale a row (the row's largest weight is 127)

Where the kernels know the model (`few_rows.suits`), weights stay row by row as they are (`Rows`): the kernels turn them into
float32 on the way, and products of many rows turn a map back. Elsewhere torch's own operations are used as well as they go:
large maps in the blocks of oneDNN's kernels (1.5 to 2.5 times as fast as a plain product of few rows), small ones as plain
products, whose call costs less; bf16 for processors that multiply it; int8 by torch's kernel with inputs in bf16, since it is 16
times slower with fp32 ones. Measured in docs/measurements.md.

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

Precision = Literal["fp32", "bf16", "int8"]
Choice = Literal["auto", "fp32", "bf16", "int8"]
LARGE = 20_000_000  # parameters; reading a smaller model takes less time than calling its operations
WORTH_BLOCKS = 2**19  # weights of a map
ROWS_IN_MIND = 16  # what oneDNN chooses its blocks for; 2 to 64 give the same
FEW_ROWS = 64  # from there on int8 is turned back: the product itself is the work


class Map(Protocol):
    """y = x W^T + b; float32 in, float32 out."""

    def __call__(self, x_NI: Tensor) -> Tensor:
        """(N, I) to (N, O)."""
        ...

    def onto(self, stream_NO: Tensor, x_NI: Tensor) -> Tensor:
        """What the map makes of x, added to the stream."""
        ...


class Dense:
    """A plain product in float32; the weights are turned where that makes rows longer, which a single row is multiplied with faster."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        outputs, inputs = weight_OI.shape
        self.turned = weight_OI.T.contiguous() if outputs > inputs else weight_OI.T
        self.bias = bias_O

    def __call__(self, x_NI: Tensor) -> Tensor:
        """(N, I) to (N, O)."""
        return torch.mm(x_NI, self.turned) if self.bias is None else torch.addmm(self.bias, x_NI, self.turned)

    def onto(self, stream_NO: Tensor, x_NI: Tensor) -> Tensor:
        """In one call."""
        y_NO = torch.addmm(stream_NO, x_NI, self.turned)
        return y_NO if self.bias is None else y_NO.add_(self.bias)


class Blocked:
    """oneDNN's blocks, in float32 or bf16."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.blocks = torch.ops.mkldnn._reorder_linear_weight(weight_OI.to(dtype).contiguous(), ROWS_IN_MIND)
        self.bias = bias_O

    def __call__(self, x_NI: Tensor) -> Tensor:
        """(N, I) to (N, O)."""
        product = torch.ops.mkldnn._linear_pointwise.default
        if self.dtype == torch.float32:
            y_NO: Tensor = product(x_NI, self.blocks, self.bias, "none", [], "")
            return y_NO
        y_NO = product(x_NI.to(self.dtype), self.blocks, None, "none", [], "").float()
        return y_NO if self.bias is None else y_NO.add_(self.bias)

    def onto(self, stream_NO: Tensor, x_NI: Tensor) -> Tensor:
        """In one call in float32; in bf16 the sum stays float32."""
        if self.dtype == torch.float32:
            y_NO: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x_NI, stream_NO, self.blocks, self.bias, "add")
            return y_NO
        return self(x_NI).add_(stream_NO)


class Rounded:
    """bf16 or int8 weights; the bias and the sum stay float32."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, *, int8: bool) -> None:
        self.bias, self.scale = bias_O, None
        if int8:
            self.weight, self.scale = to_int8(weight_OI)
        else:
            self.weight = weight_OI.bfloat16()

    def __call__(self, x_NI: Tensor) -> Tensor:
        """(N, I) to (N, O)."""
        if x_NI.shape[0] >= FEW_ROWS and (self.scale is not None or not multiplies_bf16()):
            y_NO = turned_back(x_NI, self.weight, self.scale)
        elif self.scale is None:
            y_NO = F.linear(x_NI.bfloat16(), self.weight).float()
        else:
            y_NO = torch.ops.aten._weight_int8pack_mm(x_NI.bfloat16(), self.weight, self.scale).float()
        return y_NO if self.bias is None else y_NO.add_(self.bias)

    def onto(self, stream_NO: Tensor, x_NI: Tensor) -> Tensor:
        """The stream and what the map makes of x."""
        return self(x_NI).add_(stream_NO)


class Rows:
    """Weights of any precision row by row, as the kernels read them for few rows of x; called, the product of many."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, precision: Precision) -> None:
        self.bias, self.scale = bias_O, cast(Tensor | None, None)
        if precision == "int8":
            self.weight, scale_O = to_int8(weight_OI)
            self.scale = scale_O.float()
        else:
            self.weight = weight_OI.contiguous() if precision == "fp32" else weight_OI.bfloat16()

    def __call__(self, x_NI: Tensor) -> Tensor:
        """(N, I) to (N, O)."""
        if self.weight.dtype == torch.float32:
            return F.linear(x_NI, self.weight, self.bias)
        y_NO = turned_back(x_NI, self.weight, self.scale)
        return y_NO if self.bias is None else y_NO.add_(self.bias)

    def onto(self, stream_NO: Tensor, x_NI: Tensor) -> Tensor:
        """The stream and what the map makes of x."""
        return self(x_NI).add_(stream_NO)


def to_int8(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers to 127 and their scale a row, (O,) in bf16; the scale is rounded first and the weights by that, so it adds no
    error of its own."""
    scale_O = (weight_OI.abs().amax(dim=1) / 127).clamp(min=1e-30).bfloat16()
    return (weight_OI / scale_O.float()[:, None]).round().clamp(-127, 127).to(torch.int8), scale_O


def turned_back(x_NI: Tensor, weight_OI: Tensor, scale_O: Tensor | None) -> Tensor:
    """The product of many rows, with the weights turned back into what the processor multiplies."""
    dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
    y_NO = F.linear(x_NI.to(dtype), weight_OI.to(dtype)).float()
    return y_NO if scale_O is None else y_NO.mul_(scale_O)


def packed(weight_OI: Tensor, bias_O: Tensor | None, precision: Precision, *, rows: bool = False) -> Map:
    """A map of these weights in a precision. `rows`: as the kernels read them."""
    weight_OI = weight_OI.detach().float()
    bias_O = None if bias_O is None else bias_O.detach().float().contiguous()
    if rows:
        return Rows(weight_OI, bias_O, precision)
    blocks = weight_OI.numel() >= WORTH_BLOCKS and has_blocks() and weight_OI.device.type == "cpu"
    if precision == "fp32":
        return Blocked(weight_OI, bias_O) if blocks else Dense(weight_OI, bias_O)
    if precision == "bf16" and blocks and multiplies_bf16():
        return Blocked(weight_OI, bias_O, torch.bfloat16)
    return Rounded(weight_OI, bias_O, int8=precision == "int8")


def chosen(wish: Choice, parameters: int, *, kernels: bool) -> Precision:
    """`auto`: bf16 for a model large enough to be slow to read, where the processor multiplies it or the kernels read it; else fp32."""
    if wish != "auto":
        return wish
    return "bf16" if parameters >= LARGE and (kernels or multiplies_bf16()) else "fp32"


@cache
def multiplies_bf16() -> bool:
    """Whether the processor multiplies bf16 itself. Without that torch emulates it, 44 to 500 times slower (pytorch#146508)."""
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in asked if hasattr(torch.cpu, name))


@cache
def has_blocks() -> bool:
    """Whether this torch has oneDNN's products over blocks: they are no public part of it, so they are tried."""
    try:
        weight, x = torch.randn(16, 8), torch.randn(2, 8)
        blocks = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS_IN_MIND)
        found = torch.ops.mkldnn._linear_pointwise.binary(
            x, x[:, :1].expand(2, 16).contiguous(), blocks, None, "add"
        )
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return bool(torch.allclose(found, x @ weight.T + x[:, :1], atol=1e-4))
