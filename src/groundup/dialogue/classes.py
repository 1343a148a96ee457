"""C-RLFT: conversations of mixed quality, each class with a prefix and a weight of its own (Wang et al. 2023, arXiv 2309.11235).

    expert answers      "GPT4 Correct User: ...  GPT4 Correct Assistant: ..."      weight 1
    other answers       "GPT3 User: ...          GPT3 Assistant: ..."              weight 0.1

The paper maximises E[r_c] - beta KL(pi || pi_c), pi_c the class-conditioned policy of the data, whose optimum is learned by

    max  E_(x, y, c) [ exp(r_c / beta) log pi(y | x, c) ]                          (section 3.2)

with one reward a class: a weighted cross-entropy. Its mean is over the weights of all tokens of the global batch,
sum w_t CE_t / sum w_t, which is the trainer's own rule; so the objective is NextToken, and all there is to do is here: weights
on the answers, prefixes by the chat format, the best class at inference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from groundup.dialogue.format.record import Conversation, Message
from groundup.errors import RequestError


@dataclass(frozen=True)
class Classes:
    """The weight of each class that the data names."""

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.weights or any(not weight >= 0 or math.isinf(weight) for weight in self.weights.values()) or not max(self.weights.values()) > 0:
            raise RequestError("class weights must be numbers from 0 on, one of them above it", where="dialogue.classes", do="Write {expert: 1.0, other: 0.1}.")

    @property
    def best(self) -> str:
        """The class that answers are asked for in: the one of the highest weight, the first named of equal ones."""
        return max(self.weights, key=lambda name: self.weights[name])

    def weigh(self, talk: Conversation, where: str = "dialogue.classes") -> Conversation:
        """The conversation with its class's weight on each answer; a message's own weight multiplies it.

        Raises RequestError for a class that has no weight, or none at all.
        """
        if talk.condition is None or talk.condition not in self.weights:
            named = f"the class {talk.condition!r} has no weight" if talk.condition else "a conversation without a class (`condition`)"
            raise RequestError(named, where=where, do=f"Name it in dialogue.classes; those are {', '.join(self.weights)}.")
        weight = self.weights[talk.condition]
        return replace(talk, messages=tuple(_weighed(message, weight) for message in talk.messages))


def _weighed(message: Message, weight: float) -> Message:
    if message.role != "assistant":
        return message
    return replace(message, weight=weight * (1.0 if message.weight is None else message.weight))
