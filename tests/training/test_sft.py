"""Supervised tuning's loss is transformers' own with the prompt's labels at -100, packed or not."""

from __future__ import annotations

import pytest
import torch

from groundup.models import huggingface
from groundup.models.build import build
from groundup.training.objectives import NextToken

transformers = pytest.importorskip("transformers")


def test_it_equals_transformers() -> None:
    torch.manual_seed(0)
    other = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=61, hidden_size=48, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, intermediate_size=80, max_position_embeddings=64,
            tie_word_embeddings=False,
        )
    )  # fmt: skip
    config, tensors = huggingface.translate({**other.config.to_dict(), "architectures": ["LlamaForCausalLM"]}, other.state_dict())
    model = build(config)
    huggingface.fill(model, tensors, "here")
    draw = torch.Generator().manual_seed(1)
    talks = [(torch.randint(61, (length,), generator=draw), asked) for length, asked in ((9, 4), (14, 3), (6, 5))]
    total, count = 0.0, 0
    for tokens, asked in talks:
        labels = tokens.clone()
        labels[:asked] = -100
        total += float(other(tokens[None], labels=labels[None]).loss) * (len(tokens) - asked)
        count += len(tokens) - asked
    row = torch.cat([tokens[:-1] for tokens, _ in talks])
    batch = {
        "tokens": row[None], "targets": torch.cat([tokens[1:] for tokens, _ in talks])[None],
        "weights": torch.cat([(torch.arange(1, len(tokens)) >= asked).float() for tokens, asked in talks])[None],
        "positions": torch.cat([torch.arange(len(tokens) - 1) for tokens, _ in talks])[None],
        "segments": torch.cat([torch.full((len(tokens) - 1,), number) for number, (tokens, _) in enumerate(talks)])[None],
    }  # fmt: skip
    sums = NextToken()(model, batch)
    assert float(sums.weight_sum) == count
    assert float((sums.loss_sum / sums.weight_sum).detach()) == pytest.approx(total / count, abs=1e-5)
