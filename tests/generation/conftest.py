"""A tokenizer whose every token is one byte, and a small model of random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from groundup.generation import Engine
from groundup.generation.cache import Piece
from groundup.generation.slots import Slots
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
    fast = config.model_copy(
        update={**FAMILIES["fast"], "family": "fast", "ngram_rows": (500, 300), "zero_output": False}
    )
    model = build(fast, seed=0).eval()
    torch.nn.init.normal_(model.embedding.weight, generator=torch.Generator().manual_seed(1))
    return model


class Script:
    """A runner that says the given tokens one after the other, whatever the prompt (whose length it is told)."""

    goes_back = True

    def __init__(self, script: list[int], prompt: int, context: int) -> None:
        self.script, self.prompt, self.slots = script, prompt, Slots(4, context, None)
        self.read: list[int] = []
        """Tokens of each pass."""

    def open(self, slot: int, prompt: list[int]) -> list[int]:
        return prompt

    def forward(self, pieces: Sequence[Piece]) -> torch.Tensor:
        self.read.append(sum(len(piece.tokens) for piece in pieces))
        rows = []
        for piece in pieces:
            self.slots.write(piece.slot, piece.tokens)
            length = self.slots.lengths[piece.slot]
            for place in range(length - piece.wanted, length):
                scores = torch.zeros(267)
                scores[self.script[max(0, place + 1 - self.prompt)]] = 50.0
                rows.append(scores)
        return torch.stack(rows)


@pytest.fixture
def scripted(words: Tokenizer) -> Callable[..., Engine]:
    def make(script: list[int], prompt: int, context: int = 200) -> Engine:
        config = ModelConfig(
            vocabulary=267, context=context, layers=1, width=8, heads=1, kv_heads=1, feedforward=8
        )
        engine = Engine(build(config, seed=0), words)
        engine.runner = Script([*script, *[0] * context], prompt, context)  # type: ignore[assignment]
        return engine

    return make
