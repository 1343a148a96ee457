"""CORE's prompts, examples and table, held against nanochat's rules written out plainly; own tasks of the same forms."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from groundup.errors import RequestError
from groundup.evaluation.tasks import Data
from groundup.evaluation.tasks.core import CORE, core, table
from groundup.evaluation.tasks.jsonl import own_task

HEADER = "Eval Task,Task Category,Task Type,#shots,#datapoints,Random baseline,Centered Metric?,Description\n"


def write_table(folder: Path, lines: str) -> Data:
    (folder / "dclm_core_eval_meta_data.csv").write_text(HEADER + lines)
    return Data(folder)


def test_choices_with_drawn_examples(put, tmp_path: Path) -> None:
    rows = [{"query": f"Question: {n}?", "choices": [f"a{n}", f"b{n}"], "gold": n % 2} for n in range(6)]
    put("gauntlet/boolq.jsonl", rows)
    data = write_table(tmp_path / "tasks", "boolq,reading,multiple choice,2,6,62,,words\n")
    (task,), missing = core(data, ("boolq",))
    assert missing == [] and task.baseline == task.chance == 0.62 and task.kind == "average" and task.pairing == "common"
    shuffled = list(rows)
    random.Random(1337).shuffle(shuffled)
    for place, (row, item) in enumerate(zip(shuffled, task.items, strict=True)):
        drawn = random.Random(1234 + place).sample([one for other, one in enumerate(shuffled) if other != place], 2)
        before = "".join(f"{one['query']}\nAnswer: {one['choices'][one['gold']]}\n\n" for one in drawn)
        assert [request.context + request.continuation for request in item.requests] == [f"{before}{row['query']}\nAnswer: {choice}" for choice in row["choices"]]
        assert item.gold == (row["gold"],) and len({request.context for request in item.requests}) == 1


def test_schemas_and_language(put, tmp_path: Path) -> None:
    put("winograd_wsc.jsonl", [{"context_options": ["Ann so Ann", "Ann so Bo"], "continuation": "was glad.", "gold": 1}])
    put("coqa.jsonl", [{"context": " A text. ", "continuation": "yes"}])
    data = write_table(tmp_path / "tasks", "winograd,language,schema,0,1,50,,words\ncoqa,reading,language modeling,0,1,0,,words\ntriviaqa,x,question answering,3,1,0,,words\n")
    tasks, missing = core(data, ("winograd", "coqa"))
    assert missing == [] and [task.kind for task in tasks] == ["average", "greedy"]
    assert [(one.context, one.continuation) for one in tasks[0].items[0].requests] == [("Ann so Ann", " was glad."), ("Ann so Bo", " was glad.")]
    assert [(one.context, one.continuation) for one in tasks[1].items[0].requests] == [("A text.", " yes")]
    assert set(table(data)) == {"winograd", "coqa"}  # of the forms that are read


def test_what_is_missing_is_said(put, tmp_path: Path) -> None:
    put("copa.jsonl", [{"query": "q", "choices": ["a", "b"], "gold": 0}])
    data = write_table(tmp_path / "tasks", "copa,reasoning,multiple choice,0,100,50,,words\nsquad,reading,language modeling,10,10570,0,,words\n")
    tasks, missing = core(data, ("copa", "squad"))
    assert [task.name for task in tasks] == ["copa"] and missing == ["squad"]
    with pytest.raises(RequestError, match="no task jeopardy"):
        core(data, ("jeopardy",))
    write_table(tmp_path / "tasks", "copa,reasoning,multiple choice,1,100,50,,words\n")
    with pytest.raises(RequestError, match="1 examples are to be drawn from 1 items"):
        core(data, ("copa",))
    write_table(tmp_path / "tasks", "copa,reasoning,multiple choice,none,100,50,,words\n")
    with pytest.raises(RequestError, match="is no number"):
        core(data, ("copa",))
    (tmp_path / "tasks" / "dclm_core_eval_meta_data.csv").unlink()
    with pytest.raises(RequestError, match="eval_meta_data"):
        core(Data(tmp_path / "tasks"), ("copa",))


def test_core_has_its_twenty_two_tasks(public: Path) -> None:
    data = Data(public)
    assert len(set(CORE)) == 22 and set(CORE) <= set(table(data))
    tasks, missing = core(data, ("copa", "winogrande", "openbook_qa", "lambada_openai", "jeopardy", "squad", "bigbench_cs_algorithms"))
    assert {task.name: len(task.items) for task in tasks} == {
        "copa": 100, "winogrande": 1267, "openbook_qa": 500, "lambada_openai": 8, "jeopardy": 16, "bigbench_cs_algorithms": 1320,
    }  # fmt: skip
    assert missing == ["squad"]


OWN = {
    "choice": {"context": "The capital is", "choices": ["Nairobi", "Mombasa"], "gold": 0},
    "schema": {"context_options": ["Ann so Ann", "Ann so Bo"], "continuation": "left.", "gold": 1},
    "greedy": {"context": "To be or not to", "continuation": "be"},
    "generate": {"question": "2 + 2?", "answer": "4"},
}


@pytest.mark.parametrize("form", OWN)
def test_own_tasks(put, tmp_path: Path, form: str) -> None:
    put("own.jsonl", [{**OWN[form], "n": n} for n in range(3)])
    task = own_task("mine", tmp_path / "tasks" / "own.jsonl", shots=1)
    first = task.items[0].requests[0]
    assert (first.context, first.continuation) == {
        "choice": ("The capital is Nairobi\n\nThe capital is", " Nairobi"),
        "schema": ("Ann so Bo left.\n\nAnn so Ann", " left."),
        "greedy": ("To be or not to be\n\nTo be or not to", " be"),
        "generate": ("Question: 2 + 2?\nAnswer: 4\n\nQuestion: 2 + 2?\nAnswer:", ""),
    }[form]
    assert task.kind == {"schema": "choice"}.get(form, form) and len(task.items) == 3 and task.name == "mine"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"context": "c", "choices": [], "gold": 0}], "`choices` has 0 answers"),
        ([{"context": "c", "choices": ["a", "b"], "gold": 2}], "must be from 0 to 1"),
        ([{"context": "c", "choices": ["a", "b"]}], "not the place of the right answer"),
        ([{"text": "c"}], "no form of task has the fields text"),
        ([OWN["choice"], OWN["generate"]], "item 2: it has another form than the first"),
        ([], "has no items"),
    ],
)
def test_malformed_own_tasks(put, tmp_path: Path, rows, said: str) -> None:
    put("own.jsonl", rows)
    with pytest.raises(RequestError, match=said):
        own_task("mine", tmp_path / "tasks" / "own.jsonl", shots=0)


def test_an_own_task_that_is_not_there() -> None:
    with pytest.raises(RequestError, match="no such file"):
        own_task("mine", Path("nowhere.jsonl"), 0)
