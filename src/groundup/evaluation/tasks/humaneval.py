"""HumanEval: the head of a Python function; the model writes its body, and tests run it (Chen et al. 2021, arXiv 2107.03374).

What a model writes is run here only where that is asked for, in a process of its own with limits (`sandbox.py`): it is code that nobody
has read.
"""

from __future__ import annotations

from groundup.errors import RequestError
from groundup.evaluation.tasks.item import Item, Request, Task
from groundup.evaluation.tasks.rows import TEST, Data

NAMES = ("openai_humaneval", "humaneval", "human_eval")
UNTIL = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")


def humaneval(data: Data, shots: int) -> Task:
    """HumanEval; the greedy text alone, so that pass@1 is the share of functions that pass."""
    asked = data.asked(NAMES, TEST)
    if shots:
        raise RequestError("HumanEval is asked without examples", where="humaneval", do="Set its shots to 0.")
    items = [
        Item(row.name, (Request(row.text("prompt"), ""),), extra={"test": row.text("test"), "entry_point": row.text("entry_point")})
        for row in asked.rows
    ]
    return Task("humaneval", "generate", items, ("pass_at_1",), 0, asked.files, until=UNTIL, max_tokens=1024)


def program(item: Item, text: str) -> str:
    """What is run: the head, what the model wrote, the tests, and their call. It fails where it raises anything."""
    return f"{item.requests[0].context}{text}\n{item.extra['test']}\ncheck({item.extra['entry_point']})\n"
