"""Losses of a policy, pure first and as objectives of the one trainer after: PPO with its value function and PPO-ptx, REINFORCE, GRPO.

With r_t = exp(logp_t - old_t) of a token under the policy and under the one that wrote it, A_t its advantage:

    reinforce   -logp_t A_t                                           Williams 1992; RLOO's and GRPO's advantages fit
    clipped     -min(r_t A_t, clip(r_t, 1 - e, 1 + e') A_t)           Schulman et al. 2017 (1707.06347), equation 7; e' > e: DAPO's clip-higher
    value       1/2 max((V - R)^2, (clip(V, V_old - e, V_old + e) - R)^2)     as in OpenAI's baselines and InstructGPT's PPO
    grpo        clipped + beta (e^d - d - 1), d = reference - logp    Shao et al. 2024 (2402.03300), equations 3 and 4

Each is a sum over tokens with weights (`policy.token_weights`), divided once by the sum of all weights of the step.

Batches: packed rows as everywhere, and at each place that writes a token, (B, T): `old_logps`, `advantages`, and where they are needed `reference_logps`,
`returns`, `old_values`. `weights` is 0 on prompts and padding. Pretraining text for PPO-ptx stands in rows or segments of its own, with
`weights` 0 and `pretraining` (B, T) as its weights (`policy.mixed_weight`).

Shapes: B rows, T time, N written tokens, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from groundup.models.decoder import Decoder
from groundup.training.cross_entropy import head_loss
from groundup.training.objectives import Batch, NextToken, Sums, borders
from groundup.training.policy import kl_estimate
from groundup.training.token_logps import token_logps


def clipped_loss(logps: Tensor, old_logps: Tensor, advantages: Tensor, low: float = 0.2, high: float | None = None) -> tuple[Tensor, Tensor]:
    """(loss, whether the clip stopped its gradient) of each token. `low`, `high`: how far the ratio may go below and above 1."""
    ratio = torch.exp(logps - old_logps)
    held = ratio.clamp(1 - low, 1 + (low if high is None else high))
    free, bound = ratio * advantages, held * advantages
    return -torch.minimum(free, bound), bound < free


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None = 0.2) -> tuple[Tensor, Tensor]:
    """(loss, whether the clip stopped its gradient) of each place; `clip` None: plain squared error."""
    free = (values - returns) ** 2
    if clip is None:
        return 0.5 * free, torch.zeros_like(free, dtype=torch.bool)
    held = (old_values + (values - old_values).clamp(-clip, clip) - returns) ** 2
    return 0.5 * torch.maximum(free, held), held > free


def reinforce_loss(logps: Tensor, advantages: Tensor) -> Tensor:
    """Of each token."""
    return -logps * advantages


@dataclass(frozen=True)
class _Policy(NextToken):
    """What all of them share: log-probabilities of the tokens written, at the places where `weights` is above 0."""

    def _written(self, model: Decoder, states_BTD: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(places bool (B, T), log-probabilities (N,), entropies (N,)). The head sees the tokens written alone."""
        there_BT = batch["weights"] > 0
        states_ND = states_BTD[there_BT] * model.config.logits_scale
        found = token_logps(states_ND, model.head_weight, batch["targets"][there_BT], softcap=model.config.softcap)
        return there_BT, found.logps_N, found.entropy_N

    def _sums(self, model: Decoder, states_BTD: Tensor, batch: Batch, losses_N: Tensor, metrics: dict[str, Tensor]) -> Sums:
        """Weighted sums, with the pretraining text and what is learned aside."""
        there_BT = batch["weights"] > 0
        weights_N = batch["weights"][there_BT]
        found = {name: (weights_N * value.detach().to(weights_N.dtype)).sum() for name, value in metrics.items()}
        loss_sum = (weights_N * losses_N).sum()
        if "pretraining" in batch:
            text = batch["pretraining"] > 0
            states_ND = states_BTD[text] * model.config.logits_scale
            nll = head_loss(states_ND, model.head_weight, batch["targets"][text], batch["pretraining"][text], softcap=model.config.softcap).loss_sum
            found = {"policy": loss_sum.detach(), **found, "pretraining": nll.detach()}
            loss_sum = loss_sum + nll
        aside = self.aside(model, batch)
        if aside is not None:
            found = {"policy": loss_sum.detach(), **found, **aside.metrics}
            loss_sum = loss_sum + aside.loss_sum
        return Sums(loss_sum, weights_N.sum(), found, batch["targets"][there_BT])


@dataclass(frozen=True)
class Policy(_Policy):
    """The clipped policy loss, on its own or with what PPO-ptx and a value function (`ActorCritic`) add.

    `value`: weight of the value loss. With `kl` above 0 the KL to the reference is part of the loss (GRPO); in PPO it is part of the
    rewards instead (`policy.shaped_rewards`).
    """

    clip: float = 0.2
    clip_high: float | None = None
    kl: float = 0.0
    value: float = 0.0
    value_clip: float | None = 0.2

    def sums(self, model: Any, states: Tensor, batch: Batch) -> Sums:
        """The sums. Metrics: `clip_fraction`, `old_kl` (k3 of the policy that wrote, how far this step has gone), `entropy`, and where they
        are known `reference_kl`, `value_loss` and `value_clip_fraction`."""
        there_BT, logps_N, entropy_N = self._written(model, states, batch)
        old_N = batch["old_logps"][there_BT]
        losses_N, clipped_N = clipped_loss(logps_N, old_N, batch["advantages"][there_BT], self.clip, self.clip_high)
        metrics = {"clip_fraction": clipped_N.float(), "old_kl": kl_estimate(old_N, logps_N), "entropy": entropy_N}
        if "reference_logps" in batch:
            kl_N = kl_estimate(logps_N, batch["reference_logps"][there_BT])
            metrics["reference_kl"] = kl_N
            if self.kl:
                losses_N = losses_N + self.kl * kl_N
        if self.value:
            values_N = model.critic.scores(batch["tokens"], batch["positions"], borders(batch))[there_BT]
            squared_N, held_N = value_loss(values_N, batch["old_values"][there_BT], batch["returns"][there_BT], self.value_clip)
            losses_N = losses_N + self.value * squared_N
            metrics |= {"value_loss": squared_N, "value_clip_fraction": held_N.float()}
        return self._sums(model, states, batch, losses_N, metrics)


@dataclass(frozen=True)
class Reinforce(_Policy):
    """REINFORCE on what the policy itself has just written: one step a rollout, so there is no ratio to clip (RLOO; nanochat's RL)."""

    kl: float = 0.0

    def sums(self, model: Decoder, states: Tensor, batch: Batch) -> Sums:
        """The sums."""
        there_BT, logps_N, entropy_N = self._written(model, states, batch)
        losses_N, metrics = reinforce_loss(logps_N, batch["advantages"][there_BT]), {"entropy": entropy_N}
        if "reference_logps" in batch:
            kl_N = kl_estimate(logps_N, batch["reference_logps"][there_BT])
            metrics["reference_kl"] = kl_N
            if self.kl:
                losses_N = losses_N + self.kl * kl_N
        return self._sums(model, states, batch, losses_N, metrics)
