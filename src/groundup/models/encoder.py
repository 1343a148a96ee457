"""The encoder family: every token sees the whole document; some are hidden and asked for (BERT, Devlin et al. 2019).

    tokens + places + types -> norm -> layers -> dense, GELU, norm -> scores of the hidden token (the embedding's matrix, a bias)
                                             -> first token: dense, tanh -> is the second sentence the next one?

Shapes: B batch, T time, D model width, V vocabulary, P pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.attention import additive, document_mask
from groundup.models.parts.block import Block
from groundup.models.parts.norm import norm
from groundup.models.parts.position import Alibi, Relative, Rotary, Sinusoidal


class Encoder(nn.Module):
    """A stack of layers that see both ways, with BERT's two heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        D = config.width
        self.embedding = nn.Embedding(config.vocabulary, D)
        self.rotary = Rotary(config.head_width, config.context, config.rope_base, config.rope_scaling) if config.position == "rotary" else None
        self.places = (
            nn.Embedding(config.context, D) if config.position == "learned"
            else Sinusoidal(config.context, D) if config.position == "sinusoidal" else None
        )  # fmt: skip
        self.distance = (
            Alibi(config.heads) if config.position == "alibi"
            else Relative(config.heads, config.relative_buckets, config.relative_distance, both_ways=True) if config.position == "relative" else None
        )  # fmt: skip
        self.types = nn.Embedding(config.token_types, D) if config.token_types else None
        self.embedding_norm = norm(config.norm, D, config.norm_eps) if config.norm_place == "post" else nn.Identity()
        self.dropout = nn.Dropout(config.embedding_dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = norm("none" if config.norm_place == "post" else config.norm, D, config.norm_eps)
        self.transform = nn.Linear(D, D)
        self.transform_norm = norm(config.norm, D, config.norm_eps)
        self.head_bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.pooler = nn.Linear(D, D)
        self.next_sentence = nn.Linear(D, 2)

    def embed(self, tokens_BT: Tensor, positions_BT: Tensor, types_BT: Tensor | None = None) -> Tensor:
        """What the first layer sees, (B, T, D)."""
        x_BTD = self.embedding(tokens_BT)
        if self.types is not None:
            x_BTD = x_BTD + (self.types.weight[0] if types_BT is None else self.types(types_BT))
        if self.places is not None:
            x_BTD = x_BTD + self.places(positions_BT)
        y_BTD: Tensor = self.dropout(self.embedding_norm(x_BTD))
        return y_BTD

    def hidden(self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None = None, types_BT: Tensor | None = None) -> Tensor:
        """The last layer's output, (B, T, D). `types_BT`: which sentence a token belongs to; all of the first when not given."""
        T = tokens_BT.shape[1]
        mask = None if segments_BT is None else document_mask(segments_BT, causal=False)
        x_BTD = self.embed(tokens_BT, positions_BT, types_BT)
        if mask is not None and self.distance is None and not self.config.windows and not self.config.attention_softcap:
            mask = additive(mask, x_BTD)
        rotary = None if self.rotary is None else self.rotary(positions_BT)
        bias = None if self.distance is None else self.distance(T, T)
        return self.stack(x_BTD, rotary, mask, bias, segments_BT)

    def stack(
        self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor] | None, mask: Tensor | None, bias: Tensor | None, segments_BT: Tensor | None
    ) -> Tensor:
        """All layers and the last norm."""
        for block in self.blocks:
            x_BTD = block(x_BTD, rotary, mask, None, bias, segments_BT)
        normalised_BTD: Tensor = self.norm(x_BTD)
        return normalised_BTD

    def shaped(self, x_BTD: Tensor) -> Tensor:
        """What the head's matrix reads, (..., D)."""
        shaped_BTD: Tensor = self.transform_norm(F.gelu(self.transform(x_BTD)))
        return shaped_BTD

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Scores of what stands at each place, (B, T, V), float32."""
        return F.linear(self.shaped(x_BTD), self.embedding.weight, self.head_bias).float()

    def follows(self, first_PD: Tensor) -> Tensor:
        """Scores (P, 2) of "the second sentence follows the first" and "it does not", from the pairs' first tokens."""
        scores_P2: Tensor = self.next_sentence(torch.tanh(self.pooler(first_PD)))
        return scores_P2.float()

    def forward(self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None = None, types_BT: Tensor | None = None) -> Tensor:
        """Scores of what stands at each place, (B, T, V), float32."""
        return self.logits(self.hidden(tokens_BT, positions_BT, segments_BT, types_BT))
