"""Exact duplicates of documents, paragraphs and lines over the whole corpus: the first in document order is kept.

Two passes: the first writes a hash of every piece, the second drops the pieces whose hash came before. What is
compared is the text with runs of blank space as one space. Hashes have 64 bits: among a thousand million different
pieces the chance that even one is taken for another is 3 % (n^2 / 2^65).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Unit = Literal["documents", "paragraphs", "lines"]
BUCKET = 20_000_000  # hashes sorted at once: 0.5 GB
BETWEEN_PARAGRAPHS = re.compile(r"\n(?:[ \t]*\n)+")
BLANK_LINES = re.compile(r"\n{3,}")


def pieces(text: str, unit: Unit) -> list[str]:
    """The pieces of a document that are compared."""
    if unit == "documents":
        return [text]
    return BETWEEN_PARAGRAPHS.split(text) if unit == "paragraphs" else text.split("\n")


def hashes(text: str, unit: Unit, min_characters: int) -> list[int]:
    """One hash for each piece of a document that is long enough to be a copy (blank ends not counted)."""
    return [
        int.from_bytes(blake2b(" ".join(piece.split()).encode(), digest_size=8).digest(), "little")
        for piece in pieces(text, unit)
        if unit == "documents" or len(piece.strip()) >= min_characters
    ]


def without_copies(text: str, unit: Unit, min_characters: int, first: Iterator[bool]) -> str:
    """The text without the pieces that `first` (one value for each hash, in order) says are copies."""
    all_pieces = pieces(text, unit)
    kept = [piece for piece in all_pieces if (unit != "documents" and len(piece.strip()) < min_characters) or next(first)]
    if len(kept) == len(all_pieces):
        return text
    if unit == "lines":
        return BLANK_LINES.sub("\n\n", "\n".join(kept)).strip("\n")
    return "\n\n".join(kept)


def first_occurrences(shards: list[NDArray[np.uint64]]) -> list[NDArray[np.bool_]]:
    """For each hash of each shard, whether it is the first of its value."""
    if not shards:
        return []
    ends = np.cumsum([len(shard) for shard in shards], dtype=np.int64)
    starts = ends - np.array([len(shard) for shard in shards])
    total = int(ends[-1])
    first = np.zeros(total, dtype=np.bool_)
    buckets = np.uint64(1 + total // BUCKET)
    for bucket in range(int(buckets)):
        inside = [np.flatnonzero(shard % buckets == bucket) for shard in shards]
        values = np.concatenate([shard[place] for shard, place in zip(shards, inside, strict=True)])
        places = np.concatenate([place + start for place, start in zip(inside, starts, strict=True)])
        _, earliest = np.unique(values, return_index=True)
        first[places[earliest]] = True
    return np.split(first, ends[:-1])
