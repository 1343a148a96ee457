"""ARC and OpenBookQA: school science, four answers or so, of which one is right.

    Question: Which property of a mineral can be determined just by looking at it?
    Answer: luster

ARC (Clark et al. 2018, arXiv 1803.05457) comes as an easy and a challenging set; the Open LLM Leaderboard asks the second after 25
examples. OpenBookQA (Mihaylov et al. 2018, arXiv 1809.02789) has the same records and is asked by its stem alone. Rows are read as the
hub has them, as their authors published them, and as the gauntlet has them:

    {"question": "...", "choices": {"text": ["luster", ...], "label": ["A", ...]}, "answerKey": "A"}
    {"question": {"stem": "...", "choices": [{"text": "luster", "label": "A"}, ...]}, "answerKey": "A"}
    {"query": "Question: ...", "choices": ["luster", ...], "gold": 0}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groundup.evaluation.tasks.few_shot import Shots
from groundup.evaluation.tasks.item import Metric, Task, choice_item
from groundup.evaluation.tasks.rows import TEST, TRAIN, Data, Row

METRICS: tuple[Metric, ...] = ("acc_norm", "acc", "acc_bytes", "gold_probability")


@dataclass(frozen=True)
class Solved:
    """A question with its answers."""

    question: str
    choices: list[str]
    gold: int


def arc_challenge(data: Data, shots: int) -> Task:
    """The challenging set; 25 shots on the leaderboard."""
    return _science("arc_challenge", ("arc_challenge",), data, shots, lambda one: f"Question: {one.question}\nAnswer:")


def arc_easy(data: Data, shots: int) -> Task:
    """The easy set."""
    return _science("arc_easy", ("arc_easy",), data, shots, lambda one: f"Question: {one.question}\nAnswer:")


def openbookqa(data: Data, shots: int) -> Task:
    """OpenBookQA without its book."""
    return _science("openbookqa", ("openbookqa_main", "openbookqa", "openbook_qa"), data, shots, lambda one: one.question)


def _science(name: str, names: Sequence[str], data: Data, shots: int, context: Callable[[Solved], str]) -> Task:
    asked = data.asked(names, TEST)
    pool = data.examples(names, TRAIN) if shots else None

    def solved(row: Row) -> str:
        one = science(row)
        return f"{context(one)} {one.choices[one.gold]}"

    examples = Shots(pool.rows if pool else [], solved, shots, spare=False)
    items = []
    for row in asked.rows:
        one = science(row)
        items.append(choice_item(row.name, examples.before(row) + context(one), one.choices, one.gold))
    return Task(name, "choice", items, METRICS, shots, (*asked.files, *(pool.files if pool else ())))


def science(row: Row) -> Solved:
    """A row of any of the three forms."""
    if row.has("query"):
        choices = row.texts("choices")
        return Solved(row.text("query").removeprefix("Question: ").rstrip("\n"), choices, row.place("gold", len(choices)))
    if isinstance(row.values.get("question"), dict):
        inside = row.inside("question")
        question, listed = inside.text("stem"), inside.values.get("choices")
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise row.wrong("`question.choices` is not a list of answers with `text` and `label`")
        answers = Row({key: [one.get(key) for one in listed] for key in ("text", "label")}, row.file, row.number)
    else:
        question = row.text("question_stem" if row.has("question_stem") else "question")
        answers = row.inside("choices")
    choices, labels = answers.texts("text"), answers.texts("label")
    if len(labels) != len(choices):
        raise row.wrong(f"{len(choices)} answers and {len(labels)} labels")
    key = row.text("answerKey").lstrip()
    if key not in labels:
        raise row.wrong(f"the right answer is {key!r}; there are {', '.join(labels)}")
    return Solved(question, choices, labels.index(key))
