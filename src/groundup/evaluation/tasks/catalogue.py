"""The tasks by name, and the suites of them that have names of their own.

    open-llm-v1   what the Open LLM Leaderboard asked in 2023: ARC-Challenge after 25 examples, HellaSwag after 10, MMLU after 5, TruthfulQA
                  with its primer; quoted is the plain mean of acc_norm, acc_norm, acc (mean over subjects) and mc2
    zero-shot     what papers of small models quote: LAMBADA, HellaSwag, PIQA, WinoGrande, ARC, OpenBookQA, BoolQ, COPA, without examples
    tiny          where models of a few million parameters differ from chance at all: BLiMP and LAMBADA
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from groundup.errors import RequestError
from groundup.evaluation.tasks.arc import arc_challenge, arc_easy, openbookqa
from groundup.evaluation.tasks.gsm8k import gsm8k
from groundup.evaluation.tasks.hellaswag import hellaswag
from groundup.evaluation.tasks.humaneval import humaneval
from groundup.evaluation.tasks.item import Task
from groundup.evaluation.tasks.lambada import lambada_openai, lambada_standard
from groundup.evaluation.tasks.mmlu import mmlu
from groundup.evaluation.tasks.rows import Data
from groundup.evaluation.tasks.truthfulqa import truthfulqa_mc1, truthfulqa_mc2
from groundup.evaluation.tasks.two_choices import blimp, boolq, copa, piqa, winogrande

Reader = Callable[[Data, int], Task]

READERS: dict[str, Reader] = {
    "arc_challenge": arc_challenge, "arc_easy": arc_easy, "blimp": blimp, "boolq": boolq, "copa": copa, "gsm8k": gsm8k, "hellaswag": hellaswag,
    "humaneval": humaneval, "lambada_openai": lambada_openai, "lambada_standard": lambada_standard, "mmlu": mmlu, "openbookqa": openbookqa,
    "piqa": piqa, "truthfulqa_mc1": truthfulqa_mc1, "truthfulqa_mc2": truthfulqa_mc2, "winogrande": winogrande,
}  # fmt: skip
USUAL_SHOTS = {"gsm8k": 5}
"""lm-eval's, where it has any; without examples else."""

WITHOUT_SHOTS = ("truthfulqa_mc1", "truthfulqa_mc2", "humaneval")
"""Asked without examples of their own, always."""


@dataclass(frozen=True)
class Part:
    """A task of a suite."""

    task: str
    shots: int
    averaged: bool = True
    """Whether its score is part of the suite's mean."""


SUITES: dict[str, tuple[Part, ...]] = {
    "open-llm-v1": (
        Part("arc_challenge", 25), Part("hellaswag", 10), Part("mmlu", 5), Part("truthfulqa_mc1", 0, averaged=False), Part("truthfulqa_mc2", 0),
    ),
    "zero-shot": tuple(
        Part(task, 0) for task in ("lambada_openai", "hellaswag", "piqa", "winogrande", "arc_easy", "arc_challenge", "openbookqa", "boolq", "copa")
    ),
    "tiny": (Part("blimp", 0), Part("lambada_openai", 0)),
}  # fmt: skip


def read_task(name: str, data: Data, shots: int | None = None) -> Task:
    """A task by its name. Raises RequestError for an unknown name, and for what is missing or malformed in its files."""
    if name not in READERS:
        raise RequestError(f"no task is called {name!r}", where="evaluation", do=f"Name one of {', '.join(READERS)}; a suite ({', '.join(SUITES)}); or a .jsonl file.")
    if shots is not None and shots < 0:
        raise RequestError(f"{shots} examples", where=name, do="Ask for 0 or more.")
    return READERS[name](data, USUAL_SHOTS.get(name, 0) if shots is None else shots)


def suite(name: str) -> tuple[Part, ...]:
    """The parts of a suite; a single task's name stands for itself."""
    if name in SUITES:
        return SUITES[name]
    if name in READERS:
        return (Part(name, USUAL_SHOTS.get(name, 0)),)
    raise RequestError(f"no suite or task is called {name!r}", where="evaluation", do=f"Name one of {', '.join((*SUITES, *READERS))}.")
