"""Self-attention with grouped keys and values, a document mask, and windows.

What a query may see when two documents share a row (x):

        segments   a a a b b
      a            x
      a            x x
      a            x x x
      b                  x
      b                  x x

Shapes: B batch, T time, S time of the keys, D model width, K heads, G kv-heads, H head width, E = G x H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.norm import RMSNorm, rms_norm
from groundup.models.parts.position import distances, rotate
from groundup.models.parts.stacked import Stacked
from groundup.models.parts.window import windowed_attention

GATE_CHANNELS = 12  # of the input, enough to gate a value embedding (nanochat)
SHARPNESS = 1.2  # of normalised queries and keys each (nanochat)


def document_mask(segments_BT: Tensor, *, causal: bool = True) -> Tensor:
    """Attention within documents: bool (B, 1, T, T), True where a query (row) may see a key (column)."""
    T = segments_BT.shape[1]
    same = segments_BT[:, :, None] == segments_BT[:, None, :]
    if causal:
        same = same & torch.ones(T, T, dtype=torch.bool, device=segments_BT.device).tril()
    return same[:, None]


def additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as what is added to the scores, 0 or -infinity, in the format that attention computes in (`like`: the stream).

    Made once for all layers: of a bool mask each layer makes one of its own and keeps it for the backward pass.
    """
    kind = mask.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))


class Attention(nn.Module):
    """Multi-head attention; queries, keys and values come out of one matrix product."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        self.qk_norm, self.eps, self.dropout = config.qk_norm, config.norm_eps, config.attention_dropout
        self.scale, self.softcap, self.window = config.attention_scale, config.attention_softcap, config.window(layer)
        self.causal = config.causal
        inner, outer = config.kv_heads * config.head_width, config.heads * config.head_width
        self.qkv = Stacked(config.width, (outer, inner, inner), config.qkv_bias)
        self.out = nn.Linear(outer, config.width, bias=config.out_bias)
        self.q_norm = RMSNorm(config.head_width, config.norm_eps, scale=True) if config.qk_norm_scale else None
        self.k_norm = RMSNorm(config.head_width, config.norm_eps, scale=True) if config.qk_norm_scale else None
        self.value_gate = nn.Linear(GATE_CHANNELS, config.kv_heads, bias=False) if config.has_value_embedding(layer) else None

    def forward(
        self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor] | None, mask: Tensor | None, value_BTE: Tensor | None = None,
        bias: Tensor | None = None, segments_BT: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Attend. `mask` None means plain causal attention; `value_BTE`: the token's value embedding, if the layer has one;
        `bias`: added to the scores, (1, K, T, S); `segments_BT`: for windows, which make a mask of their own."""
        B, T, _ = x_BTD.shape
        K, G, H = self.heads, self.kv_heads, self.head_width
        qkv = self.qkv(x_BTD).view(B, T, K + 2 * G, H)
        qk, v = torch.split(qkv, [K + G, G], dim=2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = torch.split(qk, [K, G], dim=2)
            qk = torch.cat((self.q_norm(q), self.k_norm(k)), dim=2)
        if rotary is not None:
            qk = rotate(qk, *rotary)
        if self.qk_norm:
            qk = rms_norm(qk, eps=self.eps) * SHARPNESS
        q_BKTH, k_BGTH = torch.split(qk.transpose(1, 2), [K, G], dim=1)
        if self.value_gate is not None:
            assert value_BTE is not None
            gate_BTG1 = 3 * torch.sigmoid(self.value_gate(x_BTD[..., :GATE_CHANNELS])).unsqueeze(-1)
            v = v + gate_BTG1 * value_BTE.view(B, T, G, H)
        v_BGTH = v.transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        if self.window and bias is None and not self.softcap and self.window < T:
            y_BKTH = windowed_attention(q_BKTH, k_BGTH, v_BGTH, self.window, segments_BT, scale=self.scale, dropout=dropout, both_ways=not self.causal)
        else:
            y_BKTH = attend(
                q_BKTH, k_BGTH, v_BGTH, self._near(mask, T, x_BTD.device), bias, scale=self.scale, softcap=self.softcap, dropout=dropout,
                causal=self.causal,
            )
        y_BTD: Tensor = self.out(y_BKTH.transpose(1, 2).reshape(B, T, K * H))
        return y_BTD

    def _near(self, mask: Tensor | None, T: int, device: torch.device) -> Tensor | None:
        """The mask with what lies outside of the layer's window taken out."""
        if not self.window or self.window >= T:
            return mask
        before_TT = distances(T, T, device)
        near_TT = (before_TT >= 0) & (before_TT < self.window) if self.causal else before_TT.abs() < self.window
        return near_TT[None, None] if mask is None else mask & near_TT


def attend(
    q_BKTH: Tensor, k_BGSH: Tensor, v_BGSH: Tensor, mask: Tensor | None, bias: Tensor | None, *, scale: float | None, softcap: float = 0.0,
    dropout: float = 0.0, causal: bool = True,
) -> Tensor:  # fmt: skip
    """softmax(scores) v, (B, K, T, H). `mask` None: all keys up to the query's place (`causal`), or all; with a bias or a softcap it
    is bool, else `additive` too."""
    K, T, S = q_BKTH.shape[1], q_BKTH.shape[2], k_BGSH.shape[2]
    G = k_BGSH.shape[1]
    if bias is None and not softcap:
        return F.scaled_dot_product_attention(
            q_BKTH, k_BGSH, v_BGSH, attn_mask=mask, is_causal=causal and mask is None and T > 1, enable_gqa=K != G, dropout_p=dropout, scale=scale,
        )  # fmt: skip
    if mask is None and causal:
        mask = distances(T, S, q_BKTH.device) >= 0
    if not softcap:
        assert bias is not None
        shown = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
        return F.scaled_dot_product_attention(
            q_BKTH, k_BGSH, v_BGSH, attn_mask=shown.to(q_BKTH.dtype), enable_gqa=K != G, dropout_p=dropout, scale=scale
        )
    k_BKSH, v_BKSH = (x.repeat_interleave(K // G, dim=1) for x in (k_BGSH, v_BGSH))
    scores = q_BKTH @ k_BKSH.transpose(-1, -2) * (q_BKTH.shape[-1] ** -0.5 if scale is None else scale)
    scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return F.dropout(scores.softmax(dim=-1), dropout) @ v_BKSH
