"""A tokenizer whose every token is one byte."""

from __future__ import annotations

import pytest

from groundup.tokens.tokenizer import Tokenizer, _bytes


@pytest.fixture
def words() -> Tokenizer:
    return Tokenizer(_bytes(iter(()), 0), "bytes")
