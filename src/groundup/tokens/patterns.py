r"""How byte-level BPE cuts a text into pieces before it merges bytes: the patterns that llama.cpp knows by name.

A GGUF file names its pre-tokenizer; one that llama.cpp does not know cannot be loaded. So a tokenizer trained here has
one of these three, written exactly as their makers wrote them:

    gpt2     Radford et al. 2019   contractions, words and numbers with the space before them; case matters in 's, 't, ...
    llama3   Dubey et al. 2024     cl100k's: line ends end a piece, numbers in threes
    qwen2    Yang et al. 2024      the same with single digits: with a small vocabulary better than a thousand rarely seen triples

Qwen2's own tokenizer also normalises to NFC; ours changes nothing, because a round trip must be exact (llama.cpp does not
normalise either).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Name = Literal["gpt2", "llama3", "qwen2"]


@dataclass(frozen=True)
class Pattern:
    """A pattern under its names."""

    name: Name
    gguf: str
    """`tokenizer.ggml.pre`, llama.cpp's name of it."""
    regex: str
    """As tokenizer.json holds it."""
    fast: str
    """What matches the same with less backtracking, for tiktoken; held equal in tests/tokens/test_patterns.py."""


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_CONTRACTIONS_FAST = r"'(?i:[sdmt]|ll|ve|re)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST_FAST = r" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]|\s+(?!\S)|\s"

PATTERNS: dict[str, Pattern] = {
    "gpt2": Pattern(
        "gpt2", "gpt-2", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s",
    ),
    "llama3": Pattern(
        "llama3", "llama-bpe", rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}",
        rf"{_CONTRACTIONS_FAST}|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}++|\p{{N}}{{1,3}}+|{_REST_FAST}",
    ),
    "qwen2": Pattern(
        "qwen2", "qwen2", rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}",
        rf"{_CONTRACTIONS_FAST}|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}++|\p{{N}}|{_REST_FAST}",
    ),
}  # fmt: skip
