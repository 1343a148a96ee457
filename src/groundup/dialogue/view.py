"""Conversations as the trainer sees them: what is trained on stands out.

    <|user|>2 + 2?<|end_of_turn|><|assistant|>4<|end_of_turn|>
                                              ----------------   green: weight 1; yellow: between 0 and 1; magenta: more; dim: 0

Runs of one weight are one stretch; tokens that are no text have their names. Bytes that belong to one character may lie in two
tokens; within a run they are put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from groundup.dialogue.chat_template import ChatTemplate, Rendered
from groundup.dialogue.format.record import Conversation

DIM, GREEN, YELLOW, MAGENTA, RESET = "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[0m"


def show(rendered: Rendered, template: ChatTemplate, *, colour: bool = True) -> str:
    """A rendered conversation as text; without colour, what is trained on stands between ⟦ and ⟧."""
    return "".join(_painted(text, weight, colour) for text, weight in runs(rendered, template))


def show_all(talks: Iterable[Conversation], template: ChatTemplate, number: int, *, colour: bool = True) -> str:
    """The first so many conversations, each below a line with its source, class and counts, and a legend."""
    shown = []
    for place, talk in enumerate(talks, 1):
        if place > number:
            break
        rendered = template.render(talk)
        trained = sum(weight > 0 for weight in rendered.weights[1:])
        about = ", ".join(part for part in (talk.source, talk.condition and f"class {talk.condition}") if part)
        shown.append(f"--- {place}{f' ({about})' if about else ''}: {len(rendered.tokens)} tokens, {trained} trained on\n{show(rendered, template, colour=colour)}\n")
    legend = f"trained on: {_painted('weight 1', 1.0, colour)} {_painted('less', 0.5, colour)} {_painted('more', 2.0, colour)}; {_painted('only read', 0.0, colour)}"
    return "\n".join([legend, *shown])


def runs(rendered: Rendered, template: ChatTemplate) -> Iterator[tuple[str, float]]:
    """The text in stretches of one weight."""
    names = {token: name for name, token in template.special.items()}
    for weight, run in groupby(zip(rendered.tokens, rendered.weights, strict=True), key=lambda each: each[1]):
        text = ""
        for special, tokens in groupby((token for token, _ in run), key=lambda token: token in names):
            ids = list(tokens)
            text += "".join(names[token] for token in ids) if special else template.tokenizer.decode(ids)
        yield text, weight


def _painted(text: str, weight: float, colour: bool) -> str:
    # a text may hold escapes of its own, which would paint the rest of the terminal
    text = text.replace("\x1b", "␛")
    if not colour:
        return f"⟦{text}⟧" if weight else text
    return f"{DIM if weight == 0 else GREEN if weight == 1 else YELLOW if weight < 1 else MAGENTA}{text}{RESET}"
