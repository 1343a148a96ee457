"""Prompts with answers as packed rows, each a segment of its own, and where in the rows each answer stands.

    tokens   p p p w w w # p p p l l #       a prompt and an answer, another prompt and another answer
    targets  p p w w w # . p p l l # .
    span         -----         ---           of each answer: the places that write it, one before its own

Shapes: B rows, T time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.conversations import best_fit
from groundup.dialogue.format.record import Message
from groundup.training.objectives import Batch


@dataclass(frozen=True)
class Answered:
    """A prompt with an answer."""

    tokens: tuple[int, ...]
    asked: int
    """How many of them are the prompt's."""

    @classmethod
    def of(cls, template: ChatTemplate, prompt: Sequence[Message], answer: str) -> Answered:
        """In the template's words, with the mark that ends the answer."""
        asked = template.prompt(prompt)
        return cls((*asked, *template.answer(answer)), len(asked))


@dataclass(frozen=True)
class Span:
    """The places of a row that write an answer."""

    row: int
    places: slice
    end: int
    """The place of the sequence's last token (with `scored`), or of the last but one."""


def packed(sequences: Sequence[Answered], length: int, pad: int, *, scored: bool = False) -> tuple[Batch, list[Span]]:
    """Rows of `length` tokens with weight 1 where an answer is written, and each sequence's span. `scored`: a sequence's last token, which
    writes nothing, has a place too, since its score is wanted."""
    shorter = 0 if scored else 1
    bins = best_fit([len(one.tokens) - shorter for one in sequences], length)
    B, T = len(bins), length
    batch = {
        "tokens": torch.full((B, T), pad), "targets": torch.full((B, T), pad), "weights": torch.zeros(B, T),
        "positions": torch.zeros(B, T, dtype=torch.int64), "segments": torch.zeros(B, T, dtype=torch.int64),
    }  # fmt: skip
    spans: dict[int, Span] = {}
    for row, numbers in enumerate(bins):
        at = 0
        for segment, number in enumerate(numbers, 1):
            tokens, asked = torch.tensor(sequences[number].tokens), sequences[number].asked
            size = len(tokens) - shorter
            span = slice(at, at + size)
            batch["tokens"][row, span] = tokens[:size]
            batch["targets"][row, at : at + len(tokens) - 1] = tokens[1:]
            batch["positions"][row, span] = torch.arange(size)
            batch["segments"][row, span] = segment
            said = slice(at + asked - 1, at + len(tokens) - 1)
            batch["weights"][row, said] = 1
            spans[number] = Span(row, said, at + size - 1)
            at += size
    return batch, [spans[number] for number in range(len(sequences))]
