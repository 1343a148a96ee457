"""The public files as they are: every reader reads what is there of its task."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundup.errors import RequestError
from groundup.evaluation.tasks import Data, read_task

HAS = {
    "arc_easy": 2376, "boolq": 3270, "copa": 100, "gsm8k": 1319, "hellaswag": 1000, "humaneval": 164, "lambada_openai": 8, "openbookqa": 500, "piqa": 1838,
    "truthfulqa_mc1": 790, "truthfulqa_mc2": 790, "winogrande": 1267, "blimp": 35000,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(public: Path) -> Data:
    return Data(public)


@pytest.mark.parametrize("name", HAS)
def test_read(data: Data, name: str) -> None:
    task = read_task(name, data, shots=0)
    assert len(task.items) == HAS[name]
    assert all(item.requests for item in task.items) and all(place < len(item.requests) for item in task.items for place in item.gold)
    assert all(not context.endswith("\n") for item in task.items for context in [item.requests[0].context]) or name == "humaneval"


def test_what_is_not_there_is_said(data: Data) -> None:
    with pytest.raises(RequestError, match="no test split of mmlu"):
        read_task("mmlu", data, shots=5)
    with pytest.raises(RequestError, match="no train split of hellaswag"):
        read_task("hellaswag", data, shots=10)


def test_gsm8k_without_a_split_in_one_file_and_with_one_in_another(data: Data) -> None:
    """The gauntlet has it too, without naming a split: the file that says test is taken."""
    assert [path.name for path in read_task("gsm8k", data, shots=0).files] == ["gsm8k_test.jsonl.gz"]


def test_chance_where_most_answers_are_two(data: Data) -> None:
    assert read_task("piqa", data).chance == read_task("winogrande", data).chance == 0.5
    assert 0.2 < read_task("truthfulqa_mc1", data).chance < 0.3 < read_task("truthfulqa_mc2", data).chance < 0.6
