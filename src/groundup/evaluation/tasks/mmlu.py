"""MMLU: 57 subjects, four answers named by letters (Hendrycks et al. 2021, arXiv 2009.03300).

    The following are multiple choice questions (with answers) about astronomy.

    You are pushing a truck along a road. Would it be easier to accelerate this truck on Mars? Why?
    A. It would be harder since the truck is heavier on Mars.
    ...
    Answer: D

    (four more examples, and the question, up to `Answer:`)

Examples are the first of the subject's `dev` file, for every question the same. Asked for is the letter alone, so that all four answers
come from one look at the model. Two means are quoted: over all 14,042 questions (lm-eval) and over the subjects (the Open LLM
Leaderboard); they differ by a point or two (lm-eval#1525), so both are given.

One file a subject (`astronomy_test.csv`, `astronomy/test-00000-of-00001.parquet`), or all in one with a field `subject`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from groundup.evaluation.tasks.few_shot import BETWEEN
from groundup.evaluation.tasks.item import Item, Task, choice_item
from groundup.evaluation.tasks.rows import DEV, TEST, Data, Row, read

NAMES = ("mmlu", "hendrycks_test")
LETTERS = ("A", "B", "C", "D")
COLUMNS = ("question", "choice0", "choice1", "choice2", "choice3", "answer")
"""Of a .csv; the originals have no header."""
_SPLITS = ("_dev", "_test", "_val", "_validation")


def mmlu(data: Data, shots: int) -> Task:
    """All subjects there are; 5 shots on the leaderboard, 5 examples a subject at most."""
    files = data.all(NAMES, TEST, asked=True)
    asked = _by_subject(files)
    examples: dict[str, list[Row]] = {}
    if shots:
        found = data.all(NAMES, DEV)
        examples, files = _by_subject(found), [*files, *found]
    items: list[Item] = []
    for subject in sorted(asked):
        before = _before(subject, examples.get(subject, []), shots, asked[subject][0])
        for row in asked[subject]:
            question, gold = _read(row)
            items.append(choice_item(row.name, before + question, LETTERS, gold, subject))
    return Task("mmlu", "choice", items, ("acc", "gold_probability"), shots, tuple(files), macro=True)


def _before(subject: str, pool: Sequence[Row], shots: int, first: Row) -> str:
    """What stands before every question of a subject."""
    if shots > len(pool):
        raise first.wrong(f"{shots} examples of {subject} are asked for, {len(pool)} are there", "Ask for fewer shots, or add the subject's dev file.")
    about = subject.replace("_", " ")
    text = f"The following are multiple choice questions (with answers) about {about}.\n\n"
    for row in pool[:shots]:
        question, gold = _read(row)
        text += f"{question} {LETTERS[gold]}{BETWEEN}"
    return text


def _read(row: Row) -> tuple[str, int]:
    """The question with its answers, and which is right."""
    choices = row.texts("choices", least=4) if row.has("choices") else [row.text(name) for name in COLUMNS[1:5]]
    if len(choices) != len(LETTERS):
        raise row.wrong(f"{len(choices)} answers instead of {len(LETTERS)}")
    answer = row.values.get("answer")
    letter = answer.strip().upper() if isinstance(answer, str) else ""
    gold = LETTERS.index(letter) if letter in LETTERS else row.place("answer", len(LETTERS))
    answers = "".join(f"{name}. {choice}\n" for name, choice in zip(LETTERS, choices, strict=True))
    return f"{row.text('question').strip()}\n{answers}Answer:", gold


def _by_subject(files: Sequence[Path]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for path in files:
        for row in read(path, COLUMNS):
            found.setdefault(row.text("subject") if row.has("subject") else _subject(path), []).append(row)
    return found


def _subject(path: Path) -> str:
    """From `astronomy_test.csv` or `astronomy/test-00000-of-00001.parquet`."""
    stem = path.name.split(".")[0]
    for ending in _SPLITS:
        if stem.endswith(ending):
            return stem.removesuffix(ending)
    return path.parent.name
