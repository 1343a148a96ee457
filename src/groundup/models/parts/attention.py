"""Causal self-attention with grouped keys and values, a document mask, and an optional cache.

What a query may see when two documents share a row (x), and where the cache stands:

        segments   a a a b b          cached  new
      a            x                  x x x | x
      a            x x                x x x | x x
      a            x x x
      b                  x
      b                  x x

Shapes: B batch, T new time, S all time (cached and new), D model width, K heads, G kv-heads, H head width.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.position import rotate


class Cache(Protocol):
    """Keys and values of earlier positions, kept by the generation engine."""

    def append(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new keys and values of a layer; return all so far, each (B, G, S, H)."""
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
        self.qkv = nn.Linear(config.width, (config.heads + 2 * config.kv_heads) * config.head_width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None) -> Tensor:
        """Attend. `mask` None means plain causal attention."""
        B, T, D = x_BTD.shape
        K, G, H = self.heads, self.kv_heads, self.head_width
        qkv = self.qkv(x_BTD).view(B, T, K + 2 * G, H)
        q, k, v = qkv.split((K, G, G), dim=2)
        q_BKTH, k_BGTH = rotate(q, *rotary).transpose(1, 2), rotate(k, *rotary).transpose(1, 2)
        v_BGTH = v.transpose(1, 2)
        if cache is not None:
            k_BGTH, v_BGTH = cache.append(self.layer, k_BGTH, v_BGTH)
        y_BKTH = F.scaled_dot_product_attention(
            q_BKTH, k_BGTH, v_BGTH, attn_mask=mask, is_causal=mask is None and T > 1, enable_gqa=K != G
        )
        y_BTD: Tensor = self.out(y_BKTH.transpose(1, 2).reshape(B, T, D))
        return y_BTD
