"""Beam search finds what transformers' does, and with one beam what greedy decoding does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from groundup.errors import RequestError
from groundup.generation import Engine, SamplingSettings, beam_search
from groundup.models import huggingface
from groundup.tokens.tokenizer import Tokenizer

PROMPT = [20, 30, 40, 50, 60, 70, 80, 90, 100]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model of theirs with peaked scores, and the same here."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=270, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.4,
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(config).eval()
    folder: Path = tmp_path_factory.mktemp("llama")
    theirs.save_pretrained(folder)
    return theirs, huggingface.load(folder)


def theirs_finds(
    model: Any, engine: Engine, words: Tokenizer, beams: int, most: int, penalty: float
) -> list[tuple[list[int], float]]:
    found = model.generate(
        torch.tensor([PROMPT]), num_beams=beams, num_return_sequences=beams, max_new_tokens=most, do_sample=False, length_penalty=penalty,
        eos_token_id=engine.ends, pad_token_id=words.special["<|pad|>"], suppress_tokens=engine.never.tolist(), renormalize_logits=False,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    rows = [row[len(PROMPT) :].tolist() for row in found.sequences]
    cut = [
        row[
            : next(
                (
                    place
                    for place, token in enumerate(row)
                    if token in (*engine.ends, words.special["<|pad|>"])
                ),
                len(row),
            )
        ]
        for row in rows
    ]
    return list(zip(cut, found.sequences_scores.tolist(), strict=True))


@pytest.mark.parametrize("beams, most, penalty", [(1, 8, 1.0), (3, 8, 1.0), (4, 15, 0.0), (5, 12, 2.0)])
def test_it_finds_what_transformers_finds(pair, words, beams: int, most: int, penalty: float) -> None:
    engine = Engine(pair[1], words)
    mine = beam_search(engine, PROMPT, beams, most, penalty)
    if beams > 1:
        for one, (tokens, score) in zip(
            mine, theirs_finds(pair[0], engine, words, beams, most, penalty), strict=True
        ):
            assert one.tokens == tokens and one.score == pytest.approx(score, abs=1e-4)
    assert engine.runner.slots.free == engine.runner.slots.count
    again = beam_search(engine, PROMPT, beams, most, penalty)  # what the slots kept changes nothing
    assert [one.tokens for one in again] == [one.tokens for one in mine]


def test_one_beam_is_greedy(pair, words) -> None:
    engine = Engine(pair[1], words)
    (one,) = beam_search(engine, PROMPT, 1, 20)
    (greedy,) = engine.generate(PROMPT, SamplingSettings(temperature=0.0, max_tokens=20))
    assert one.tokens == greedy.tokens and one.text == greedy.text


def test_too_many_beams_are_refused(pair, words) -> None:
    with pytest.raises(RequestError, match="5 beams; the engine has 4"):
        beam_search(Engine(pair[1], words, slots=4), PROMPT, 5, 8)
