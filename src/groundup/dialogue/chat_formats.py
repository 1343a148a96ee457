"""How a conversation is written down: the formats that models were tuned on, as data, and as Jinja for other software.

A turn is a head, what is said, and a tail; marks such as <|im_end|> are single tokens:

    <|im_start|>assistant\\n  Hello!  <|im_end|>  \\n         ChatML
    ------- head ---------  -said-  - stop --  rest
             0               w   w      w       0         weight of each token in the loss

`stop` belongs to what is said: a model that is not trained on it never learns to end. What a format puts between head and
text (`lead`, the blank of "Assistant: Hello") is said too, since the prompt ends with the head.

Facts about the formats: ChatML from OpenAI's openai-python chatml.md; Llama 2, Llama 3, OpenChat 3.5 and Zephyr from the
tokenizer_config.json of meta-llama/Llama-2-7b-chat-hf, meta-llama/Meta-Llama-3-8B-Instruct, openchat/openchat-3.5-0106 and
HuggingFaceH4/zephyr-7b-beta. `plain` is ours. The Jinja texts are worded here and say the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from groundup.dialogue.format.record import Message, Role
from groundup.errors import RequestError


@dataclass(frozen=True)
class Piece:
    """A stretch of a conversation that is encoded by itself."""

    text: str
    ours: bool
    """Whether it is the format's own text, in which marks are tokens; what people wrote is never searched for them."""
    weight: float = 0.0
    ids: tuple[int, ...] | None = None
    """Its tokens, where they are known already."""


@dataclass(frozen=True)
class ChatFormat:
    """One way of writing conversations. In its texts {bos} and {eos} are the tokenizer's, {role} and {Role} who speaks,
    {condition} the class of the data (C-RLFT)."""

    name: str
    jinja: str
    head: str
    stop: str
    """The mark that ends what is said."""
    rest: str = ""
    opens: str = ""
    """Once, before everything."""
    lead: str = ""
    needs: tuple[str, ...] = ()
    """Marks that must be single tokens."""
    condition: str | None = None
    """The class where none is given; None: the format has no place for one."""
    trim: bool = False
    """Blanks around a text are taken off."""

    def pieces(self, messages: Sequence[Message], condition: str | None = None, *, others: float = 0.0) -> list[Piece]:
        """The whole conversation. Weights: a message's own, else 1 for the assistant's and `others` for the rest."""
        self.check_condition(condition)
        found = [Piece(self.opens, True)]
        for message in self.arranged(messages):
            found += self.turn(message, condition, others=others)
        return [piece for piece in found if piece.text]

    def turn(self, message: Message, condition: str | None = None, *, others: float = 0.0) -> list[Piece]:
        """One message."""
        weight = message.weight if message.weight is not None else 1.0 if message.role == "assistant" else others
        content = message.content.strip() if self.trim else message.content
        text = self.lead_of(message.role) + content
        ids = message.tokens if text == message.content else None
        return [
            Piece(self.head_of(message.role, condition), True), Piece(text, False, weight, ids),
            *self.tail(message.role, weight),
        ]  # fmt: skip

    def prompt(self, messages: Sequence[Message], condition: str | None = None) -> list[Piece]:
        """The conversation so far, and the head of the assistant's next turn."""
        return [*self.pieces(messages, condition), Piece(self.head_of("assistant", condition), True)]

    def arranged(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages as turns."""
        return messages

    def head_of(self, role: Role, condition: str | None) -> str:
        """What stands before a text."""
        return self.head.replace("{role}", role).replace("{Role}", role.title()).replace("{condition}", condition or self.condition or "").strip(" ")

    def lead_of(self, role: Role) -> str:
        """What a text begins with."""
        return self.lead

    def tail(self, role: Role, weight: float) -> list[Piece]:
        """What stands after a text."""
        return [Piece(self.stop, True, weight), Piece(self.rest, True)]

    def of_class(self, condition: str | None) -> ChatFormat:
        """The same format, in which answers are asked for in this class where none is named, by its Jinja too."""
        if condition is None or condition == self.condition:
            return self
        self.check_condition(condition)
        return replace(self, condition=condition, jinja=self.jinja.replace(f"'{self.condition}'", json.dumps(condition, ensure_ascii=False)))

    def check_condition(self, condition: str | None) -> None:
        """Raise RequestError for a class where there is no place for one."""
        if condition is not None and self.condition is None:
            raise RequestError(
                f"the chat format {self.name} has no place for the class {condition!r} of a conversation", where="dialogue.format",
                do="Use the format openchat, or take `condition` out of the data.",
            )  # fmt: skip


class _OpenChat(ChatFormat):
    """The system's text stands without a head."""

    def head_of(self, role: Role, condition: str | None) -> str:
        return "" if role == "system" else super().head_of(role, condition)

    def lead_of(self, role: Role) -> str:
        return "" if role == "system" else self.lead


class _Llama2(ChatFormat):
    """The system's text stands within the user's first turn, and the user's turns end with text, not with a mark."""

    def arranged(self, messages: Sequence[Message]) -> Sequence[Message]:
        if not messages or messages[0].role != "system":
            return messages
        if len(messages) < 2 or messages[1].role != "user":
            raise RequestError("a system message without a user's after it", where="dialogue.format", do="llama-2 puts it into the user's first turn: add one.")
        system, first, *others = messages
        return [Message("user", f"<<SYS>>\n{system.content}\n<</SYS>>\n\n{first.content}", weight=first.weight), *others]

    def head_of(self, role: Role, condition: str | None) -> str:
        return self.head if role == "user" else ""

    def tail(self, role: Role, weight: float) -> list[Piece]:
        return [Piece(" [/INST]", True)] if role == "user" else [Piece(" ", False, weight), Piece(self.stop, True, weight)]


PLAIN = ChatFormat(
    name="plain",
    jinja=(
        "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end_of_turn|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    ),
    head="<|{role}|>", stop="<|end_of_turn|>", needs=("<|system|>", "<|user|>", "<|assistant|>", "<|end_of_turn|>"),
)  # fmt: skip

CHATML = ChatFormat(
    name="chatml",
    jinja=(
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    head="<|im_start|>{role}\n", stop="<|im_end|>", rest="\n", needs=("<|im_start|>", "<|im_end|>"),
)  # fmt: skip

LLAMA_2 = _Llama2(
    name="llama-2",
    jinja=(
        "{% set system = messages[0]['content'] if messages and messages[0]['role'] == 'system' else none %}"
        "{% for message in (messages[1:] if system is not none else messages) %}"
        "{% if message['role'] != ('user' if loop.index0 % 2 == 0 else 'assistant') %}{{ raise_exception('user and assistant must take turns') }}{% endif %}"
        "{% if message['role'] == 'user' %}"
        "{% set said = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] if loop.first and system is not none else message['content'] %}"
        "{{ bos_token + '[INST] ' + said | trim + ' [/INST]' }}{% else %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    head="{bos}[INST]", lead=" ", stop="{eos}", needs=("{bos}", "{eos}"), trim=True,
)  # fmt: skip

LLAMA_3 = ChatFormat(
    name="llama-3",
    jinja=(
        "{{ bos_token }}{% for message in messages %}"
        "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
    ),
    opens="{bos}", head="<|start_header_id|>{role}<|end_header_id|>\n\n", stop="<|eot_id|>", needs=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    trim=True,
)  # fmt: skip

OPENCHAT = _OpenChat(
    name="openchat",
    jinja=(
        "{% set kind = condition | default('GPT4 Correct', true) %}{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ message['content'] }}"
        "{% else %}{{ kind + ' ' + message['role'] | title + ': ' + message['content'] }}{% endif %}{{ '<|end_of_turn|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ kind + ' Assistant:' }}{% endif %}"
    ),
    opens="{bos}", head="{condition} {Role}:", lead=" ", stop="<|end_of_turn|>", needs=("<|end_of_turn|>",), condition="GPT4 Correct",
)  # fmt: skip

ZEPHYR = ChatFormat(
    name="zephyr",
    jinja=(
        "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    ),
    head="<|{role}|>\n", stop="{eos}", rest="\n", needs=("{eos}",),
)  # fmt: skip

FORMATS = {one.name: one for one in (PLAIN, CHATML, LLAMA_2, LLAMA_3, OPENCHAT, ZEPHYR)}


def format_named(name: str) -> ChatFormat:
    """The format of that name. Raises RequestError."""
    if name not in FORMATS:
        raise RequestError(f"no chat format {name!r}", where="dialogue.format", do=f"Choose {', '.join(FORMATS)}.")
    return FORMATS[name]
