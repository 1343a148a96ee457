"""Tasks of two answers: PIQA, WinoGrande, BoolQ, COPA, BLiMP.

    PIQA        Question: How do I ready a guinea pig cage?\\nAnswer:        | one way | another           physical sense
    WinoGrande  Sarah was a better surgeon than Maria so | Sarah | Maria    | always got the easier cases.  whom is it about
    BoolQ       a passage\\nQuestion: is it so?\\nAnswer:                     | no | yes
    COPA        The man turned on the faucet therefore                      | one effect | another
    BLiMP       (nothing)                                                   | a good sentence | a bad one   grammar

WinoGrande puts the answers into the context and asks how well the same ending follows (partial evaluation, Trinh & Le 2018, arXiv
1806.02847). COPA has two blanks before its answers in lm-eval, and so here. Rows are the hub's, or the gauntlet's where it has the task.
Papers: 1911.11641, 1907.10641, 1905.10044, Roemmele et al. 2011, 1912.00582.
"""

from __future__ import annotations

from collections.abc import Callable

from groundup.errors import RequestError
from groundup.evaluation.tasks.few_shot import Shots
from groundup.evaluation.tasks.item import Item, Metric, Request, Task, choice_item
from groundup.evaluation.tasks.rows import TRAIN, VALIDATION, Data, Row, read

Two = tuple[str, list[str], int]
"""Context, answers, which is right."""
_CONNECTORS = {"cause": "because", "effect": "therefore"}


def piqa(data: Data, shots: int) -> Task:
    """PIQA."""
    return _task("piqa", ("piqa",), data, shots, _piqa, ("acc_norm", "acc", "acc_bytes", "gold_probability"))


def boolq(data: Data, shots: int) -> Task:
    """BoolQ; six of ten answers are yes, so a model that always says so gets 0.62."""
    return _task("boolq", ("boolq",), data, shots, _boolq, ("acc", "gold_probability"))


def copa(data: Data, shots: int) -> Task:
    """COPA."""
    return _task("copa", ("copa",), data, shots, _copa, ("acc", "gold_probability"))


def _task(name: str, names: tuple[str, ...], data: Data, shots: int, two: Callable[[Row], Two], metrics: tuple[Metric, ...]) -> Task:
    def solved(row: Row) -> str:
        context, choices, gold = two(row)
        return f"{context} {choices[gold]}"

    def item(row: Row, before: str) -> Item:
        context, choices, gold = two(row)
        return choice_item(row.name, before + context, choices, gold)

    return _asked(name, names, data, shots, solved, item, metrics)


def _asked(
    name: str, names: tuple[str, ...], data: Data, shots: int, solved: Callable[[Row], str], item: Callable[[Row, str], Item], metrics: tuple[Metric, ...]
) -> Task:  # fmt: skip
    """`item`: of a row and the examples before it."""
    asked = data.asked(names, VALIDATION)
    pool = data.examples(names, TRAIN) if shots else None
    examples = Shots(pool.rows if pool else [], solved, shots, spare=True)
    items = [item(row, examples.before(row)) for row in asked.rows]
    return Task(name, "choice", items, metrics, shots, (*asked.files, *(pool.files if pool else ())))


def _piqa(row: Row) -> Two:
    if row.has("query"):
        goal, choices, gold = row.text("query").removeprefix("Question: ").rstrip("\n"), _pair(row), row.place("gold", 2)
    else:
        goal, choices, gold = row.text("goal"), [row.text("sol1"), row.text("sol2")], row.place("label", 2)
    return f"Question: {goal}\nAnswer:", choices, gold


def _boolq(row: Row) -> Two:
    if row.has("query"):
        passage, mark, question = row.text("query").removeprefix("Passage: ").rpartition("\nQuestion: ")
        if not mark:
            raise row.wrong("`query` has no line that begins with `Question: `")
        context, gold = f"{passage}\nQuestion: {question}\nAnswer:", row.place("gold", 2)
    else:
        context = f"{row.text('passage')}\nQuestion: {row.text('question')}?\nAnswer:"
        gold = row.place("label" if row.has("label") else "answer", 2)
    return context, ["no", "yes"], gold


def _copa(row: Row) -> Two:
    if row.has("query"):
        premise, comma, connector = row.text("query").rpartition(", ")
        if not comma or connector not in _CONNECTORS.values():
            raise row.wrong("`query` does not end with `, because` or `, therefore`")
        choices, gold = _pair(row), row.place("gold", 2)
    else:
        asked = row.text("question")
        if asked not in _CONNECTORS:
            raise row.wrong(f"`question` is {asked!r}, neither `cause` nor `effect`")
        premise, connector = row.text("premise").strip()[:-1], _CONNECTORS[asked]
        choices, gold = [row.text("choice1"), row.text("choice2")], row.place("label", 2)
    return f"{premise} {connector}", [f" {choice[0].lower()}{choice[1:]}" for choice in choices], gold


def winogrande(data: Data, shots: int) -> Task:
    """WinoGrande (XL); 5 shots on the later leaderboard."""

    def solved(row: Row) -> str:
        beginnings, ending, gold = _winogrande(row)
        return f"{beginnings[gold]} {ending}"

    def item(row: Row, before: str) -> Item:
        beginnings, ending, gold = _winogrande(row)
        requests = tuple(Request(before + beginning, f" {ending}") for beginning in beginnings)
        return Item(row.name, requests, (gold,), tuple(beginnings))

    return _asked("winogrande", ("winogrande_xl", "winogrande"), data, shots, solved, item, ("acc", "gold_probability"))


def _winogrande(row: Row) -> tuple[list[str], str, int]:
    if row.has("context_options"):
        return _pair(row, "context_options"), row.text("continuation"), row.place("gold", 2)
    before, blank, after = row.text("sentence").partition("_")
    if not blank or not after.strip():
        raise row.wrong("`sentence` needs a blank `_` with something after it")
    answer = row.text("answer")
    if answer not in ("1", "2"):
        raise row.wrong(f"`answer` is {answer!r}, neither 1 nor 2")
    return [before + row.text("option1"), before + row.text("option2")], after.strip(), int(answer) - 1


def _pair(row: Row, name: str = "choices") -> list[str]:
    found = row.texts(name)
    if len(found) != 2:
        raise row.wrong(f"`{name}` has {len(found)} answers instead of two")
    return found


def blimp(data: Data, shots: int) -> Task:
    """BLiMP: is the good sentence the likelier one? All paradigms there are; quoted is the mean over them."""
    files = data.all(("blimp",), TRAIN, asked=True)
    if shots:
        raise RequestError("BLiMP is asked without examples", where="blimp", do="Set its shots to 0.")
    items = []
    for row in (row for path in files for row in read(path)):
        group = row.text("UID") if row.has("UID") else row.file.name.split(".")[0]
        items.append(choice_item(row.name, "", [row.text("sentence_good"), row.text("sentence_bad")], 0, group))
    return Task("blimp", "choice", items, ("acc", "gold_probability"), 0, tuple(files), macro=True)
