"""Conversations: the one format, reading it, and packing it into batches.

A JSON line holds one conversation, in either form:

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    {"question": "...", "answer": "..."}

Packing. A row of T tokens holds several conversations, each its own segment with positions from 0, so that none sees
another; what is left is <|pad|> with weight 0:

    tokens    u1 u2 a1 a2 | u1 a1 a2 | p          weights are those of the targets: what comes next
    segments   1  1  1  1 |  2  2  2 | 0
    positions  0  1  2  3 |  0  1  2 | 0

Rows are filled by best fit, longest first (Ding et al. 2024, arXiv 2404.10830): the fewest pads, no conversation cut.
A conversation longer than a row loses its last exchanges; one whose first exchange is longer is left out, for an
answer without its end would teach the model never to end. Both are counted.

Shapes: B rows, T time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup.dialogue.template import ROLES, Message, Rendered, Template
from groundup.errors import GroundupError, RequestError

Conversation = tuple[Message, ...]


def conversation(value: Any, where: str) -> Conversation:
    """A conversation from decoded JSON. Raises GroundupError that names `where` and what is wrong."""
    if not isinstance(value, dict) or not ("messages" in value or {"question", "answer"} <= value.keys()):
        raise GroundupError(
            "neither `messages` nor `question` and `answer`", where=where, do="Write one such object a line."
        )
    if "messages" not in value:
        value = {
            "messages": [
                {"role": "user", "content": value["question"]},
                {"role": "assistant", "content": value["answer"]},
            ]
        }
    if not isinstance(value["messages"], list):
        raise GroundupError("`messages` is not a list", where=where, do="Write a list of role and content.")
    messages = tuple(_message(message, where) for message in value["messages"])
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        raise GroundupError(
            f"the roles are {', '.join(roles) or 'none'}", where=where,
            do="After an optional system message, user and assistant take turns, and the assistant has the last word.",
        )
    return messages


def _message(value: Any, where: str) -> Message:
    role = value.get("role") if isinstance(value, dict) else None
    if role not in ROLES:
        raise GroundupError(f"the role {role!r} is not known", where=where, do="Use system, user or assistant.")
    content = value.get("content")
    if not isinstance(content, str) or not content.strip():
        raise GroundupError(f"a message of the {role} has no text", where=where, do="Give `content` as non-empty text.")
    return Message(role, content)


def read(path: Path) -> Iterator[Conversation]:
    """The conversations of a JSON-lines file, blank lines skipped. Errors name the file and the line."""
    if not path.is_file():
        raise RequestError("no such file", where=str(path), do="Name a JSON-lines file of conversations.")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                value = json.loads(line.decode("utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise GroundupError(f"not valid JSON ({error})", where=where, do="Correct that line.") from None
            yield conversation(value, where)


def to_json(messages: Conversation) -> str:
    """One JSON line (without its end) that `conversation` reads back."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return json.dumps({"messages": turns}, ensure_ascii=False)


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


def render_to_fit(template: Template, messages: Conversation, room: int) -> tuple[Rendered | None, bool]:
    """A conversation within `room` tokens, and whether exchanges were cut off; None if not even the first one fits."""
    rendered = template.render(messages)
    shortened = False
    while len(rendered.tokens) > room:
        messages, shortened = messages[:-2], True
        if not any(message.role == "assistant" for message in messages):
            return None, True
        rendered = template.render(messages)
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


@dataclass
class PackedConversations:
    """A batch source of the trainer: conversations in packed rows, each epoch in its own seeded order.

    A pure function of (step, micro), so a resumed run sees the very same batches.
    """

    template: Template
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
        for messages in self.conversations:
            one, shortened = render_to_fit(self.template, messages, self.length + 1)
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
        self.counts.trained_tokens = int(sum(sum(one.weights[1:]) for one in rendered))
        self.counts.rows = len(self._bins)
        if self.counts.trained_tokens == 0:
            raise GroundupError(
                f"every target is masked: none of {self.counts.conversations} conversations has an answer within "
                f"{self.length} tokens", where="dialogue", do="Give pairs with shorter answers, or a longer context.",
            )
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

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
        epoch, within = divmod(place, len(self._bins))
        if epoch != self._epoch:  # remembered for speed alone
            generator = torch.Generator().manual_seed(self.seed + epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self._bins), generator=generator)
        return self._bins[int(self._order[within])]

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
