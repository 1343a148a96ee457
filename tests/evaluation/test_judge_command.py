"""`groundup judge` from end to end, against a server on the loopback that answers and judges, and runs of random weights."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Server

from groundup import recipe as recipes
from groundup.commands import judge
from groundup.dialogue.chat_formats import PLAIN
from groundup.dialogue.speaker import Speech
from groundup.errors import GroundupError, RequestError
from groundup.evaluation.judge.agreement import agreement
from groundup.evaluation.judge.questions import read_answers
from groundup.evaluation.judge.votes import Vote, by_pair, read_votes
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.run import Run, write_atomic
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings, optimizers

DATA = next((path for parent in Path(__file__).resolve().parents if (path := parent / "shared/data/preference").exists()), None)
QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write a line.", "Now a shorter one."]}, {"question_id": 82, "category": "math", "turns": ["What is 2 + 2?"]},
    {"question": "Why is the sky blue?"},
]  # fmt: skip
QUALITY = {"good": 8, "fair": 6, "bad": 3}


def reply(body: dict[str, Any]) -> dict[str, Any]:
    """Models `good`, `fair` and `bad` say what they are; `judge` goes by that, and favours the first place a little."""
    text = body["messages"][-1]["content"]
    if body["model"] != "judge":
        said = f"a {body['model']} answer, turn {sum(message['role'] == 'user' for message in body['messages'])}, at {body['temperature']}"
    else:
        marks = [QUALITY[kind] for kind in re.findall(r"a (good|fair|bad) answer, turn 1", text)]
        system = body["messages"][0]["content"]
        if "[[6, 7]]" in system:
            said = f"Reasons. [[{marks[0] + 1}, {marks[1] - 1}]]"
        elif "[[5]]" in system:
            said = f"Reasons. [[{marks[0]}]]"
        else:
            said = "Reasons. [[A]]" if marks[0] + 2 >= marks[1] else "Reasons. [[B]]"  # good and fair: the place decides
    return {"choices": [{"message": {"role": "assistant", "content": said}}]}


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server((200, reply))
    yield one
    one.close()


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "question.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return path


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_pairs_ratings_agreement_and_the_files_again(server: Server, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [f"{server.url}#{name}" for name in ("bad", "good", "fair")]
    votes = [("81", "good", "bad", "model_a"), ("82", "bad", "good", "model_b"), ("3", "good", "fair", "model_a"), ("82", "fair", "good", "tie")]
    people = tmp_path / "people.jsonl"
    people.write_text("".join(json.dumps(dict(zip(("question_id", "model_a", "model_b", "winner"), vote, strict=True))) + "\n" for vote in votes))
    out = tmp_path / "out"
    judge.pairwise(models, questions, f"{server.url}#judge", people=people, out=out, as_json=True)
    found = said(capsys)
    pairs = {(one["first"], one["second"]): one for one in found["pairs"]}
    assert set(pairs) == {("bad", "good"), ("bad", "fair"), ("good", "fair")}
    assert [pairs["bad", "good"][name] for name in ("wins", "ties", "losses", "win_rate", "consistent_share")] == [0, 0, 3, 0.0, 1.0]
    assert [pairs["good", "fair"][name] for name in ("wins", "ties", "losses", "win_rate", "consistent_share")] == [0, 3, 0, 0.5, 0.0]
    assert pairs["bad", "fair"]["win_rate_by_category"] == {"general": 0.0, "math": 0.0, "writing": 0.0}
    assert [one["model"] for one in found["ratings"]["bradley_terry"]][-1] == "bad"
    assert found["ratings"]["elo"][-1]["points"] < 1000 < found["ratings"]["elo"][0]["points"]
    assert found["people"]["pairs"] == 4 and found["people"]["agreement"] == 0.75
    # each turn sees the one before, each category has its temperature
    asked = [body for _, body, _ in server.asked if body["model"] == "good"]
    assert [message["role"] for message in asked[3]["messages"]] == ["user", "assistant", "user"]
    assert {body["messages"][0]["content"]: body["temperature"] for body in asked} == {"Write a line.": 0.7, "What is 2 + 2?": 0.0, "Why is the sky blue?": 0.7}
    # what was written can be judged and rated again without asking the models
    assert read_answers(out / "good.jsonl")["81"] == ("a good answer, turn 1, at 0.7", "a good answer, turn 2, at 0.7")
    before = len(server.asked)
    judge.pairwise([str(out / "bad.jsonl"), str(out / "good.jsonl")], questions, f"{server.url}#judge", as_json=True)
    assert said(capsys)["pairs"] == [pairs["bad", "good"]] and len(server.asked) == before + 6
    judge.rate([out / "verdicts.jsonl"], people=people, as_json=True)
    again = said(capsys)
    assert again["ratings"] == found["ratings"] and again["matches"] == 9 and again["people"] == found["people"]
    judge.rate([out / "verdicts.jsonl"], people=people)
    text = capsys.readouterr().out
    assert "Bradley-Terry" in text and "agrees with people on 75.00" in text


def test_marks_and_the_score_in_per_cent_of_a_reference(server: Server, questions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge.single([f"{server.url}#good"], questions, f"{server.url}#judge", reference=f"{server.url}#fair", as_json=True)
    found = said(capsys)
    assert found["models"] == [{"model": "good", "mark": 8.0, "standard_error": 0.0, "n": 3, "mark_by_category": {"general": 8.0, "math": 8.0, "writing": 8.0}, "unread": []}]
    (beside,) = found["relative"]
    assert beside["per_cent"] == pytest.approx(100 * 8 / 6) and (beside["sum_of_marks"], beside["sum_of_marks_of_reference"]) == (24, 18)
    judge.single([f"{server.url}#bad", f"{server.url}#good"], questions, f"{server.url}#judge", reference=f"{server.url}#fair")
    text = capsys.readouterr().out
    assert "bad   3.00 +- 0.00" in text and "good: 133.33 +- 0.00 % of fair (marks 24 and 18 over 3 questions)" in text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of random weights, which counts as tuned, in a folder `runs`."""
    home = tmp_path_factory.mktemp("home")
    found = Run.open(home / "runs" / "small", recipes.parse({"name": "small", "sources": [{"kind": "files", "path": "."}]}, [], where="test"))
    (found.path / "tokenizer").mkdir()
    write_atomic(found.path / "tokenizer" / "tokenizer.json", bytes_only())
    words = Tokenizer.load(found.path / "tokenizer")
    config = ModelConfig(vocabulary=words.size, context=64, layers=1, width=16, heads=2, kv_heads=2, feedforward=32)
    model = build(config, seed=0)
    state = {"title": "tune", "tokenizer": words.digest, "settings": {}, "guard": {}}
    checkpoint.save(found.path / "dialogue" / "1-sft", 0, model, config, optimizers(model, OptimizerSettings()), state)
    for name, text in Speech.of(bytes_only(), PLAIN).files.items():
        write_atomic(found.path / "dialogue" / "1-sft" / name, text)
    found.close()
    return found.path


def test_a_run_answers_and_a_run_that_reads_too_little_says_so(server: Server, run: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GroundupError, match="the judge reads 64"):
        judge.single([f"{server.url}#good"], questions, str(run))
    with pytest.raises(GroundupError, match="no verdict that can be read"):
        servant = Server((200, {"choices": [{"message": {"role": "assistant", "content": "I would rather not."}}]}))
        try:
            judge.single(["small"], questions, f"{servant.url}#judge", max_tokens=8, out=tmp_path, runs=run.parent)
        finally:
            servant.close()
    written = read_answers(tmp_path / "small.jsonl")
    assert [len(turns) for turns in written.values()] == [2, 1, 1] and all(len(turn.encode()) <= 8 * 3 for turns in written.values() for turn in turns)


def test_odd_requests(server: Server, questions: Path, tmp_path: Path) -> None:
    one = f"{server.url}#good"
    for models, options, why in (
        ([one], {}, "no pair"), ([one, one], {}, "two models are called good"), ([one, server.url], {}, "by name"), ([one, "nowhere"], {}, "no run"),
        ([one, f"{server.url}#bad"], {"judge": server.url}, "by name"), ([one, f"{server.url}#bad"], {"people": tmp_path / "x.jsonl"}, "no such file"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=why):
            judge.pairwise(models, questions, **{"judge": f"{server.url}#judge", **options})
    votes = tmp_path / "votes.jsonl"
    for winner, second, why in (("me", "b", "`winner` is 'me'"), ("tie", "a", "against itself")):
        votes.write_text(json.dumps({"model_a": "a", "model_b": second, "winner": winner}) + "\n")
        with pytest.raises(RequestError, match=re.escape(why)):
            judge.rate([votes])


def test_votes_on_a_pair_count_whichever_stands_first(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    rows = [("1", "a", "b", "model_a"), ("1", "b", "a", "model_b"), ("1", "a", "b", "tie (bothbad)"), ("2", "b", "a", "model_a"), ("2", "a", "b", "model_a")]
    path.write_text("".join(json.dumps(dict(zip(("question_id", "model_a", "model_b", "winner"), row, strict=True))) + "\n" for row in rows))
    assert list(by_pair(read_votes(path)).values()) == ["first", "tie"]


@pytest.mark.skipif(DATA is None, reason="needs ../shared/data/preference beside this clone")
def test_people_agree_with_each_other_on_public_votes() -> None:
    """PandaLM's test set has three annotators a pair: the first two say the same of 91 % (measured), far more than their habits would give."""
    assert DATA is not None
    rows = json.loads(gzip.decompress((DATA / "pandalm_human_testset.json.gz").read_bytes()))
    winner: dict[int, Any] = {0: "tie", 1: "first", 2: "second"}
    one, other = (by_pair(Vote(str(row["idx"]), "response 1", "response 2", winner[row[f"annotator{number}"]]) for row in rows) for number in (1, 2))
    found = agreement(one, other)
    assert found.agreement.n == 999 and 0.8 < found.kappa < found.agreement.value
