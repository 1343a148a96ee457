"""HellaSwag: which ending goes on from here? (Zellers et al. 2019, arXiv 1905.07830)

    Pole vault: Pole vault is a sport where you run with a pole and stop and swing your body. A few women
        are in the gym practicing to do this pole vault, trying to do their best.

The texts of WikiHow came with marks of their layout; these are taken out as lm-eval does: ` [title]` becomes a full stop, what stands in
square brackets goes, and two blanks become one. The Leaderboard asks the validation split after 10 examples of the training split.
"""

from __future__ import annotations

import re

from groundup.evaluation.tasks.few_shot import Shots
from groundup.evaluation.tasks.item import Task, choice_item
from groundup.evaluation.tasks.rows import TRAIN, VALIDATION, Data, Row

NAMES = ("hellaswag",)
_BRACKETS = re.compile(r"\[.*?\]")


def hellaswag(data: Data, shots: int) -> Task:
    """HellaSwag; 10 shots on the leaderboard."""
    asked = data.asked(NAMES, VALIDATION)
    pool = data.examples(NAMES, TRAIN) if shots else None
    examples = Shots(pool.rows if pool else [], _solved, shots, spare=True)
    items = []
    for row in asked.rows:
        context, endings, gold = _read(row)
        items.append(choice_item(row.name, examples.before(row) + context, endings, gold))
    files = (*asked.files, *(pool.files if pool else ()))
    return Task("hellaswag", "choice", items, ("acc_norm", "acc", "acc_bytes", "gold_probability"), shots, files)


def _solved(row: Row) -> str:
    context, endings, gold = _read(row)
    return f"{context} {endings[gold]}"


def _read(row: Row) -> tuple[str, list[str], int]:
    # capitalize: the first letter large, and all others small, be they names; so it is in every published score
    beginning = f"{row.text('ctx_a', empty=True)} {row.text('ctx_b', empty=True).capitalize()}"
    endings = [plain(ending) for ending in row.texts("endings")]
    if "" in endings:
        raise row.wrong(f"ending {endings.index('') + 1} has nothing but marks in brackets")
    return plain(f"{row.text('activity_label')}: {beginning}"), endings, row.place("label", len(endings))


def plain(text: str) -> str:
    """Without WikiHow's marks."""
    return _BRACKETS.sub("", text.strip().replace(" [title]", ". ")).replace("  ", " ")
