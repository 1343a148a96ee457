"""Learning from preferences, as objectives of the one trainer: sums over pairs or answers, divided once by the global weight sum.

A micro-batch is packed rows as everywhere, and beside them whose token is whose and who is compared with whom:

    tokens   p p p w w w # p p p l l #       prompt and better answer, prompt and worse answer, each a segment of its own
    targets  p p w w w # . p p l l # .
    answers  . . 0 0 0 0 . . . 1 1 1 .       (B, T): the answer that a target belongs to; -1: not asked for
    lengths  [3, 3]                          (A,): tokens of each answer, its end among them
    pairs    [[0, 1]]                        (P, 2): better and worse
    pair_weights  [1.0]                      (P,): of K ranked answers each of the C(K, 2) pairs has 1 / C(K, 2)
    reference     [-3.1, -4.0]               (A,): sums of log-probabilities under the model it all started from

All answers that are compared stand in one micro-batch; whatever else is in it, the sums are those of its pairs. So the loss
does not depend on how a step is cut into micro-batches, packed into rows or spread over processes.

A reward model is scored where an answer ends, so there each row holds the end token itself, and `ends` (A, 2) says where: row and place.

Shapes: B rows, T time, N asked tokens, A answers, P pairs, G groups, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from groundup.models.decoder import Decoder
from groundup.training.objectives import Batch, NextToken, Sums
from groundup.training.preference_losses import (
    dpo_loss,
    ipo_loss,
    kto_kl,
    kto_loss,
    orpo_loss,
    reward_loss,
    simpo_loss,
)
from groundup.training.token_logps import summed, token_logps
from groundup.training.value_head import at_least_float


class AnswerLogps(NamedTuple):
    """Of each answer."""

    sums_A: Tensor
    """Of the log-probabilities of its tokens, with gradients."""
    lengths_A: Tensor
    """Tokens."""

    @property
    def means_A(self) -> Tensor:
        """Log-probability a token."""
        return self.sums_A / self.lengths_A.clamp(min=1)


def answer_logps(model: Decoder, states_BTD: Tensor, batch: Batch) -> AnswerLogps:
    """The log-probabilities of a micro-batch's answers, given the last layer's output; the head sees their tokens alone."""
    answers_BT = batch["answers"]
    asked_BT = answers_BT >= 0
    owners_N = answers_BT[asked_BT]
    states_ND = states_BTD[asked_BT] * model.config.logits_scale
    logps_N = token_logps(states_ND, model.head_weight, batch["targets"][asked_BT], softcap=model.config.softcap).logps_N
    lengths_A = batch["lengths"]
    return AnswerLogps(summed(logps_N, owners_N, len(lengths_A)), lengths_A)


@dataclass(frozen=True)
class _Preference(NextToken):
    """What all of them share."""

    def weights_of(self, batch: Batch) -> Tensor:
        """Of each loss in the mean."""
        return batch["pair_weights"]

    def aside(self, model: Decoder, batch: Batch) -> Sums | None:
        """The routers' losses, in this objective's weight."""
        return super().aside(model, {**batch, "weights": self.weights_of(batch)})

    def _sums(self, model: Decoder, batch: Batch, losses: Tensor, **metrics: Tensor) -> Sums:
        """Weighted sums of losses and metrics, and the routers' losses."""
        weights = self.weights_of(batch)
        found = {name: (weights * value.detach().to(weights.dtype)).sum() for name, value in metrics.items()}
        loss_sum, aside = (weights * losses).sum(), self.aside(model, batch)
        if aside is not None:
            found = {"preference": loss_sum.detach(), **found, **aside.metrics}
            loss_sum = loss_sum + aside.loss_sum
        return Sums(loss_sum, weights.sum(), found, batch["targets"][batch["answers"] >= 0] if "answers" in batch else None)


class _Compared(NamedTuple):
    """Of each pair, the better answer's and the worse one's."""

    sums: tuple[Tensor, Tensor]
    means: tuple[Tensor, Tensor]
    lengths: tuple[Tensor, Tensor]
    reference: tuple[Tensor, Tensor] | None

    @property
    def log_ratio_P(self) -> Tensor:
        """(lp_w - ref_w) - (lp_l - ref_l)."""
        assert self.reference is not None, "this loss needs the reference's log-probabilities"
        return (self.sums[0] - self.reference[0]) - (self.sums[1] - self.reference[1])


@dataclass(frozen=True)
class _Pairwise(_Preference):
    def sums(self, model: Decoder, states: Tensor, batch: Batch) -> Sums:
        """The sums over the pairs. `accuracy`: the better answer has the higher reward that the loss implies; `margin`: by how much;
        `chosen_logp`, `rejected_logp`: their log-probabilities, of which both may fall in DPO."""
        found = answer_logps(model, states, batch)
        better_P, worse_P = batch["pairs"].unbind(1)

        def of(values_A: Tensor) -> tuple[Tensor, Tensor]:
            return values_A[better_P], values_A[worse_P]

        compared = _Compared(of(found.sums_A), of(found.means_A), of(found.lengths_A), of(batch["reference"]) if "reference" in batch else None)
        losses_P, margin_P = self.losses(compared)
        return self._sums(
            model, batch, losses_P, accuracy=(margin_P > 0).float() + 0.5 * (margin_P == 0).float(), margin=margin_P,
            chosen_logp=compared.sums[0], rejected_logp=compared.sums[1],
        )  # fmt: skip

    def losses(self, compared: _Compared) -> tuple[Tensor, Tensor]:
        """(loss, margin of the implied rewards) of each pair."""
        raise NotImplementedError


@dataclass(frozen=True)
class DPO(_Pairwise):
    """Direct preference optimization; with `pair_smoothing` its conservative form (cDPO)."""

    beta: float = 0.1
    pair_smoothing: float = 0.0

    def losses(self, compared: _Compared) -> tuple[Tensor, Tensor]:
        """Equation 7."""
        return dpo_loss(compared.log_ratio_P, self.beta, self.pair_smoothing), self.beta * compared.log_ratio_P


@dataclass(frozen=True)
class IPO(_Pairwise):
    """Identity preference optimization: regresses the log-ratio, so that pairs which always agree do not push without end."""

    beta: float = 0.1

    def losses(self, compared: _Compared) -> tuple[Tensor, Tensor]:
        """Equation 17."""
        return ipo_loss(compared.log_ratio_P, self.beta), self.beta * compared.log_ratio_P


@dataclass(frozen=True)
class ORPO(_Pairwise):
    """Supervised tuning on the better answer and an odds ratio against the worse one, without a reference; `weight` is the paper's lambda.

    The supervised part is the mean over the better answer's own tokens, pair by pair (TRL's is over prompt and answer, all pairs' tokens alike).
    """

    weight: float = 0.1

    def losses(self, compared: _Compared) -> tuple[Tensor, Tensor]:
        """Equations 6 and 7."""
        return orpo_loss(*compared.means, self.weight)


@dataclass(frozen=True)
class SimPO(_Pairwise):
    """Length-normalised rewards with a target margin, without a reference."""

    beta: float = 2.0
    gamma: float = 1.0

    def losses(self, compared: _Compared) -> tuple[Tensor, Tensor]:
        """Equation 6."""
        better_P, worse_P = compared.means
        return simpo_loss(better_P, worse_P, self.beta, self.gamma), self.beta * (better_P - worse_P)


@dataclass(frozen=True)
class KTO(_Preference):
    """Kahneman-Tversky optimization: single answers, liked or not. Beside `answers` and `reference` a batch has, for each answer, `good`
    (bool), `groups` (long; a group stays within a micro-batch) and `mismatched` (bool: it answers another prompt of its group, and only
    serves the estimate of KL that the others of the group are measured against; see `kto_kl`)."""

    beta: float = 0.1
    liked: float = 1.0
    disliked: float = 1.0

    def weights_of(self, batch: Batch) -> Tensor:
        """1 of each answer that is learned from."""
        return (~batch["mismatched"]).float()

    def sums(self, model: Decoder, states: Tensor, batch: Batch) -> Sums:
        """The sums over the answers that are no mismatched ones."""
        found = answer_logps(model, states, batch)
        log_ratio_A = found.sums_A - batch["reference"]
        groups_A, mismatched_A = batch["groups"], batch["mismatched"]
        kl_G = kto_kl(log_ratio_A[mismatched_A], groups_A[mismatched_A], int(groups_A.max()) + 1)
        kl_A = kl_G[groups_A]
        losses_A = kto_loss(log_ratio_A, batch["good"], kl_A, self.beta, self.liked, self.disliked)
        reward_A = self.beta * log_ratio_A
        right_A = torch.where(batch["good"], log_ratio_A > kl_A, log_ratio_A < kl_A)
        return self._sums(model, batch, losses_A, accuracy=right_A, margin=torch.where(batch["good"], reward_A, -reward_A), kl=kl_A)


@dataclass(frozen=True)
class Reward(_Preference):
    """The reward model of InstructGPT: a score of each answer, read at its last token, and all pairs of a prompt at once.

    The model has a `score` (`value_head.py`). `center`: weight of the squared mean of a pair's rewards, which keeps them near
    0 (Eisenstein et al. 2023); only differences matter to the loss.
    """

    center: float = 0.0

    def sums(self, model: Any, states: Tensor, batch: Batch) -> Sums:
        """The sums over the pairs. `accuracy`: pairs in the right order; `mean_reward` of both answers."""
        row_A, place_A = batch["ends"].unbind(1)
        reward_A = at_least_float(model.score(states[row_A, place_A]).squeeze(-1))
        better_P, worse_P = (reward_A[side] for side in batch["pairs"].unbind(1))
        losses_P = reward_loss(better_P, worse_P)
        if self.center:
            losses_P = losses_P + self.center * (better_P + worse_P) ** 2
        margin_P = better_P - worse_P
        return self._sums(
            model, batch, losses_P, accuracy=(margin_P > 0).float() + 0.5 * (margin_P == 0).float(), margin=margin_P, mean_reward=(better_P + worse_P) / 2,
        )  # fmt: skip
