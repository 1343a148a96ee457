"""A four-way quiz from reference pages the model never saw: which description belongs to this signature?

    textwrap.indent(text, prefix, predicate=None)
      a  Return the number of items in a container.
      b  Adds 'prefix' to the beginning of selected lines in 'text'.      <- right
      c  ...                                                                 chance: 25 %

The model answers by what it finds likeliest: the log-likelihood of each description after the prompt, per byte. Summed,
the shortest description would win by being short; per token, the tokenizer would have a say; per byte it is
length-normalised and the same for every tokenizer (lm-eval's `acc_bytes`). The wrong descriptions are those of other
held-out definitions, all questions from the same pool, so an answer cannot be told by its kind.

Shapes: B rows, T time, V vocabulary.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from groundup.tokens.tokenizer import Tokenizer

CHOICES = 4
BATCH_TOKENS = 4096  # padded tokens a forward pass; bounds the memory of the scores (x V x 4 bytes)


@dataclass(frozen=True)
class Question:
    """One question; `right` is the place of the true description among `choices`."""

    signature: str
    choices: tuple[str, ...]
    right: int


def questions(definitions: Sequence[tuple[str, str]], count: int, seed: int) -> list[Question]:
    """At most `count` questions from (signature, description) pairs; none where fewer than four descriptions differ.

    Each definition is asked at most once. The wrong choices and the right one's place are drawn with the seed, each
    place equally often in the long run.
    """
    first_with: dict[str, str] = {}
    for signature, description in definitions:
        first_with.setdefault(description, signature)
    descriptions = list(first_with)
    if len(descriptions) < CHOICES:
        return []
    draw = random.Random(seed)
    asked = draw.sample(descriptions, min(count, len(descriptions)))
    made = []
    for description in asked:
        wrong: list[str] = []
        while len(wrong) < CHOICES - 1:
            other = draw.choice(descriptions)
            if other != description and other not in wrong:
                wrong.append(other)
        right = draw.randrange(CHOICES)
        made.append(Question(first_with[description], (*wrong[:right], description, *wrong[right:]), right))
    return made


def quiz(
    model: nn.Module,
    tokenizer: Tokenizer,
    asked: Sequence[Question],
    prompt: Callable[[str], list[int]],
    context: int,
    examples: int = 5,
) -> dict[str, Any] | None:
    """Put the questions to a model; None where there are none.

    `prompt` makes the tokens before the description from a signature. Returns `questions`, `score` (share right),
    `standard_error` of the score (binomial), `chance`, and the first few `examples`.
    """
    if not asked:
        return None
    rows = [
        _fit(prompt(question.signature), tokenizer.encode(choice), context)
        for question in asked
        for choice in question.choices
    ]
    scores = log_likelihoods(model, rows)
    per_byte = [
        score / max(1, len(tokenizer.decode_bytes(after))) for score, (_, after) in zip(scores, rows, strict=True)
    ]
    chosen = []
    for number in range(len(asked)):
        mine = per_byte[number * CHOICES : (number + 1) * CHOICES]
        chosen.append(mine.index(max(mine)))
    share = sum(place == question.right for place, question in zip(chosen, asked, strict=True)) / len(asked)
    return {
        "questions": len(asked),
        "score": share,
        "standard_error": math.sqrt(share * (1 - share) / len(asked)),
        "chance": 1 / CHOICES,
        "examples": [
            {"signature": one.signature, "choices": list(one.choices), "right": one.right, "chosen": place}
            for one, place in list(zip(asked, chosen, strict=True))[:examples]
        ],
    }


def _fit(before: list[int], after: list[int], context: int) -> tuple[list[int], list[int]]:
    """Within the context: the prompt is cut from the left, a description longer than the context at its end."""
    after = after[: context - 1]
    return before[-(context - len(after)) :], after


@torch.no_grad()
def log_likelihoods(model: nn.Module, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    """The summed log-likelihood (nats) of each row's second part after its first, which must not be empty.

    Rows are computed in batches of like length, padded on the right, where causal attention cannot see.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    results = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row][0]) - len(rows[row][1]))
    while order:
        longest = sum(map(len, rows[order[0]]))
        size = max(1, BATCH_TOKENS // longest)
        batch, order = order[:size], order[size:]
        tokens_BT = torch.zeros(len(batch), longest, dtype=torch.int64, device=device)
        scored_BT = torch.zeros(len(batch), longest, dtype=torch.bool, device=device)
        for place, row in enumerate(batch):
            before, after = rows[row]
            tokens_BT[place, : len(before) + len(after)] = torch.tensor(before + after, device=device)
            scored_BT[place, len(before) : len(before) + len(after)] = True
        positions_BT = torch.arange(longest, device=device).expand(len(batch), -1)
        logits_BTV = model(tokens_BT, positions_BT, None)[:, :-1]
        loss_BT = F.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten(), reduction="none").view(len(batch), -1)
        totals = -(loss_BT.double() * scored_BT[:, 1:]).sum(dim=1)
        for row, total in zip(batch, totals.tolist(), strict=True):
            results[row] = total
    model.train(was_training)
    return results
