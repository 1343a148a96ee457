"""Talking to a model in the terminal, and asking two models the same questions.

    > What does `textwrap.indent` do?
    Adds 'prefix' to the beginning of selected lines in 'text'.
    > /reset

The answer appears as it is written. Ctrl-C stops the answer, not the program; /quit or Ctrl-D leaves. Lines piped in are
answered one after the other. What no longer fits into the model's context is left out, oldest turns first, and said so.
A model that was never tuned on conversations has no template: it continues the text it is given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TextIO

from groundup.dialogue.template import Message, Template
from groundup.generation.engine import Completion, Engine
from groundup.generation.sampling import SamplingSettings

HELP = "/reset forgets the conversation, /system TEXT sets the instructions, /quit leaves"


class Chat:
    """A conversation in progress: `answer` streams the next answer and keeps it."""

    def __init__(self, engine: Engine, template: Template | None, settings: SamplingSettings) -> None:
        self.engine, self.template, self.settings = engine, template, settings
        self.messages: list[Message] = []
        self.left_out = 0
        """Messages at the beginning that did not fit into the last prompt."""
        self.last: Completion | None = None

    def reset(self) -> None:
        """Forget the conversation, keep the system message."""
        self.messages = [message for message in self.messages if message.role == "system"]

    def system(self, text: str) -> None:
        """Set the system message and begin anew; an empty text removes it."""
        self.messages = [Message("system", text)] if text else []

    def answer(self, text: str) -> Generator[str, None, None]:
        """The pieces of the answer. What was said is kept even if the reader stops early."""
        self.last, self.left_out = None, 0
        if self.template is None:
            self.last = yield from self.engine.stream(text, self.settings)
            return
        self.messages.append(Message("user", text))
        # Half of the context at most is kept free for the answer, so that a long history cannot starve it.
        room = self.engine.context - min(self.settings.max_tokens, self.engine.context // 2)
        prompt, self.left_out = self.template.fit(self.messages, room)
        said: list[str] = []
        stream = self.engine.stream(prompt, self.settings)
        try:
            while True:
                try:
                    piece = next(stream)
                except StopIteration as end:
                    self.last = end.value
                    return
                said.append(piece)
                yield piece
        finally:
            text = "".join(said)
            # after a stop string the tokens say more than the text does
            whole = self.last is not None and self.engine.tokenizer.decode(self.last.tokens) == text
            self.messages.append(Message("assistant", text, tuple(self.last.tokens) if self.last is not None and whole else None))


def chat(
    engine: Engine,
    template: Template | None,
    settings: SamplingSettings,
    *,
    system: str = "",
    source: TextIO | None = None,
    sink: TextIO | None = None,
) -> None:
    """Read lines from `source` (stdin), write answers to `sink` (stdout), until the end or /quit."""
    source, sink = source or sys.stdin, sink or sys.stdout
    live = source is sys.stdin and source.isatty()
    talk = Chat(engine, template, settings)
    talk.system(system)

    def note(text: str) -> None:
        print(text, file=sys.stderr)

    if live:
        note(HELP if template else f"This model was not tuned on conversations: it continues your text. {HELP}")
    for line in _lines(source, live):
        command, _, rest = line.strip().partition(" ")
        if not command:
            continue
        if command == "/quit":
            return
        if command == "/reset":
            talk.reset()
        elif command == "/system":
            talk.system(rest.strip())
        elif command.startswith("/"):
            note(f"{command} is not known: {HELP}")
        else:
            _answer(talk, line.strip() if template else line, sink, note)


def _answer(talk: Chat, text: str, sink: TextIO, note: Callable[[str], None]) -> None:
    pieces = talk.answer(text)
    try:
        for piece in pieces:
            sink.write(piece)
            sink.flush()
    except KeyboardInterrupt:
        pieces.close()
        note("\n(stopped)")
    sink.write("\n")
    sink.flush()
    if talk.left_out:
        note(f"(the oldest {talk.left_out} messages no longer fit into the context and were left out)")
    if talk.last is not None and talk.last.prompt_tokens_cut:
        note(f"(the first {talk.last.prompt_tokens_cut} tokens did not fit into the context and were left out)")


def _lines(source: TextIO, live: bool) -> Iterator[str]:
    """Lines as they are typed or piped in; Ctrl-C at an empty prompt changes nothing."""
    if not live:
        yield from (line.rstrip("\n") for line in source)
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print(f"\n{HELP}", file=sys.stderr)


def ask(
    base: Engine, tuned: Engine | None, questions: Sequence[str], *, max_tokens: int = 120
) -> list[dict[str, str | None]]:
    """The same questions put to a model before and after tuning: [{"question", "base", "tuned"}].

    The most likely answer of each (temperature 0), so that a report says the same every time. The base model continues
    the question as text; the tuned one is asked through its template.
    """
    settings = SamplingSettings(temperature=0.0, max_tokens=max_tokens)
    plain = base.generate_many([f"{question}\n" for question in questions], settings)
    answers: list[str | None] = [None] * len(questions)
    if tuned is not None:
        template = Template(tuned.tokenizer)
        prompts = [template.ask(question) for question in questions]
        answers = [completions[0].text for completions in tuned.generate_many(prompts, settings)]
    return [
        {"question": question, "base": before[0].text, "tuned": after}
        for question, before, after in zip(questions, plain, answers, strict=True)
    ]
