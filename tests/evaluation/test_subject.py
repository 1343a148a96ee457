"""Every way to name a model, through the command: the same scores by the kit, by transformers, over HTTP and by plain passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from plain import PlainScorer
from served import Server

from groundup.commands.evaluate import evaluate
from groundup.errors import RequestError
from groundup.evaluation import subject as subjects
from groundup.evaluation.encoding import Encoder
from groundup.evaluation.measure import measure
from groundup.evaluation.subject import Server as Served
from groundup.evaluation.subject import find
from groundup.evaluation.tasks.jsonl import own_task
from groundup.evaluation.transformers_model import TransformersModel
from groundup.evaluation.writer import EngineWriter
from groundup.generation.engine import Engine
from groundup.imported import bring_in
from groundup.models import huggingface
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of random weights as transformers writes it, with a beginning-of-text token of its own."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=160, initializer_range=0.3, tie_word_embeddings=False,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("models") / "small-llama"
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    (path / "tokenizer.json").write_text(bytes_only())
    words = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), bos_token="<|class|>", eos_token="<|end_of_text|>", pad_token="<|pad|>")
    words.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "mine.jsonl"
    rows = [{"context": "" if n == 3 else f"Number {n} is" + " long" * n, "choices": ["odd", "even", f"neither of {n}"], "gold": n % 3} for n in range(24)]
    path.write_text("".join(json.dumps({**row, "context": row["context"] or " "}) + "\n" for row in rows))
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: Any, **options: Any) -> dict[str, Any]:
    evaluate(*arguments, **options, as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_folder_by_the_kit_and_by_transformers(folder: Path, task_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kit = told(capsys, str(folder), tasks=str(task_file))
    monkeypatch.setattr(subjects.huggingface, "FAMILIES", {})
    other = told(capsys, str(folder), tasks=str(task_file))
    assert (kit["kind"], other["kind"]) == ("Hugging Face folder", "Hugging Face folder, by transformers")
    assert kit["model"] == other["model"] == "small-llama" and kit["rows"][0]["prompts_cut"] == other["rows"][0]["prompts_cut"]
    for row in (kit["rows"][0], other["rows"][0]):
        del row["seconds"]
        row["figures"] = {name: [pytest.approx(value, abs=1e-4) for value in one.values()] for name, one in row["figures"].items()}
    assert kit["rows"][0]["score"] == other["rows"][0]["score"] and kit["rows"][0]["prompt_hash"] == other["rows"][0]["prompt_hash"]
    assert kit["rows"][0]["figures"].keys() == other["rows"][0]["figures"].keys()


def test_transformers_says_what_plain_passes_say(folder: Path, task_file: Path) -> None:
    theirs, kit = TransformersModel(folder), huggingface.load(folder).eval()
    words = Tokenizer(bytes_only())
    assert theirs.context == 160 and theirs.end_of_text == words.special["<|class|>"]
    encoder = Encoder(words, theirs.end_of_text, cuts=True)
    pairs = [pair for its in encoder.pairs(own_task("mine", task_file, 0).items, "split") for pair in its]
    pairs += [(pairs[0][0], [token]) for token in (60, 61, 62)]  # read once
    found, expected = theirs.log_likelihoods(pairs), PlainScorer(kit, 160).log_likelihoods(pairs)
    assert [log for log, _ in found] == pytest.approx([log for log, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert [ids.tolist() for ids in theirs.encode_batch(["one two", "x"])] == [words.encode("one two"), words.encode("x")]


def test_what_is_written_ends_before_a_stop_string_and_long_prompts_are_cut(folder: Path) -> None:
    """That the engine writes what transformers writes is tests/generation/test_parity.py's to hold."""
    prompts, until = ["Question: how many?\nAnswer:", "x" * 300], ("\n", "q", "a")
    for writer in (EngineWriter(Engine(huggingface.load(folder), Tokenizer(bytes_only()))), TransformersModel(folder)):
        written = writer.write(prompts, until, 40)
        assert [one.cut for one in written] == [False, True]
        assert not any(stop in one.text for one in written for stop in until)
        assert any(one.text for one in written)


def test_a_run_is_what_its_folder_was(folder: Path, task_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bring_in(folder, tmp_path, "brought")
    run = told(capsys, "brought", tasks=str(task_file), runs=tmp_path, out=tmp_path / "run.json")
    kit = told(capsys, str(folder), tasks=str(task_file), against=tmp_path / "run.json")
    assert run["kind"] == "run" and run["rows"][0]["contamination"] is None and run["rows"][0]["score"] == kit["rows"][0]["score"]
    assert kit["against"] == [{"task": "mine", "metric": "acc_norm", "difference": 0.0, "interval": [0.0, 0.0], "p_value": 1.0, "n": 24}]
    evaluate(str(folder), tasks=str(task_file), beside=True, against=tmp_path / "run.json", out=tmp_path / "page.html")
    assert "Minus the other model" in (tmp_path / "page.html").read_text()
    said = capsys.readouterr().out
    assert "mine" in said and "published, in per cent" in said and "minus run.json" in said


def test_a_model_behind_a_url(folder: Path, task_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The server scores with plain passes what it is sent as tokens."""
    kit = huggingface.load(folder).eval()

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("echo"):
            assert body["stop"] == ["\n"] and body["model"] == "served"
            return {"choices": [{"index": place, "text": " 4\nmore"} for place in range(len(body["prompt"]))]}
        choices = []
        for place, tokens in enumerate(body["prompt"]):
            with torch.inference_mode():
                read = torch.tensor([tokens])
                logs_TV = kit(read, torch.arange(len(tokens))[None], None)[0].log_softmax(-1)
            mine = [None, *(float(logs_TV[at, token]) for at, token in enumerate(tokens[1:]))]
            top = [None, *({"best": float(row.max())} for row in logs_TV[:-1])]
            choices.append({"index": place, "logprobs": {"token_logprobs": [*mine, -1.0], "top_logprobs": [*top, {"best": -1.0}]}})
        return {"choices": choices}

    server = Server((200, answer))
    try:
        found = told(capsys, server.url, tasks=str(task_file), model="served", tokenizer=folder, context=162)
        (task_file.parent / "writes.jsonl").write_text('{"question": "2 + 2?", "answer": "4"}\n{"question": "2 + 3?", "answer": "5"}\n')
        written = told(capsys, server.url, tasks=str(task_file.parent / "writes.jsonl"), model="served", tokenizer=folder)
    finally:
        server.close()
    words = Tokenizer((folder / "tokenizer.json").read_text())
    plain = measure(own_task("mine", task_file, 0), PlainScorer(kit, 160), Encoder.of(words)).row()
    assert found["model"] == "served" and found["kind"] == "URL"
    assert found["rows"][0]["score"] == plain["score"] and found["rows"][0]["prompts_cut"] == plain["prompts_cut"]
    assert written["rows"][0]["score"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("nowhere",), {"tasks": "mine.jsonl"}, "there is no such file"),
        (("nowhere",), {"data": Path()}, "no suite or task is named"),
        (("x",), {"tasks": "arc_easy", "overrides": ["a.b=1"]}, "overrides nothing"),
        (("x",), {"tasks": "arc_easy", "out": Path("x.txt")}, "'.txt' is no kind of file"),
        (("nowhere",), {"hub": True}, "no suite or task is named"),
    ],
    ids=str,
)
def test_wrong_requests(arguments: tuple[str, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        evaluate(*arguments, **options)


def test_a_recipe_alone_is_built_up_to_its_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr("groundup.commands.evaluate.build_until", lambda *arguments: called.append(arguments))
    evaluate("recipe.yaml", ["seed=3"], runs=Path("there"), name="other", as_json=True)
    assert called == [("evaluate", "recipe.yaml", ["seed=3"], Path("there"), "other", True)]


def test_what_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="no such model"):
        find("nowhere", tmp_path)
    with pytest.raises(RequestError, match="its name and its tokenizer"):
        find("http://127.0.0.1:1/v1", tmp_path)
    with pytest.raises(RequestError, match="no readable tokenizer"):
        find("http://127.0.0.1:1/v1", tmp_path, server=Served("a", tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "of_another_kind"}')
    with pytest.raises(RequestError, match="transformers cannot open it"):
        find(str(tmp_path), tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(RequestError, match=r"pip install 'groundup\[eval\]'"):
        find(str(tmp_path), tmp_path)
