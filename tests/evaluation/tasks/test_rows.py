"""Task files: found by their names in any of the usual layouts; whatever is wrong is said with file and place."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from groundup.errors import RequestError
from groundup.evaluation.tasks.rows import DEV, TEST, TRAIN, VALIDATION, Data, Row, read

ROW = {"question": "q", "answer": "a"}


def test_names_and_splits_are_found_in_every_layout(put, tmp_path: Path) -> None:
    for name in (
        "ARC-Challenge/train.jsonl", "ARC-Challenge/test.jsonl.gz", "hellaswag_val_1000.jsonl.gz", "gauntlet/world_knowledge/arc_easy.jsonl", "winogrande/winogrande_xl/train.jsonl",
        "winogrande/winogrande_s/train.jsonl",
    ):  # fmt: skip
        put(name, [{"name": name}])
    data = Data(tmp_path / "tasks")

    def named(rows) -> str:
        return rows.rows[0].values["name"]

    assert named(data.asked(("arc_challenge",), TEST)) == "ARC-Challenge/test.jsonl.gz"
    assert named(data.examples(("arc_challenge",), TRAIN)) == "ARC-Challenge/train.jsonl"
    assert named(data.asked(("hellaswag",), VALIDATION)) == "hellaswag_val_1000.jsonl.gz"
    assert named(data.asked(("arc_easy",), TEST)) == "gauntlet/world_knowledge/arc_easy.jsonl"
    assert named(data.examples(("winogrande_xl", "winogrande"), TRAIN)) == "winogrande/winogrande_xl/train.jsonl"
    with pytest.raises(RequestError, match=r"no train split of arc_easy .*ARC-Challenge/test\.jsonl\.gz"):
        data.examples(("arc_easy",), TRAIN)  # a file without a split is nothing to draw examples from


def test_shards_are_read_in_order_and_together(tmp_path: Path) -> None:
    folder = tmp_path / "piqa" / "plain_text"
    folder.mkdir(parents=True)
    for shard in (1, 0):
        parquet.write_table(pa.table({"n": [2 * shard, 2 * shard + 1]}), folder / f"validation-0000{shard}-of-00002.parquet")
    rows = Data(tmp_path).asked(("piqa",), VALIDATION)
    assert [row.values["n"] for row in rows.rows] == [0, 1, 2, 3] and len(rows.files) == 2


def test_one_file_is_what_is_asked_and_its_neighbours_have_the_examples(put, tmp_path: Path) -> None:
    put("piqa_mine.jsonl", [{"name": "mine"}])
    put("piqa_train.jsonl", [{"name": "train"}])
    data = Data(tmp_path / "tasks" / "piqa_mine.jsonl")
    assert data.asked(("anything",), TEST).rows[0].values["name"] == "mine"
    assert data.examples(("piqa",), TRAIN).rows[0].values["name"] == "train"


def test_all_files_of_a_split(put) -> None:
    put("mmlu_dev/astronomy_dev.jsonl", [ROW])
    data = put("mmlu_dev/virology_dev.jsonl", [ROW])
    assert [path.name for path in data.all(("mmlu",), DEV)] == ["astronomy_dev.jsonl", "virology_dev.jsonl"]
    with pytest.raises(RequestError, match="no test split of mmlu"):
        data.all(("mmlu",), TEST)


def test_csv_with_and_without_a_header(tmp_path: Path) -> None:
    columns = ("question", "one", "two", "answer")
    for name, text in (("with.csv", 'question,one,two,answer\n"q, ""r""\ns",1,one,A\n'), ("without.csv", '"q, ""r""\ns",1,one,A\n')):
        (tmp_path / name).write_text(text)
        assert read(tmp_path / name, columns)[0].values == {"question": 'q, "r"\ns', "one": "1", "two": "one", "answer": "A"}
    (tmp_path / "short.csv").write_text("question,a\nq,1\nq\n")
    with pytest.raises(RequestError, match=r"short\.csv, item 2: 1 columns instead of 2"):
        read(tmp_path / "short.csv")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("broken.jsonl", '{"a": 1}\n{"a": \n', r"broken\.jsonl, line 2: not JSON"),
        ("list.jsonl", "[1, 2]\n", r"item 1: not a record with fields but \[1, 2\]"),
        ("empty.jsonl", "\n\n", "has no items"),
        ("bytes.json", "\x00nonsense", "cannot be read"),
        ("table.parquet", "no parquet", "cannot be read"),
        ("words.txt", "a", "not a kind of task file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RequestError, match=said):
        read(tmp_path / name)


def test_a_missing_folder() -> None:
    with pytest.raises(RequestError, match="no such file or folder"):
        Data(Path("nowhere/at/all"))


@pytest.mark.parametrize(
    ("values", "call", "said"),
    [
        ({}, lambda row: row.text("a"), r"no field `a` \(there are none\)"),
        ({"a": ""}, lambda row: row.text("a"), "`a` is empty"),
        ({"a": 3}, lambda row: row.text("a"), "`a` is no text but 3"),
        ({"a": []}, lambda row: row.texts("a"), "`a` has 0 answers; at least 2"),
        ({"a": ["x"]}, lambda row: row.texts("a"), "`a` has 1 answer; at least 2"),
        ({"a": ["x", ""]}, lambda row: row.texts("a"), "an empty text at place 2"),
        ({"a": ["x", None]}, lambda row: row.texts("a"), "None at place 2"),
        ({"a": "xy"}, lambda row: row.texts("a"), "not a list of answers"),
        ({"a": 4}, lambda row: row.place("a", 4), "`a` is 4; with 4 answers it must be from 0 to 3"),
        ({"a": -1}, lambda row: row.place("a", 4), "`a` is -1; with 4"),
        ({"a": ""}, lambda row: row.place("a", 4), "hidden test sets"),
        ({"a": 1.5}, lambda row: row.place("a", 4), "not the place of the right answer"),
        ({"a": "b"}, lambda row: row.inside("a"), "not a record with fields"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_place(values, call, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        call(Row(values, Path("x/f.jsonl"), 7))
    assert "f.jsonl, item 7" in str(caught.value) and caught.value.do


def test_places_come_as_numbers_digits_and_truths() -> None:
    assert [Row({"a": value}, Path("f"), 1).place("a", 4) for value in (2, "3", True, False)] == [2, 3, 1, 0]
