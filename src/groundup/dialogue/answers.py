"""Answers to a judge's questions, and verdicts of a judge, from a model of ours or one behind a URL.

All questions are asked at once, turn by turn: the second turn sees the first and the model's own answer to it. Each question has its
category's temperature (`evaluation/judge/questions.py`), so that a story is not the likeliest one and a sum is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.format.record import Message
from groundup.errors import GroundupError, RequestError
from groundup.evaluation.judge.client import ChatClient
from groundup.evaluation.judge.matches import Ask
from groundup.evaluation.judge.prompts import Messages
from groundup.evaluation.judge.questions import Answers, Question
from groundup.generation import Engine, SamplingSettings

Conversation = list[Message]
Continue = Callable[[list[tuple[Question, Conversation]]], list[str]]


def answers(questions: Sequence[Question], go_on: Continue) -> Answers:
    """Every question's answers, a turn each; `go_on` answers the last messages of conversations."""
    held: dict[str, Conversation] = {question.name: [] for question in questions}
    for turn in range(max((len(question.turns) for question in questions), default=0)):
        asked = [question for question in questions if turn < len(question.turns)]
        for question in asked:
            held[question.name].append(Message("user", question.turns[turn]))
        for question, said in zip(asked, go_on([(question, held[question.name]) for question in asked]), strict=True):
            held[question.name].append(Message("assistant", said))
    return {name: tuple(message.content for message in messages if message.role == "assistant") for name, messages in held.items()}


def by_engine(engine: Engine, template: ChatTemplate | None, max_tokens: int, seed: int) -> Continue:
    """Answers by a model of ours. One that was never tuned goes on from the text of question and answers, a line each."""
    room = engine.context - min(max_tokens, engine.context // 2)

    def go_on(asked: list[tuple[Question, Conversation]]) -> list[str]:
        prompts = [
            template.fit(messages, room)[0] if template else "".join(f"{message.content}\n" for message in messages) for _, messages in asked
        ]
        settings = [SamplingSettings(temperature=question.temperature, seed=seed, max_tokens=max_tokens) for question, _ in asked]
        return [found[0].text.strip() for found in engine.generate_many(prompts, settings)]

    return go_on


def by_server(client: ChatClient) -> Continue:
    """Answers by a model behind a URL."""

    def go_on(asked: list[tuple[Question, Conversation]]) -> list[str]:
        several = [[{"role": message.role, "content": message.content} for message in messages] for _, messages in asked]
        return client.answers(several, [question.temperature for question, _ in asked])

    return go_on


def judge_by_engine(engine: Engine, template: ChatTemplate | None, name: str, max_tokens: int) -> Ask:
    """A judge of ours: the likeliest verdict. Raises RequestError for a model that was never tuned on conversations."""
    if template is None:
        raise RequestError("a model that was never tuned cannot judge: it goes on from a text and answers nothing", where=name, do="Name a tuned run, or a URL.")

    def prompt(messages: Messages) -> list[int]:
        tokens = template.prompt([Message("system" if one["role"] == "system" else "user", one["content"]) for one in messages])
        if len(tokens) + min(max_tokens, engine.context // 4) > engine.context:
            raise GroundupError(
                f"a question with its answers has {len(tokens):,} tokens, and the judge reads {engine.context:,} at once with its verdict", where=name,
                do="Take a judge with a longer context, or let the models answer shorter (--max-tokens).",
            )  # fmt: skip
        return tokens

    def ask(several: Sequence[Messages]) -> list[str]:
        found = engine.generate_many([prompt(messages) for messages in several], SamplingSettings(temperature=0.0, max_tokens=max_tokens))
        return [one[0].text for one in found]

    return ask
