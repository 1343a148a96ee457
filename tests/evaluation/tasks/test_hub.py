"""Files from the hub: fetched only where allowed and missing, found by the readers, whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from groundup import recipe as recipes
from groundup.errors import GroundupError, RequestError
from groundup.evaluation import exam, of_build
from groundup.evaluation.tasks.catalogue import READERS, WITHOUT_SHOTS
from groundup.evaluation.tasks.hub import DATA_SETS
from groundup.evaluation.tasks.rows import Data, MissingError

SHARD = "-00000-of-00001.parquet"
SCIENCE = {"choices": {"text": ["so", "not"], "label": ["A", "B"]}, "answerKey": "B"}
LETTERS = {"question": "Which?", "choices": ["p", "q", "r", "s"], "answer": 3}
TRUE = {"choices": ["yes", "no"], "labels": [1, 0]}
ENDING = {"activity_label": "Ice", "ctx_a": "A man scrapes.", "ctx_b": "then he", "endings": ["stops.", "goes on."], "label": "1"}
HUB: dict[str, tuple[str, dict[str, Any]]] = {
    "allenai/ai2_arc": ("ARC-Challenge/train ARC-Challenge/test ARC-Easy/train ARC-Easy/test", {"question": "Why?", **SCIENCE}),
    "nyu-mll/blimp": ("adjunct_island/train wh_island/train", {"sentence_good": "I go.", "sentence_bad": "I goes.", "UID": "x"}),
    "openai/gsm8k": ("main/train main/test socratic/test", {"question": "2 + 2?", "answer": "2 + 2 = 4\n#### 4"}),
    "Rowan/hellaswag": ("data/train data/validation data/test", ENDING),
    "openai/openai_humaneval": ("openai_humaneval/test", {"task_id": "H/0", "prompt": "def f():\n", "test": "def check(f): pass", "entry_point": "f", "canonical_solution": "    pass\n"}),
    "EleutherAI/lambada_openai": ("data/lambada_test.jsonl data/lambada_test_de.jsonl", {"text": "I care about signs"}),
    "cimec/lambada": ("plain_text/train plain_text/test plain_text/validation", {"text": "I care about signs"}),
    "cais/mmlu": ("all/test all/dev all/auxiliary_train astronomy/test", {**LETTERS, "subject": "astronomy"}),
    "allenai/openbookqa": ("main/train main/test additional/test", {"question_stem": "The sun is", **SCIENCE}),
    "baber/piqa": ("piqa_train.parquet piqa_validation.parquet", {"goal": "Rest?", "sol1": "Sit.", "sol2": "Run.", "label": 0}),
    "truthfulqa/truthful_qa": ("generation/validation multiple_choice/validation", {"question": "Is it?", "mc1_targets": TRUE, "mc2_targets": TRUE}),
    "allenai/winogrande": ("winogrande_xl/train winogrande_xl/validation winogrande_s/train", {"sentence": "Ann fed Bo so _ ate.", "option1": "Ann", "option2": "Bo", "answer": "2"}),
}  # fmt: skip
"""Files and a row of each data set as the hub has them; of super_glue each task has rows of its own."""
GLUE = {"boolq": {"passage": "It is.", "question": "is it", "label": 1}, "copa": {"premise": "He came.", "question": "cause", "choice1": "He could.", "choice2": "It rained.", "label": 0}}


def hub() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Data set, file and row."""
    for repo, (names, row) in HUB.items():
        for name in names.split():
            yield repo, name if "." in name else name + SHARD, row
    for task, row in GLUE.items():
        for split in ("train", "validation"):
            yield "aps/super_glue", f"{task}/{split}{SHARD}", row


class Client:
    """Stands for the hub's client; notes what it was asked for."""

    def __init__(self, breaks: Callable[[Path], None] = lambda folder: None) -> None:
        self.asked: list[str] = []
        self.breaks = breaks

    def snapshot_download(self, *, repo_id: str, repo_type: str, allow_patterns: list[str], local_dir: Path) -> str:
        assert repo_type == "dataset" and not local_dir.exists()
        self.asked.append(repo_id)
        for repo, name, row in hub():
            if repo == repo_id and any(fnmatch(name, pattern) for pattern in allow_patterns):
                path = local_dir / name
                path.parent.mkdir(parents=True, exist_ok=True)
                rows = pa.Table.from_pylist([{**row, "number": number} if repo != "cais/mmlu" else row for number in range(6)])
                if path.suffix == ".parquet":
                    parquet.write_table(rows, path)
                else:
                    path.write_text('{"text": "I care about signs"}\n' * 6)
                self.breaks(local_dir)
        (local_dir / ".cache" / "huggingface").mkdir(parents=True)
        return str(local_dir)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    one = Client()
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=one.snapshot_download))
    return one


@pytest.mark.parametrize("task", READERS)
def test_every_task_is_found_where_its_files_land_and_fetched_once(task: str, client: Client, tmp_path: Path) -> None:
    shots = None if task in (*WITHOUT_SHOTS, "blimp") else 2
    folder = tmp_path / "eval"
    ((fetched,),) = [paper.tasks for paper in exam.read_papers([task], data=folder, shots=shots, hub=True)]
    assert len(fetched.items) == (12 if task == "blimp" else 6) and client.asked == [DATA_SETS[task].repo]
    assert all(path.is_relative_to(folder / DATA_SETS[task].repo.split("/")[1] / task) for path in fetched.files)
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
    ((again,),) = [paper.tasks for paper in exam.read_papers([task], data=folder, shots=shots)]
    assert again.prompt_hash == fetched.prompt_hash and len(client.asked) == 1


def test_tasks_of_one_data_set_and_of_a_suite(client: Client, tmp_path: Path) -> None:
    (paper,) = exam.read_papers(["open-llm-v1"], data=tmp_path, shots=1, hub=True)
    assert len(paper.tasks) == 5 and not paper.missing
    assert client.asked == ["allenai/ai2_arc", "Rowan/hellaswag", "cais/mmlu", "truthfulqa/truthful_qa"]  # both of TruthfulQA's from one
    exam.read_papers(["arc_easy"], data=tmp_path, hub=True)
    assert client.asked[4:] == ["allenai/ai2_arc"]


def test_without_leave_nothing_is_fetched(client: Client, tmp_path: Path, put) -> None:
    with pytest.raises(MissingError, match="no test split of arc_easy"):
        exam.read_papers(["arc_easy"], data=tmp_path)
    put("arc_easy/test.jsonl", [{"question": "Why?", **SCIENCE}])
    assert exam.read_papers(["arc_easy"], data=tmp_path / "tasks", hub=True) and client.asked == []  # what is there is taken


def test_a_recipe_says_so(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    path.write_text("name: it\nsources: [{kind: files, path: texts}]\nevaluation: {tasks: [arc_easy], data: eval}\n")
    (tmp_path / "eval").mkdir()
    with pytest.raises(MissingError):
        of_build.papers(recipes.load(path))
    assert client.asked == []
    of_build.papers(recipes.load(path, ["evaluation.hub=true"]))
    assert client.asked == ["allenai/ai2_arc"] and (tmp_path / "eval/ai2_arc/arc_easy/ARC-Easy").is_dir()


def test_what_was_lost_is_fetched_again(client: Client, tmp_path: Path) -> None:
    exam.read_papers(["hellaswag"], data=tmp_path, shots=1, hub=True)
    train = next(tmp_path.rglob("train*"))
    train.unlink()
    exam.read_papers(["hellaswag"], data=tmp_path, shots=0, hub=True)
    assert len(client.asked) == 1
    exam.read_papers(["hellaswag"], data=tmp_path, shots=1, hub=True)
    assert len(client.asked) == 2 and train.is_file()


def test_a_broken_download_leaves_nothing(client: Client, tmp_path: Path) -> None:
    def breaks(folder: Path) -> None:
        assert not Data(tmp_path)._listed  # while it comes nothing is to be seen
        raise ConnectionError("Cannot reach\nthe hub")

    client.breaks = breaks
    with pytest.raises(GroundupError, match="the files of blimp could not be fetched: Cannot reach the hub") as caught:
        exam.read_papers(["tiny"], data=tmp_path, hub=True)
    assert f"put */train-*.parquet of the data set nyu-mll/blimp under {tmp_path} by hand" in str(caught.value)
    assert not isinstance(caught.value, RequestError) and list(tmp_path.iterdir()) == []


def test_what_cannot_be(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HUB, "baber/piqa", ("other.json", {}))
    with pytest.raises(GroundupError, match=r"has no files \*\.parquet"):
        exam.read_papers(["piqa"], data=tmp_path, hub=True)
    (tmp_path / "mine.jsonl").write_text("{}\n")
    with pytest.raises(RequestError, match="fetched into a folder"):
        exam.read_papers(["piqa"], data=tmp_path / "mine.jsonl", hub=True)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RequestError, match="not installed") as caught:
        exam.read_papers(["piqa"], data=tmp_path, hub=True)
    assert "groundup[eval]" in str(caught.value) and "by hand" in str(caught.value)


def test_every_task_has_a_data_set() -> None:
    assert DATA_SETS.keys() == READERS.keys()
