"""Every published shape is read to the same records, whatever it is packed in; a bad row is one error with file, row and remedy."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from groundup.dialogue.format.conversations import read_conversations, shape_of
from groundup.dialogue.format.preferences import read_labelled, read_rankings
from groundup.dialogue.format.record import Conversation, Labelled, Message, Ranking, order_problem
from groundup.errors import RequestError

USER, ASSISTANT = Message("user", "2 + 2?"), Message("assistant", "4")
SHAPES: dict[str, dict[str, Any]] = {
    "messages": {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]},
    "openchat": {"items": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]},
    "sharegpt": {"id": "x", "conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
    "openassistant": {"message_tree_id": "x", "prompt": {"text": "2 + 2?", "role": "prompter", "replies": [
        {"text": "5", "role": "assistant", "rank": 1, "replies": []},
        {"text": "4", "role": "assistant", "rank": 0, "replies": [{"text": "and 3 + 3?", "role": "prompter", "replies": []}]},
        {"text": "no", "role": "assistant", "rank": -1, "deleted": True, "replies": []},
    ]}},
    "alpaca": {"instruction": "2 + 2?", "input": "", "output": "4"},
    "dolly": {"instruction": "2 + 2?", "context": "", "response": "4", "category": "sums"},
    "self-instruct": {"instruction": "2 + 2?", "instances": [{"input": "", "output": "4"}, {"input": "x", "output": "y"}]},
    "hh-rlhf": {"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"},
    "prompt-answer": {"prompt": "2 + 2?", "completion": "4<|endoftext|>", "template": "t"},
}  # fmt: skip


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_says_the_same(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "x.jsonl", SHAPES[name])
    assert shape_of(SHAPES[name]).name == name
    assert list(read_conversations(path)) == [(1, Conversation((USER, ASSISTANT), None, "x.jsonl"))]


def test_instruction_and_input_system_history_weights_and_parts() -> None:
    def messages(row: dict[str, Any]) -> tuple[Message, ...]:
        return shape_of(row).read(row).messages

    assert messages({"instruction": "Spell.", "input": "frend", "output": "friend"})[0].content == "Spell.\n\nfrend"
    long = messages({"instruction": "c", "input": "", "output": "d", "system": "s", "history": [["a", "b"]]})
    assert [(m.role, m.content) for m in long] == [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    weighted = shape_of(SHAPES["openchat"]).read({
        "items": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0.1}], "condition": "GPT3", "system": "s",
    })  # fmt: skip
    assert weighted.condition == "GPT3" and [m.weight for m in weighted.messages] == [None, None, 0.1]
    assert weighted.messages[0] == Message("system", "s")
    parts = messages({"messages": [{"role": "user", "content": [{"type": "text", "value": "hi"}], "loss_weight": 0.0}, {"role": "assistant", "content": "ho"}]})
    assert parts[0] == Message("user", "hi", weight=0.0)
    frame = "Below is an instruction that describes a task. Write a response.\n\n### Instruction:\nwhat is it?\n\n### Response:\n"
    assert messages({"prompt": frame, "response": "that"})[0].content == "what is it?"
    turns = messages({"chosen": "\n\nHuman: a\n\nHuman: b\n\nAssistant: c", "rejected": ""})
    assert [m.content for m in turns] == ["a\n\nb", "c"]


def test_files_may_be_packed_arrays_or_tables(tmp_path: Path) -> None:
    rows = [SHAPES["alpaca"], SHAPES["sharegpt"]]
    lines = "".join(json.dumps(row) + "\n\n" for row in rows).encode()
    array = json.dumps(rows, indent=1).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "b.jsonl.bz2").write_bytes(bz2.compress(lines))
    (tmp_path / "c.jsonl.zst").write_bytes(pa.compress(lines, codec="zstd", asbytes=True))
    (tmp_path / "d.json").write_bytes(b"\xef\xbb\xbf" + array)
    (tmp_path / "e.json.gz").write_bytes(gzip.compress(array))
    (tmp_path / "f.json").write_bytes(lines)
    (tmp_path / "g.json").write_bytes(json.dumps({"data": rows}).encode())
    for path in sorted(tmp_path.iterdir()):
        found = list(read_conversations(path))
        assert [talk.messages for _, talk in found] == [(USER, ASSISTANT)] * 2, path.name
        assert [number for number, _ in found] == ([1, 3] if path.name[0] in "abcf" else [1, 2]), path.name
    (tmp_path / "h.csv").write_text('question,answer\n2 + 2?,4\n"a,\nb",c\n', encoding="utf-8")
    assert [(n, t.messages[0].content) for n, t in read_conversations(tmp_path / "h.csv")] == [(2, "2 + 2?"), (4, "a,\nb")]
    (tmp_path / "i.tsv").write_text("prompt\tcompletion\n2 + 2?\t4\n", encoding="utf-8")
    assert [t.messages for _, t in read_conversations(tmp_path / "i.tsv")] == [(USER, ASSISTANT)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not valid JSON"), ("3", "int instead of an object"), ('{"text": "x"}', "no known shape of conversation; the fields are text"),
        ('{"question": "q", "answer": " "}', "the answer has no text"), ('{"messages": 3}', "not a list"),
        ('{"messages": [{"role": "boss", "content": "x"}]}', "the role 'boss' is not known"), ('{"messages": []}', "the roles are none"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "the roles are user"),
        ('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x", "weight": -1}]}', "the weight -1"),
        ('{"conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]}', "the roles are assistant, user"),
        ('{"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "y"}]}', "'function_call' is not known"),
        ('{"instruction": "x", "output": null}', "the answer has no text"),
    ],
)  # fmt: skip
def test_a_bad_row_is_one_error_with_file_row_and_remedy(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(SHAPES["alpaca"]) + "\n\n" + line + "\n" + json.dumps(SHAPES["dolly"]) + "\n", encoding="utf-8")
    with pytest.raises(RequestError) as error:
        list(read_conversations(path))
    assert says in str(error.value) and error.value.where == f"{path}:3" and error.value.do
    bad: list[RequestError] = []
    assert [number for number, _ in read_conversations(path, bad)] == [1, 4]
    assert [says in one.what for one in bad] == [True]


def test_bad_files_are_errors(tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps(SHAPES["alpaca"]) + "\n" for _ in range(5000)).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "\xe9", "answer": "x"}\n')
    (tmp_path / "odd.csv").write_text("question,answer\na,b,c\n", encoding="utf-8")
    (tmp_path / "broken.json").write_text("[{}, ", encoding="utf-8")
    for name, says in (
        ("none.jsonl", "no such file"), ("x.parquet", "not a kind of file"), ("cut.jsonl.gz", "ends early or is damaged"), ("latin.jsonl", "not UTF-8"),
        ("odd.csv", "the header has 2 columns"), ("broken.json", "not valid JSON"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=says):
            list(read_conversations(tmp_path / name))


def test_preferences_of_every_shape(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": "4"}
    rows: list[dict[str, Any]] = [
        {"prompt": "2 + 2?", "answers": ["4", "5"], "ranks": [1, 2]},
        SHAPES["hh-rlhf"],
        {"prompt": "2 + 2?", "chosen": message, "rejected": {"from": "gpt", "value": "5"}},
        {"prompt": "2 + 2?", "chosen": [{"role": "user", "content": "2 + 2?"}, message], "rejected": "5"},
        {"chosen": [{"role": "user", "content": "2 + 2?"}, message], "rejected": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "5"}]},
        {"conversations": [{"from": "human", "value": "2 + 2?"}], "chosen": {"from": "gpt", "value": "4"}, "rejected": {"from": "gpt", "value": "5"}},
        {"instruction": "2 + 2?", "input": "", "output": "4", "chosen": "4", "rejected": "5"},
        {"question": "2 + 2?", "response_j": "4", "response_k": "5"},
        SHAPES["openassistant"],
    ]
    found = list(read_rankings(written(tmp_path / "p.jsonl", *rows)))
    assert [number for number, _ in found] == list(range(1, len(rows) + 1))
    for number, one in found:
        assert (one.prompt, one.answers, one.pairs) == ((USER,), ("4", "5"), [(0, 1)]), number


def test_rankings_know_their_pairs_and_ties() -> None:
    one = Ranking((USER,), ("a", "b", "c", "d"), (2, 1, 2, 3))
    assert one.pairs == [(0, 3), (1, 0), (1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "q", "chosen": "a"}, "no known shape of preference"), ({"prompt": "q", "answers": ["a", "b"]}, "`ranks` are not"),
        ({"prompt": "q", "answers": ["a", "b"], "ranks": [1, 1]}, "no answer is better"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: x\n\nAssistant: b"}, "part before the last answer"),
        ({"prompt": [{"role": "assistant", "content": "x"}], "chosen": "a", "rejected": "b"}, "of the prompt the roles are assistant"),
        ({"prompt": "q", "chosen": "a", "rejected": ""}, "the answer has no text"),
    ],
)  # fmt: skip
def test_bad_preferences(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        list(read_rankings(written(tmp_path / "p.jsonl", row)))


def test_labelled_answers(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "2 + 2?", "answer": "4", "good": True}, {"prompt": "2 + 2?", "completion": "4", "label": 1},
        {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}], "label": "true"},
    ]  # fmt: skip
    found = list(read_labelled(written(tmp_path / "k.jsonl", *rows)))
    assert [one for _, one in found] == [Labelled((USER,), "4", True, "k.jsonl")] * 3
    for row, says in (({"prompt": "q", "answer": "a"}, "the label None"), ({"answer": "a", "good": False}, "no prompt with an answer")):
        with pytest.raises(RequestError, match=says):
            list(read_labelled(written(tmp_path / "b.jsonl", row)))


def test_records_are_written_and_read_back(tmp_path: Path) -> None:
    talk = Conversation((Message("system", "s"), USER, Message("assistant", "é\n", weight=0.5)), "expert", "sums")
    ranking = Ranking((USER,), ("4", "5", "vier"), (1, 2, 1), "sums")
    labelled = Labelled((USER,), "5", False, "sums")
    (tmp_path / "a.jsonl").write_text(talk.to_json() + "\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(ranking.to_json() + "\n", encoding="utf-8")
    (tmp_path / "c.jsonl").write_text(labelled.to_json() + "\n", encoding="utf-8")
    assert list(read_conversations(tmp_path / "a.jsonl")) == [(1, talk)]
    assert list(read_rankings(tmp_path / "b.jsonl")) == [(1, ranking)]
    assert list(read_labelled(tmp_path / "c.jsonl")) == [(1, labelled)]


def test_the_order_of_speakers() -> None:
    system, user, assistant = Message("system", "s"), Message("user", "u"), Message("assistant", "a")
    for good in ((user, assistant), (system, user, assistant), (user, assistant, user, assistant)):
        assert order_problem(good) is None
    for bad in ((), (system,), (assistant,), (user,), (user, user, assistant), (user, assistant, system, user, assistant)):
        assert order_problem(bad)
    assert order_problem((system, user), last="user") is None and order_problem((user, assistant), last="user")
