"""Questions and answers in FastChat's files and in plain ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groundup.errors import RequestError
from groundup.evaluation.judge.questions import read_answers, read_questions


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_both_forms(tmp_path: Path) -> None:
    questions = write(tmp_path / "question.jsonl", [{"question_id": 81, "category": "math", "turns": ["One?", "Two?"]}, {"question": "Why?"}])
    references = write(tmp_path / "reference.jsonl", [{"question_id": 81, "choices": [{"turns": ["1", "2"]}]}])
    first, second = read_questions(questions, references)
    assert (first.name, first.turns, first.references, first.temperature) == ("81", ("One?", "Two?"), ("1", "2"), 0.0)
    assert (second.name, second.turns, second.references, second.temperature) == ("2", ("Why?",), (), 0.7)
    answers = write(tmp_path / "a.jsonl", [{"question_id": 81, "turns": ["x", ""]}, {"question_id": 2, "answer": "because"}])
    assert read_answers(answers) == {"81": ("x", ""), "2": ("because",)}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"question_id": 1, "turns": []}], "`turns` has 0"),
        ([{"question_id": 1, "question": "a"}, {"question_id": 1, "question": "b"}], "there twice"),
        ([{"text": "a"}], "no field `question`"),
    ],
)
def test_malformed_questions(tmp_path: Path, rows, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read_questions(write(tmp_path / "q.jsonl", rows))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"question_id": 1, "choices": []}], "no answer with `turns`"),
        ([{"question_id": 1, "turns": [3]}], "not a list of texts"),
        ([{"question_id": 1, "answer": "a"}] * 2, "answered twice"),
    ],
)
def test_malformed_answers(tmp_path: Path, rows, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read_answers(write(tmp_path / "a.jsonl", rows))
