"""Published scores to stand beside one's own, each with its source; what nobody here has looked up again is marked unverified.

All are per cent, in the settings of the Open LLM Leaderboard's first version (2023): ARC-Challenge 25 shots acc_norm, HellaSwag 10 shots acc_norm,
MMLU 5 shots acc over subjects, TruthfulQA mc2, and their mean. Beware of two things. Until June 2023 MMLU was scored by whole answers, which
moved LLaMA-65B from .488 to .636: those rows say `old MMLU`. And a model that knows nothing has a mean near 30, because TruthfulQA's
false answers are longer: the row `chance` says what that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

TASKS = ("arc_challenge", "hellaswag", "mmlu", "truthfulqa_mc2")
_DISCUSSIONS = "huggingface.co/{}/discussions/{} (the leaderboard's automatic evaluation report)"
_OLD_COPY = "a copy of the leaderboard of mid-2023, newsletter.radensa.ru/archives/2066"
_RECALLED = "recalled, not looked up"


@dataclass(frozen=True)
class Reference:
    """A published row, per cent."""

    model: str
    arc_challenge: float
    hellaswag: float
    mmlu: float
    truthfulqa_mc2: float
    source: str
    verified: bool = True
    """Whether the source was opened and says so."""
    note: str = ""

    @property
    def mean(self) -> float:
        """Of the four."""
        return fmean((self.arc_challenge, self.hellaswag, self.mmlu, self.truthfulqa_mc2))


@dataclass(frozen=True)
class CoreReference:
    """A model's published CORE: the mean of accuracies from chance (0) to all right (1)."""

    model: str
    core: float
    source: str


ROWS = (
    Reference("chance", 25.0, 25.0, 25.0, 47.0, "four answers each; mc2 of random models lies between 40 and 48", note="a model that knows nothing"),
    Reference("gpt2", 22.0, 31.5, 25.8, 40.7, _RECALLED, verified=False),
    Reference("gpt2-xl", 30.3, 51.4, 26.4, 38.5, _RECALLED, verified=False),
    Reference("falcon-rw-1b", 35.07, 63.56, 25.28, 35.96, _DISCUSSIONS.format("tiiuae/falcon-rw-1b", 10)),
    Reference("falcon-7b", 47.87, 78.13, 27.79, 34.26, _DISCUSSIONS.format("tiiuae/falcon-7b", 94)),
    Reference("falcon-7b-instruct", 46.16, 70.85, 25.84, 44.08, _DISCUSSIONS.format("tiiuae/falcon-7b-instruct", 108)),
    Reference("falcon-40b", 61.9, 85.3, 52.7, 41.7, _OLD_COPY, note="old MMLU; the copy does not name the row, its MMLU is falcon-40b's"),
    Reference("falcon-40b", 61.86, 85.28, 56.89, 41.65, _RECALLED, verified=False),
    Reference("falcon-40b-instruct", 61.6, 84.4, 54.1, 52.5, _OLD_COPY, note="old MMLU"),
    Reference("falcon-40b-instruct", 61.60, 84.31, 55.45, 52.52, _RECALLED, verified=False),
    Reference("llama-13b", 56.23, 80.93, 47.67, 39.48, _RECALLED, verified=False),
    Reference("llama-65b", 57.8, 84.2, 48.8, 42.3, _OLD_COPY, note="old MMLU"),
    Reference("llama-65b", 63.2, 85.9, 59.7, 42.6, "llm360.ai/evaluation.html", note="LLM360's own run in the same settings"),
    Reference("llama-65b", 63.48, 86.09, 63.93, 43.43, _RECALLED, verified=False),
    Reference("openchat_8192", 59.56, 81.44, 46.26, 46.70, _DISCUSSIONS.format("openchat/openchat_8192", 5), note="LLaMA-13B tuned"),
    Reference("openchat_v3.1", 59.81, 82.80, 56.76, 44.45, _DISCUSSIONS.format("openchat/openchat_v3.1", 1), note="Llama-2-13B tuned"),
    Reference("openchat_v3.2", 59.64, 82.68, 56.68, 44.49, _DISCUSSIONS.format("openchat/openchat_v3.2", 3), note="Llama-2-13B tuned"),
    Reference("openchat_v3.2_super", 59.81, 82.50, 55.90, 42.30, _DISCUSSIONS.format("openchat/openchat_v3.2_super", 2), note="Llama-2-13B tuned"),
)


CORE_ROWS = (CoreReference("gpt2-xl", 0.256525, "nanochat's README, by its core_eval.py"),)


def beside(*, unverified: bool = False) -> list[Reference]:
    """Rows to show, the best last. Unverified ones only where asked for."""
    return sorted((row for row in ROWS if row.verified or unverified), key=lambda row: row.mean)
