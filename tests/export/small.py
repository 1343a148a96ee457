"""Small tokenizers of every kind, and the shape of a small model."""

from __future__ import annotations

import functools
from typing import Any

from hard_strings import PARTS

from groundup.tokens import trainers

TEXT = [f"{one} {other}\n{one}{other} the king said that the dog's 1984 times" for one in PARTS for other in PARTS[:20]]
SHAPE: dict[str, Any] = {"context": 96, "layers": 2, "width": 64, "heads": 4, "feedforward": 96}


@functools.cache
def tokenizer_text(kind: str) -> str:
    """A tokenizer.json; of a byte-level BPE its pattern is the kind."""
    match kind:
        case "unigram":
            return trainers.train_unigram(TEXT, 900, must_reach=False)
        case "wordpiece":
            return trainers.train_wordpiece(TEXT, 700, must_reach=False)
        case "characters":
            return trainers.characters(TEXT)
        case "bytes":
            return trainers.bytes_only()
        case _:
            return trainers.train_bpe(TEXT, 500, must_reach=False, pattern=kind)  # type: ignore[arg-type]
