"""A task as a model meets it: requests, and which of its answers are right.

    Item("test:17",
        requests=(Request("Question: Which gas do plants take in?\\nAnswer:", " oxygen"),
                  Request("Question: Which gas do plants take in?\\nAnswer:", " carbon dioxide")),
        choices=("oxygen", "carbon dioxide"),
        gold=(1,))

A request asks how likely the continuation is after the context. What an item's score is depends on the task's kind:

    choice      the likeliest request is the answer                      ARC, HellaSwag, MMLU, PIQA, WinoGrande, BLiMP ...
    truthful    the share of the probability on the right ones           TruthfulQA mc2
    greedy      whether each token of the one continuation is the likeliest, and how likely it is        LAMBADA
    average     the request of the best mean per token is the answer     CORE's choices and schemas
    generate    the model writes on from the context; the text is compared or run                GSM8K, HumanEval

Names and prompts are lm-eval's 0.4.13, byte for byte, so that scores compare with those that others publish.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

Kind = Literal["choice", "truthful", "greedy", "average", "generate"]
Pairing = Literal["split", "common"]
Metric = Literal[
    "acc", "acc_norm", "acc_bytes", "mc1", "mc2", "gold_probability", "perplexity", "exact_match", "exact_match_flexible",
    "pass_at_1",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """How likely is the continuation after the context? Of a task of kind `generate` the continuation is empty."""

    context: str
    continuation: str


@dataclass(frozen=True)
class Item:
    """One question."""

    name: str
    """Where it comes from: file and place."""
    requests: tuple[Request, ...]
    gold: tuple[int, ...] = (0,)
    """Places of the right requests."""
    choices: tuple[str, ...] = ()
    """The text of each request's answer alone, whose length `acc_norm` divides by."""
    group: str = ""
    """MMLU: the subject; BLiMP: the paradigm."""
    answer: str = ""
    """What a generated text is compared with."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """HumanEval: `test` and `entry_point`."""


@dataclass(frozen=True)
class Task:
    """A set of items and how they count."""

    name: str
    kind: Kind
    items: Sequence[Item]
    metrics: tuple[Metric, ...]
    """The first one is the one that is quoted."""
    shots: int
    files: tuple[Path, ...] = ()
    """What was read."""
    baseline: float | None = None
    """Chance, where it is not that of drawing one of the choices."""
    pairing: Pairing = "split"
    """How requests become tokens: see `evaluation/encoding.py`."""
    macro: bool = False
    """Whether the score that is quoted is the mean over groups (BLiMP; MMLU as the Open LLM Leaderboard had it) and not over items."""
    until: tuple[str, ...] = ()
    """Kind `generate`: strings before which the text ends."""
    max_tokens: int = 256

    @property
    def chance(self) -> float:
        """What guessing gets: of the metric that is quoted, over all items."""
        if self.baseline is not None:
            return self.baseline
        if self.kind in ("greedy", "generate") or not self.items:
            return 0.0
        return sum(len(item.gold) / len(item.requests) for item in self.items) / len(self.items)

    @cached_property
    def prompt_hash(self) -> str:
        """Of all requests and their right answers: equal where two runs put the very same questions."""
        total = hashlib.blake2b(digest_size=16)
        for item in self.items:
            before = ""
            for request in item.requests:
                said = [request.continuation] if request.context == before else [request.context, request.continuation]
                total.update(json.dumps(said).encode())
                before = request.context
            total.update(json.dumps([item.gold, item.answer]).encode())
        return total.hexdigest()


def choice_item(name: str, context: str, choices: Sequence[str], gold: int, group: str = "") -> Item:
    """A question with one context and several answers, a space before each (lm-eval's target delimiter)."""
    return Item(name, tuple(Request(context, f" {choice}") for choice in choices), (gold,), tuple(choices), group)
