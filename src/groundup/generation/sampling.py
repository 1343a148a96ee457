"""From the scores of the next token to one token.

The order, that of Hugging Face transformers (`_get_logits_processor`), so that settings mean the same here as there:

    repetition penalty -> temperature -> top-k -> top-p -> min-p -> draw

Each filter sees what the ones before it left, renormalised. Temperature 0 is the most likely token (after the
penalty), whatever the filters say.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

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
    repetition_penalty: float = 1.0
    """Scores of tokens already in the prompt or answer are divided by it if positive, else multiplied (CTRL, Keskar
    et al. 2019, arXiv 1909.05858, section 4.1: 1.2); 1: off."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these strings."""
    seed: int | None = None
    """Sample i of every prompt depends on the seed and i alone; None: another one each time."""
    n: int = 1
    """Samples a prompt."""
    max_tokens: int = 256
    """Tokens a sample at most."""

    def __post_init__(self) -> None:
        for name, good, rule in (
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "above 0"),
            ("stop", all(self.stop), "made of non-empty strings"),
            ("n", self.n >= 1, "1 or more"),
            ("max_tokens", self.max_tokens >= 1, "1 or more"),
        ):
            if not good:
                raise RequestError(f"{name} is {getattr(self, name)!r}; it must be {rule}", do="Correct the setting.")

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
    return logits_BV.masked_fill(logits_BV < kth_B1, float("-inf"))


def keep_top_p(logits_BV: Tensor, p: float) -> Tensor:
    """Only the smallest set of likeliest tokens whose probabilities sum to at least p; the others become -inf."""
    sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True, stable=True)
    probability_BV = sorted_BV.softmax(dim=-1)
    before_BV = probability_BV.cumsum(dim=-1) - probability_BV  # the mass of the likelier ones
    drop_BV = torch.zeros_like(logits_BV, dtype=torch.bool).scatter(-1, order_BV, before_BV >= p)
    return logits_BV.masked_fill(drop_BV, float("-inf"))


def keep_min_p(logits_BV: Tensor, p: float) -> Tensor:
    """Only tokens whose probability is at least p times the likeliest one's; the others become -inf."""
    floor_B1 = logits_BV.max(dim=-1, keepdim=True).values + torch.tensor(p, dtype=logits_BV.dtype).log()
    return logits_BV.masked_fill(logits_BV < floor_B1, float("-inf"))


def filtered(logits_BV: Tensor, settings: SamplingSettings) -> Tensor:
    """The scores after temperature (which must be above 0) and the filters, in the order stated above."""
    logits_BV = logits_BV / settings.temperature
    if settings.top_k:
        logits_BV = keep_top_k(logits_BV, settings.top_k)
    if settings.top_p < 1:
        logits_BV = keep_top_p(logits_BV, settings.top_p)
    if settings.min_p:
        logits_BV = keep_min_p(logits_BV, settings.min_p)
    return logits_BV


def sample(
    logits_BV: Tensor, settings: SamplingSettings, seen_BV: Tensor | None, generators: Sequence[torch.Generator]
) -> Tensor:
    """One token a row, (B,) int64.

    `seen_BV` (bool, needed with a repetition penalty): tokens already in the row's text; `generators`: one a row. Each
    row takes exactly one number from its generator, so that rows neither share nor shift each other's randomness.
    """
    logits_BV = logits_BV.double()  # probabilities of a large vocabulary are summed; float32 would tilt the tail
    if settings.repetition_penalty != 1:
        assert seen_BV is not None, "a repetition penalty needs what was seen"
        logits_BV = penalise_repetition(logits_BV, seen_BV, settings.repetition_penalty)
    if settings.temperature == 0:
        return logits_BV.argmax(dim=-1)
    cumulative_BV = filtered(logits_BV, settings).softmax(dim=-1).cumsum(dim=-1)
    uniform = [torch.rand(1, generator=generator, dtype=torch.float64) for generator in generators]
    # Inverse of the cumulative distribution; the last sum stands for 1, which rounding may miss.
    threshold_B1 = torch.stack(uniform).to(logits_BV.device) * cumulative_BV[:, -1:]
    return torch.searchsorted(cumulative_BV, threshold_B1, right=True).squeeze(-1)
