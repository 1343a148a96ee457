"""Text that must match: a regular expression, a JSON schema. llguidance says which tokens may come next.

Its automaton works on the bytes of tokens, so any of our tokenizers will do. It is asked once a token, and answers with a
mask over the vocabulary; where the text is complete, the ends are among what may come.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundup.errors import RequestError
from groundup.generation.sampling import SamplingSettings
from groundup.tokens.tokenizer import Tokenizer

COMPACT: Any = {"whitespace_flexible": False}  # a small model would rather write blanks, which are always allowed, than a value


class Constraint:
    """What one text must match, and how far it has come."""

    def __init__(self, tokenizer: Tokenizer, grammar: str, size: int) -> None:
        from llguidance import LLMatcher

        self._size = size
        self._matcher = LLMatcher(_known(tokenizer, size), grammar, log_level=0)
        if self._matcher.is_error():
            raise RequestError(
                f"cannot be matched: {_first_line(self._matcher.get_error())}",
                do="Correct the schema or the expression.",
            )

    def allowed(self) -> Tensor:
        """Which tokens may come next, bool (V,)."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return torch.from_numpy(np.unpackbits(bits, count=self._size, bitorder="little").astype(bool))

    def take(self, token: int) -> bool:
        """Go on with a token; whether the text is complete and nothing may follow."""
        self._matcher.consume_token(token)
        return bool(self._matcher.is_stopped())


def constraint(settings: SamplingSettings, tokenizer: Tokenizer, size: int) -> Constraint | None:
    """What the settings ask for, over a vocabulary of `size`; raises RequestError where that is no schema or expression."""
    if settings.regex is None and settings.json_schema is None:
        return None
    try:
        from llguidance import LLMatcher
    except ImportError:
        raise RequestError(
            "llguidance is not installed", do="Install it: pip install 'groundup[constrain]'."
        ) from None
    if settings.regex is not None:
        return Constraint(tokenizer, LLMatcher.grammar_from_regex(settings.regex), size)
    schema = settings.json_schema
    try:
        read: Any = (
            {"type": "object"}
            if schema is True
            else json.loads(schema)
            if isinstance(schema, str)
            else schema
        )
        return Constraint(tokenizer, LLMatcher.grammar_from_json_schema(json.dumps(read), defaults=COMPACT), size)
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"json_schema is no schema ({_first_line(str(error))})", do="Give JSON Schema as JSON."
        ) from None


class _Spelled:
    """A tokenizer as llguidance wants it: the bytes of each token, those of control tokens behind a byte that no text has."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self.eos_token_id = tokenizer.special["<|end_of_text|>"]
        self.bos_token_id = None
        names = {token: name for name, token in tokenizer.special.items()}
        spelled = [*tokenizer.token_bytes, *[b""] * (size - tokenizer.size)]
        self.tokens = [
            said or b"\xff" + names.get(token, f"<|unused_{token}|>").encode()
            for token, said in enumerate(spelled)
        ]
        self._encode = tokenizer.encode

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode("utf-8", errors="replace"))


@lru_cache(maxsize=4)
def _known(tokenizer: Tokenizer, size: int) -> Any:
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Spelled(tokenizer, size)), n_vocab=size)


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), text)[:300]
