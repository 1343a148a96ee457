"""Exact repeats of n tokens or more (Lee et al. 2021, ExactSubstr: 50), wherever they stand in whatever document.

A place begins a repeat of at least n tokens exactly if the n tokens from there on stand somewhere else too. So instead of sorting
all suffixes of the corpus, the hashes of all its windows of n tokens are sorted, a range of hashes at a time: the same places at
8 bytes a token instead of a suffix array's 4 bytes a byte of text, and in parts of any size. Tokens are words (shingles.words): case,
punctuation and blank space do not hide a copy.

Of equal windows the first is kept: the one in the document that ranks first, and there the one that comes first. A document loses
the union of its other windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.shingles import Hashes, Places, Words, powers

AT_ONCE = 20_000_000  # windows sorted at once: 1 GB with their documents and places


@dataclass(frozen=True)
class Windows:
    """All windows of n tokens of some documents."""

    value: Hashes
    token: Places
    """Of each window: its first token, counted over the batch."""


def windows(found: Words, n: int) -> Windows:
    """The windows of n tokens that lie within one document."""
    tokens = len(found.hashes)
    if tokens < n:
        return Windows(np.zeros(0, np.uint64), np.zeros(0, np.int64))
    up, down = powers(tokens)
    sums = np.zeros(tokens + 1, np.uint64)
    np.cumsum(found.hashes * up, out=sums[1:])
    start = np.flatnonzero(found.document[: tokens - n + 1] == found.document[n - 1 :])
    return Windows((sums[start + n] - sums[start]) * down[start], start)


class Repeats:
    """Collects windows shard by shard, then says which are copies of an earlier one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._shards = folder, 0

    def add(self, found: Windows, rank: NDArray[np.uint64]) -> None:
        """The next shard's windows; `rank` of each window's document: the least keeps what several have."""
        path = self.folder / f"windows-{self._shards:05d}.npy"
        np.save(path, np.stack([found.value, rank, found.token.astype(np.uint64)]))
        self._shards += 1

    def copies(self) -> Iterator[NDArray[np.bool_]]:
        """For each shard, in order, which of its windows are copies."""
        paths = [self.folder / f"windows-{number:05d}.npy" for number in range(self._shards)]
        sizes = [np.load(path, mmap_mode="r").shape[1] for path in paths]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        copy = np.zeros(int(starts[-1]), np.bool_)
        ranges = 1 + int(starts[-1]) // AT_ONCE
        for part in range(ranges):
            taken, places = [], []
            for path, start in zip(paths, starts, strict=False):
                shard = np.load(path, mmap_mode="r")
                inside = np.flatnonzero(shard[0] % np.uint64(ranges) == part) if ranges > 1 else np.arange(shard.shape[1])
                taken.append(np.asarray(shard[:, inside]))
                places.append(inside + start)
            if not taken:
                continue
            value, rank, token = np.concatenate(taken, axis=1)
            place = np.concatenate(places)
            order = np.lexsort((token, rank, value))
            again = np.zeros(len(order), np.bool_)
            again[1:] = value[order][1:] == value[order][:-1]
            copy[place[order[again]]] = True
        yield from np.split(copy, starts[1:-1]) if self._shards else ()


def spans(found: Words, at: Windows, copy: NDArray[np.bool_], n: int) -> Iterator[tuple[int, int, int]]:
    """(document, first byte, last byte + 1) of what is to go: the unions of copied windows, in order."""
    first = at.token[copy]
    if not len(first):
        return
    apart = np.flatnonzero((first[1:] > first[:-1] + n) | (found.document[first[1:]] != found.document[first[:-1]])) + 1
    for stretch in np.split(first, apart):
        begin, end = int(stretch[0]), int(stretch[-1]) + n - 1
        yield int(found.document[begin]), int(found.begin[begin]), int(found.end[end])
