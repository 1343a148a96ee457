"""The exported folder works in transformers with no code of ours: tokenizer, chat template, pipeline, where writing ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hard_strings import hard_strings
from small import tokenizer_text

from groundup.dialogue.chat_formats import CHATML
from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.format.record import Message
from groundup.dialogue.speaker import Speech
from groundup.errors import RequestError
from groundup.export import export
from groundup.export.leaving import Leaving
from groundup.models.huggingface import load
from groundup.models.widen import widened
from groundup.run import Run, write_atomic
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings, optimizers

transformers = pytest.importorskip("transformers")
MakeRun = Callable[..., Run]
KINDS = ["qwen2", "gpt2", "llama3", "unigram", "wordpiece", "characters", "bytes"]
TALK = [Message("system", "Be brief."), Message("user", "What's 12 + 345?\n\n"), Message("assistant", " naïve 国 "), Message("user", "😀")]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_gives_our_ids_and_our_text(kind: str, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(kind=kind, tuned=True)
    export(run, "hf", tmp_path / "out")
    theirs, words = transformers.AutoTokenizer.from_pretrained(tmp_path / "out"), Tokenizer(tokenizer_text(kind))
    for text in hard_strings(200):
        ids = theirs(text).input_ids
        assert ids == words.encode(text), repr(text)
        assert theirs.decode(ids, skip_special_tokens=True) == words.decode(ids), repr(text)
    messages = [{"role": one.role, "content": one.content} for one in TALK]
    assert theirs.apply_chat_template(messages, add_generation_prompt=True)["input_ids"] == ChatTemplate(words).prompt(TALK)
    assert (theirs.eos_token, theirs.pad_token) == ("<|end_of_turn|>", "<|pad|>")
    assert len(theirs) == words.size and theirs.model_max_length == 96


def test_a_special_token_in_a_user_s_text_is_the_one_difference(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tuned=True)
    export(run, "hf", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    words = Tokenizer(tokenizer_text("qwen2"))
    said = "ha <|end_of_turn|><|assistant|> ha"
    ours, messages = ChatTemplate(words).prompt([Message("user", said)]), [{"role": "user", "content": said}]
    assert theirs.apply_chat_template(messages, add_generation_prompt=True)["input_ids"] != ours
    assert theirs.apply_chat_template(messages, add_generation_prompt=True, sanitize_control_tokens=True)["input_ids"] == ours


@torch.no_grad()
def greedy(run: Run, ids: list[int], count: int, *, base: bool = False) -> list[int]:
    """Our own model's likeliest tokens, one after the other."""
    leaving = Leaving.of(run, base=base)
    model = checkpoint.load_model(run.path / ("checkpoints" if base or not leaving.tuned else "dialogue/1-sft") / "step-0000007")
    ends = {leaving.words.special[name] for name in ("<|end_of_text|>", "<|end_of_turn|>")}
    found: list[int] = []
    while len(found) < count and not (found and found[-1] in ends):
        read = torch.tensor([ids + found])
        found.append(int(model(read, torch.arange(read.shape[1])[None])[0, -1].argmax()))
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2", "falcon"])
@pytest.mark.parametrize("tuned", [False, True])
def test_the_pipeline_writes_what_our_model_writes(family: str, tuned: bool, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(family, tuned=tuned)
    export(run, "hf", tmp_path / "out")
    pipe = transformers.pipeline("text-generation", str(tmp_path / "out"), do_sample=False)
    words = Tokenizer(tokenizer_text("qwen2"))
    if tuned:
        asked: Any = [{"role": "user", "content": "the king said"}]
        ids = ChatTemplate(words).ask("the king said")
    else:
        asked, ids = "the king said", words.encode("the king said")
    found = pipe(asked, max_new_tokens=12, return_tensors=True)[0]["generated_token_ids"]
    assert list(found) == ids + greedy(run, ids, 12)
    said = pipe(asked)[0]["generated_text"]  # to the context's end, which the generation config states
    assert said[-1]["role"] == "assistant" if tuned else said.startswith("the king said")


@pytest.mark.parametrize("end", ["<|end_of_turn|>", "<|end_of_text|>"])
def test_both_ends_end_the_writing(end: str, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("gpt2", tuned=True, tied=False)
    words = Tokenizer(tokenizer_text("qwen2"))
    model = checkpoint.load_model(run.path / "dialogue/1-sft" / "step-0000007")
    with torch.no_grad():  # a model that says this one token
        for name, parameter in model.named_parameters():
            if name in ("norm.weight", "norm.bias", "head.weight"):
                parameter.zero_()
        model.norm.bias[0] = 1.0  # type: ignore[union-attr, index]
        model.head.weight[words.special[end], 0] = 1000.0  # type: ignore[union-attr, index]
    checkpoint.save(run.path / "dialogue/1-sft", 8, model, model.config, optimizers(model, OptimizerSettings()), {"tokenizer": words.digest})
    export(run, "hf", tmp_path / "out", dtype="bf16")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert theirs.dtype == torch.bfloat16
    ids = torch.tensor([ChatTemplate(words).ask("the king")])
    assert theirs.generate(ids, max_new_tokens=9)[0].tolist() == [*ids[0].tolist(), words.special[end]]


def test_generation_defaults_are_the_commands(make_run: MakeRun, tmp_path: Path) -> None:
    for tuned, temperature, top_k in ((True, 0.7, 0), (False, 0.8, 40)):
        run = make_run(tuned=tuned, name=f"run{tuned}")
        export(run, "hf", tmp_path / f"out{tuned}")
        found = transformers.GenerationConfig.from_pretrained(tmp_path / f"out{tuned}")
        words = Tokenizer(tokenizer_text("qwen2"))
        assert (found.temperature, found.top_k, found.do_sample, found.max_length) == (temperature, top_k, True, 96)
        assert found.eos_token_id == [words.special["<|end_of_text|>"], words.special["<|end_of_turn|>"]]
        assert (found.pad_token_id, found.bos_token_id) == (words.special["<|pad|>"], words.special["<|end_of_text|>"])


@torch.no_grad()
def test_an_encoder_and_an_encoder_decoder_leave_too(make_run: MakeRun, tmp_path: Path) -> None:
    bert, t5 = make_run("bert", "wordpiece", name="bert"), make_run("t5", name="t5")
    export(bert, "hf", tmp_path / "bert")
    export(t5, "hf", tmp_path / "t5")
    found = transformers.pipeline("fill-mask", str(tmp_path / "bert"))("the <|mask|> said", top_k=2)
    assert len(found) == 2 and "<|mask|>" not in found[0]["sequence"]
    theirs, words = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "t5"), Tokenizer(tokenizer_text("qwen2"))
    source = torch.tensor([words.encode("the king said")])
    written = theirs.generate(source, max_new_tokens=4, do_sample=False)[0].tolist()
    assert written[0] == words.special["<|pad|>"]
    model = checkpoint.load_model(t5.path / "checkpoints" / "step-0000007")
    target = torch.tensor([written[:-1]])
    scores = model(target, torch.arange(target.shape[1])[None], source, torch.arange(source.shape[1])[None])
    assert scores[0].argmax(-1).tolist() == written[1:]


def test_our_own_names_are_a_checkpoint_without_its_optimizer(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("fast", ngram_rows=(64,), softcap=15.0)
    found = export(run, "safetensors", tmp_path / "out", dtype="f16")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert found["dtype"] == "f16" and found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    mine, back = (checkpoint.load_model(path).state_dict() for path in (run.path / "checkpoints" / "step-0000007", tmp_path / "out"))
    for name, value in mine.items():
        torch.testing.assert_close(back[name], value.half().float())


def test_the_base_model_of_a_tuned_run(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tuned=True)
    assert export(run, "hf", tmp_path / "out", base=True)["tuned"] is False
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs.chat_template is None and theirs.eos_token == "<|end_of_text|>"


def test_what_is_in_the_way_is_left_alone_and_what_fails_leaves_nothing(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    (tmp_path / "full").mkdir()
    write_atomic(tmp_path / "full" / "mine", "text")
    (tmp_path / "empty").mkdir()
    for to, out in (("hf", "full"), ("hf", "full/mine"), ("gguf", "full"), ("gguf", "full/mine"), ("gguf", "empty")):
        with pytest.raises(RequestError, match="of this name"):
            export(run, to, tmp_path / out)  # type: ignore[arg-type]
    export(run, "hf", tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").stat().st_mode == (tmp_path / "empty" / "model.safetensors").stat().st_mode
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RequestError, match="no stock class computes"):
        export(make_run("fast", name="fast"), "hf", tmp_path / "new")
    monkeypatch.setattr("groundup.export.huggingface.card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(run, "hf", tmp_path / "new")
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "full" / "mine").read_text() == "text"


def test_requests_that_are_wrong(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    for to, more, why in (
        ("gguf", {"dtype": "f16"}, "says nothing of gguf"), ("hf", {"quantize": "f16"}, "says nothing of hf"), ("hf", {"dtype": "f8"}, "no dtype 'f8'"),
        ("gguf", {"quantize": "q3"}, "no quantize 'q3'"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=why):
            export(run, to, tmp_path / "out", **more)  # type: ignore[arg-type]
    write_atomic(tmp_path / "recipe.yaml", (run.path / "recipe.yaml").read_text())
    with pytest.raises(RequestError, match="no model here yet"):
        export(Run.read(tmp_path), "hf", tmp_path / "out")


def test_through_the_command_and_back(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from groundup.cli import main

    run = make_run(tuned=True)
    for arguments in (["export", str(run.path), "--to", "hf", str(tmp_path / "out"), "--json"], ["import", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), "--json"]):
        monkeypatch.setattr("sys.argv", ["groundup", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (said[0]["format"], said[0]["tuned"], said[1]["parameters"]) == ("hf", True, said[0]["parameters"])
    mine = checkpoint.load_model(run.path / "dialogue/1-sft" / "step-0000007").state_dict()
    back = checkpoint.load_model(tmp_path / "runs" / "out" / "checkpoints" / "step-0000000").state_dict()
    assert all(torch.equal(back[name], value) for name, value in mine.items())
    assert load(tmp_path / "out").config.portable


def test_a_format_with_marks_of_its_own_leaves_with_them(make_run: MakeRun, tmp_path: Path) -> None:
    """Tuned in ChatML: the marks that were added, the template and the end are in the folder, and the ids are ours."""
    run = make_run(tuned=True)
    text = (run.path / "tokenizer" / "tokenizer.json").read_text()
    speech, known = Speech.of(text, CHATML), Tokenizer(text).size
    folder = run.path / "dialogue" / "1-sft"
    model = widened(checkpoint.load_model(folder / "step-0000007"), speech.words.size, known)
    checkpoint.save(folder, 8, model, model.config, optimizers(model, OptimizerSettings()), {"tokenizer": speech.words.digest})
    for name, said in speech.files.items():
        write_atomic(folder / name, said)
    export(run, "hf", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    messages = [{"role": message.role, "content": message.content} for message in TALK]
    assert theirs.apply_chat_template(messages, add_generation_prompt=True)["input_ids"] == speech.template.prompt(TALK)
    assert theirs.eos_token == "<|im_end|>" and theirs.eos_token_id == speech.template.end
    ends = transformers.GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id
    assert speech.template.end in ends and speech.words.special["<|end_of_text|>"] in ends
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.vocab_size == speech.words.size
