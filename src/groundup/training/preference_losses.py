"""Losses of preferences as pure functions: from log-probabilities of whole answers to a loss for each pair or answer.

With w the better answer of a pair and l the worse one, lp the sum of the log-probabilities of an answer's tokens under the model, ref
the same under the model it started from, |y| tokens, s the logistic function and h = beta ((lp_w - ref_w) - (lp_l - ref_l)):

    reward    -ln s(r_w - r_l)                                    InstructGPT, Ouyang et al. 2022 (2203.02155), equation 1
    dpo       -(1 - e) ln s(h) - e ln s(-h)                       Rafailov et al. 2023 (2305.18290), equation 7; e: Mitchell's cDPO, 2023
    ipo       (h / beta - 1 / (2 beta))^2                         Azar et al. 2023 (2310.12036), equation 17, its tau being beta
    orpo      -lp_w / |w| - lambda ln s(lo_w - lo_l)              Hong et al. 2024 (2403.07691), equations 6 and 7
              lo = ln(p / (1 - p)) with ln p = lp / |y|
    simpo     -ln s(beta lp_w / |w| - beta lp_l / |l| - gamma)    Meng et al. 2024 (2405.14734), equation 6
    kto       lambda_y - lambda_y s(+-(beta (lp - ref) - z))      Ethayarajh et al. 2024 (2402.01306), equation 7
              + for answers that were liked, - for others; z = beta max(0, KL estimate of the group)

ln s is computed as it stands (`logsigmoid`), so no margin is too large for it.

Shapes: P pairs, A answers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def reward_loss(better_P: Tensor, worse_P: Tensor) -> Tensor:
    """Of each pair of scores, (P,). A prompt's C(K, 2) pairs share one weight of 1, so each is weighed 1 / C(K, 2)."""
    return -F.logsigmoid(better_P - worse_P)


def dpo_loss(log_ratio_P: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """`log_ratio_P`: (lp_w - ref_w) - (lp_l - ref_l); `label_smoothing`: the share of pairs taken to be the wrong way round."""
    h_P = beta * log_ratio_P
    return -(1 - label_smoothing) * F.logsigmoid(h_P) - label_smoothing * F.logsigmoid(-h_P)


def ipo_loss(log_ratio_P: Tensor, beta: float) -> Tensor:
    """Pulls the log-ratio to 1 / (2 beta) instead of ever further. Sums of log-probabilities, as in the paper; TRL takes means."""
    return (log_ratio_P - 1 / (2 * beta)) ** 2


def orpo_loss(better_mean_P: Tensor, worse_mean_P: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """(loss, log odds ratio) from the mean log-probabilities of the answers' tokens; needs no reference model."""
    log_odds_P = (better_mean_P - worse_mean_P) - (_log1mexp(better_mean_P) - _log1mexp(worse_mean_P))
    return -better_mean_P - weight * F.logsigmoid(log_odds_P), log_odds_P


def simpo_loss(better_mean_P: Tensor, worse_mean_P: Tensor, beta: float, gamma: float) -> Tensor:
    """From the mean log-probabilities of the answers' tokens; `gamma`: the margin asked for, in units of beta times nats a token."""
    return -F.logsigmoid(beta * (better_mean_P - worse_mean_P) - gamma)


def kto_loss(log_ratio_A: Tensor, good_A: Tensor, kl_A: Tensor, beta: float, liked: float = 1.0, disliked: float = 1.0) -> Tensor:
    """`log_ratio_A`: lp - ref; `good_A`: bool; `kl_A`: the KL estimate that each answer is measured against (`kto_kl`), in nats."""
    gain_A = beta * (log_ratio_A - kl_A)
    value_A = torch.where(good_A, torch.sigmoid(gain_A), torch.sigmoid(-gain_A))
    weight_A = torch.where(good_A, liked, disliked)
    return weight_A * (1 - value_A)


def kto_kl(mismatched_log_ratio_A: Tensor, group_A: Tensor, groups: int) -> Tensor:
    """KL(pi || ref) of each group, (groups,), without a gradient: max(0, the mean of lp - ref over its mismatched answers).

    KTO measures answers against how far the model has moved in general. Sampling from the model would tell, and cost; the paper takes
    answers that the data gives to other prompts instead (x_i with y_(i+1)). It is a biased estimate, since those are not the model's, and
    a noisy one of few; it sets the point where the loss saturates, and has no gradient. Here it is taken over groups of
    answers that stay together however a batch is cut (TRL takes it over whatever a device has at hand).
    """
    ratio_A = mismatched_log_ratio_A.detach()
    total = ratio_A.new_zeros(groups).index_add(0, group_A, ratio_A)
    count = ratio_A.new_zeros(groups).index_add(0, group_A, torch.ones_like(ratio_A))
    return (total / count.clamp(min=1)).clamp(min=0)


def calibration(margins_P: Tensor, bins: int = 10) -> list[dict[str, float]]:
    """How far a reward model's confidence can be trusted: pairs by s(|r_w - r_l|), what it claims, beside how often it is right.

    A row a bin of [0.5, 1] that holds any: `confidence` and `accuracy` (shares), `pairs`. Their gap, weighed by pairs, is the
    expected calibration error (Guo et al. 2017). Ties are half right.
    """
    confidence_P = torch.sigmoid(margins_P.abs())
    right_P = (margins_P > 0).double() + 0.5 * (margins_P == 0).double()
    bin_P = ((confidence_P - 0.5) * 2 * bins).long().clamp(0, bins - 1)
    return [
        {"confidence": float(confidence_P[mine].double().mean()), "accuracy": float(right_P[mine].mean()), "pairs": float(mine.sum())}
        for number in range(bins) if bool((mine := bin_P == number).any())
    ]  # fmt: skip


def expected_calibration_error(rows: list[dict[str, float]]) -> float:
    """The mean gap between confidence and accuracy, weighed by pairs."""
    pairs = sum(row["pairs"] for row in rows)
    return sum(row["pairs"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / pairs if pairs else 0.0


def _log1mexp(x: Tensor) -> Tensor:
    """ln(1 - e^x) for x < 0, exact near 0 too (Maechler 2012): by expm1 above -ln 2, by log1p below."""
    x = x.clamp(max=-1e-7)  # a mean log-probability of exactly 0 would mean odds without end
    near = x > -0.6931472
    return torch.where(near, torch.log(-torch.expm1(torch.where(near, x, -1.0))), torch.log1p(-torch.exp(torch.where(near, -1.0, x))))
