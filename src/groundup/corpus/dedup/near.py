"""Clusters of near duplicates over a whole corpus, in bounded memory.

    shard by shard   band keys of its documents            -> keys-00000.npy  (bands, documents) uint64
    band by band     equal keys, a range of keys at a time -> pairs of documents
    pair by pair     union-find                            -> parents.npy     one int64 a document

Each document costs 8 bytes a band and 24 more on disk (136 with 14 bands). In memory there are the keys of one range (sorted there)
and one parent a document. Which documents are in one cluster does not depend on the order of anything; which one of them is kept is
the caller's choice by rank, so survivors are the same for any order of input and any number of shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.shingles import Hashes, Places, mix

AT_ONCE = 20_000_000  # keys sorted at once: 0.5 GB with their places

Check = Callable[[Places, Places], NDArray[np.bool_]]
"""From pairs of documents (two arrays) to whether each is one indeed."""


class Clusters:
    """Collects band keys, then finds which documents belong together."""

    def __init__(self, folder: Path, bands: int) -> None:
        self.folder, self.bands = folder, bands
        self.starts = [0]
        """Of each shard, and of what would follow the last: the number of its first document."""

    def add(self, keys: Hashes, there: NDArray[np.bool_]) -> None:
        """The next shard's keys (documents, bands); a document that is not `there` (it has no words) is like no other."""
        number = len(self.starts) - 1
        columns = np.ascontiguousarray(keys.T)
        alone = np.flatnonzero(~there)
        columns[:, alone] = _alone(self.starts[-1] + alone)
        np.save(self.folder / f"keys-{number:05d}.npy", columns)
        self.starts.append(self.starts[-1] + len(keys))

    def find(self, check: Check | None = None) -> Places:
        """For each document the least number in its cluster; its own where it is alone."""
        total = self.starts[-1]
        parents = np.arange(total, dtype=np.int64)
        for band in range(self.bands):
            for first, second in self._pairs(band):
                if check is not None:
                    apart = roots(parents, first) != roots(parents, second)
                    first, second = first[apart], second[apart]
                    true = check(first, second)
                    first, second = first[true], second[true]
                unite(parents, first, second)
        return roots(parents, np.arange(total))

    def _pairs(self, band: int) -> Iterator[tuple[Places, Places]]:
        """Neighbours in each group of equal keys of a band: enough to unite the group."""
        total = self.starts[-1]
        ranges = 1 + total // AT_ONCE
        for part in range(ranges):
            values, places = [], []
            for number, start in enumerate(self.starts[:-1]):
                keys = np.load(self.folder / f"keys-{number:05d}.npy", mmap_mode="r")[band]
                inside = np.flatnonzero(keys % np.uint64(ranges) == part) if ranges > 1 else np.arange(len(keys))
                values.append(np.asarray(keys[inside]))
                places.append(inside + start)
            if not values:
                continue
            key, place = np.concatenate(values), np.concatenate(places)
            order = np.argsort(key, kind="stable")
            key, place = key[order], place[order]
            same = np.flatnonzero(key[1:] == key[:-1])
            if len(same):
                yield place[same], place[same + 1]


def _alone(documents: Places) -> Hashes:
    """Keys that no other document has but by chance."""
    return mix(documents.astype(np.uint64) + np.uint64(0xA10E << 40))


def roots(parents: Places, of: Places) -> Places:
    """The root of each; paths are halved on the way."""
    found = parents[of]
    while True:
        above = parents[found]
        if np.array_equal(above, found):
            parents[of] = found
            return found
        parents[of] = above
        found = parents[above]


def unite(parents: Places, first: Places, second: Places) -> None:
    """Put pairs into one cluster each; the root of a cluster is its least number."""
    while len(first):
        a, b = roots(parents, first), roots(parents, second)
        apart = a != b
        first, second, a, b = first[apart], second[apart], a[apart], b[apart]
        np.minimum.at(parents, np.maximum(a, b), np.minimum(a, b))
