"""Which row comes next: a shuffle of all rows and a mixture of sources, any place of both at once and in no memory.

Both are pure functions of a number, so a run goes on from any step, on any number of processes, with the very same rows,
and a corpus of a trillion tokens is shuffled as a whole without a list of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

BLOCK = 4096  # rows that are placed at once; a mixture is exact over so many
ROUNDS = 4
Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Shuffle:
    """Endless passes over `rows` rows, each in a random order of its own.

    A pass is a permutation made by a Feistel network of four rounds (Luby & Rackoff 1988) over the next power of four,
    walked until it falls within the rows (Black & Rogaway 2002).
    """

    def __init__(self, rows: int, seed: int) -> None:
        self.rows, self._seed = rows, seed % 2**64
        self._half = max(1, ((rows - 1).bit_length() + 1) // 2)
        self._block = lru_cache(maxsize=8)(self._place)

    def __call__(self, visits: Numbers) -> tuple[Numbers, Numbers]:
        """(pass, row) of each visit, numbered from 0 on."""
        passes, places = np.divmod(visits, self.rows)
        rows = np.empty_like(places)
        for number, place, at in zip(passes.tolist(), places.tolist(), range(len(visits)), strict=True):
            rows[at] = self._block(number, place // BLOCK)[place % BLOCK]
        return passes, rows

    def _place(self, number: int, block: int) -> Numbers:
        """The rows at places block * BLOCK and on, of pass `number`."""
        keys = np.random.Generator(np.random.PCG64([self._seed, number])).integers(2**64, size=ROUNDS, dtype=np.uint64)
        half, mask = np.uint64(self._half), np.uint64(2**self._half - 1)
        x = np.arange(block * BLOCK, min(self.rows, (block + 1) * BLOCK), dtype=np.uint64)
        outside = np.ones(len(x), dtype=bool)
        while outside.any():
            left, right = x[outside] >> half, x[outside] & mask
            for key in keys:
                left, right = right, left ^ (_scramble(right ^ key) & mask)
            x[outside] = left << half | right
            outside = x >= np.uint64(self.rows)
        return x.astype(np.int64)


def _scramble(x: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """SplitMix64's finaliser (Steele et al. 2014): every bit of the result hangs on every bit of x."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Mixture:
    """Rows of several sources in fixed shares, evenly spread.

    Of every BLOCK rows in a row each source has exactly its share, rounded to whole rows; of any first n rows it has its
    share but for a row or two.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        whole = sum(shares)
        exact = np.array([BLOCK * share / whole for share in shares])
        quota = np.floor(exact).astype(np.int64)
        for source in np.argsort(-(exact - quota), kind="stable")[: BLOCK - int(quota.sum())]:
            quota[source] += 1
        self.quota = quota
        """Rows of each source in every BLOCK."""
        sources = np.repeat(np.arange(len(shares)), quota)
        places = np.concatenate([(np.arange(count) + 0.5) / count for count in quota.tolist() if count] or [np.zeros(0)])
        order = np.argsort(places, kind="stable")
        self._source = sources[order]
        self._rank = np.concatenate([np.arange(count) for count in quota.tolist()])[order]

    def __call__(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """(source, how many rows of it came before) of each row of the run."""
        blocks, places = np.divmod(numbers, BLOCK)
        source = self._source[places]
        return source, self.quota[source] * blocks + self._rank[places]
