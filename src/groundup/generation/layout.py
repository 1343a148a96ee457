"""A model's weights as decoding reads them, made once for both ways of its forward pass (`program.py`, `few_rows.py`).

Pairs that a rotation turns, i and i + H/2 of a head, are laid side by side, so that turning them is one complex multiplication
in place: rows of the stacked map are reordered, of queries and keys alike, so their products stay what they were.

Shapes: K heads, G kv-heads, H head width, C context.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from groundup.generation.weights import Map, Precision, packed
from groundup.models.decoder import Decoder
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.parts.attention import Attention


class Layout:
    """The maps of a model in a precision. `rows`: as the kernels read them (`weights.Rows`)."""

    def __init__(self, model: Decoder | EncoderDecoder, precision: Precision, *, rows: bool) -> None:
        self._precision, self._rows = precision, rows
        rotary = model.rotary if isinstance(model, Decoder) else None
        self.turns = None if rotary is None else torch.complex(rotary.cosine, rotary.sine)
        """The rotation of each place, complex, (C, H/2)."""
        self._maps: dict[nn.Module, Map] = {}
        self.head = packed(model.head_weight, None, precision, rows=rows)

    def map(self, linear: nn.Linear) -> Map:
        """A linear layer's."""
        if linear not in self._maps:
            self._maps[linear] = packed(linear.weight, linear.bias, self._precision, rows=self._rows)
        return self._maps[linear]

    def qkv(self, module: Attention) -> Map:
        """Queries, keys and values of a token side by side."""
        if module.qkv not in self._maps:
            order = slice(None) if self.turns is None else _side_by_side(module.heads + module.kv_heads, module.kv_heads, module.head_width)
            weight, bias = module.qkv.weight.detach()[order], module.qkv.bias
            self._maps[module.qkv] = packed(weight, None if bias is None else bias.detach()[order], self._precision, rows=self._rows)
        return self._maps[module.qkv]

    def scales(self, module: Attention) -> Tensor | None:
        """Learned scales of normalised queries and keys, (K + G, H), in the order of the rows."""
        if module.q_norm is None or module.k_norm is None:
            return None
        K, G, H = module.heads, module.kv_heads, module.head_width
        rows_XH = torch.cat((cast(Tensor, module.q_norm.weight).expand(K, H), cast(Tensor, module.k_norm.weight).expand(G, H))).detach()
        return rows_XH if self.turns is None else rows_XH[:, _pairs(H)]


def _pairs(H: int) -> Tensor:
    """0, H/2, 1, H/2 + 1, ..."""
    return torch.arange(H).view(2, H // 2).T.flatten()


def _side_by_side(turned: int, others: int, H: int) -> Tensor:
    """Rows of the stacked map, those of each head that is turned in the order of `_pairs`."""
    heads = torch.arange(turned)[:, None] * H + _pairs(H)
    return torch.cat((heads.flatten(), torch.arange(turned * H, (turned + others) * H)))
