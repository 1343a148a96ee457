"""Keys of all shards, sorted on disk, and read back a range at a time: an external sort in bounded memory.

    shard by shard   its keys, sorted             -> keys-00000.npy   uint64 (columns, entries)
                     where each one stood         -> order-00000.npy  uint32 (columns, entries)
                     the rank of each entry       -> ranks-00000.npy  uint64 (entries)
    range by range   the slices of all shards     -> entries that share a key, together

A shard that is there is not asked for again, so a pass that is cut off goes on with the next one. An entry costs 12 bytes a column
and 8 for its rank on disk; in memory there are the keys of one range.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.shingles import Hashes, Places

Kind = TypeVar("Kind", bound=np.generic)

AT_ONCE = 10_000_000  # keys sorted at once: 0.3 GB with their places


class Keys:
    """One or several columns of keys, an entry a document or piece; places are counted over all shards in their order."""

    def __init__(self, folder: Path, shards: int, columns: int = 1) -> None:
        self.folder, self.shards, self.columns = folder, shards, columns

    def known(self, number: int) -> bool:
        """Whether a shard's keys are there."""
        return self._path("ranks", number).exists()

    def write(self, number: int, keys: Hashes, ranks: Hashes) -> None:
        """A shard's keys (entries, columns) and the ranks of its entries."""
        columns = np.ascontiguousarray(keys.T)
        order = np.argsort(columns, axis=1, kind="stable")
        self._save("keys", number, np.take_along_axis(columns, order, axis=1))
        self._save("order", number, order.astype(np.uint32))
        self._save("ranks", number, ranks)  # last: it says that the others are whole

    @cached_property
    def starts(self) -> Places:
        """Of each shard, and of what would follow the last: the place of its first entry. Asked when all are there."""
        sizes = [len(np.load(self._path("ranks", number), mmap_mode="r")) for number in range(self.shards)]
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)

    @property
    def total(self) -> int:
        """Entries of all shards."""
        return int(self.starts[-1])

    def ranks(self) -> Hashes:
        """The ranks of all entries, as a file in memory."""
        whole = self.file("ranks", np.uint64)
        for number in range(self.shards):
            whole[self.starts[number] : self.starts[number + 1]] = np.load(self._path("ranks", number))
        return whole

    def file(self, name: str, kind: type[Kind]) -> NDArray[Kind]:
        """A new array of zeros, one value an entry, that lives in a file."""
        if not self.total:
            return np.zeros(0, kind)
        return np.lib.format.open_memmap(self.folder / f"{name}.npy", "w+", np.dtype(kind), (self.total,))

    def together(self, column: int = 0) -> Iterator[tuple[Hashes, Places]]:
        """(keys, places) of the entries whose key others have too, all that share one in the same pair, sorted by key."""
        ranges = 1 + self.total // AT_ONCE
        borders = [np.uint64((part << 64) // ranges) for part in range(1, ranges)]
        held = [(np.load(self._path("keys", number), mmap_mode="r"), np.load(self._path("order", number), mmap_mode="r")) for number in range(self.shards)]
        cuts = [[0, *np.searchsorted(keys[column], borders).tolist(), keys.shape[1]] for keys, _ in held]
        for part in range(ranges):
            slices = [slice(cut[part], cut[part + 1]) for cut in cuts]
            if not slices:
                return
            key = np.concatenate([keys[column, inside] for (keys, _), inside in zip(held, slices, strict=True)])
            place = np.concatenate([
                order[column, inside].astype(np.int64) + start for (_, order), inside, start in zip(held, slices, self.starts, strict=False)
            ])  # fmt: skip
            sort = np.argsort(key)  # the order of equal ones is of no account
            key, place = key[sort], place[sort]
            same = key[1:] == key[:-1]
            shared = np.zeros(len(key), np.bool_)
            shared[1:] |= same
            shared[:-1] |= same
            if shared.any():
                yield key[shared], place[shared]

    def _path(self, name: str, number: int) -> Path:
        return self.folder / f"{name}-{number:05d}.npy"

    def _save(self, name: str, number: int, values: NDArray[np.generic]) -> None:
        temporary = self.folder / f".{name}-{number:05d}.tmp.npy"
        np.save(temporary, values)
        temporary.replace(self._path(name, number))


def copies(keys: Keys, *, by_rank: bool = False) -> NDArray[np.int32]:
    """Of each entry: 0 if no other has its key; if it is the one that is kept, the number of its copies; -1 if it is a copy.

    Kept is the entry of least rank, and of several such the first; with `by_rank` all of the least rank are.
    """
    found, ranks = keys.file("copies", np.int32), keys.ranks()
    for key, place in keys.together():
        rank = ranks[place]
        order = np.lexsort((place, rank, key))
        key, place, rank = key[order], place[order], rank[order]
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        size = np.diff(np.concatenate([first, [len(key)]]))
        value = np.full(len(key), -1, np.int32)
        if by_rank:
            least = rank == np.repeat(rank[first], size)
            value[least] = 0
            value[first] = size - np.add.reduceat(least, first)
        else:
            value[first] = size - 1
        found[place] = value
    return found
