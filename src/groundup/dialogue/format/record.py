"""What is learned from: conversations, rankings of answers, and single answers that were liked or not.

    Conversation    system? user assistant user assistant ...     supervised tuning
    Ranking         a prompt and K answers with their ranks       reward models (all pairs), DPO and its kin (K = 2)
    Labelled        a prompt, one answer, good or not             KTO

In a JSON-lines file of ours each is an object a line:

    {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4", "weight": 0.5}],
     "condition": "expert", "source": "sums"}
    {"prompt": [{"role": "user", "content": "2 + 2?"}], "answers": ["4", "four", "5"], "ranks": [1, 1, 2], "source": "sums"}
    {"prompt": [{"role": "user", "content": "2 + 2?"}], "answer": "5", "good": false, "source": "sums"}

`weight` is the loss's weight on each token of a message (not given: 1 on the assistant's, 0 on the others'), `condition` the
class of the data that C-RLFT conditions on, `source` where the row came from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """One turn."""

    role: Role
    content: str
    tokens: tuple[int, ...] | None = field(default=None, compare=False)
    """The content as a model wrote it; encoded anew when not given. A text can be written in tokens that encoding would not choose."""
    weight: float | None = None
    """Of each of its tokens in the loss; None: by the role."""


@dataclass(frozen=True)
class Conversation:
    """What was said, in order."""

    messages: tuple[Message, ...]
    condition: str | None = None
    source: str = ""

    def to_json(self) -> str:
        """One JSON line (without its end) that is read back as the same."""
        extra = {name: value for name, value in (("condition", self.condition), ("source", self.source)) if value}
        return json.dumps({"messages": [_plain(message) for message in self.messages], **extra}, ensure_ascii=False)


@dataclass(frozen=True)
class Ranking:
    """K answers to one prompt."""

    prompt: tuple[Message, ...]
    """Ends with the user's turn."""
    answers: tuple[str, ...]
    ranks: tuple[int, ...]
    """Of each answer; the lower, the better. Equal ones are ties."""
    source: str = ""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(better, worse) for every two answers that are no tie (InstructGPT drops those: Ouyang et al. 2022, appendix C.2)."""
        places = range(len(self.answers))
        return [(i, j) for i in places for j in places if self.ranks[i] < self.ranks[j]]

    def to_json(self) -> str:
        """One JSON line."""
        value = {"prompt": [_plain(message) for message in self.prompt], "answers": self.answers, "ranks": self.ranks}
        return json.dumps({**value, **({"source": self.source} if self.source else {})}, ensure_ascii=False)


@dataclass(frozen=True)
class Labelled:
    """One answer to a prompt, and whether it was liked."""

    prompt: tuple[Message, ...]
    answer: str
    good: bool
    source: str = ""

    def to_json(self) -> str:
        """One JSON line."""
        value = {"prompt": [_plain(message) for message in self.prompt], "answer": self.answer, "good": self.good}
        return json.dumps({**value, **({"source": self.source} if self.source else {})}, ensure_ascii=False)


def _plain(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    return plain if message.weight is None else {**plain, "weight": message.weight}


def order_problem(messages: Sequence[Message], *, last: Role = "assistant") -> str | None:
    """What is wrong with who speaks when: after an optional system message, user and assistant take turns, and `last` has the last
    word. None where it is as it should be."""
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    want = [("user", "assistant")[place % 2] for place in range(len(turns))]
    if turns and turns == want and turns[-1] == last:
        return None
    return f"the roles are {', '.join(roles) or 'none'}"
