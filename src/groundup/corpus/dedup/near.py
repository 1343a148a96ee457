"""Clusters of near duplicates over a whole corpus, in bounded memory.

    shard by shard   band keys of its documents    -> dedup/keys.py
    band by band     documents that share a key    -> candidates; where asked for, those of too small a true similarity are left apart
    pair by pair     union-find                    -> parents.npy     one int64 a document

Which documents are in one cluster does not depend on the order of anything; which one of them is kept is the one of least rank, so
survivors are the same for any order of input and any number of shards. A document costs 12 bytes a band and 40 more on disk (208 with
14 bands), and with a check 4 bytes a word; in memory there are the keys of one range.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.keys import Keys
from groundup.corpus.dedup.shingles import Hashes, Places

BLOCK = 1 << 20  # documents at once where all are gone through

Check = Callable[[Places, Places], NDArray[np.bool_]]
"""From pairs of documents (two arrays) to whether each is one indeed."""


def clusters(keys: Keys, check: Check | None = None) -> Places:
    """For each document the least place in its cluster; its own where it is alone."""
    parents = keys.file("parents", np.int64)
    for start in range(0, keys.total, BLOCK):
        parents[start : start + BLOCK] = np.arange(start, min(start + BLOCK, keys.total))
    for band in range(keys.columns):
        for key, place in keys.together(band):
            if check is None:
                same = np.flatnonzero(key[1:] == key[:-1])  # neighbours are enough to unite a group
                unite(parents, place[same], place[same + 1])
            else:
                _unite_checked(parents, key, place, check)
    for start in range(0, keys.total, BLOCK):
        roots(parents, np.arange(start, min(start + BLOCK, keys.total)))
    return parents


def kept(keys: Keys, cluster: Places) -> NDArray[np.bool_]:
    """Whether each document is the one of least rank in its cluster; of several such the first."""
    ranks, best, first, found = keys.ranks(), keys.file("best", np.uint64), keys.file("first", np.int64), keys.file("kept", np.bool_)
    parts = [np.arange(start, min(start + BLOCK, keys.total)) for start in range(0, keys.total, BLOCK)]
    for part in parts:
        best[part], first[part] = np.iinfo(np.uint64).max, np.iinfo(np.int64).max
    for part in parts:
        np.minimum.at(best, cluster[part], ranks[part])
    for part in parts:
        part = part[ranks[part] == best[cluster[part]]]
        np.minimum.at(first, cluster[part], part)
    for part in parts:
        found[part] = first[cluster[part]] == part
    return found


def _unite_checked(parents: Places, key: Hashes, place: Places, check: Check) -> None:
    """All pairs of each group, those at one distance at a time; a group that is united whole is done with."""
    distance = 1
    while len(key) > distance:
        near = np.flatnonzero(key[distance:] == key[:-distance])
        first, second = place[near], place[near + distance]
        apart = roots(parents, first) != roots(parents, second)
        first, second = first[apart], second[apart]
        true = check(first, second)
        unite(parents, first[true], second[true])
        root = roots(parents, place)
        start = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        size = np.diff(np.concatenate([start, [len(key)]]))
        open_ = (np.minimum.reduceat(root, start) != np.maximum.reduceat(root, start)) & (size > distance + 1)
        inside = np.repeat(open_, size)
        key, place, distance = key[inside], place[inside], distance + 1


class Similar:
    """Whether two documents have at least this true Jaccard similarity; their sets of shingles lie in files."""

    def __init__(self, folder: Path, keys: Keys, least: float) -> None:
        self._starts, self._least = keys.starts, least
        self._values = [np.load(folder / f"shingles-{number:05d}.npy", mmap_mode="r") for number in range(keys.shards)]
        self._borders = [np.load(folder / f"borders-{number:05d}.npy") for number in range(keys.shards)]

    def __call__(self, first: Places, second: Places) -> NDArray[np.bool_]:
        return np.array([self._pair(*pair) for pair in zip(first.tolist(), second.tolist(), strict=True)], np.bool_)

    def _pair(self, first: int, second: int) -> bool:
        one, other = self._set(first), self._set(second)
        small, large = sorted((len(one), len(other)))
        if small < self._least * large:
            return False
        shared = len(np.intersect1d(one, other, assume_unique=True))
        return shared >= self._least * (small + large - shared)

    def _set(self, place: int) -> NDArray[np.uint32]:
        shard = int(np.searchsorted(self._starts, place, side="right")) - 1
        row = place - int(self._starts[shard])
        return np.asarray(self._values[shard][self._borders[shard][row] : self._borders[shard][row + 1]])


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
