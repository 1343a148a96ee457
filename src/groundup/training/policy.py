"""What a policy is taught with: rewards, advantages, and the controllers of KL, as pure functions of tensors.

    score of an answer (reward model, or a rule)  --+
    log-probabilities, the policy's and SFT's     --+-- shaped_rewards --+
    values of each place                          -----------------------+-- advantages (GAE) -- whiten --> PPO

    scores of K answers to one prompt             -- rloo_advantages, group_advantages ----------------> REINFORCE, RLOO, GRPO

Each row is one answer (or a row of several, packed: what lies between them has mask 0 and splits them). All tensors stand at the
place that writes the token: row t's log-probability is of the token at t + 1.

    mask      0 0 0 1 1 1 0        prompt, three tokens written (the last is the end), padding
    rewards   . . . k k k+s .      k = -beta (logp - reference), s the score at the last token written

Shapes: B rows, T time, P prompts, K answers of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def shaped_rewards(score_B: Tensor, logps_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, beta: float) -> Tensor:
    """-beta (logp - reference) at each token written, and the answer's score at the last one, (B, T); 0 elsewhere.

    Summed over an answer it is R(x, y) = r(x, y) - beta ln(pi(y|x) / pi_SFT(y|x)) (Ziegler et al. 2019, equation 2; InstructGPT, equation
    2). The mask's answers must be one a row.
    """
    rewards_BT = -beta * (logps_BT - reference_BT) * mask_BT
    T = mask_BT.shape[1]
    last_B = (torch.arange(T, device=mask_BT.device) * (mask_BT > 0)).argmax(dim=1)
    wrote_B = (mask_BT > 0).any(dim=1)
    return rewards_BT.scatter_add(1, last_B[:, None], (score_B * wrote_B).to(rewards_BT.dtype)[:, None])


def advantages(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, *, gamma: float = 1.0, lam: float = 0.95) -> tuple[Tensor, Tensor]:
    """(advantages, returns) by generalised advantage estimation, each (B, T), 0 where the mask is.

        delta_t = r_t + gamma V_(t+1) - V_t       A_t = delta_t + gamma lam A_(t+1)       R_t = A_t + V_t

    Schulman et al. 2016 (1506.02438), equation 16. What follows an answer's last token has value 0: the answer is over. InstructGPT:
    gamma 1, lam 0.95.
    """
    there_BT = mask_BT > 0
    values_BT = values_BT * there_BT
    following = torch.zeros_like(values_BT[:, 0])
    next_value = torch.zeros_like(following)
    found = torch.zeros_like(values_BT)
    for t in range(values_BT.shape[1] - 1, -1, -1):
        delta = rewards_BT[:, t] + gamma * next_value - values_BT[:, t]
        following = torch.where(there_BT[:, t], delta + gamma * lam * following, torch.zeros_like(following))
        found[:, t] = following
        next_value = values_BT[:, t]
    return found, (found + values_BT) * there_BT


@dataclass(frozen=True)
class Moments:
    """Sums over what a mask shows. Those of several processes or micro-batches are added up before they are used."""

    count: Tensor
    total: Tensor
    squares: Tensor

    def __add__(self, other: Moments) -> Moments:
        """Of both together."""
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.total / self.count.clamp(min=1)

    @property
    def deviation(self) -> Tensor:
        """The standard deviation (of a sample: n - 1)."""
        spread = self.squares - self.count * self.mean**2
        return (spread / (self.count - 1).clamp(min=1)).clamp(min=0).sqrt()


def moments(x: Tensor, mask: Tensor) -> Moments:
    """The sums, in double precision: a variance is a small difference of large sums."""
    shown = x.double() * (mask > 0)
    return Moments((mask > 0).sum().double(), shown.sum(), (shown * shown).sum())


def whiten(x: Tensor, mask: Tensor, over: Moments, *, shift: bool = True, eps: float = 1e-8) -> Tensor:
    """(x - mean) / deviation where the mask is, 0 elsewhere; with `shift` False the mean is kept (rewards, whose sign says something).

    `over`: the moments of the whole step's, all processes' added up, so that the result does not hang on how the step is cut.
    """
    white = (x.double() - over.mean) / (over.deviation + eps)
    return ((white if shift else white + over.mean) * (mask > 0)).to(x.dtype)


def with_unfinished(scores: Sequence[float], ended: Sequence[bool], deviations: float) -> list[float]:
    """Scores of answers, those without an end so many deviations from the mean of those with one (or at it, where none has).

    Huang et al. 2024 (2403.17031, detail 2.3) give them -1 as it stands. That is a penalty only where scores lie about 0: the answers of a
    small model, whose scores average -2, would be rewarded for never coming to an end.
    """
    finished = torch.tensor([score for score, end in zip(scores, ended, strict=True) if end] or list(scores), dtype=torch.float64)
    instead = float(finished.mean() + deviations * finished.std(correction=0)) if any(ended) else float(finished.mean())
    return [score if end else instead for score, end in zip(scores, ended, strict=True)]


def rloo_advantages(scores_PK: Tensor) -> Tensor:
    """Each score against the mean of the prompt's other answers: REINFORCE with a leave-one-out baseline, unbiased
    (Kool et al. 2019; Ahmadian et al. 2024, 2402.14740, section 2.3). K = 1 has no baseline: the score itself."""
    K = scores_PK.shape[1]
    if K == 1:
        return scores_PK.clone()
    return scores_PK - (scores_PK.sum(dim=1, keepdim=True) - scores_PK) / (K - 1)


def group_advantages(scores_PK: Tensor, *, scale: bool = True, eps: float = 1e-4) -> Tensor:
    """Each score against its group: (r - mean) / deviation (GRPO: Shao et al. 2024, 2402.03300, section 4.1.2).

    Without `scale` only the mean is taken off: dividing weighs prompts that are nearly always or never solved more than others
    (Dr. GRPO: Liu et al. 2025, 2503.20783). A group whose scores are all equal teaches nothing, either way.
    """
    centred = scores_PK - scores_PK.mean(dim=1, keepdim=True)
    return centred / (scores_PK.std(dim=1, keepdim=True) + eps) if scale and scores_PK.shape[1] > 1 else centred


def token_weights(mask_BT: Tensor, by: str, longest: int | None = None) -> Tensor:
    """How much each token counts in a policy's mean, (B, T), one answer a row:

        token       1: long answers count more                       DAPO (Yu et al. 2025, 2503.14476, section 3.3)
        sequence    1 / |y|: each answer counts the same             GRPO's equation 3
        constant    1 / longest: no answer's length counts           Dr. GRPO
    """
    mask_BT = (mask_BT > 0).float()
    match by:
        case "token":
            return mask_BT
        case "sequence":
            return mask_BT / mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
        case "constant":
            return mask_BT / (longest or mask_BT.shape[1])
    raise ValueError(f"tokens are weighed by token, sequence or constant, not by {by}")


def kl_estimate(logps: Tensor, reference: Tensor) -> Tensor:
    """Of each token, the estimator k3 = e^d - d - 1 with d = reference - logp: unbiased under the policy, never negative
    (Schulman 2020, "Approximating KL divergence"; GRPO's equation 4)."""
    d = reference - logps
    return torch.exp(d) - d - 1


@dataclass
class FixedKL:
    """A beta that stays (InstructGPT: 0.02)."""

    beta: float = 0.02

    def update(self, kl: float, answers: int) -> None:
        """Nothing."""

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"beta": self.beta}

    def load(self, state: dict[str, float]) -> None:
        """Go on from it."""
        self.beta = state["beta"]


@dataclass
class AdaptiveKL(FixedKL):
    """A beta that steers KL towards a target (Ziegler et al. 2019, section 2.2):

        e = clip(KL / target - 1, -0.2, 0.2)          beta <- beta (1 + e n / horizon)

    n answers since the last update; at n / horizon = 0.1 it is the paper's K_beta.
    """

    target: float = 6.0
    """Nats an answer."""
    horizon: int = 10_000
    """Answers."""

    def update(self, kl: float, answers: int) -> None:
        """After a step of so many answers with this mean KL (nats an answer)."""
        error = min(0.2, max(-0.2, kl / self.target - 1))
        self.beta *= 1 + error * answers / self.horizon


def mixed_weight(coefficient: float, policy_weight: float, pretraining_weight: float) -> float:
    """The weight of each pretraining token so that one division by the policy's weight gives both means:

        (policy_sum + w nll_sum) / policy_weight = policy mean + coefficient x nll mean,      w = coefficient policy_weight / pretraining_weight

    InstructGPT's PPO-ptx (equation 2) adds gamma E[log pi(x)] over pretraining text, gamma 27.8. Both weights are those of the whole step.
    """
    return coefficient * policy_weight / pretraining_weight if pretraining_weight else 0.0
