"""LAMBADA: the last word of a passage, which one can guess from the passage but not from its last sentence (1606.06031).

    ... But as I stare at Harlin, his mouth curved in a confident grin, I don't care about     -> " signs"

The score is the share of passages whose last word the model would write of its own accord, each of its tokens the likeliest; beside it
stands the perplexity of that word. `lambada_openai` is the text as GPT-2's authors prepared it, `lambada_standard` the original one.
"""

from __future__ import annotations

from groundup.evaluation.tasks.few_shot import Shots
from groundup.evaluation.tasks.item import Item, Request, Task
from groundup.evaluation.tasks.rows import TEST, Data, Row


def lambada_openai(data: Data, shots: int) -> Task:
    """In OpenAI's form."""
    return _lambada("lambada_openai", ("lambada_openai",), data, shots)


def lambada_standard(data: Data, shots: int) -> Task:
    """In the original form."""
    return _lambada("lambada_standard", ("lambada_standard", "lambada"), data, shots)


def _lambada(name: str, names: tuple[str, ...], data: Data, shots: int) -> Task:
    asked = data.asked(names, TEST)

    def solved(row: Row) -> str:
        context, word = _read(row)
        return f"{context} {word}"  # two blanks: lm-eval's word brings one along

    examples = Shots(asked.rows, solved, shots, spare=False)
    items = []
    for row in asked.rows:
        context, word = _read(row)
        items.append(Item(row.name, (Request(examples.before(row) + context, word),)))
    return Task(name, "greedy", items, ("acc", "perplexity"), shots, asked.files)


def _read(row: Row) -> tuple[str, str]:
    text = f"{row.text('context')} {row.text('continuation')}" if row.has("context", "continuation") else row.text("text")
    context, blank, word = text.rpartition(" ")
    if not blank or not context or not word:
        raise row.wrong("the passage has no last word after a blank")
    return context, f" {word}"
