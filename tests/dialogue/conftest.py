"""A tokenizer whose every token is one byte, and a small model of random weights."""

from __future__ import annotations

import re

import pytest

from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder

SPECIAL = ("<|end_of_text|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end_of_turn|>", "<|mask|>")


class Bytes:
    def __init__(self) -> None:
        self.special = {name: number for number, name in enumerate(SPECIAL)}
        self.size = len(SPECIAL) + 256
        self.digest = "bytes"

    def encode(self, text: str) -> list[int]:
        return [byte + len(SPECIAL) for byte in text.encode()]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def encode_with_special(self, text: str) -> list[int]:
        parts = re.split("(" + "|".join(map(re.escape, SPECIAL)) + ")", text)
        return [token for part in parts for token in ([self.special[part]] if part in self.special else self.encode(part))]

    def decode_bytes(self, ids: list[int]) -> bytes:
        return bytes(token - len(SPECIAL) for token in ids)


@pytest.fixture
def words() -> Bytes:
    return Bytes()


@pytest.fixture
def model() -> Decoder:
    config = ModelConfig(
        vocabulary=270, context=48, layers=2, width=32, heads=4, kv_heads=2, feedforward=64, init_std=0.2
    )
    return build(config, seed=0).eval()
