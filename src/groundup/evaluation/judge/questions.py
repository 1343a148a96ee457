"""Questions for judges and models' answers to them, as JSON lines.

    {"question_id": 81, "category": "writing", "turns": ["Compose a travel blog post ...", "Rewrite it ..."]}     MT-bench, Vicuna
    {"question": "Why is the sky blue?"}                                                                         one's own
    {"question_id": 81, "model_id": "mine", "choices": [{"turns": ["Aloha! ...", "..."]}]}                       FastChat's answers
    {"question_id": 81, "turns": ["Aloha! ...", "..."]}     or     {"question_id": 81, "answer": "..."}          one's own

The Vicuna questions are 80 of one turn in nine categories, MT-bench's 80 of two turns in eight; both lie in FastChat's repository
(`fastchat/llm_judge/data`), with reference answers for mathematics, reasoning and code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.evaluation.tasks.rows import Row, read
from groundup.run import write_atomic

TEMPERATURES = {
    "writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0,
}  # fmt: skip
"""At which MT-bench's questions are answered (FastChat, llm_judge/common.py); 0.7 for the others, as Vicuna's."""
NEEDS_REFERENCE = ("math", "reasoning", "coding")
"""Categories in which a judge that cannot solve the question itself is told a right answer."""


@dataclass(frozen=True)
class Question:
    """One question of one turn or several."""

    name: str
    turns: tuple[str, ...]
    category: str = "general"
    references: tuple[str, ...] = ()
    """Right answers, a turn each, or none."""

    @property
    def temperature(self) -> float:
        """At which it is answered."""
        return TEMPERATURES.get(self.category, 0.7)


Answers = dict[str, tuple[str, ...]]
"""A model's answers by question, a turn each."""


def read_questions(path: Path, references: Path | None = None) -> list[Question]:
    """The questions of a file, with the right answers of another. Raises RequestError for what is malformed or there twice."""
    right = read_answers(references) if references else {}
    found: dict[str, Question] = {}
    for row in read(path):
        name = _name(row)
        turns = tuple(row.texts("turns", least=1)) if row.has("turns") else (row.text("question"),)
        if name in found:
            raise row.wrong(f"question {name} is there twice", "Give each its own `question_id`.")
        given = right.get(name) or (tuple(row.texts("reference", least=1)) if isinstance(row.values.get("reference"), list) else ())
        found[name] = Question(name, turns, row.text("category") if row.has("category") else "general", given)
    return list(found.values())


def read_answers(path: Path) -> Answers:
    """A model's answers."""
    found: Answers = {}
    for row in read(path):
        name = _name(row)
        if name in found:
            raise row.wrong(f"question {name} is answered twice", "Leave one of them.")
        if row.has("choices"):
            choices: Any = row.values["choices"]
            if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
                raise row.wrong("`choices` has no answer with `turns`")
            row = Row(choices[0], row.file, row.number)
        found[name] = tuple(_turns(row)) if row.has("turns") else (row.text("answer", empty=True),)
    return found


def write_answers(path: Path, model: str, answers: Answers) -> None:
    """Write a model's answers in FastChat's form, which `read_answers` reads."""
    lines = [{"question_id": name, "model_id": model, "choices": [{"turns": list(turns)}]} for name, turns in answers.items()]
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _turns(row: Row) -> Sequence[str]:
    """A model may well have said nothing, so empty answers are answers."""
    turns = row.values["turns"]
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
        raise row.wrong("`turns` is not a list of texts")
    return turns


def _name(row: Row) -> str:
    """`question_id`, or the row's number where there is none."""
    return str(row.values.get("question_id", row.number))
