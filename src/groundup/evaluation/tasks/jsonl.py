"""Tasks of one's own: a file of JSON lines, of one of four forms.

    {"context": "The capital of Kenya is", "choices": ["Nairobi", "Mombasa"], "gold": 0}          which answer
    {"context_options": ["Ann told Bo that Ann", "... Bo"], "continuation": "was late.", "gold": 0}   which beginning
    {"context": "To be or not to", "continuation": "be"}                                          would it write that
    {"question": "What is 2 + 2?", "answer": "4"}                                                 what does it write

A blank stands between context and answer; of the last form the prompt is `Question: ...` and `Answer:` on the next line, and the answer is what
is written up to the end of the line. `query` may stand for `context` (the gauntlet's files). Examples are drawn from the file itself, the
question that is asked left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from groundup.errors import RequestError
from groundup.evaluation.tasks.few_shot import Shots
from groundup.evaluation.tasks.item import Item, Kind, Metric, Request, Task
from groundup.evaluation.tasks.rows import Row, read

UNTIL = ("\n",)


@dataclass(frozen=True)
class _Form:
    kind: Kind
    metrics: tuple[Metric, ...]
    item: Callable[[Row, str], Item]
    solved: Callable[[Row], str]


def own_task(name: str, path: Path, shots: int) -> Task:
    """The task in a file. Raises RequestError where its rows are of no form, or of several."""
    if not path.is_file():
        raise RequestError("there is no such file", where=str(path), do="Correct the path; it counts from the recipe's folder.")
    rows = read(path)
    form = _form(rows[0])
    for row in rows:
        if _form(row) is not form:
            raise row.wrong("it has another form than the first item", "Make two files of them.")
    examples = Shots(rows, form.solved, shots, spare=True)
    items = [form.item(row, examples.before(row)) for row in rows]
    return Task(name, form.kind, items, form.metrics, shots, (path,), until=UNTIL)


def _form(row: Row) -> _Form:
    for fields, form in _FORMS.items():
        if row.has(*fields):
            return form
    raise row.wrong(
        f"no form of task has the fields {', '.join(map(str, row.values)) or '(none)'}",
        "Give `context`, `choices`, `gold`; `context_options`, `continuation`, `gold`; `context`, `continuation`; or `question`, `answer`.",
    )


def _context(row: Row) -> str:
    return row.text("query" if row.has("query") else "context")


def _choice(row: Row, before: str) -> Item:
    choices = row.texts("choices")
    context = before + _context(row)
    return Item(row.name, tuple(Request(context, f" {choice}") for choice in choices), (row.place("gold", len(choices)),), tuple(choices))


def _solved_choice(row: Row) -> str:
    choices = row.texts("choices")
    return f"{_context(row)} {choices[row.place('gold', len(choices))]}"


def _schema(row: Row, before: str) -> Item:
    options = row.texts("context_options")
    requests = tuple(Request(before + option, f" {row.text('continuation')}") for option in options)
    return Item(row.name, requests, (row.place("gold", len(options)),), tuple(options))


def _solved_schema(row: Row) -> str:
    options = row.texts("context_options")
    return f"{options[row.place('gold', len(options))]} {row.text('continuation')}"


def _greedy(row: Row, before: str) -> Item:
    return Item(row.name, (Request(before + _context(row), f" {row.text('continuation')}"),))


def _written(row: Row, before: str) -> Item:
    return Item(row.name, (Request(f"{before}Question: {row.text('question')}\nAnswer:", ""),), answer=row.text("answer"))


_CHOICE = _Form("choice", ("acc_norm", "acc", "acc_bytes", "gold_probability"), _choice, _solved_choice)
_GREEDY = _Form("greedy", ("acc", "perplexity"), _greedy, lambda row: f"{_context(row)} {row.text('continuation')}")
_FORMS: dict[tuple[str, ...], _Form] = {
    ("context", "choices"): _CHOICE,
    ("query", "choices"): _CHOICE,
    ("context_options", "continuation"): _Form("choice", ("acc", "gold_probability"), _schema, _solved_schema),
    ("context", "continuation"): _GREEDY,
    ("query", "continuation"): _GREEDY,
    ("question", "answer"): _Form(
        "generate", ("exact_match",), _written, lambda row: f"Question: {row.text('question')}\nAnswer: {row.text('answer')}"
    ),
}
