"""Causal self-attention with grouped keys and values, a document mask, and an optional cache.

What a query may see when two documents share a row (x), and where the cache stands:

        segments   a a a b b          cached  new
      a            x                  x x x | x
      a            x x                x x x | x x
      a            x x x
      b                  x
      b                  x x

Shapes: B batch, T new time, S all time (cached and new), D model width, K heads, G kv-heads, H head width, E = G x H.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.norm import rms_norm
from groundup.models.parts.position import rotate
from groundup.models.parts.stacked import Stacked

GATE_CHANNELS = 12  # of the input, enough to gate a value embedding (nanochat)
SHARPNESS = 1.2  # of normalised queries and keys each (nanochat)


class Cache(Protocol):
    """Keys and values of earlier positions, kept by the generation engine."""

    def append(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new keys and values of a layer; return all so far, each (B, G, S, H)."""
        ...

    def earlier(self, tokens_BT: Tensor) -> Tensor:
        """Store the new tokens and return all before them, (B, S - T), padding included."""
        ...

    def mask(self) -> Tensor | None:
        """Which keys each new query may see, bool (B, 1, T, S); None: all up to its own position."""
        ...


def document_mask(segments_BT: Tensor) -> Tensor:
    """Causal attention within documents: bool (B, 1, T, T), True where a query (row) may see a key (column)."""
    T = segments_BT.shape[1]
    same = segments_BT[:, :, None] == segments_BT[:, None, :]
    causal = torch.ones(T, T, dtype=torch.bool, device=segments_BT.device).tril()
    return (same & causal)[:, None]


class Attention(nn.Module):
    """Multi-head attention; queries, keys and values come out of one matrix product."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.heads, self.kv_heads, self.head_width = layer, config.heads, config.kv_heads, config.head_width
        self.qk_norm, self.eps, self.dropout = config.qk_norm, config.norm_eps, config.attention_dropout
        inner = config.kv_heads * config.head_width
        self.qkv = Stacked(config.width, (config.width, inner, inner))
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.value_gate = nn.Linear(GATE_CHANNELS, config.kv_heads, bias=False) if config.has_value_embedding(layer) else None

    def forward(
        self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None, value_BTE: Tensor | None = None
    ) -> Tensor:
        """Attend. `mask` None means plain causal attention; `value_BTE`: the token's value embedding, if the layer has one."""
        B, T, D = x_BTD.shape
        K, G, H = self.heads, self.kv_heads, self.head_width
        qkv = self.qkv(x_BTD).view(B, T, K + 2 * G, H)
        qk, v = torch.split(qkv, [K + G, G], dim=2)
        qk = rotate(qk, *rotary)
        if self.qk_norm:
            qk = rms_norm(qk, eps=self.eps) * SHARPNESS
        q_BKTH, k_BGTH = torch.split(qk.transpose(1, 2), [K, G], dim=1)
        if self.value_gate is not None:
            assert value_BTE is not None
            gate_BTG1 = 3 * torch.sigmoid(self.value_gate(x_BTD[..., :GATE_CHANNELS])).unsqueeze(-1)
            v = v + gate_BTG1 * value_BTE.view(B, T, G, H)
        v_BGTH = v.transpose(1, 2)
        if cache is not None:
            k_BGTH, v_BGTH = cache.append(self.layer, k_BGTH, v_BGTH)
        y_BKTH = F.scaled_dot_product_attention(
            q_BKTH, k_BGTH, v_BGTH, attn_mask=mask, is_causal=mask is None and T > 1, enable_gqa=K != G,
            dropout_p=self.dropout if self.training else 0.0,
        )  # fmt: skip
        y_BTD: Tensor = self.out(y_BKTH.transpose(1, 2).reshape(B, T, D))
        return y_BTD
