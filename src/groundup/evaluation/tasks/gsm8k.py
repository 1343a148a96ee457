"""GSM8K: word problems of primary school, worked out step by step (Cobbe et al. 2021, arXiv 2110.14168).

    Question: A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?
    Answer:   -> It takes 2/2=<<2/2=1>>1 bolt of white fiber ... #### 3

The model writes; its number is compared with the right one, twice: as the task's form asks for it (`exact_match`: what follows `####`),
and leniently (`exact_match_flexible`: the last number in the text). Commas, currency signs and a last full stop do not count.
"""

from __future__ import annotations

import re

from groundup.evaluation.tasks.few_shot import Shots
from groundup.evaluation.tasks.item import Item, Request, Task
from groundup.evaluation.tasks.rows import TEST, TRAIN, Data, Row

NAMES = ("gsm8k_main", "gsm8k")
UNTIL = ("Question:", "</s>", "<|im_end|>")
STRICT = re.compile(r"#### (-?[0-9.,]+)")
FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
NONE = "[invalid]"
"""The answer of a text that has none."""
_IGNORED = (re.compile(","), re.compile(r"\$"), re.compile(r"(?s).*#### "), re.compile(r"\.$"))


def gsm8k(data: Data, shots: int) -> Task:
    """GSM8K; 5 shots are usual."""
    asked = data.asked(NAMES, TEST)
    pool = data.examples(NAMES, TRAIN) if shots else None
    examples = Shots(pool.rows if pool else [], lambda row: " ".join(_read(row)), shots, spare=False)
    items = []
    for row in asked.rows:
        question, answer = _read(row)
        items.append(Item(row.name, (Request(examples.before(row) + question, ""),), answer=answer))
    files = (*asked.files, *(pool.files if pool else ()))
    return Task("gsm8k", "generate", items, ("exact_match", "exact_match_flexible"), shots, files, until=UNTIL, max_tokens=256)


def _read(row: Row) -> tuple[str, str]:
    if row.has("context", "chain_of_thought"):
        question, answer = row.text("context"), f"{row.text('chain_of_thought')}\n#### {row.text('answer')}"
    else:
        question, answer = row.text("question"), row.text("answer")
    if not STRICT.search(answer):
        raise row.wrong("`answer` has no `#### number` at its end")
    return f"Question: {question}\nAnswer:", answer


def strict(text: str) -> str:
    """The number that the task's form asks for: the first one after `####`."""
    found = STRICT.search(text)
    return found[1].strip() if found else NONE


def flexible(text: str) -> str:
    """The last number in the text."""
    found = FLEXIBLE.findall(text)
    return found[-1].strip() if found else NONE


def same_number(found: str, answer: str) -> bool:
    """Whether a number is the answer's, given with its reasoning."""
    return _bare(found) == _bare(answer)


def _bare(text: str) -> str:
    for ignored in _IGNORED:
        text = ignored.sub("", text)
    return text.lower()
