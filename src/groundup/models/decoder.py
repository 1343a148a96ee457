"""The decoder family: tokens in, a guess at each next token out.

Shapes: B batch, T time, D model width, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.attention import Cache, document_mask
from groundup.models.parts.block import Block
from groundup.models.parts.norm import norm
from groundup.models.parts.position import Rotary


class Decoder(nn.Module):
    """LLaMA (Touvron et al. 2023, arXiv 2302.13971): pre-RMSNorm, rotary positions, SwiGLU, no biases.

    >>> model(tokens_BT, positions_BT)               # one document a row
    >>> model(tokens_BT, positions_BT, segments_BT)  # packed rows: attention stays within documents
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.rotary = Rotary(config.head_width, config.context, config.rope_base)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = norm(config.width, config.norm_eps)
        self.head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def hidden(
        self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """The last layer's normalised output, (B, T, D)."""
        if cache is not None:
            mask = cache.mask()
        else:
            mask = None if segments_BT is None else document_mask(segments_BT)
        x_BTD: Tensor = self.dropout(self.embedding(tokens_BT))
        rotary = self.rotary(positions_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD, rotary, mask, cache)
        x_BTD = self.norm(x_BTD)
        return x_BTD

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Scores over the vocabulary, (B, T, V), float32."""
        weight_VD = self.embedding.weight if self.head is None else self.head.weight
        return F.linear(x_BTD, weight_VD).float()

    def forward(
        self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Logits of each next token, (B, T, V), float32. `segments_BT` None: every row is one document."""
        return self.logits(self.hidden(tokens_BT, positions_BT, segments_BT, cache))
