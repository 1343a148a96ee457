"""Suites and tasks put to a model: what is there and what is not, means, the time, what stands in the training text, two models side by side."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from groundup.errors import RequestError
from groundup.evaluation import exam, table
from groundup.evaluation.contamination import contaminated
from groundup.evaluation.exam import Limits, read_papers, sit
from groundup.evaluation.scoring import mean_of_means, quoted
from groundup.evaluation.subject import Subject, of_model
from groundup.evaluation.writer import Written, write
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only

NAMES = ("oxygen", "iron", "salt", "water", "gold", "sand", "chalk", "tin")


@pytest.fixture(scope="module")
def subject() -> Subject:
    words = Tokenizer(bytes_only())
    config = ModelConfig(vocabulary=words.size, context=512, layers=1, width=16, heads=2, kv_heads=1, feedforward=32, init_std=0.5)
    return of_model(build(config, seed=0).eval(), words, "small", "run")


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def question(number: int) -> str:
    draw = random.Random(number)
    return " ".join("".join(draw.choices("abcdefghijkl", k=6)) for _ in range(20)) + "?"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard of small files; HellaSwag is missing."""
    folder = tmp_path_factory.mktemp("eval")

    def arc(number: int) -> dict[str, Any]:
        return {"question": question(number), "choices": {"text": list(NAMES[:4]), "label": list("ABCD")}, "answerKey": "ABCD"[number % 4]}

    lines(folder / "arc_challenge/test.jsonl", [arc(number) for number in range(30)])
    lines(folder / "arc_challenge/train.jsonl", [arc(number) for number in range(100, 130)])
    for subject in ("astronomy", "virology"):
        rows = [{"question": f"{subject} {number}?", "choices": list(NAMES[4:]), "answer": number % 4, "subject": subject} for number in range(9)]
        lines(folder / f"mmlu/{subject}/test.jsonl", rows[:4] if subject == "virology" else rows)
        lines(folder / f"mmlu/{subject}/dev.jsonl", rows[:5])
    targets = {"choices": ["yes", "no", "perhaps"], "labels": [1, 0, 0]}
    lines(folder / "truthfulqa/validation.jsonl", [{"question": f"Is it {number}?", "mc1_targets": targets, "mc2_targets": targets} for number in range(6)])
    lines(folder / "gsm8k/test.jsonl", [{"question": f"{n} + 1?", "answer": f"so\n#### {n + 1}"} for n in range(5)])
    return folder


def test_a_suite_without_one_of_its_tasks_has_no_mean(subject: Subject, data: Path) -> None:
    (paper,) = read_papers(["open-llm-v1"], data=data, shots=2)
    assert paper.missing == ["hellaswag"] and [task.name for task in paper.tasks] == ["arc_challenge", "mmlu", "truthfulqa_mc1", "truthfulqa_mc2"]
    assert [task.shots for task in paper.tasks] == [2, 2, 0, 0]
    found = exam.as_json(sit([paper], subject))
    assert found["suites"] == [{"suite": "open-llm-v1", "mean": None, "standard_error": None, "rows": [0, 1, 2, 3], "missing": ["hellaswag"]}]
    said = table.as_text(found)
    assert "no mean; not there: hellaswag" in said and "acc_by_group" in said and json.loads(json.dumps(found)) == found


def test_a_whole_suite_has_the_mean_of_what_is_quoted(subject: Subject, data: Path, tmp_path: Path) -> None:
    swag = [{"activity_label": "Cooking", "ctx_a": f"Number {n} is put on the", "ctx_b": "", "endings": list(NAMES[:4]), "label": n % 4} for n in range(20)]
    lines(tmp_path / "hellaswag/validation.jsonl", swag)
    for folder in ("arc_challenge", "mmlu", "truthfulqa"):
        shutil.copytree(data / folder, tmp_path / folder)
    (marked,) = sit(read_papers(["open-llm-v1"], data=tmp_path, shots=0), subject)
    counted = [one for one in marked.measured if one.task.name != "truthfulqa_mc1"]
    assert len(counted) == 4 and marked.mean == mean_of_means([one.figures()[quoted(one.task)] for one in counted])


def test_time_and_number_of_items_are_kept(subject: Subject, data: Path) -> None:
    papers = read_papers(["arc_challenge", "mmlu"], data=data, shots=0)
    few = sit(papers, subject, Limits(items=7))
    assert [len(one.measured[0].results) for one in few] == [7, 7]
    more = sit(papers, subject, Limits(items=11))
    places = [[{result.place for result in one.measured[0].results} for one in its] for its in (few, more)]
    assert all(one < other for one, other in zip(*places, strict=True)), "a larger sample holds the smaller one"
    begun = time.monotonic()
    found = sit(papers * 40, subject, Limits(seconds=0.0))
    assert all(len(one.measured[0].results) == 8 for one in found) and time.monotonic() - begun < 20


def test_what_the_model_writes(subject: Subject, data: Path, tmp_path: Path) -> None:
    lines(tmp_path / "mine.jsonl", [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(4)])
    found = exam.as_json(sit(read_papers(["gsm8k"], [tmp_path / "mine.jsonl"], data, shots=0), subject))
    assert [(row["task"], row["metric"], row["n"]) for row in found["rows"]] == [("gsm8k", "exact_match", 5), ("mine", "exact_match", 4)]


def test_code_is_run_on_request_alone(subject: Subject, tmp_path: Path) -> None:
    lines(tmp_path / "humaneval/test.jsonl", [{"task_id": "0", "prompt": "def one():\n", "entry_point": "one", "test": "def check(f):\n    pass\n"}])
    papers = read_papers(["humaneval"], data=tmp_path)
    with pytest.raises(RequestError, match="--run-code"):
        sit(papers, subject)
    rows = [{"task_id": str(n), "prompt": "def double(x):\n", "entry_point": "double", "test": f"def check(f):\n    assert f({n}) == {2 * n}\n"} for n in range(4)]
    lines(tmp_path / "other/humaneval/test.jsonl", rows)
    ((task,),) = [paper.tasks for paper in read_papers(["humaneval"], data=tmp_path / "other")]

    class Squares:
        def write(self, prompts: Sequence[str], until: Sequence[str], max_tokens: int) -> list[Written]:
            assert "\ndef" in until and all(prompt == "def double(x):\n" for prompt in prompts)
            return [Written("    return x * x\n", False) for _ in prompts]

    measured = write(task, Squares(), run_code=True)
    assert [result.values["pass_at_1"] for result in measured.results] == [1.0, 0.0, 1.0, 0.0]  # 0 and 2 alone are half of their squares


@pytest.mark.parametrize(
    ("names", "words"), [(["nothing"], "no suite or task is called 'nothing'"), (["piqa"], "no validation split of piqa"), (["zero-shot"], "")], ids=str
)
def test_what_is_not_there(data: Path, names: list[str], words: str) -> None:
    if words:
        with pytest.raises(RequestError, match=words):
            read_papers(names, data=data)
        with pytest.raises(RequestError, match="where are the tasks' files" if names != ["nothing"] else words):
            read_papers(names)
    else:
        assert len(read_papers(names, data=data)[0].missing) == 8


def test_items_in_the_training_text_are_found_and_counted_apart(subject: Subject, data: Path) -> None:
    marked = sit(read_papers(["arc_challenge", "truthfulqa_mc1"], data=data, shots=3), subject)
    texts = ["Nothing of that kind stands here, only words about the weather and the sea. " * 5, f"Before. {question(4)} After it some more.", question(17)]
    exam.search(marked, lambda tasks: contaminated(tasks, texts))
    arc, truthful = exam.as_json(marked)["rows"]
    assert marked[0].measured[0].contaminated == {4, 17}
    values = [result.values["acc_norm"] for result in marked[0].measured[0].results]
    assert arc["contamination"]["items"] == 2 and arc["contamination"]["score_of_hits"] == pytest.approx((values[4] + values[17]) / 2)
    assert arc["contamination"]["score_without_hits"] == pytest.approx((sum(values) - values[4] - values[17]) / 28)
    assert truthful["contamination"]["items"] == 0 and truthful["contamination"]["score_without_hits"] == truthful["score"]
    assert "2 of 30 items stand in the training text" in table.as_text(exam.as_json(marked))


def test_two_models_item_by_item(subject: Subject, data: Path) -> None:
    words = Tokenizer(bytes_only())
    other = of_model(build(ModelConfig(vocabulary=words.size, context=512, layers=1, width=16, heads=2, kv_heads=1, feedforward=32, init_std=0.5), seed=5).eval(), words, "o", "run")
    found = []
    for one in (subject, other):
        marked = sit(read_papers(["arc_challenge", "mmlu"], data=data, shots=1), one)
        found.append({**exam.as_json(marked), "items": exam.item_values(marked)})
    rows = table.against(*found)
    assert [(row["task"], row["n"]) for row in rows] == [("arc_challenge", 30), ("mmlu", 13)]
    for row, mine, its in zip(rows, found[0]["rows"], found[1]["rows"], strict=True):
        name = row["metric"]
        assert row["difference"] == pytest.approx(mine["figures"][name]["value"] - its["figures"][name]["value"])
        assert row["interval"][0] <= row["difference"] <= row["interval"][1]
    assert "mmlu" in table.against_as_text(rows)
    found[1]["rows"][0]["prompt_hash"] = "another"
    with pytest.raises(RequestError, match="other prompts"):
        table.against(*found)
    with pytest.raises(RequestError, match="not the result of an evaluation"):
        table.against(found[0], {"bits_per_byte": 1.0})


def test_core_over_what_is_there(subject: Subject) -> None:
    public = next((parent / "shared/data/eval" for parent in Path(__file__).resolve().parents if (parent / "shared/data/eval").is_dir()), None)
    if public is None:
        pytest.skip("needs ../shared/data/eval beside this clone")
    (marked,) = sit(read_papers(["core"], data=public), subject, Limits(items=3))
    found = exam.as_json([marked])["suites"][0]
    assert len(marked.measured) == 10 and len(found["missing"]) == 12
    centred = [(one.figures()["acc"].value - one.task.chance) / (1 - one.task.chance) for one in marked.measured]
    assert found["mean"] == pytest.approx(sum(centred) / 10)
    with pytest.raises(RequestError, match="their own numbers of examples"):
        read_papers(["core"], data=public, shots=1)


def test_the_same_question_twice_in_a_file_is_found_twice(tmp_path: Path) -> None:
    rows = [{"context": question(n), "choices": [f"one {n}", f"two {place}"], "gold": 0} for place, n in enumerate((1, 2, 1, 3, 1))]
    lines(tmp_path / "mine.jsonl", rows)
    ((task,),) = [paper.tasks for paper in read_papers([], [tmp_path / "mine.jsonl"])]
    assert contaminated([task], [f"It was asked: {question(1)}"]) == [{0, 2, 4}]
    assert contaminated([task], ["Nothing."]) == [frozenset()]
    lines(tmp_path / "short.jsonl", [{"context": "a b", "choices": ["c", "d"], "gold": 0}])
    ((short,),) = [paper.tasks for paper in read_papers([], [tmp_path / "short.jsonl"])]
    assert contaminated([short, task], [question(3)]) == [frozenset(), {3}] and contaminated([short], [question(3)]) == [frozenset()]
