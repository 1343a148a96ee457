"""Tasks in which the model writes: what a writer is, and a task put to one.

    prompts, ends ──writer──> texts ──> the number that is the answer (GSM8K), or a program that passes its tests (HumanEval)

Texts are the likeliest ones, token by token, and end before any of the task's stop strings. A prompt that does not leave room for the text
loses its beginning, as in lm-eval, but never more than half of the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from groundup.errors import RequestError
from groundup.evaluation import sandbox
from groundup.evaluation.measure import SEED, Measured, collect
from groundup.evaluation.scoring import Result, score_text
from groundup.evaluation.tasks.humaneval import program
from groundup.evaluation.tasks.item import Task
from groundup.generation.engine import Engine
from groundup.generation.sampling import SamplingSettings


@dataclass(frozen=True)
class Written:
    """What a model wrote after a prompt."""

    text: str
    cut: bool
    """Whether the prompt lost its beginning."""


class Writer(Protocol):
    """A model that goes on from prompts."""

    def write(self, prompts: Sequence[str], until: Sequence[str], max_tokens: int) -> list[Written]:
        """The likeliest text after each prompt, up to the first of the stop strings."""
        ...


class EngineWriter:
    """A `Writer` over the engine of `generate` and `chat`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def write(self, prompts: Sequence[str], until: Sequence[str], max_tokens: int) -> list[Written]:
        """All of them, as many at once as the engine has slots."""
        engine = self.engine
        room = kept(engine.context, max_tokens)
        tokens = [engine.tokenizer.encode(prompt) for prompt in prompts]
        settings = SamplingSettings(temperature=0.0, stop=tuple(until), max_tokens=max_tokens)
        found = engine.generate_many([one[-room:] for one in tokens], settings)
        return [Written(texts[0].text, len(one) > room) for texts, one in zip(found, tokens, strict=True)]


def kept(context: int, max_tokens: int) -> int:
    """How many of a prompt's last tokens are read."""
    return max(context - max_tokens, context // 2, 1)


def write(task: Task, writer: Writer, seconds: float | None = None, limit: int | None = None, seed: int = SEED, *, run_code: bool = False) -> Measured:
    """Put a task in which the model writes to a model; `run_code`: what it writes may be run (HumanEval), with `sandbox.py`'s limits.

    Raises RequestError for a task without items, or of code where that may not be run.
    """
    if not task.items:
        raise RequestError("the task has no items", where=task.name, do="Name a file with items.")
    code = "pass_at_1" in task.metrics
    if code and not run_code:
        raise RequestError(
            "this task runs programs that the model wrote, which nobody has read", where=task.name,
            do="Allow it with --run-code, best within a container without a network; or leave the task out.",
        )  # fmt: skip

    def ask(places: Sequence[int]) -> tuple[list[Result], int, int]:
        items = [task.items[place] for place in places]
        texts = writer.write([item.requests[0].context for item in items], task.until, task.max_tokens)
        results = [
            Result(place, {"pass_at_1": float(sandbox.passes(program(item, one.text)))}) if code else score_text(task, place, one.text)
            for place, item, one in zip(places, items, texts, strict=True)
        ]
        return results, len(texts), sum(one.cut for one in texts)

    return collect(task, seconds, limit, seed, ask)
