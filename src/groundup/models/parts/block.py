"""One pre-norm layer: x + attention(norm(x)), then x + feedforward(norm(x))."""

from __future__ import annotations

from torch import Tensor, nn

from groundup.models.config import ModelConfig
from groundup.models.parts.attention import Attention, Cache
from groundup.models.parts.feedforward import feedforward
from groundup.models.parts.norm import norm


class Block(nn.Module):
    """A Transformer layer; dropout falls on each sublayer's output before it is added."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = norm(config.norm, config.width, config.norm_eps, config.norm_scale)
        self.attention = Attention(config, layer)
        self.feedforward_norm = norm(config.norm, config.width, config.norm_eps, config.norm_scale)
        self.feedforward = feedforward(config)
        self.dropout = nn.Dropout(config.residual_dropout_at(layer))

    def forward(
        self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None, value_BTE: Tensor | None = None
    ) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        x_BTD = x_BTD + self.dropout(self.attention(self.attention_norm(x_BTD), rotary, mask, cache, value_BTE))
        x_BTD = x_BTD + self.dropout(self.feedforward(self.feedforward_norm(x_BTD)))
        return x_BTD
