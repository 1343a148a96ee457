"""A chat format in the words of one tokenizer: conversations as token ids, each with its weight in the loss.

    <|system|> text <|end_of_turn|> <|user|> text <|end_of_turn|> <|assistant|> text <|end_of_turn|>
         0      0          0            0      0          0              0        1          1         weight

The rendering goes by token ids and roles, never by searching strings: what people wrote is encoded by itself, and the
tokenizer makes no special token out of text, so a user can neither end a turn nor speak for another role. Head, text and tail
of a turn are encoded apart: a prompt ends with a head, and what the model writes after it comes in tokens of its own. Other
software encodes the whole text that Jinja makes, and where a word of the head could merge with one of the text (a newline
and another) it gets other ids; `jinja.round_trip` finds such conversations, and `groundup tune --lint` reports them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groundup.dialogue.chat_formats import PLAIN, ChatFormat, Piece
from groundup.dialogue.format.record import Conversation, Message
from groundup.errors import RequestError
from groundup.tokens.tokenizer import END_OF_TEXT, Tokenizer


@dataclass(frozen=True)
class Rendered:
    """Tokens and, for each, its weight in the loss; 0 where the model is not trained to say it."""

    tokens: list[int]
    weights: list[float]


class ChatTemplate:
    """The chat template of one tokenizer.

    >>> template = ChatTemplate(words)
    >>> template.render([Message("user", "hi"), Message("assistant", "ho")]).weights
    [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """

    def __init__(
        self, tokenizer: Tokenizer, chat_format: ChatFormat = PLAIN, *, special: Mapping[str, int] | None = None, bos: str = "", eos: str = END_OF_TEXT,
        others: float = 0.0,
    ) -> None:  # fmt: skip
        """`special`: ids of the special tokens by how the tokenizer's file spells them (`added_tokens`), by our names where not
        given; `bos`, `eos`: two of them; `others`: the weight on what user and system say. Raises RequestError for a token that
        the format needs and the tokenizer lacks."""
        self.tokenizer, self.format, self.bos, self.eos, self.others = tokenizer, chat_format, bos, eos, others
        self.special = dict(tokenizer.special if special is None else special)
        self._mark = re.compile("(" + "|".join(re.escape(name) for name in sorted(self.special, key=len, reverse=True)) + ")")
        lacking = [name for name in map(self._filled, chat_format.needs) if name not in self.special]
        if lacking:
            raise RequestError(
                f"the chat format {chat_format.name} needs {' and '.join(name or 'a token that begins a text' for name in lacking)}, and the tokenizer has none",
                where="dialogue.format", do="Choose the format plain, or add the special tokens to the tokenizer.",
            )  # fmt: skip

    @property
    def end(self) -> int:
        """The id of the token that ends what the assistant says."""
        return self.special[self._filled(self.format.stop)]

    def turn(self, message: Message, condition: str | None = None) -> Rendered:
        """One whole turn."""
        return self._rendered(self.format.turn(message, condition, others=self.others))

    def render(self, messages: Sequence[Message] | Conversation, condition: str | None = None) -> Rendered:
        """A whole conversation, for training."""
        if isinstance(messages, Conversation):
            return self.render(messages.messages, messages.condition)
        return self._rendered(self.format.pieces(messages, condition, others=self.others))

    def prompt(self, messages: Sequence[Message], condition: str | None = None) -> list[int]:
        """The conversation so far and the head of the answer: what the model is to continue."""
        return self._rendered(self.format.prompt(messages, condition)).tokens

    def answer(self, text: str) -> list[int]:
        """What follows a prompt: the text and the mark that ends it."""
        _, *said = self.format.turn(Message("assistant", text))
        rendered = self._rendered(said)
        return [token for token, weight in zip(rendered.tokens, rendered.weights, strict=True) if weight]

    def ask(self, question: str) -> list[int]:
        """The prompt of a single question."""
        return self.prompt([Message("user", question)])

    def fit(self, messages: Sequence[Message], room: int, condition: str | None = None) -> tuple[list[int], int]:
        """The prompt with as many of the latest turns as fit into `room` tokens, and how many messages were left out.

        A system message stays, and what is kept begins with a user's turn; the last turn is kept whatever its length.
        """
        system = [message for message in messages[:1] if message.role == "system"]
        turns = list(messages[len(system) :])
        dropped = 0
        while len(prompt := self.prompt([*system, *turns[dropped:]], condition)) > room and dropped < len(turns) - 1:
            dropped += 1
            while dropped < len(turns) - 1 and turns[dropped].role != "user":
                dropped += 1
        return prompt, dropped

    def encode(self, piece: Piece) -> list[int]:
        """The ids of a piece: marks are single tokens where the text is the format's, and nothing but text where people wrote it."""
        if piece.ids is not None:
            return list(piece.ids)
        return self.read(self._filled(piece.text)) if piece.ours else self.tokenizer.encode(piece.text)

    def read(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are spelled out, as other software reads what Jinja made."""
        ids: list[int] = []
        for place, part in enumerate(self._mark.split(text)):
            if place % 2:
                ids.append(self.special[part])
            elif part:
                ids += self.tokenizer.encode(part)
        return ids

    def _filled(self, text: str) -> str:
        return text.replace("{bos}", self.bos).replace("{eos}", self.eos)

    def _rendered(self, pieces: Sequence[Piece]) -> Rendered:
        tokens: list[int] = []
        weights: list[float] = []
        for piece in pieces:
            ids = self.encode(piece)
            tokens += ids
            weights += [piece.weight] * len(ids)
        return Rendered(tokens, weights)


def added_tokens(text: str) -> dict[str, int]:
    """The special tokens of a `tokenizer.json` by how they are spelled."""
    return {token["content"]: token["id"] for token in json.loads(text)["added_tokens"] if token["special"]}


def with_tokens(text: str, names: Sequence[str]) -> str:
    """A `tokenizer.json` with special tokens added after its highest id, in order; what is there already stays as it is.

    The model's embedding must grow by as many rows. OpenChat starts them at the mean of all rows.
    """
    file = json.loads(text)
    vocabulary = file["model"]["vocab"]
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
    known = {token["content"]: token for token in file["added_tokens"]}
    following = 1 + max([*ids, *(token["id"] for token in file["added_tokens"])])
    for name in names:
        if name not in known:
            known[name] = {
                "id": following, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True,
            }  # fmt: skip
            file["added_tokens"].append(known[name])
            following += 1
    return json.dumps(file, ensure_ascii=False, indent=2)
