"""What `groundup tokens show` prints: whole documents, pairs one by one, real batches."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from groundup.cli import app
from groundup.errors import RequestError
from groundup.tokens import show
from groundup.tokens.encoding import encode
from groundup.tokens.learning import train_tokenizer
from groundup.tokens.shards import TokenShards
from groundup.tokens.tokenizer import Tokenizer

TEXTS = ["To be, or not to be\nthat is the question. 国", "Whether 'tis nobler", "held out"]


@pytest.fixture
def run(build_clean):
    run, cleaned = build_clean([("a", "train", TEXTS[0]), ("b", "train", TEXTS[1]), ("c", "held-out", TEXTS[2])], kind="bytes")
    encode(run, cleaned, train_tokenizer(run, cleaned))
    run.close()
    return run


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["tokens", "show", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_pairs_are_the_document_read_one_token_further_each_time(run) -> None:
    split = TokenShards(run.path / "tokens").split("train")
    words = Tokenizer.load(run.path / "tokenizer")
    found = show.pairs(split, 1, 1000)
    assert len(found) == len(TEXTS[1]) + 1
    for place, (read, asked) in enumerate(found):
        assert words.decode(read) == TEXTS[1][:place]
        assert read[0] == split.end_of_text
        assert words.decode([asked]) == TEXTS[1][place : place + 1]
    assert found[-1][1] == split.end_of_text
    assert len(show.pairs(split, 1, 3)) == 3


def test_a_document_as_text_and_as_json(run) -> None:
    shown = invoke(str(run.path), "--document", "1", "--pairs", "3")
    assert "Whether" in shown.replace("\n", "")
    assert "is asked for" in shown
    found = json.loads(invoke(str(run.path), "--json", "--pairs", "2"))
    assert "".join(token["text"] for token in found["tokens"]) == TEXTS[0].replace(" ", "·").replace("\n", "⏎").replace("国", "E59BBD")
    assert len(found["pairs"]) == 2
    assert found["bytes"] == len(TEXTS[0].encode())


def test_a_batch_shows_what_the_trainer_gets(run) -> None:
    found = json.loads(invoke(str(run.path), "--batch", "--json", "--rows", "2"))
    assert found["step"] == 0
    for row in found["rows"]:
        assert {len(row[name]) for name in ("tokens", "targets", "weights", "segments", "positions", "text")} == {64}
    shown = invoke(str(run.path), "--batch", "--places", "5")
    assert "8 rows of 64 places" in shown
    assert "position" in shown


@pytest.mark.parametrize("suffix", [".svg", ".html", ".txt"])
def test_into_a_file(run, tmp_path, suffix: str) -> None:
    out = tmp_path / f"picture{suffix}"
    assert invoke(str(run.path), "--out", str(out)) == ""
    assert "Whether" not in out.read_text()
    assert out.stat().st_size > 300
    assert "url(http" not in out.read_text() and "<link" not in out.read_text()  # it fetches nothing


def test_requests_that_make_no_sense(run, tmp_path) -> None:
    for arguments, what in (
        (["--document", "9"], "no document 9"), (["--split", "test"], "no split"), (["--out", str(tmp_path / "x.gif")], "no kind of file"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=what):
            invoke(str(run.path), *arguments)
