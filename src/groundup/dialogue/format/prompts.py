"""Prompts to write answers to, with or without a rule that tells right from wrong.

    {"prompt": "12 + 30?", "verify": {"kind": "exact", "answer": "42"}}

A prompt has any of the forms that preferences have (`prompt`, `question`, `instruction`, `messages`, ...); an answer that a row also
has is left out. The rule is one of `dialogue/verify.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.dialogue.format.conversations import Misread
from groundup.dialogue.format.preferences import prompt_in
from groundup.dialogue.format.record import Message, order_problem
from groundup.dialogue.format.rows import Bad, refuse, rows


@dataclass(frozen=True)
class Task:
    """What is asked for, and the rule for answers to it."""

    prompt: tuple[Message, ...]
    """Ends with the user's turn."""
    verify: Mapping[str, Any] | None = None
    where: str = ""
    """File and row, for errors."""


def read_tasks(path: Path, bad: Bad | None = None) -> Iterator[Task]:
    """The prompts of a file. Raises RequestError for the first row without one, or puts the errors into `bad`."""
    for number, row in rows(path, bad):
        try:
            prompt = prompt_in(row)
            if prompt is None:
                raise Misread("no prompt", "Name the field `prompt`.")
            if prompt[-1].role == "assistant":
                prompt = prompt[:-1]
            if problem := order_problem(prompt, last="user"):
                raise Misread(f"of the prompt {problem}", "After an optional system message, let user and assistant take turns, the user last.")
            rule = row.get("verify")
            if rule is not None and not isinstance(rule, dict):
                raise Misread("`verify` is no object", 'Write {"kind": "exact", "answer": "..."}.')
        except Misread as error:
            refuse(error.at(path, number), bad)
            continue
        yield Task(prompt, rule, f"{path}:{number}")
