"""Chat templates in Jinja, as the ecosystem writes them, rendered as transformers renders them and in a sandbox.

A template comes with a model, so it is a program of strangers: it is run in Jinja's ImmutableSandboxedEnvironment, which lets it
neither reach Python's inner attributes nor change what it is given. Here it is never trained from, only compared with:

    render        the text that other software makes of a conversation
    recognise     which of our formats a foreign template is, found by what it writes, not by how it is worded
    round_trip    whether that text, encoded as a whole, has the ids that we train on

Source of the environment: transformers/utils/chat_template_utils.py (trim_blocks, lstrip_blocks, loop controls, `raise_exception`,
`tojson` without HTML escapes, `strftime_now`, and the `generation` block, which marks what the assistant says).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from groundup.dialogue.chat_formats import FORMATS, ChatFormat
from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.format.record import Conversation, Message
from groundup.errors import RequestError

PROBES: tuple[tuple[Message, ...], ...] = (
    (Message("user", "a b?"),),
    (Message("user", "a"), Message("assistant", "b c."), Message("user", "d")),
    (Message("system", "Be brief."), Message("user", " a\n"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "d")),
)
"""Conversations in which no two of our formats look alike."""
BOS, EOS = "<bos>", "<eos>"


class Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`: what the assistant says. Rendered as if the tags were not there."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """The block's inside."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

    def _inside(self, caller: Callable[[], str]) -> str:
        return caller()


def render(
    text: str, messages: Sequence[Message], *, bos: str = "", eos: str = "", prompt: bool = False, condition: str | None = None, where: str = "chat template"
) -> str:
    """What a template makes of a conversation; with `prompt` up to where the assistant is to speak.

    Raises RequestError where it is no valid template, refuses the conversation, or does what the sandbox forbids.
    """
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return _compiled(text).render(messages=turns, bos_token=bos, eos_token=eos, add_generation_prompt=prompt, condition=condition)
    except jinja2.exceptions.SecurityError as error:
        raise RequestError(f"the template does what the sandbox forbids ({error})", where=where, do="Do not use it; choose one of ours.") from None
    except jinja2.TemplateSyntaxError as error:
        raise RequestError(f"not a valid Jinja template (line {error.lineno}: {error.message})", where=where, do="Correct it.") from None
    except jinja2.TemplateError as error:
        raise RequestError(f"the template refuses a conversation: {error.message}", where=where, do="Change the conversation, or choose another format.") from None
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise RequestError(f"the template fails ({type(error).__name__}: {error})", where=where, do="Correct it, or choose one of ours.") from None


def recognise(text: str) -> ChatFormat | None:
    """The format of ours that writes the very same as a foreign template, for several conversations; None where there is none."""
    for chat_format in FORMATS.values():
        try:
            if all(_same(text, chat_format, messages) for messages in PROBES):
                return chat_format
        except RequestError:
            continue
    return None


def round_trip(template: ChatTemplate, talk: Conversation | Sequence[Message], text: str | None = None) -> str | None:
    """Where the text that Jinja makes is read as other ids than we train on, what that place looks like; None where it is not.

    `text`: the template to compare with, the format's own where not given.
    """
    messages, condition = (talk.messages, talk.condition) if isinstance(talk, Conversation) else (talk, None)
    ours = template.render(messages, condition).tokens
    written = render(text or template.format.jinja, messages, bos=template.bos, eos=template.eos, condition=condition)
    theirs = template.read(written)
    if ours == theirs:
        return None
    place = next((place for place, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), min(len(ours), len(theirs)))

    def shown(ids: list[int]) -> str:
        names = {token: name for name, token in template.special.items()}
        part = ids[max(0, place - 2) : place + 4]
        return " ".join(names.get(token) or repr(template.tokenizer.decode([token])) for token in part)

    return f"token {place}: we train on {shown(ours)}, the template's text is read as {shown(theirs)}"


def _same(text: str, chat_format: ChatFormat, messages: Sequence[Message]) -> bool:
    prompt = messages[-1].role == "user"
    pieces = chat_format.prompt(messages) if prompt else chat_format.pieces(messages)
    ours = "".join(piece.text.replace("{bos}", BOS).replace("{eos}", EOS) if piece.ours else piece.text for piece in pieces)
    return render(text, messages, bos=BOS, eos=EOS, prompt=prompt) == ours


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


@cache
def _compiled(text: str) -> jinja2.Template:
    return _environment().from_string(text)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
