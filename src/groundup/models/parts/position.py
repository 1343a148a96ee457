"""Where a token stands: rotary, learned, sinusoidal, ALiBi, T5's relative buckets.

Rotary turns queries and keys; learned and sinusoidal vectors are added to the embedding; ALiBi and T5 add to the
scores. All of them count from each document's beginning, or by the distance between two tokens.

Shapes: B batch, T time, S all time (cached and new), K heads, H head width, D model width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Tables of cosines and sines for every position of the context (Su et al. 2021), in the half-rotation layout of Hugging
    Face's Llama. `scaling` divides the positions (Chen et al. 2023); with `wavelengths` (Llama 3.1) only for pairs that turn slowly:

        a turn takes   up to short   short to long                                     from long on
        divided by     1             1 / (kept + (1 - kept) / scaling), kept 1 to 0   scaling
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, head_width: int, context: int, base: float, scaling: float = 1.0, wavelengths: tuple[float, float] | None = None) -> None:
        super().__init__()
        frequencies = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
        if wavelengths is not None:
            frequencies, scaling = frequencies / slowed(frequencies, scaling, wavelengths), 1.0
        angles_TH = torch.arange(context, dtype=torch.float64)[:, None] / scaling * frequencies
        self.register_buffer("cosine", angles_TH.cos().float(), persistent=False)
        self.register_buffer("sine", angles_TH.sin().float(), persistent=False)

    def forward(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine for each position, (B, T, 1, H/2)."""
        return self.cosine[positions_BT].unsqueeze(2), self.sine[positions_BT].unsqueeze(2)


def slowed(frequencies: Tensor, scaling: float, wavelengths: tuple[float, float]) -> Tensor:
    """By what each of the frequencies (radians a token) is divided; see `Rotary`."""
    short, long = wavelengths
    kept = ((frequencies / (2 * math.pi) - 1 / long) / (1 / short - 1 / long)).clamp(0, 1)
    return 1 / (kept + (1 - kept) / scaling)


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


class Sinusoidal(nn.Module):
    """sin and cos of the position at D/2 wavelengths from 2 pi to 10,000 x 2 pi, in turn (Vaswani et al. 2017, section 3.5)."""

    table: Tensor

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        angles_TD = torch.arange(context, dtype=torch.float64)[:, None] * 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        table_TD = torch.stack((angles_TD.sin(), angles_TD.cos()), dim=-1).flatten(1)[:, :width]
        self.register_buffer("table", table_TD.float(), persistent=False)

    def forward(self, positions_BT: Tensor) -> Tensor:
        """(B, T, D)."""
        return self.table[positions_BT]


def distances(T: int, S: int, device: torch.device) -> Tensor:
    """How far each key lies before its query, int64 (T, S); negative after it. The queries are the last T of S places.

    Within a document that is also the distance of their positions, so packed rows need no other.
    """
    return torch.arange(S - T, S, device=device)[:, None] - torch.arange(S, device=device)[None, :]


def alibi_slopes(heads: int) -> list[float]:
    """A slope a head: 2^(-8/n), 2^(-16/n), ... for n a power of two; else those of the next lower power, and every other
    one of the next higher (Press et al. 2022, arXiv 2108.12409)."""
    lower = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (head + 1) / lower) for head in range(lower)]
    between = [2 ** (-4 * (2 * head + 1) / lower) for head in range(heads - lower)]
    return slopes + between


class Alibi(nn.Module):
    """Scores fall linearly with the distance, each head at its own slope; nothing is learned.

    `scale`: a factor on it (Falcon-RW adds it before the scores are divided by the root of the head width).
    """

    slopes: Tensor

    def __init__(self, heads: int, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.tensor(alibi_slopes(heads)) * scale, persistent=False)

    def forward(self, T: int, S: int) -> Tensor:
        """(1, K, T, S)."""
        return (-self.slopes[:, None, None] * distances(T, S, self.slopes.device).abs())[None]


class Relative(nn.Module):
    """A learned number for each head and bucket of distances (T5, Raffel et al. 2020, section 2.1): half of the buckets for
    single distances, the others growing in a logarithm up to `most`."""

    def __init__(self, heads: int, buckets: int, most: int, *, both_ways: bool) -> None:
        super().__init__()
        self.buckets, self.most, self.both_ways = buckets, most, both_ways
        self.weight = nn.Parameter(torch.empty(buckets, heads))

    def forward(self, T: int, S: int) -> Tensor:
        """(1, K, T, S)."""
        return self.weight[self.bucket(distances(T, S, self.weight.device))].permute(2, 0, 1)[None]

    def bucket(self, before: Tensor) -> Tensor:
        """The bucket of each distance; with `both_ways` the upper half is for keys after the query."""
        buckets, shift = self.buckets, torch.zeros_like(before)
        if self.both_ways:
            buckets //= 2
            shift = (before < 0) * buckets
            before = before.abs()
        else:
            before = before.clamp(min=0)
        single = buckets // 2
        far = single + (torch.log(before.clamp(min=1).float() / single) / math.log(self.most / single) * (buckets - single)).long()
        return shift + torch.where(before < single, before, far.clamp(max=buckets - 1))
