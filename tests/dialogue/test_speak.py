"""`groundup generate` as a person meets it: several prompts, JSON, beams, constraints, odd requests."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from groundup import recipe as recipes
from groundup.dialogue.speak import open_engine, speak
from groundup.errors import RequestError
from groundup.generation import SamplingSettings
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.run import Run, write_atomic
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings, optimizers

GREEDY = SamplingSettings(temperature=0.0, max_tokens=5, min_tokens=5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run folder with a base model of random weights."""
    home = tmp_path_factory.mktemp("speak")
    found = Run.open(home / "runs" / "one", recipes.parse({"name": "one", "sources": [{"kind": "files", "path": str(home)}]}, [], where="test"))
    (found.path / "tokenizer").mkdir()
    write_atomic(found.path / "tokenizer" / "tokenizer.json", bytes_only())
    words = Tokenizer.load(found.path / "tokenizer")
    config = ModelConfig(vocabulary=words.size, context=32, layers=1, width=16, heads=2, kv_heads=2, feedforward=32, init_std=0.3)
    model = build(config, seed=0)
    state = {"title": "pretrain", "tokenizer": words.digest, "settings": {}, "guard": {}}
    checkpoint.save(found.path / "checkpoints", 0, model, config, optimizers(model, OptimizerSettings()), state)
    found.close()
    return found


def said(run: Run, capsys: pytest.CaptureFixture[str], *prompts: str, settings: SamplingSettings = GREEDY, beams: int = 0) -> dict:  # type: ignore[type-arg]
    speak(run, prompts, settings, base=False, as_json=True, beams=beams)
    (line,) = capsys.readouterr().out.splitlines()
    found: dict = json.loads(line)  # type: ignore[type-arg]
    return found


def test_several_prompts_are_one_object_and_each_gets_what_it_gets_alone(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    both = said(run, capsys, "ab", "xyz")
    assert both["results"] == [said(run, capsys, "ab"), said(run, capsys, "xyz")]
    speak(run, ["ab", "xyz"], GREEDY, base=False, as_json=False)
    text = capsys.readouterr().out
    assert text == "".join(f"--- 1\n{row['prompt']}{row['completions'][0]['text']}\n" for row in both["results"])


def test_log_probabilities_and_beams_name_what_they_say(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(run, capsys, "ab", settings=SamplingSettings(temperature=0.0, max_tokens=3, min_tokens=3, logprobs=2))["completions"][0]
    assert [len(row["top"]) for row in found["logprobs"]] == [2, 2, 2] and all(row["logprob"] <= 0 for row in found["logprobs"])
    beams = said(run, capsys, "ab", beams=3)["beams"]
    assert [one["score"] for one in beams] == sorted((one["score"] for one in beams), reverse=True) and len(beams) == 3


def test_a_long_prompt_says_what_was_cut(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    speak(run, ["a" * 40], GREEDY, base=False, as_json=False)
    captured = capsys.readouterr()
    assert captured.out.startswith("a" * 40) and "first 9 tokens did not fit into the context of 32" in captured.err
    assert said(run, capsys, "a" * 40)["prompt_tokens_cut"] == 9


def test_every_precision_writes(run: Run) -> None:
    for precision in ("auto", "fp32", "bf16", "int8"):
        engine, template = open_engine(run, base=False, precision=precision)  # type: ignore[arg-type]
        assert template is None and len(engine.generate("ab", GREEDY)[0].tokens) == 5


def test_through_the_command(run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    from groundup.cli import main

    def command(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["groundup", "generate", str(run.path), *arguments])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    (tmp_path / "schema.json").write_text('{"enum": ["yes", "no"]}')
    code, out, _ = command("-", "--json", "--json-schema", f"@{tmp_path / 'schema.json'}", stdin="é?".encode())
    assert code == 0 and json.loads(out)["prompt"] == "é?" and json.loads(json.loads(out)["completions"][0]["text"]) in ("yes", "no")
    for arguments, wrong in (
        (("-",), "no UTF-8 text (byte 1)"), (("a", "--logprobs", "2"), "Add --json"), (("a", "--logit-bias", "x=1"), "TOKEN=VALUE"),
        (("a", "--precision", "fp8"), "no precision 'fp8'"), (("a", "--json-schema", "@nowhere"), "no readable text"),
        (("a", "--regex", "(["), "cannot be matched"), (("a", "--min-tokens", "9", "--max-tokens", "3"), "min_tokens is 9"),
        (("a", "--beams", "99"), "99 beams"), ((), "Missing argument"),
    ):  # fmt: skip
        code, out, err = command(*arguments, stdin=b"a\xff")
        assert code == 2 and wrong in err and "Traceback" not in err and out == "", arguments


def test_a_run_without_a_model_says_so(tmp_path: Path) -> None:
    empty = Run.open(tmp_path / "empty", recipes.parse({"name": "empty", "sources": [{"kind": "files", "path": str(tmp_path)}]}, [], where="test"))
    empty.close()
    with pytest.raises(RequestError, match="no model here yet"):
        open_engine(empty, base=False)
