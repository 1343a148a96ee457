"""Greedy text is transformers', token for token, whatever the family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from groundup.generation import Engine, SamplingSettings
from groundup.models import huggingface

transformers = pytest.importorskip("transformers")
V = 270


def theirs(kind: str) -> Any:
    torch.manual_seed(0)
    falcon = {
        "vocab_size": V, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 8, "max_position_embeddings": 96, "initializer_range": 0.2,
    }  # fmt: skip
    make = {
        "llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=V, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, intermediate_size=80,
                max_position_embeddings=96, initializer_range=0.3,
            )
        ),
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=V, n_positions=96, n_embd=48, n_layer=3, n_head=4, initializer_range=0.2)
        ),
        "falcon": lambda: transformers.FalconForCausalLM(transformers.FalconConfig(**falcon, bias=False, alibi=False, new_decoder_architecture=False)),
        "falcon-rw": lambda: transformers.FalconForCausalLM(
            transformers.FalconConfig(**falcon, bias=True, alibi=True, parallel_attn=False, multi_query=False, new_decoder_architecture=False)
        ),
    }  # fmt: skip
    return make[kind]().eval()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "falcon", "falcon-rw"])
def test_greedy_is_theirs(kind: str, words, tmp_path) -> None:
    model = theirs(kind)
    model.save_pretrained(tmp_path)
    engine = Engine(huggingface.load(tmp_path), words)
    prompts = torch.randint(20, 260, (3, 11), generator=torch.Generator().manual_seed(1))
    found = model.generate(
        prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_new_tokens=70, eos_token_id=engine.ends,
        suppress_tokens=engine.never.tolist(), pad_token_id=words.special["<|pad|>"],
    )  # fmt: skip
    for (one,), row in zip(
        engine.generate_many(prompts.tolist(), SamplingSettings(temperature=0.0, max_tokens=70)),
        found[:, 11:].tolist(),
        strict=True,
    ):
        ends = next((place for place, token in enumerate(row) if token in engine.ends), 70)
        assert one.tokens == row[:ends]
