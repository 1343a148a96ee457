"""CORE: twenty-two tasks of three forms, each score moved so that chance is 0 and all right is 1, and their mean (DCLM, 2406.11794).

    choice      {"query", "choices", "gold"}                     which answer has the least mean loss per token after the query
    schema      {"context_options", "continuation", "gold"}      after which beginning has the ending the least mean loss per token
    language    {"context", "continuation"}                      is every token of the ending the likeliest

The files are those of MosaicML's gauntlet; forms, shots and chance levels stand in DCLM's table (`eval_meta_data.csv`), which must lie
among them; separators are from DCLM's `heavy.yaml`. Rows are shuffled and examples drawn as nanochat's `core_eval.py` does, and tokens
compared as there: all prompts of an item are encoded whole, and what they have in common is the context. Any task of the table can
be read by its label, not only those of CORE. Where a file is missing the mean is over those that are there, and says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from groundup.errors import RequestError
from groundup.evaluation.tasks.item import Item, Kind, Request, Task
from groundup.evaluation.tasks.rows import Data, MissingError, Row, read

CORE = (
    "hellaswag_zeroshot", "jeopardy", "bigbench_qa_wikidata", "arc_easy", "arc_challenge", "copa", "commonsense_qa", "piqa", "openbook_qa",
    "lambada_openai", "hellaswag", "winograd", "winogrande", "bigbench_dyck_languages", "agi_eval_lsat_ar", "bigbench_cs_algorithms",
    "bigbench_operators", "bigbench_repeat_copy_logic", "squad", "coqa", "boolq", "bigbench_language_identification",
)  # fmt: skip
SHUFFLE_SEED, SHOT_SEED = 1337, 1234
FILES = {"hellaswag_zeroshot": ("hellaswag",), "jeopardy": ("jeopardy_all", "jeopardy"), "winograd": ("winograd_wsc", "winograd")}
"""Names of files that are not their label."""
ANSWER = "\nAnswer: "
SEPARATORS = dict.fromkeys(("jeopardy", "arc_easy", "arc_challenge", "piqa", "logi_qa", "boolq", "mmlu_fewshot", "gpqa_main", "gpqa_diamond"), ANSWER)
"""Between question and answer; a blank where none is said."""
_KINDS: dict[str, Kind] = {"multiple choice": "average", "schema": "average", "language modeling": "greedy"}


@dataclass(frozen=True)
class Entry:
    """A line of DCLM's table."""

    form: str
    shots: int
    baseline: float
    """Chance, 0 to 1."""


def table(data: Data) -> dict[str, Entry]:
    """DCLM's table, of the tasks of the three forms."""
    rows = data.asked(("eval_meta_data",), ()).rows
    found = {}
    for row in rows:
        form = row.text("Task Type")
        if form in _KINDS:
            try:
                found[row.text("Eval Task")] = Entry(form, int(row.text("#shots")), float(row.text("Random baseline")) / 100)
            except ValueError:
                raise row.wrong("`#shots` or `Random baseline` is no number") from None
    return found


def core(data: Data, labels: tuple[str, ...] = CORE) -> tuple[list[Task], list[str]]:
    """The tasks whose files are there, and the labels of those that are not."""
    entries, tasks, missing = table(data), [], []
    for label in labels:
        if label not in entries:
            raise RequestError(f"no task {label} of a form that is read", where="the table of CORE's tasks", do=f"Name one of {', '.join(sorted(entries))}.")
        try:
            path = data.all(FILES.get(label, (label,)), (), asked=True)[0]
        except MissingError:
            missing.append(label)
        else:
            tasks.append(gauntlet(label, read(path), entries[label]))
    return tasks, missing


def gauntlet(label: str, rows: list[Row], entry: Entry) -> Task:
    """A task of the table from its rows."""
    rows = list(rows)
    random.Random(SHUFFLE_SEED).shuffle(rows)
    if entry.shots >= len(rows):
        raise rows[0].wrong(f"{entry.shots} examples are to be drawn from {len(rows)} items, the asked one apart", "Take a larger file.")
    separator = SEPARATORS.get(label, " ")
    requests, solved, gold = _FORMS[entry.form]
    items = []
    for place, row in enumerate(rows):
        others = random.Random(SHOT_SEED + place).sample(range(len(rows) - 1), entry.shots)  # places among all rows but this one
        before = "".join(f"{solved(rows[other + (other >= place)], separator)}\n\n" for other in others)
        items.append(Item(row.name, requests(row, before, separator), (gold(row),)))
    return Task(label, _KINDS[entry.form], items, ("acc",), entry.shots, (rows[0].file,), baseline=entry.baseline, pairing="common")


def _choice(row: Row, before: str, separator: str) -> tuple[Request, ...]:
    context = f"{before}{row.text('query')}{separator}"
    return tuple(Request(context, choice) for choice in row.texts("choices"))


def _solved_choice(row: Row, separator: str) -> str:
    choices = row.texts("choices")
    return f"{row.text('query')}{separator}{choices[row.place('gold', len(choices))]}"


def _schema(row: Row, before: str, separator: str) -> tuple[Request, ...]:
    return tuple(Request(f"{before}{option}", f"{separator}{row.text('continuation')}") for option in row.texts("context_options"))


def _solved_schema(row: Row, separator: str) -> str:
    options = row.texts("context_options")
    return f"{options[row.place('gold', len(options))]}{separator}{row.text('continuation')}"


def _language(row: Row, before: str, separator: str) -> tuple[Request, ...]:
    without = f"{before}{row.text('context').strip()}{separator}"
    context = without.strip()  # a blank at its end would become part of the ending's first token
    return (Request(context, f"{without[len(context) :]}{row.text('continuation')}"),)


def _solved_language(row: Row, separator: str) -> str:
    return f"{row.text('context').strip()}{separator}{row.text('continuation')}"


Form = tuple[Callable[[Row, str, str], tuple[Request, ...]], Callable[[Row, str], str], Callable[[Row], int]]
_FORMS: dict[str, Form] = {
    "multiple choice": (_choice, _solved_choice, lambda row: row.place("gold", len(row.texts("choices")))),
    "schema": (_schema, _solved_schema, lambda row: row.place("gold", len(row.texts("context_options")))),
    "language modeling": (_language, _solved_language, lambda row: 0),
}
