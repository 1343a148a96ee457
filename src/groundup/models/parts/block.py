"""One layer, in the orders that the field has tried (x is the stream, N a norm, A attention, F feed-forward):

    pre       x + A(N(x)), then x + F(N(x))              GPT-2, LLaMA: the gradient has a clear way down
    post      N(x + A(x)), then N(x + F(x))              Vaswani et al. 2017, GPT-1, BERT; wants a warm-up
    parallel  x + A(N(x)) + F(N(x))                      PaLM, Falcon 7B; Falcon 40B has a norm for each
    rezero    x + a A(x), then x + b F(x), a, b from 0   Bachlechner et al. 2020: no norm, no warm-up
    depth     x + A(N(x)) d, then x + F(N(x)) d, d = base layers / layers       CompleteP (Dey et al. 2025)
    deepnet   N(c x + A(x)), then N(c x + F(x))          Wang et al. 2022: a thousand layers
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from groundup.models.config import ModelConfig
from groundup.models.parts.attention import Attention
from groundup.models.parts.moe import feedforward
from groundup.models.parts.norm import norm


def deepnet_alpha(layers: int) -> float:
    """DeepNet's factor on the stream, of a decoder or an encoder alone: (2 M)^(1/4)."""
    return float((2 * layers) ** 0.25)


class Absent(nn.Module):
    """In place of a part that another process of a pipeline has: what comes in goes out."""

    def forward(self, x_BTD: Tensor, *_: object) -> Tensor:
        """The first argument."""
        return x_BTD


class Block(nn.Module):
    """A Transformer layer; dropout falls on each sublayer's output before it is added."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.post, self.parallel = config.norm_place == "post", config.parallel
        self.alpha = deepnet_alpha(config.layers) if config.residual == "deepnet" else 1.0
        self.attention_norm = norm(config.norm, config.width, config.norm_eps, config.norm_scale, config.norm_bias)
        self.attention = Attention(config, layer)
        if config.parallel != "one-norm":
            self.feedforward_norm = norm(config.norm, config.width, config.norm_eps, config.norm_scale, config.norm_bias)
        self.feedforward = feedforward(config)
        self.share = config.base_layers / config.layers if config.residual == "depth" else 1.0
        self.gains = nn.Parameter(torch.zeros(2)) if config.residual == "rezero" else None
        self.dropout = nn.Dropout(config.residual_dropout_at(layer))

    def forward(
        self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor] | None, mask: Tensor | None, value_BTE: Tensor | None = None,
        bias: Tensor | None = None, segments_BT: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """(B, T, D) to (B, T, D)."""
        seen_BTD = x_BTD if self.post else self.attention_norm(x_BTD)
        y_BTD = self.dropout(self.attention(seen_BTD, rotary, mask, value_BTE, bias, segments_BT))
        if self.parallel != "no":
            seen_BTD = seen_BTD if self.parallel == "one-norm" else self.feedforward_norm(x_BTD)
            both_BTD: Tensor = self._add(self._add(x_BTD, y_BTD, 0), self.dropout(self.feedforward(seen_BTD)), 1)
            return both_BTD
        x_BTD = self._add(x_BTD, y_BTD, 0)
        if self.post:
            x_BTD = self.attention_norm(x_BTD)
        x_BTD = self._add(x_BTD, self.dropout(self.feedforward(x_BTD if self.post else self.feedforward_norm(x_BTD))), 1)
        return self.feedforward_norm(x_BTD) if self.post else x_BTD

    def _add(self, x_BTD: Tensor, y_BTD: Tensor, sublayer: int) -> Tensor:
        if self.gains is not None:
            y_BTD = y_BTD * self.gains[sublayer]
        if self.share != 1.0:
            y_BTD = y_BTD * self.share
        return x_BTD + y_BTD if self.alpha == 1.0 else self.alpha * x_BTD + y_BTD
