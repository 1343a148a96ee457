"""Conversations packed into batches.

A row of T tokens holds several conversations, each its own segment with positions from 0, so that none sees another; what is
left is <|pad|> with weight 0:

    tokens    u1 u2 a1 a2 | u1 a1 a2 | p          weights are those of the targets: what comes next
    segments   1  1  1  1 |  2  2  2 | 0
    positions  0  1  2  3 |  0  1  2 | 0

Rows are filled by best fit, longest first (Ding et al. 2024, arXiv 2404.10830): the fewest pads, no conversation cut.
A conversation longer than a row loses its last exchanges; one whose first exchange is longer is left out, for an
answer without its end would teach the model never to end. Both are counted.

Shapes: B rows, T time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor

from groundup.dialogue.chat_template import ChatTemplate, Rendered
from groundup.dialogue.format.record import Conversation
from groundup.errors import GroundupError


@dataclass
class Counts:
    """What became of the conversations."""

    conversations: int = 0
    shortened: int = 0
    """Lost their last exchanges: they were longer than a row."""
    left_out: int = 0
    """Their first exchange alone was longer than a row."""
    tokens: int = 0
    trained_tokens: int = 0
    rows: int = 0


def render_to_fit(template: ChatTemplate, talk: Conversation, room: int) -> tuple[Rendered | None, bool]:
    """A conversation within `room` tokens, and whether exchanges were cut off; None if not even the first one fits."""
    rendered = template.render(talk)
    shortened = False
    while len(rendered.tokens) > room:
        talk, shortened = replace(talk, messages=talk.messages[:-2]), True
        if not any(message.role == "assistant" for message in talk.messages):
            return None, True
        rendered = template.render(talk)
    return rendered, shortened


def best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Pack items of these lengths (each at most `room`) into bins; returns each bin's item numbers.

    Longest first, each into the fullest bin that takes it (best-fit decreasing); ties go by number, so the same lengths
    always give the same bins.
    """
    bins: list[list[int]] = []
    with_space: list[list[int]] = [[] for _ in range(room + 1)]  # bins by the space they have left
    for item in sorted(range(len(lengths)), key=lambda item: (-lengths[item], item)):
        need = lengths[item]
        space = next((space for space in range(need, room + 1) if with_space[space]), None)
        if space is None:
            space, number = room, len(bins)
            bins.append([])
        else:
            number = with_space[space].pop()
        bins[number].append(item)
        with_space[space - need].append(number)
    return bins


def in_epochs(place: int, items: int, seed: int) -> int:
    """The item at a place of an endless reading of so many: all of them once an epoch, each time in another seeded order."""
    epoch, within = divmod(place, items)
    return _order(items, seed + epoch)[within]


@lru_cache(maxsize=8)
def _order(items: int, seed: int) -> list[int]:
    order: list[int] = torch.randperm(items, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


@dataclass
class PackedConversations:
    """A batch source of the trainer: conversations in packed rows, each epoch in its own seeded order.

    A pure function of (step, micro), so a resumed run sees the very same batches.
    """

    template: ChatTemplate
    conversations: Iterable[Conversation]
    length: int
    """Tokens a row (T)."""
    rows: int
    """Rows a micro-batch (B)."""
    micro_batches: int
    seed: int
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        rendered: list[Rendered] = []
        for talk in self.conversations:
            one, shortened = render_to_fit(self.template, talk, self.length + 1)
            self.counts.conversations += 1
            self.counts.shortened += shortened and one is not None
            if one is None:
                self.counts.left_out += 1
            else:
                rendered.append(one)
        # A conversation of n tokens takes n - 1 places: each token but the last, with the next one as its target.
        self._bins = best_fit([len(one.tokens) - 1 for one in rendered], self.length)
        self._rendered = rendered
        self.counts.tokens = sum(len(one.tokens) - 1 for one in rendered)
        self.counts.trained_tokens = sum(weight > 0 for one in rendered for weight in one.weights[1:])
        self.counts.rows = len(self._bins)
        if self.counts.trained_tokens == 0:
            raise GroundupError(
                f"every target is masked: none of {self.counts.conversations} conversations has an answer within "
                f"{self.length} tokens", where="dialogue", do="Give pairs with shorter answers, or a longer context.",
            )

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps that see each row once."""
        return len(self._bins) / (self.rows * self.micro_batches)

    def parts(self, step: int) -> int:
        """Micro-batches a step is cut into."""
        return self.micro_batches

    def __call__(self, step: int, micro: int) -> dict[str, Tensor]:
        """The batch of (step, micro): tokens, targets, weights, positions, segments, each (B, T)."""
        first = (step * self.micro_batches + micro) * self.rows
        rows = [self._row(self._bin(place)) for place in range(first, first + self.rows)]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _bin(self, place: int) -> list[int]:
        return self._bins[in_epochs(place, len(self._bins), self.seed)]

    def _row(self, items: list[int]) -> dict[str, Tensor]:
        T = self.length
        row = {
            "tokens": torch.full((T,), self.template.tokenizer.special["<|pad|>"]),
            "targets": torch.full((T,), self.template.tokenizer.special["<|pad|>"]),
            "weights": torch.zeros(T),
            "positions": torch.zeros(T, dtype=torch.int64),
            "segments": torch.zeros(T, dtype=torch.int64),
        }
        at = 0
        for segment, item in enumerate(items, 1):
            one = self._rendered[item]
            span = slice(at, at := at + len(one.tokens) - 1)
            row["tokens"][span] = torch.tensor(one.tokens[:-1])
            row["targets"][span] = torch.tensor(one.tokens[1:])
            row["weights"][span] = torch.tensor(one.weights[1:])
            row["positions"][span] = torch.arange(len(one.tokens) - 1)
            row["segments"][span] = segment
        return row
