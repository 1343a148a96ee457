"""The decoder family: tokens in, a guess at each next token out.

Shapes: B batch, T time, D model width, E width of all values, R rank of the embedding, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.attention import additive, document_mask
from groundup.models.parts.block import Absent, Block
from groundup.models.parts.embedding import NgramEmbedding
from groundup.models.parts.moe import MixtureOfExperts
from groundup.models.parts.norm import norm, rms_norm
from groundup.models.parts.position import Alibi, Relative, Rotary, Sinusoidal


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
    """A stack of layers that each see the tokens up to their own place; its parts are the config's.

    >>> model(tokens_BT, positions_BT)               # one document a row
    >>> model(tokens_BT, positions_BT, segments_BT)  # packed rows: attention stays within documents
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        inner, rank = config.kv_heads * config.head_width, config.embedding_rank or config.width
        self.embedding = nn.Embedding(config.vocabulary, rank)
        self.projection = nn.Linear(rank, config.width, bias=False) if config.embedding_rank else None
        self.ngrams = NgramEmbedding(config.vocabulary, config.ngram_rows, config.width, config.ngram_dropout) if config.ngram_rows else None
        self.rotary = (
            Rotary(config.head_width, config.context, config.rope_base, config.rope_scaling, config.rope_wavelengths)
            if config.position == "rotary" else None
        )  # fmt: skip
        self.places = (
            nn.Embedding(config.context, config.width) if config.position == "learned"
            else Sinusoidal(config.context, config.width) if config.position == "sinusoidal" else None
        )  # fmt: skip
        self.distance = (
            Alibi(config.heads, config.head_width**-0.5 if config.family == "falcon-rw" else 1.0) if config.position == "alibi"
            else Relative(config.heads, config.relative_buckets, config.relative_distance, both_ways=False) if config.position == "relative"
            else None
        )  # fmt: skip
        self.shortcut = Shortcut(config.layers) if config.shortcut else None
        self.value_embeddings = nn.ModuleDict(
            {str(layer): nn.Embedding(config.vocabulary, inner) for layer in range(config.layers) if config.has_value_embedding(layer)}
        )
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        last = "none" if config.norm_place == "post" else config.norm  # after the last sum there is one already
        self.norm = norm(last, config.width, config.norm_eps, config.norm_scale, config.norm_bias)
        self.head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)
        self.dropout = nn.Dropout(config.embedding_dropout)

    def embed(self, tokens_BT: Tensor, positions_BT: Tensor, ngrams_BTD: Tensor | None = None) -> Tensor:
        """What the first layer sees, (B, T, D). `ngrams_BTD`: what the n-gram tables say, where that hangs on tokens before these."""
        x_BTD: Tensor = self.embedding(tokens_BT)
        if self.projection is not None:
            x_BTD = self.projection(x_BTD)
        if self.config.embedding_scale != 1.0:
            x_BTD = x_BTD * self.config.embedding_scale
        if self.places is not None:
            x_BTD = x_BTD + self.places(positions_BT)
        if self.ngrams is not None:
            x_BTD = x_BTD + (self.ngrams(tokens_BT, positions_BT) if ngrams_BTD is None else ngrams_BTD)
        if self.config.embedding_norm:
            x_BTD = rms_norm(x_BTD, eps=self.config.norm_eps)
        x_BTD = self.dropout(x_BTD)
        return x_BTD

    def hidden(
        self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None = None, prefix_BT: Tensor | None = None
    ) -> Tensor:
        """The last layer's normalised output, (B, T, D). `prefix_BT`: tokens that all of their segment see, earlier ones too."""
        if prefix_BT is not None:
            segments_BT = torch.zeros_like(tokens_BT) if segments_BT is None else segments_BT
            mask: Tensor | None = document_mask(segments_BT) | (document_mask(segments_BT, causal=False) & prefix_BT[:, None, None, :])
        else:
            mask = None if segments_BT is None or self._windowed(tokens_BT.shape[1]) else document_mask(segments_BT)
        x_BTD = self.embed(tokens_BT, positions_BT)
        if mask is not None and self.distance is None and not self.config.windows and not self.config.attention_softcap:
            mask = additive(mask, x_BTD)
        rotary = None if self.rotary is None else self.rotary(positions_BT)
        T = tokens_BT.shape[1]
        bias = None if self.distance is None else self.distance(T, T)
        return self.stack(x_BTD, tokens_BT, rotary, mask, bias, segments_BT)

    def stack(
        self, x_BTD: Tensor, tokens_BT: Tensor, rotary: tuple[Tensor, Tensor] | None, mask: Tensor | None,
        bias: Tensor | None = None, segments_BT: Tensor | None = None, first_BTD: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """All layers and the last norm: the part worth compiling (look-ups and the head have their own kernels).

        `first_BTD`: the embedding, where the stream is no longer that."""
        first_BTD = x_BTD if first_BTD is None else first_BTD
        for layer, block in enumerate(self.blocks):
            if self.shortcut is not None and not isinstance(block, Absent):
                x_BTD = self.shortcut(layer, x_BTD, first_BTD)
            value_BTE = self.value_embeddings[str(layer)](tokens_BT) if str(layer) in self.value_embeddings else None
            x_BTD = block(x_BTD, rotary, mask, value_BTE, bias, segments_BT)
        normalised_BTD: Tensor = self.norm(x_BTD)
        return normalised_BTD

    def _windowed(self, T: int) -> bool:
        """Whether no layer needs the mask of the whole row, which grows with the square of its length."""
        config = self.config
        return bool(config.windows) and all(0 < window < T for window in config.windows) and self.distance is None and not config.attention_softcap

    @property
    def head_weight(self) -> Tensor:
        """The matrix of the output layer, (V, D)."""
        weight_VD: Tensor = self.embedding.weight if self.head is None else self.head.weight
        if self.head is None and self.projection is not None:
            weight_VD = weight_VD @ self.projection.weight.T
        return weight_VD

    def router_losses(self) -> tuple[Tensor, Tensor]:
        """(balance, z) of the last forward pass, summed over the layers with experts; see parts/moe.py."""
        layers = [module for module in self.blocks.modules() if isinstance(module, MixtureOfExperts)]
        balance, z = zip(*(one.losses() for one in layers), strict=True)
        return torch.stack(balance).sum(), torch.stack(z).sum()

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Scores over the vocabulary, (B, T, V), float32."""
        if self.config.logits_scale != 1.0:
            x_BTD = x_BTD * self.config.logits_scale
        logits_BTV = F.linear(x_BTD, self.head_weight).float()
        if self.config.softcap:
            logits_BTV = self.config.softcap * torch.tanh(logits_BTV / self.config.softcap)
        return logits_BTV

    def forward(self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """Logits of each next token, (B, T, V), float32. `segments_BT` None: every row is one document."""
        return self.logits(self.hidden(tokens_BT, positions_BT, segments_BT))
