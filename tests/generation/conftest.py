"""A tokenizer whose every token is one byte, and a small model of random weights."""

from __future__ import annotations

import pytest
import torch

from groundup.models.build import build
from groundup.models.config import FAMILIES, ModelConfig
from groundup.models.decoder import Decoder
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only


@pytest.fixture
def words() -> Tokenizer:
    return Tokenizer(bytes_only())


@pytest.fixture(params=["llama", "fast"])
def model(request: pytest.FixtureRequest) -> Decoder:
    config = ModelConfig(
        vocabulary=270, context=48, layers=2, width=32, heads=4, kv_heads=2, feedforward=64, init_std=0.2
    )
    if request.param == "llama":
        return build(config, seed=0).eval()
    fast = config.model_copy(update={**FAMILIES["fast"], "family": "fast", "ngram_rows": (500, 300), "zero_output": False})
    model = build(fast, seed=0).eval()
    torch.nn.init.normal_(model.embedding.weight, generator=torch.Generator().manual_seed(1))
    return model


class Scripted(Decoder):
    """Says the given tokens one after the other, whatever the prompt (whose length it is told)."""

    def __init__(self, script: list[int], prompt: int, context: int = 200) -> None:
        super().__init__(
            ModelConfig(vocabulary=267, context=context, layers=1, width=8, heads=1, kv_heads=1, feedforward=8)
        )
        self.script, self.prompt = script, prompt

    def hidden(self, tokens_BT, positions_BT, segments_BT=None, cache=None):
        B, T = tokens_BT.shape
        cache.mask()
        cache.append(0, torch.zeros(B, 1, T, 8), torch.zeros(B, 1, T, 8))
        return positions_BT[..., None].float()

    def logits(self, x_BTD):
        scores = torch.zeros(*x_BTD.shape[:-1], 267)
        for index, position in enumerate(x_BTD[..., 0].flatten().long().tolist()):
            scores.view(-1, 267)[index, self.script[max(0, position + 1 - self.prompt)]] = 50.0
        return scores


@pytest.fixture
def scripted():
    return Scripted
