"""A tokenizer whose every token is one byte."""

from __future__ import annotations

import pytest

from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only


@pytest.fixture
def words() -> Tokenizer:
    return Tokenizer(bytes_only())
