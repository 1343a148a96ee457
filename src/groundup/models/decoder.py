"""The decoder family: tokens in, a guess at each next token out.

Shapes: B batch, T time, D model width, E width of all values, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.attention import Cache, document_mask
from groundup.models.parts.block import Block
from groundup.models.parts.embedding import NgramEmbedding
from groundup.models.parts.norm import norm, rms_norm
from groundup.models.parts.position import Rotary


class Shortcut(nn.Module):
    """Two learned scalars a layer: how much of the stream goes on, how much of the embedding comes back."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.stream = nn.Parameter(torch.ones(layers))
        self.embedding = nn.Parameter(torch.zeros(layers))

    def forward(self, layer: int, x_BTD: Tensor, first_BTD: Tensor) -> Tensor:
        """What the layer starts from."""
        return self.stream[layer] * x_BTD + self.embedding[layer] * first_BTD


class Decoder(nn.Module):
    """A stack of pre-norm layers with rotary positions; its parts are the config's.

    >>> model(tokens_BT, positions_BT)               # one document a row
    >>> model(tokens_BT, positions_BT, segments_BT)  # packed rows: attention stays within documents
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        inner = config.kv_heads * config.head_width
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.ngrams = NgramEmbedding(config.vocabulary, config.ngram_rows, config.width, config.ngram_dropout) if config.ngram_rows else None
        self.rotary = Rotary(config.head_width, config.context, config.rope_base)
        self.shortcut = Shortcut(config.layers) if config.shortcut else None
        self.value_embeddings = nn.ModuleDict(
            {str(layer): nn.Embedding(config.vocabulary, inner) for layer in range(config.layers) if config.has_value_embedding(layer)}
        )
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = norm(config.norm, config.width, config.norm_eps, config.norm_scale)
        self.head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)
        self.dropout = nn.Dropout(config.embedding_dropout)

    def embed(self, tokens_BT: Tensor, positions_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """What the first layer sees, (B, T, D)."""
        x_BTD: Tensor = self.embedding(tokens_BT)
        if self.ngrams is not None:
            x_BTD = x_BTD + self.ngrams(tokens_BT, positions_BT, None if cache is None else cache.earlier(tokens_BT))
        if self.config.embedding_norm:
            x_BTD = rms_norm(x_BTD, eps=self.config.norm_eps)
        x_BTD = self.dropout(x_BTD)
        return x_BTD

    def hidden(
        self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """The last layer's normalised output, (B, T, D)."""
        if cache is not None:
            mask = cache.mask()
        else:
            mask = None if segments_BT is None else document_mask(segments_BT)
        return self.stack(self.embed(tokens_BT, positions_BT, cache), tokens_BT, self.rotary(positions_BT), mask, cache)

    def stack(
        self, first_BTD: Tensor, tokens_BT: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None
    ) -> Tensor:
        """All layers and the last norm: the part worth compiling (look-ups and the head have their own kernels)."""
        x_BTD = first_BTD
        for layer, block in enumerate(self.blocks):
            if self.shortcut is not None:
                x_BTD = self.shortcut(layer, x_BTD, first_BTD)
            value_BTE = self.value_embeddings[str(layer)](tokens_BT) if str(layer) in self.value_embeddings else None
            x_BTD = block(x_BTD, rotary, mask, cache, value_BTE)
        normalised_BTD: Tensor = self.norm(x_BTD)
        return normalised_BTD

    @property
    def head_weight(self) -> Tensor:
        """The matrix of the output layer, (V, D)."""
        weight_VD: Tensor = self.embedding.weight if self.head is None else self.head.weight
        return weight_VD

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Scores over the vocabulary, (B, T, V), float32."""
        logits_BTV = F.linear(x_BTD, self.head_weight).float()
        if self.config.softcap:
            logits_BTV = self.config.softcap * torch.tanh(logits_BTV / self.config.softcap)
        return logits_BTV

    def forward(
        self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Logits of each next token, (B, T, V), float32. `segments_BT` None: every row is one document."""
        return self.logits(self.hidden(tokens_BT, positions_BT, segments_BT, cache))
