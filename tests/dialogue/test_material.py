"""What the files of a chain hold: rows without a text are left out aloud, all else that cannot be read is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from grounds import write_rows

from groundup.dialogue import material
from groundup.errors import GroundupError, RequestError

GOOD = {"question": "2 + 2?", "answer": "4"}


def test_rows_in_which_somebody_says_nothing_are_left_out_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talks = write_rows(tmp_path / "talks.jsonl", [GOOD, {"instruction": "Say nothing.", "output": " "}, GOOD, {"question": "", "answer": "4"}])
    pairs = write_rows(tmp_path / "pairs.jsonl", [
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant:"},  # hh-rlhf has such
        {"prompt": "a", "chosen": "b", "rejected": "c"},
    ])  # fmt: skip
    labels = write_rows(tmp_path / "labels.jsonl", [{"prompt": "a", "answer": "b", "good": True}, {"prompt": "a", "answer": "", "good": False}])
    asked = write_rows(tmp_path / "asked.jsonl", [{"prompt": "a"}, {"prompt": " \n"}])
    for _ in range(2):
        assert [one.messages[-1].content for one in material.conversations([talks], None, None)[0]] == ["4", "4"]
        assert [one.answers for one in material.rankings([pairs])] == [("b", "c")]
        assert [one.answer for one in material.labelled([labels])] == ["b"]
        assert [one.prompt[0].content for one in material.tasks([asked], [])] == ["a"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and f"{talks}:2: the answer has no text; left out, 2 such in this file" in lines[0]  # once, not each time


def test_any_other_row_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    name = write_rows(tmp_path / "talks.jsonl", [GOOD, {"question": "", "answer": "4"}, {"question": "q", "answer": None}, GOOD])
    with pytest.raises(RequestError, match="the answer has no text") as error:
        material.conversations([name], None, None)
    assert error.value.where == f"{name}:3"
    with pytest.raises(GroundupError, match="no question-answer pairs"):
        material.conversations([write_rows(tmp_path / "none.jsonl", [{"question": "q", "answer": " "}])], None, None)
