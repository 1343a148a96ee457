"""From the scores of the next token to one token.

The order, that of Hugging Face transformers (`_get_logits_processor`), so that settings mean the same here as there:

    bias -> repetition, presence and frequency penalties -> temperature -> top-k -> top-p -> min-p -> typical -> draw

Each filter sees what the ones before it left, renormalised. Temperature 0 is the most likely token (after bias and
penalties), whatever the filters say.

Shapes: B rows, V vocabulary, k candidates.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from groundup.errors import RequestError
from groundup.run import digest


@dataclass(frozen=True)
class SamplingSettings:
    """How a continuation is drawn. Raises RequestError for values outside their range."""

    temperature: float = 0.8
    """Divides the scores; 0: always the most likely token. 0.8: llama.cpp's default."""
    top_k: int = 0
    """Keep the k most likely tokens (Fan et al. 2018, arXiv 1805.04833); 0: off."""
    top_p: float = 1.0
    """Keep the fewest most likely tokens whose probabilities reach p (Holtzman et al. 2019, arXiv 1904.09751); 1: off."""
    min_p: float = 0.05
    """Keep tokens at least this share as likely as the likeliest (Nguyen et al. 2024, arXiv 2407.01082); 0: off.
    0.05: llama.cpp's default."""
    typical_p: float = 1.0
    """Keep the tokens whose surprise is nearest to the expected one, up to this probability (Meister et al. 2022, arXiv
    2202.00666); 1: off."""
    repetition_penalty: float = 1.0
    """Scores of tokens already in the prompt or answer are divided by it if positive, else multiplied (CTRL, Keskar
    et al. 2019, arXiv 1909.05858, section 4.1: 1.2); 1: off."""
    presence_penalty: float = 0.0
    """Taken from the score of each token already in the answer (OpenAI's API, from -2 to 2); 0: off."""
    frequency_penalty: float = 0.0
    """Taken from it once for each time the token is in the answer (likewise); 0: off."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the scores of these tokens; -inf forbids one."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these strings."""
    seed: int | None = None
    """Sample i of every prompt depends on the seed and i alone; None: another one each time."""
    n: int = 1
    """Samples a prompt."""
    max_tokens: int = 256
    """Tokens a sample at most."""
    min_tokens: int = 0
    """No end of text before that many tokens."""
    logprobs: int | None = None
    """Keep each token's log-probability under the model alone (no bias, penalty, temperature or filter), and those of so many
    likeliest alternatives; None: off."""
    regex: str | None = None
    """The whole text matches it (Rust's syntax)."""
    json_schema: str | Mapping[str, Any] | bool | None = None
    """The whole text is JSON of this schema; True: any JSON object."""
    guess_ahead: int = 0
    """Tokens to guess from what followed the last ones before; the text stays the same, and comes sooner where it repeats
    itself or the prompt. 0: off."""

    def __post_init__(self) -> None:
        for name, good, rule in (
            ("temperature", 0 <= self.temperature < math.inf, "0 or more"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("typical_p", 0 < self.typical_p <= 1, "above 0 and at most 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0"),
            ("presence_penalty", -2 <= self.presence_penalty <= 2, "from -2 to 2"),
            ("frequency_penalty", -2 <= self.frequency_penalty <= 2, "from -2 to 2"),
            ("logit_bias", all(not math.isnan(value) and value < math.inf for value in self.logit_bias.values()), "numbers below infinity by token"),
            ("stop", not isinstance(self.stop, str) and all(isinstance(one, str) and one for one in self.stop), "made of non-empty strings"),
            ("n", self.n >= 1, "1 or more"),
            ("max_tokens", self.max_tokens >= 1, "1 or more"),
            ("min_tokens", 0 <= self.min_tokens <= self.max_tokens, "from 0 to max_tokens"),
            ("logprobs", self.logprobs is None or self.logprobs >= 0, "0 or more"),
            ("guess_ahead", self.guess_ahead >= 0, "0 (off) or more"),
            ("regex", self.regex is None or self.json_schema is None, "left out where json_schema is given"),
        ):  # fmt: skip
            if not good:
                raise RequestError(
                    f"{name} is {getattr(self, name)!r}; it must be {rule}", do="Correct the setting."
                )

    @property
    def penalises(self) -> bool:
        """Whether what was written matters for what is drawn."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0

    @cached_property
    def drawn_alike(self) -> tuple[object, ...]:
        """Rows whose settings agree in these are drawn from together."""
        bias = tuple(sorted(self.logit_bias.items()))
        return (
            self.temperature, self.top_k, self.top_p, self.min_p, self.typical_p, self.repetition_penalty, self.presence_penalty,
            self.frequency_penalty, bias,
        )  # fmt: skip

    def generators(self) -> list[torch.Generator]:
        """One source of randomness for each of the `n` samples, unrelated to each other."""
        seed = self.seed if self.seed is not None else secrets.randbits(63)
        return [torch.Generator().manual_seed(int(digest(seed, sample)[:15], 16)) for sample in range(self.n)]


def penalise_repetition(logits_BV: Tensor, seen_BV: Tensor, penalty: float) -> Tensor:
    """Make tokens already seen less likely (CTRL's rule, in the sign-aware form that transformers uses)."""
    penalised_BV = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return torch.where(seen_BV, penalised_BV, logits_BV)


def keep_top_k(logits_BV: Tensor, k: int) -> Tensor:
    """Only the k highest scores (more where several tie with the k-th); the others become -inf."""
    kth_B1 = logits_BV.topk(min(k, logits_BV.shape[-1]), dim=-1).values[:, -1:]
    return logits_BV.masked_fill(logits_BV < kth_B1, -math.inf)


def keep_top_p(logits_BV: Tensor, p: float) -> Tensor:
    """Only the smallest set of likeliest tokens whose probabilities sum to at least p; the others become -inf."""
    sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True, stable=True)
    probability_BV = sorted_BV.softmax(dim=-1)
    before_BV = probability_BV.cumsum(dim=-1) - probability_BV  # the mass of the likelier ones
    drop_BV = torch.zeros_like(logits_BV, dtype=torch.bool).scatter(-1, order_BV, before_BV >= p)
    return logits_BV.masked_fill(drop_BV, -math.inf)


def keep_min_p(logits_BV: Tensor, p: float) -> Tensor:
    """Only tokens whose probability is at least p times the likeliest one's; the others become -inf."""
    floor_B1 = logits_BV.max(dim=-1, keepdim=True).values + torch.tensor(p, dtype=logits_BV.dtype).log()
    return logits_BV.masked_fill(logits_BV < floor_B1, -math.inf)


def keep_typical(logits_BV: Tensor, p: float) -> Tensor:
    """Only the tokens whose -log probability lies nearest to its mean (the entropy), the fewest that sum to at least p."""
    log_BV = logits_BV.log_softmax(dim=-1)
    probability_BV = log_BV.exp()
    entropy_B1 = -(probability_BV * log_BV.nan_to_num(neginf=0.0)).sum(dim=-1, keepdim=True)
    order_BV = (-log_BV - entropy_B1).abs().sort(dim=-1, stable=True).indices
    sorted_BV = probability_BV.gather(-1, order_BV)
    before_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
    drop_BV = torch.zeros_like(logits_BV, dtype=torch.bool).scatter(-1, order_BV, before_BV >= p)
    return logits_BV.masked_fill(drop_BV, -math.inf)


def filtered(logits_BV: Tensor, settings: SamplingSettings) -> Tensor:
    """The scores after temperature (which must be above 0) and the filters, in the order stated above."""
    logits_BV = logits_BV / settings.temperature
    if settings.top_k:
        logits_BV = keep_top_k(logits_BV, settings.top_k)
    if settings.top_p < 1:
        logits_BV = keep_top_p(logits_BV, settings.top_p)
    if settings.min_p:
        logits_BV = keep_min_p(logits_BV, settings.min_p)
    if settings.typical_p < 1:
        logits_BV = keep_typical(logits_BV, settings.typical_p)
    return logits_BV


def adjusted(
    logits_BV: Tensor, settings: SamplingSettings, seen_BV: Tensor | None, counts_BV: Tensor | None
) -> Tensor:
    """The scores after bias and penalties. `seen_BV`: tokens in the prompt or answer, bool; `counts_BV`: how often each is in the
    answer; needed where `settings.penalises`."""
    if settings.logit_bias:
        where = torch.tensor(list(settings.logit_bias), device=logits_BV.device)
        bias = torch.tensor(
            list(settings.logit_bias.values()), dtype=logits_BV.dtype, device=logits_BV.device
        )
        logits_BV = logits_BV.index_add(1, where, bias.expand(len(logits_BV), -1))
    if settings.repetition_penalty != 1:
        assert seen_BV is not None, "a repetition penalty needs what was seen"
        logits_BV = penalise_repetition(logits_BV, seen_BV, settings.repetition_penalty)
    if settings.presence_penalty or settings.frequency_penalty:
        assert counts_BV is not None, "these penalties need what was written"
        logits_BV = (
            logits_BV - settings.presence_penalty * (counts_BV > 0) - settings.frequency_penalty * counts_BV
        )
    return logits_BV


def sample(
    logits_BV: Tensor, settings: SamplingSettings, seen_BV: Tensor | None, generators: Sequence[torch.Generator],
    counts_BV: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """One token a row, (B,) int64.

    `seen_BV`, `counts_BV`: see `adjusted`; `generators`: one a row. Each row takes exactly one number from its generator,
    so that rows neither share nor shift each other's randomness.
    """
    logits_BV = adjusted(logits_BV, settings, seen_BV, counts_BV)
    if settings.temperature == 0:
        return logits_BV.argmax(dim=-1)
    candidates_Bk = None
    if (
        0 < settings.top_k <= logits_BV.shape[-1] // 8
    ):  # the other filters need look at no more than these and their ties
        best_B = logits_BV.topk(settings.top_k, dim=-1)
        if not bool((logits_BV >= best_B.values[:, -1:]).sum() > best_B.values.numel()):
            order = best_B.indices.sort(dim=-1)  # in the vocabulary's order, as without this short cut
            logits_BV, candidates_Bk = best_B.values.gather(-1, order.indices), order.values
    # probabilities of a large vocabulary are summed; float32 would tilt the tail
    cumulative_BV = filtered(logits_BV.double(), settings).softmax(dim=-1).cumsum(dim=-1)
    uniform = [torch.rand(1, generator=generator, dtype=torch.float64) for generator in generators]
    # Inverse of the cumulative distribution; the last sum stands for 1, which rounding may miss.
    threshold_B1 = torch.stack(uniform).to(logits_BV.device) * cumulative_BV[:, -1:]
    drawn_B1 = torch.searchsorted(cumulative_BV, threshold_B1, right=True)
    return (drawn_B1 if candidates_Bk is None else candidates_Bk.gather(-1, drawn_B1)).squeeze(-1)
