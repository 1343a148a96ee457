"""Mixture of experts: a router sends each token to a few feed-forward sublayers of many.

Routing as in Mixtral (Jiang et al. 2024): the best k by score, weighted by a softmax over those k. Two losses keep the
router honest, both reported beside the model's output and weighed by the objective:

    balance   n x sum over experts of (share of the tokens sent there) x (mean probability): 1 when even (Switch, Fedus et al. 2022)
    z         mean of (ln of the sum of exp(scores))^2: scores stay small (ST-MoE, Zoph et al. 2022)

Shapes: N tokens, D model width, X experts, k experts a token.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from groundup.models.config import ModelConfig
from groundup.models.parts.feedforward import plain_or_gated


class MixtureOfExperts(nn.Module):
    """The sublayer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.chosen, self.capacity = config.experts_a_token, config.expert_capacity
        self.router = nn.Linear(config.width, config.experts, bias=False)
        self.experts = nn.ModuleList(plain_or_gated(config) for _ in range(config.experts))
        self.shared = plain_or_gated(config, config.shared_experts * config.feedforward) if config.shared_experts else None
        self._losses: tuple[Tensor, Tensor] | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        x_ND = x_BTD.reshape(-1, x_BTD.shape[-1])
        scores_NX = self.router(x_ND).float()
        best_Nk, expert_Nk = scores_NX.topk(self.chosen, dim=-1)
        weights_Nk = best_Nk.softmax(dim=-1)
        X = len(self.experts)
        sent_X = torch.bincount(expert_Nk.flatten(), minlength=X) / expert_Nk.numel()
        self._losses = X * (sent_X * scores_NX.softmax(dim=-1).mean(0)).sum(), scores_NX.logsumexp(dim=-1).square().mean()
        places = math.ceil(self.capacity * expert_Nk.numel() / X) if self.capacity else None
        routes = [(expert_Nk == number).nonzero(as_tuple=True) for number in range(X)]
        # the first come; the others keep what the stream has
        routes = [(token[:places], choice[:places]) for token, choice in routes]
        y_ND = torch.zeros_like(x_ND) if self.shared is None else self.shared(x_ND)
        for (token, choice), given_CD in zip(routes, self.work([x_ND[token] for token, _ in routes]), strict=True):
            weight_C1 = weights_Nk[token, choice].unsqueeze(-1).to(x_ND.dtype)
            y_ND = y_ND.index_add(0, token, (weight_C1 * given_CD).to(y_ND.dtype))
        return y_ND.view_as(x_BTD)

    def work(self, asked: list[Tensor]) -> list[Tensor]:
        """What each expert makes of the tokens sent to it, each (C, D)."""
        return [expert(x_CD) for expert, x_CD in zip(self.experts, asked, strict=True)]

    def losses(self) -> tuple[Tensor, Tensor]:
        """(balance, z) of the last forward pass."""
        assert self._losses is not None, "nothing was routed yet"
        return self._losses


def feedforward(config: ModelConfig) -> nn.Module:
    """The feed-forward sublayer a config asks for."""
    return MixtureOfExperts(config) if config.experts else plain_or_gated(config)
