"""The permutation family: every order of the tokens is a language model (XLNet, Yang et al. 2019, arXiv 1906.08237).

Two streams run through the same layers. The content stream h sees each token and itself; the query stream g stands where a
token is to be guessed, knows the place and sees only what comes before it in the drawn order, not the token:

    order 3 1 4 2            h sees          g sees
    place                  1 2 3 4          1 2 3 4
      1                    x   x                x
      2                    x x x x          x   x x
      3                        x
      4                    x   x x          x   x

Distances are Transformer-XL's: sinusoids of how far apart two places are, each layer with its own biases; earlier text is a
memory of hidden states that no gradient enters.

Shapes: B batch, T time, M memory, S = M + T, R = M + 2T distances, D model width, K heads, H head width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.feedforward import FUNCTIONS

Memory = list[Tensor]
"""Hidden states of earlier text, one (B, M, D) a layer."""


@dataclass(frozen=True)
class Streams:
    """What a forward pass gives."""

    content_BTD: Tensor
    query_BTD: Tensor | None
    memory: Memory

    def recent(self, places: int) -> Memory:
        """The memory of the last places alone."""
        return [one[:, -places:] for one in self.memory]


class RelativeAttention(nn.Module):
    """Scores of content against content, content against distance, and segment against segment."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, K, H = config.width, config.heads, config.head_width
        self.scale, self.dropout = H**-0.5, nn.Dropout(config.attention_dropout)
        self.q, self.k, self.v, self.o, self.r = (nn.Parameter(torch.empty(D, K, H)) for _ in range(5))
        self.content_bias, self.distance_bias, self.segment_bias = (nn.Parameter(torch.zeros(K, H)) for _ in range(3))
        self.segments = nn.Parameter(torch.empty(2, K, H))
        """Of the same segment, and of another."""

    def forward(self, x_BTD: Tensor, seen_BSD: Tensor, distances_RD: Tensor, other_BTS: Tensor | None, mask_BTS: Tensor | None) -> Tensor:
        """(B, T, D). `other_BTS`: whether two places belong to different segments; `mask_BTS`: what is hidden."""
        q = torch.einsum("btd,dkh->bkth", x_BTD, self.q)
        k = torch.einsum("bsd,dkh->bksh", seen_BSD, self.k)
        v = torch.einsum("bsd,dkh->bksh", seen_BSD, self.v)
        r = torch.einsum("rd,dkh->krh", distances_RD, self.r)
        scores = torch.einsum("bkth,bksh->bkts", q + self.content_bias[:, None], k)
        by_distance = torch.einsum("bkth,krh->bktr", q + self.distance_bias[:, None], r)
        scores = scores + shifted(by_distance, k.shape[2])
        if other_BTS is not None:
            by_segment = torch.einsum("bkth,ckh->bktc", q + self.segment_bias[:, None], self.segments)
            scores = scores + torch.where(other_BTS[:, None], by_segment[..., 1:], by_segment[..., :1])
        scores = scores * self.scale
        if mask_BTS is not None:
            scores = scores.masked_fill(mask_BTS[:, None], torch.finfo(scores.dtype).min)
        y = torch.einsum("bkts,bksh->btkh", self.dropout(scores.softmax(-1)), v)
        return torch.einsum("btkh,dkh->btd", y, self.o)


def shifted(by_distance_BKTR: Tensor, keys: int) -> Tensor:
    """From scores by distance, greatest first, to scores by key: query t and key s stand M + t - s apart, (B, K, T, S)."""
    B, K, T, R = by_distance_BKTR.shape
    turned = by_distance_BKTR.reshape(B, K, R, T)[:, :, 1:]
    return turned.reshape(B, K, T, R - 1)[..., :keys]


class Layer(nn.Module):
    """Attention and feed-forward, a norm after each sum; both streams go through the same weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D = config.width
        self.attention = RelativeAttention(config)
        self.attention_norm, self.feedforward_norm = (nn.LayerNorm(D, eps=config.norm_eps) for _ in range(2))
        self.up, self.down = nn.Linear(D, config.feedforward), nn.Linear(config.feedforward, D)
        self.function, self.dropout = FUNCTIONS[config.activation], nn.Dropout(config.residual_dropout)

    def forward(self, x_BTD: Tensor, seen_BSD: Tensor, distances_RD: Tensor, other_BTS: Tensor | None, mask_BTS: Tensor | None) -> Tensor:
        """(B, T, D)."""
        x_BTD = self.attention_norm(x_BTD + self.dropout(self.attention(x_BTD, seen_BSD, distances_RD, other_BTS, mask_BTS)))
        y_BTD = self.down(self.dropout(self.function(self.up(x_BTD))))
        z_BTD: Tensor = self.feedforward_norm(x_BTD + self.dropout(y_BTD))
        return z_BTD


class PermutationModel(nn.Module):
    """XLNet with its language-model head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.hidden_token = nn.Parameter(torch.zeros(config.width))
        """What the query stream starts from: a token not yet known."""
        self.blocks = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.head_bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.dropout = nn.Dropout(config.embedding_dropout)

    def streams(
        self, tokens_BT: Tensor, hidden_BTT: Tensor | None = None, segments_BT: Tensor | None = None, memory: Memory | None = None,
        memory_segments_BM: Tensor | None = None, *, guess: bool = False,
    ) -> Streams:  # fmt: skip
        """Both streams' last states. `hidden_BTT`: what each place must not see of the others (nothing hidden when not given), or
        (B, T, M + T), of the memory too; `memory`: as an earlier pass returned it; `guess`: run the query stream too."""
        B, T = tokens_BT.shape
        M = 0 if memory is None else memory[0].shape[1]
        h = self.dropout(self.embedding(tokens_BT))
        g = self.dropout(self.hidden_token.expand(B, T, -1)) if guess else None
        distances = self.dropout(_sinusoids(T, M, self.config.width, h))
        query_mask = None if hidden_BTT is None else F.pad(hidden_BTT, (M + T - hidden_BTT.shape[2], 0), value=False)
        itself = F.pad(torch.eye(T, dtype=torch.bool, device=h.device), (M, 0), value=False)
        content_mask = None if query_mask is None else query_mask & ~itself  # the content stream always sees its own token
        other = None
        if segments_BT is not None:
            before = torch.zeros(B, M, dtype=segments_BT.dtype, device=h.device) if memory_segments_BM is None else memory_segments_BM
            other = segments_BT[:, :, None] != torch.cat((before, segments_BT), dim=1)[:, None, :]
        kept: Memory = []
        for number, block in enumerate(self.blocks):
            kept.append(h.detach() if memory is None else torch.cat((memory[number], h.detach()), dim=1))
            seen = h if memory is None else torch.cat((memory[number], h), dim=1)
            if g is not None:
                g = block(g, seen, distances, other, query_mask)
            h = block(h, seen, distances, other, content_mask)
        return Streams(self.dropout(h), None if g is None else self.dropout(g), kept)

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Scores of the token at each place, (B, T, V), float32."""
        return F.linear(x_BTD, self.embedding.weight, self.head_bias).float()

    def forward(self, tokens_BT: Tensor, hidden_BTT: Tensor | None = None, segments_BT: Tensor | None = None) -> Tensor:
        """Scores of each token from what its place may see, (B, T, V), float32."""
        found = self.streams(tokens_BT, hidden_BTT, segments_BT, guess=True)
        assert found.query_BTD is not None
        return self.logits(found.query_BTD)


def _sinusoids(T: int, M: int, width: int, like: Tensor) -> Tensor:
    """Of the distances M + T, ..., 1 - T, (M + 2T, D): all sines, then all cosines (Dai et al. 2019)."""
    apart = torch.arange(M + T, -T, -1, dtype=torch.float32, device=like.device)
    angles = apart[:, None] * 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float32, device=like.device) / width)
    return torch.cat((angles.sin(), angles.cos()), dim=-1).to(like.dtype)
