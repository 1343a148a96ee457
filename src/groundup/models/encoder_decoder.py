"""Encoder and decoder: one reads, the other writes and looks at what was read (Vaswani et al. 2017; T5, Raffel et al. 2020).

    source tokens -> encoder (sees both ways) ---------------------> memory
    tokens so far -> decoder: sees what it wrote, then the memory -> next token

Shapes: B batch, T target time, S source time, D model width, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.attention import Attention, attend, document_mask
from groundup.models.parts.moe import feedforward
from groundup.models.parts.norm import norm
from groundup.models.parts.position import Relative, Sinusoidal
from groundup.models.parts.stacked import Stacked


class CrossAttention(nn.Module):
    """Queries from the decoder, keys and values from what the encoder made of the source."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.head_width, self.scale, self.dropout = config.heads, config.head_width, config.attention_scale, config.attention_dropout
        outer = config.heads * config.head_width
        self.query = nn.Linear(config.width, outer, bias=config.bias)
        self.key_value = Stacked(config.width, (outer, outer), config.bias)
        self.out = nn.Linear(outer, config.width, bias=config.bias)

    def forward(self, x_BTD: Tensor, memory_BSD: Tensor, mask_B1TS: Tensor | None) -> Tensor:
        """(B, T, D)."""
        q_BKTH = self.query(x_BTD).unflatten(-1, (self.heads, self.head_width)).transpose(1, 2)
        k_BKSH, v_BKSH = self.keys_values(memory_BSD)
        y_BKTH = attend(
            q_BKTH, k_BKSH, v_BKSH, mask_B1TS, None, scale=self.scale, dropout=self.dropout if self.training else 0.0, causal=False
        )
        y_BTD: Tensor = self.out(y_BKTH.transpose(1, 2).flatten(2))
        return y_BTD

    def keys_values(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Of what was read, each (B, K, S, H)."""
        both = self.key_value(memory_BSD).unflatten(-1, (2 * self.heads, self.head_width)).transpose(1, 2)
        k_BKSH, v_BKSH = both.chunk(2, dim=1)
        return k_BKSH, v_BKSH


class Layer(nn.Module):
    """Self-attention, attention to the memory in the decoder, feed-forward; norms before each or after each sum, or none."""

    def __init__(self, config: ModelConfig, layer: int, *, decodes: bool) -> None:
        super().__init__()
        self.post = config.norm_place == "post"

        def one() -> nn.Module:
            return norm(config.norm, config.width, config.norm_eps, config.norm_scale, config.norm_bias)

        self.attention_norm, self.attention = one(), Attention(config.model_copy(update={"causal": decodes}), layer)
        self.cross_norm = one() if decodes else None
        self.cross = CrossAttention(config) if decodes else None
        self.feedforward_norm, self.feedforward = one(), feedforward(config)
        self.dropout = nn.Dropout(config.residual_dropout)

    def forward(
        self, x_BTD: Tensor, mask: Tensor | None, bias: Tensor | None, memory_BSD: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """(B, T, D)."""
        x_BTD = self._sublayer(x_BTD, self.attention_norm, lambda seen: self.attention(seen, None, mask, None, bias))
        if self.cross is not None and self.cross_norm is not None:
            cross = self.cross
            assert memory_BSD is not None
            x_BTD = self._sublayer(x_BTD, self.cross_norm, lambda seen: cross(seen, memory_BSD, memory_mask))
        return self._sublayer(x_BTD, self.feedforward_norm, self.feedforward)

    def _sublayer(self, x_BTD: Tensor, normal: nn.Module, function: object) -> Tensor:
        assert callable(function)
        y_BTD: Tensor = self.dropout(function(x_BTD if self.post else normal(x_BTD)))
        z_BTD: Tensor = normal(x_BTD + y_BTD) if self.post else x_BTD + y_BTD
        return z_BTD


class Stack(nn.Module):
    """One side: its layers, its relative positions, its last norm."""

    def __init__(self, config: ModelConfig, layers: int, *, decodes: bool) -> None:
        super().__init__()
        self.distance = (
            Relative(config.heads, config.relative_buckets, config.relative_distance, both_ways=not decodes) if config.position == "relative" else None
        )
        self.blocks = nn.ModuleList(Layer(config, layer, decodes=decodes) for layer in range(layers))
        last = "none" if config.norm_place == "post" else config.norm
        self.norm = norm(last, config.width, config.norm_eps, config.norm_scale, config.norm_bias)
        self.dropout = nn.Dropout(config.residual_dropout if config.norm_place == "pre" else 0.0)

    def forward(
        self, x_BTD: Tensor, mask: Tensor | None, memory_BSD: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """(B, T, D)."""
        T = x_BTD.shape[1]
        bias = None if self.distance is None else self.distance(T, T)
        for block in self.blocks:
            x_BTD = block(x_BTD, mask, bias, memory_BSD, memory_mask)
        y_BTD: Tensor = self.dropout(self.norm(x_BTD))
        return y_BTD


class EncoderDecoder(nn.Module):
    """The 2017 Transformer and T5; one embedding for both sides."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.places = Sinusoidal(config.context, config.width) if config.position == "sinusoidal" else None
        self.encoder = Stack(config, config.layers, decodes=False)
        self.decoder = Stack(config, config.decoder_layers or config.layers, decodes=True)
        self.head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)
        self.dropout = nn.Dropout(config.embedding_dropout)

    def embed(self, tokens_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """What a side's first layer sees, (B, T, D)."""
        x_BTD: Tensor = self.embedding(tokens_BT) * self.config.embedding_scale
        if self.places is not None:
            x_BTD = x_BTD + self.places(positions_BT)
        y_BTD: Tensor = self.dropout(x_BTD)
        return y_BTD

    def encode(self, source_BS: Tensor, positions_BS: Tensor, segments_BS: Tensor | None = None) -> Tensor:
        """What the decoder looks at, (B, S, D)."""
        mask = None if segments_BS is None else document_mask(segments_BS, causal=False)
        memory_BSD: Tensor = self.encoder(self.embed(source_BS, positions_BS), mask)
        return memory_BSD

    def hidden(
        self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None, memory_BSD: Tensor, memory_segments_BS: Tensor | None = None
    ) -> Tensor:
        """The decoder's output, (B, T, D)."""
        mask = None if segments_BT is None else document_mask(segments_BT)
        memory_mask = None
        if segments_BT is not None and memory_segments_BS is not None:
            memory_mask = (segments_BT[:, :, None] == memory_segments_BS[:, None, :])[:, None]
            memory_mask = memory_mask | ~memory_mask.any(-1, keepdim=True)  # padding looks anywhere: a softmax over nothing is no number
        y_BTD: Tensor = self.decoder(self.embed(tokens_BT, positions_BT), mask, memory_BSD, memory_mask)
        return y_BTD

    @property
    def head_weight(self) -> Tensor:
        """The matrix of the output layer, (V, D)."""
        weight_VD: Tensor = self.embedding.weight if self.head is None else self.head.weight
        return weight_VD

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Scores of each next token, (B, T, V), float32."""
        return F.linear(x_BTD * self.config.logits_scale, self.head_weight).float()

    def forward(
        self, tokens_BT: Tensor, positions_BT: Tensor, source_BS: Tensor, source_positions_BS: Tensor, segments_BT: Tensor | None = None,
        source_segments_BS: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Logits of each next token of the target, (B, T, V), float32."""
        memory_BSD = self.encode(source_BS, source_positions_BS, source_segments_BS)
        return self.logits(self.hidden(tokens_BT, positions_BT, segments_BT, memory_BSD, source_segments_BS))
