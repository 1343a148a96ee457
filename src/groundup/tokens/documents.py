"""The clean corpus as the tokenizer, the shards and the baselines read it: rows of Parquet parts, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow.compute as pc
import pyarrow.parquet as pq

Split = Literal["train", "held-out"]
SPLITS: tuple[Split, ...] = ("train", "held-out")
ROWS = 64  # read at once: with documents of up to a million characters, tens of MB


def parts(cleaned: Path) -> list[Path]:
    """The Parquet files of a clean corpus, in order."""
    return sorted(cleaned.glob("part-*.parquet"))


def texts(cleaned: Path, split: Split) -> Iterator[str]:
    """The texts of one split, in the corpus's order."""
    for _, text in _rows(cleaned, split):
        yield text


def sample(cleaned: Path, split: Split, most_bytes: int, seed: int) -> Iterator[str]:
    """Texts of one split drawn by a hash of (seed, id), about `most_bytes` of UTF-8 and never more but for the last text.

    All of them where they fit. The draw does not depend on the order of the rows.
    """
    total = size(cleaned, split)
    taken = 0
    for name, text in _rows(cleaned, split):
        if taken >= most_bytes:
            return
        if total <= most_bytes or _uniform(seed, name) < most_bytes / total:
            taken += len(text.encode())
            yield text


def size(cleaned: Path, split: Split) -> int:
    """UTF-8 bytes of one split."""
    total = 0
    for path in parts(cleaned):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS, columns=["split", "text"]):
                chosen = batch.filter(pc.equal(batch.column("split"), split))
                total += pc.sum(pc.binary_length(chosen.column("text"))).as_py() or 0
    return total


def _rows(cleaned: Path, split: Split) -> Iterator[tuple[str, str]]:
    """(id, text) of one split."""
    for path in parts(cleaned):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS, columns=["id", "split", "text"]):
                chosen = batch.filter(pc.equal(batch.column("split"), split))
                yield from zip(chosen.column("id").to_pylist(), chosen.column("text").to_pylist(), strict=True)


def _uniform(seed: int, name: str) -> float:
    """A number in [0, 1) that belongs to this document."""
    hashed = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed) / 2**64
