"""How a conversation becomes tokens, and which of them are trained on.

    <|system|> text <|end_of_turn|> <|user|> text <|end_of_turn|> <|assistant|> text <|end_of_turn|>
         0      0          0            0      0          0              0        1          1         weight

The rendering goes by token ids and roles, never by searching strings: contents are encoded by themselves, and the
tokenizer makes no special token out of text, so what a user types can neither end a turn nor speak for another role.
Weights are 1 on what the model is to say: the assistant's text and the <|end_of_turn|> that ends it.

`CHAT_TEMPLATE` is the same rendering in Jinja, for other software; a test holds it to the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from groundup.tokens.tokenizer import Tokenizer

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end_of_turn|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Message:
    """One turn."""

    role: Role
    content: str
    tokens: tuple[int, ...] | None = field(default=None, compare=False)
    """The content as a model wrote it; encoded anew when not given. A text can be written in tokens that encoding would not choose,
    and a prompt that goes on from them word for word need not be read again."""


@dataclass(frozen=True)
class Rendered:
    """Tokens and, for each, 1.0 where the model is trained to say it, else 0.0."""

    tokens: list[int]
    weights: list[float]


class Template:
    """The chat template of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def turn(self, message: Message) -> Rendered:
        """One whole turn. A conversation is the turns one after the other."""
        special = self.tokenizer.special
        content = self.tokenizer.encode(message.content) if message.tokens is None else list(message.tokens)
        said = float(message.role == "assistant")
        tokens = [special[f"<|{message.role}|>"], *content, special["<|end_of_turn|>"]]
        return Rendered(tokens, [0.0] + [said] * (len(content) + 1))

    def render(self, messages: Sequence[Message]) -> Rendered:
        """A whole conversation, for training."""
        turns = [self.turn(message) for message in messages]
        return Rendered([t for turn in turns for t in turn.tokens], [w for turn in turns for w in turn.weights])

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The conversation so far and <|assistant|>: what the model is to continue."""
        return [*self.render(messages).tokens, self.tokenizer.special["<|assistant|>"]]

    def ask(self, question: str) -> list[int]:
        """The prompt of a single question."""
        return self.prompt([Message("user", question)])

    def fit(self, messages: Sequence[Message], room: int) -> tuple[list[int], int]:
        """The prompt with as many of the latest turns as fit into `room` tokens, and how many messages were left out.

        A system message stays, and what is kept begins with a user's turn; the last turn is kept whatever its length.
        """
        system = [message for message in messages[:1] if message.role == "system"]
        turns = list(messages[len(system) :])
        dropped = 0
        while len(prompt := self.prompt([*system, *turns[dropped:]])) > room and dropped < len(turns) - 1:
            dropped += 1
            while dropped < len(turns) - 1 and turns[dropped].role != "user":
                dropped += 1
        return prompt, dropped
