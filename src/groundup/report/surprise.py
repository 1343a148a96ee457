"""The page of what surprised a model: its figures over a text, the text with every token shaded by its surprise, the words it least expected.

    token         surprise of it, in bits                      what is shown
    " the"        -log2 p(" the" | all before it)              darker the more bits; hovering: p, and what was expected instead

Tokens that are parts of one character are shown as one piece, since their bytes are no text alone; its surprise is the sum of theirs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from groundup.evaluation.intrinsic import Guesses
from groundup.report import words
from groundup.report.sections import baseline_rows
from groundup.report.sheet import template
from groundup.run import write_atomic
from groundup.tokens.documents import Text
from groundup.tokens.shards import TokenSplit
from groundup.tokens.tokenizer import Tokenizer

Row = dict[str, Any]
STEPS = (1, 2, 4, 6, 8, 11, 15)
"""Bits at which the next shade begins: 1 bit is one of two, 8 bits one of 256, 15 one of a vocabulary."""
MOST_WORDS = 25
BEFORE = 48  # characters shown before a surprising word
WORD = re.compile(r"[^\W_]+")
BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class Piece:
    """One token, or several that make up a character."""

    text: str
    bits: float
    expected: tuple[tuple[str, float], ...]
    """Of its first token: what was likeliest there, and how likely."""

    @property
    def shade(self) -> int:
        """0 for what was clear, up to `len(STEPS)`."""
        return sum(self.bits >= step for step in STEPS)

    @property
    def said(self) -> str:
        """What hovering shows."""
        instead = ", ".join(f"{text} {_share(share)}" for text, share in self.expected)
        return f"{words.blanks(self.text)}   {self.bits:.1f} bits, {_share(2**-self.bits)}\nexpected: {instead}"


def write(path: Path, found: Row, texts: Sequence[Text], split: TokenSplit, guesses: Guesses, tokenizer: Tokenizer, name: str, what: str) -> None:
    """Write the page: the figures `found`, and `texts`, which are the documents of `split`, with what the model made of them."""
    write_atomic(path, render(found, texts, split, guesses, tokenizer, name, what))


def render(found: Row, texts: Sequence[Text], split: TokenSplit, guesses: Guesses, tokenizer: Tokenizer, name: str, what: str) -> str:
    """The page's HTML."""
    documents: list[Row] = []
    for number, text in enumerate(texts):
        pieces = list(_pieces(split, number, guesses, tokenizer))
        bits = sum(piece.bits for piece in pieces)
        size = sum(len(piece.text.encode(errors="replace")) for piece in pieces)
        documents.append({"title": text.url or text.name, "pieces": pieces, "bits_per_byte": bits / max(1, size)})
    surprising: dict[str, Row] = {}  # each word once, where it surprised most
    for word in sorted((word for one in documents for word in _words(one["pieces"])), key=lambda word: -word["bits"]):
        surprising.setdefault(word["word"], word)
    groups = found.get("groups") or {}
    most = max((one["bits_per_byte"] for one in groups.values()), default=1.0)
    return template("surprise.html.j2").render(
        name=name, what=what, found=found, documents=documents, surprising=list(surprising.values())[:MOST_WORDS],
        groups=[{"name": group, **one, "bar": 100 * one["bits_per_byte"] / most} for group, one in groups.items()],
        bars=baseline_rows(found["bits_per_byte"], found.get("baselines") or {}), scale=[0, *STEPS],
    )  # fmt: skip


def _pieces(split: TokenSplit, number: int, guesses: Guesses, tokenizer: Tokenizer) -> Iterator[Piece]:
    """A document's tokens, those joined that are parts of one character."""
    place, end = int(split.starts[number]), int(split.ends[number])
    while place < end:
        until, text = _whole(split, place, end, tokenizer)
        bits = float(guesses.nats_N[place:until].sum(dtype=np.float64)) / math.log(2)
        expected = zip(guesses.likeliest_NK[place].tolist(), guesses.shares_NK[place].tolist(), strict=True)
        yield Piece(text, bits, tuple((_spelled(tokenizer, token), share) for token, share in expected))
        place = until


def _whole(split: TokenSplit, place: int, end: int, tokenizer: Tokenizer) -> tuple[int, str]:
    """How far the first tokens that are text together reach, and that text; a character has 4 bytes at most."""
    data = b""
    for until in range(place, min(end, place + 4)):
        data += tokenizer.token_bytes[int(split.tokens[until])]
        try:
            return until + 1, data.decode()
        except UnicodeDecodeError:
            pass
    return place + 1, tokenizer.token_bytes[int(split.tokens[place])].decode(errors="replace")


def _words(pieces: Sequence[Piece]) -> Iterator[Row]:
    """The words of a document: the bits of all pieces that have a part in each, what stands before, and what was expected at its first."""
    text = "".join(piece.text for piece in pieces)
    ends = np.cumsum([len(piece.text) for piece in pieces])
    for word in WORD.finditer(text):
        first, last = (int(np.searchsorted(ends, place, "right")) for place in (word.start(), word.end() - 1))
        yield {
            "word": word[0], "bits": sum(piece.bits for piece in pieces[first : last + 1]), "before": BLANKS.sub(" ", text[max(0, word.start() - BEFORE) : word.start()]),
            "expected": [(spelled, _share(share)) for spelled, share in pieces[first].expected],
        }  # fmt: skip


def _spelled(tokenizer: Tokenizer, token: int) -> str:
    """An expected token as it is shown in a line."""
    names = {number: name for name, number in tokenizer.special.items()}
    data = tokenizer.token_bytes[token] if token < tokenizer.size else b""
    if not data:
        return names.get(token, "(unused)")
    try:
        return words.blanks(data.decode())
    except UnicodeDecodeError:
        return " ".join(f"{byte:02X}" for byte in data)


def _share(share: float) -> str:
    """A probability as a person reads it: 34 %, 0.2 %, 1 in 40,000."""
    if share >= 0.001:
        return words.percent(share)
    return f"1 in {min(1 / max(share, 1e-300), 1e12):,.0f}"
