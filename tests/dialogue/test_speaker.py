"""Who speaks for a run, in which format, and how a model gets room for the format's marks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from groundup.dialogue.chat_formats import FORMATS, OPENCHAT, PLAIN
from groundup.dialogue.chat_template import added_tokens, with_tokens
from groundup.dialogue.format.record import Message
from groundup.dialogue.speaker import Speaker, Speech, usual_format
from groundup.errors import RequestError
from groundup.generation import SamplingSettings
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder
from groundup.models.widen import widened
from groundup.run import write_atomic
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings, optimizers

CONFIG = ModelConfig(vocabulary=267, context=48, layers=1, width=16, heads=2, kv_heads=2, feedforward=32, init_std=0.3)
TALK = (Message("user", "a"), Message("assistant", "b"))


@pytest.mark.parametrize("name", ["plain", "chatml", "openchat", "zephyr", "llama-3"])
def test_a_tokenizer_learns_a_format_and_it_is_read_back(tmp_path: Path, name: str) -> None:
    speech = Speech.of(bytes_only(), FORMATS[name])
    for file, text in speech.files.items():
        write_atomic(tmp_path / file, text)
    again = Speech.load(tmp_path)
    assert again.words.digest == speech.words.digest and again.template.render(TALK) == speech.template.render(TALK)
    assert again.text == speech.text and (tmp_path / "chat_template.jinja").read_text() == FORMATS[name].jinja + "\n"
    grown = speech.words.size - Tokenizer(bytes_only()).size
    assert grown == {"plain": 0, "chatml": 2, "openchat": 0, "zephyr": 0, "llama-3": 3}[name]
    assert speech.words.encode("<|im_start|>") == Tokenizer(bytes_only()).encode("<|im_start|>")


def test_the_best_class_is_kept(tmp_path: Path) -> None:
    speech = Speech.of(bytes_only(), OPENCHAT.of_class("expert"))
    for file, text in speech.files.items():
        write_atomic(tmp_path / file, text)
    assert json.loads((tmp_path / "chat.json").read_text()) == {"format": "openchat", "condition": "expert"}
    again = Speech.load(tmp_path)
    assert again.words.decode(again.template.ask("q")).endswith("expert Assistant:")


def test_marks_that_a_tokenizer_has_are_taken(tmp_path: Path) -> None:
    assert usual_format(bytes_only()) is PLAIN
    chatml = with_tokens(bytes_only(), ("<|im_start|>", "<|im_end|>"))
    assert usual_format(chatml).name == "chatml" and Speech.of(chatml, usual_format(chatml)).text == chatml
    with pytest.raises(RequestError, match="a token that begins a text"):
        Speech.of(bytes_only(), FORMATS["llama-2"])


@pytest.mark.parametrize("more", [{}, {"tied": False}, {"embedding_rank": 8}, {"value_embeddings": True}])
def test_room_for_marks_changes_nothing_that_was_known(more: dict[str, object]) -> None:
    model = build(CONFIG.model_copy(update=more), seed=1)
    assert isinstance(model, Decoder)
    wide = widened(model, 270, 260)
    assert isinstance(wide, Decoder) and wide.config.vocabulary == 270
    tokens, positions = torch.randint(260, (2, 9), generator=torch.Generator().manual_seed(0)), torch.arange(9).expand(2, -1)
    torch.testing.assert_close(wide(tokens, positions)[..., :260], model(tokens, positions)[..., :260])
    rows = wide.embedding.weight
    torch.testing.assert_close(rows[260:], model.embedding.weight[:260].mean(0).expand(10, -1))
    torch.testing.assert_close(wide.head_weight[269], model.head_weight[:260].mean(0))


def test_tables_of_every_pair_of_tokens_have_no_room() -> None:
    model = build(CONFIG.model_copy(update={"vocabulary": 12, "ngram_rows": (144,)}), seed=1)
    with pytest.raises(RequestError, match="table of token pairs"):
        widened(model, 14)


def test_the_last_stage_that_speaks_speaks(tmp_path: Path) -> None:
    speech = Speech.of(bytes_only(), FORMATS["chatml"])

    def save(folder: Path, seed: int, words: Tokenizer) -> None:
        model = build(CONFIG.model_copy(update={"vocabulary": 269}), seed=seed)
        checkpoint.save(folder, seed, model, model.config, optimizers(model, OptimizerSettings()), {"tokenizer": words.digest})

    with pytest.raises(RequestError, match="no model here yet"):
        Speaker.of(tmp_path)
    (tmp_path / "tokenizer").mkdir()
    write_atomic(tmp_path / "tokenizer" / "tokenizer.json", bytes_only())
    with pytest.raises(RequestError, match="no model here yet"):
        Speaker.of(tmp_path)
    save(tmp_path / "checkpoints", 1, Tokenizer(bytes_only()))
    base = Speaker.of(tmp_path)
    assert base.template is None and base.path.name == "step-0000001"
    for folder, seed in (("1-sft", 2), ("2-reward", 3), (".3-ppo.partial", 4), (".10-dpo.partial", 0)):
        (tmp_path / "dialogue" / folder).mkdir(parents=True)
        for file, text in speech.files.items():
            write_atomic(tmp_path / "dialogue" / folder / file, text)
        if seed:
            save(tmp_path / "dialogue" / folder, seed, speech.words)
    one = Speaker.of(tmp_path)
    assert one.path.parent.name == ".3-ppo.partial" and one.template is not None
    assert one.template.end == added_tokens(speech.text)["<|im_end|>"]
    found = Speaker.of(tmp_path, base=True)
    assert found.path == base.path


def test_what_is_said_ends_with_the_formats_mark() -> None:
    """The engine knows it, though the tokenizer has an end of turn of its own."""
    from groundup.generation import Engine

    speech = Speech.of(bytes_only(), FORMATS["chatml"])
    model = build(CONFIG.model_copy(update={"vocabulary": speech.words.size, "tied": False}), seed=0)
    assert isinstance(model, Decoder) and model.head is not None
    with torch.no_grad():
        model.head.weight.zero_()
        model.norm.weight.zero_()  # type: ignore[union-attr,operator]
    engine = Engine(model, speech.words, ends=[speech.template.end])
    settings = SamplingSettings(temperature=1.0, min_p=0.0, seed=0, n=200, max_tokens=40)
    ends = {one.end for one in engine.generate(speech.template.ask("q"), settings)}
    assert speech.template.end in ends and ends <= {None, *engine.ends}
