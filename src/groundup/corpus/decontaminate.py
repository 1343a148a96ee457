"""Where the text of tests stands in other text: two indexes of the tests' word n-grams, asked with batches of documents.

    Pieces     of evaluation files: few and short, so every word is kept (24 bytes a word). A document that shares five words in a row
               with a piece is laid beside it, word by word.
    HeldOut    documents: many and long. Hashes of their n-grams are kept (12 bytes each), and beyond MOST_GRAMS only those that are
               small: a half, a quarter, ... of them, so memory is bounded.

A sample by the size of the hash (FracMinHash, Irber et al. 2022) estimates containment: unlike the bands of dedup/near.py, which
estimate likeness, it sees a test that makes up a hundredth of a page. What is measured of a document and a test:

    copied     the share of the n-grams (GPT-3's 13 words, Brown et al. 2020, appendix C) of the smaller of the two that both have;
               for a piece of fewer than n words: 1 if all of it stands there
    reworded   the share of the piece's words that stand where they should: beside words next to which the piece has them, give or
               take REACH

Words are those of dedup/shingles.py: case, punctuation and blank space hide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.corpus.dedup.shingles import Hashes, Places, Words, mix, words
from groundup.corpus.dedup.substring import windows

SEED = 5  # words in a row by which a piece is found
MOST_PLACES = 200  # of a gram: one that stands in more places of the tests tells none of them from the others
MOST_GRAMS = 16_000_000  # of held-out documents that are kept: 100 MB of text; 0.4 GB, and 1.3 GB while they are sorted
REACH = 3  # words that may have come in or gone since the last place that agrees
APART = 12  # words: places of a piece that lie further from where they should are another find
LEAST_FOUND = 0.1  # of a piece's seeds that must be there before it is laid beside the document
AT_ONCE = 4096  # texts of pieces whose words are hashed at once

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Finds:
    """What the documents of a batch share with tests: a row for each place. Sorted by document, then test."""

    document: Places
    test: Places
    copied: Shares
    """Over all places of the test in the document together; of a piece of fewer than n words, at this place."""
    reworded: Shares
    """At this place."""
    begin: Places
    """Of the place, in bytes of the document."""
    end: Places


class Grams:
    """Where each gram stands: sorted hashes, and a table that knows at once of most other grams that they stand nowhere."""

    def __init__(self, value: Hashes, place: NDArray[np.uint32]) -> None:
        order = np.argsort(value, kind="stable")
        value, place = value[order], place[order]
        first = np.ones(len(value), np.bool_)
        first[1:] = value[1:] != value[:-1]
        size = np.diff(np.append(np.flatnonzero(first), len(value)))
        kept = np.repeat(size <= MOST_PLACES, size)
        self.value, self.place = value[kept], place[kept]
        bits = min(28, max(16, 3 + len(self.value).bit_length()))  # an eighth of the table at most is set
        self._shift = np.uint64(64 - bits)
        self._there = np.zeros(1 << bits, np.bool_)
        self._there[self._slot(self.value)] = True

    def _slot(self, value: Hashes) -> Places:
        return (mix(value) >> self._shift).astype(np.int64)  # mixed once more: a sample has small values alone

    def find(self, value: Hashes) -> tuple[Places, Places]:
        """Pairs: which of the values, and one of its places."""
        maybe = np.flatnonzero(self._there[self._slot(value)])
        begin = np.searchsorted(self.value, value[maybe], side="left")
        size = np.searchsorted(self.value, value[maybe], side="right") - begin
        return np.repeat(maybe, size), self.place[_ragged(begin, size)].astype(np.int64)


class Pieces:
    """The index of short tests."""

    def __init__(self, texts: Sequence[str], n: int) -> None:
        self.n = n
        hashes, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for start in range(0, len(texts), AT_ONCE):
            found = words(pa.array(texts[start : start + AT_ONCE], pa.large_string()))
            hashes.append(found.hashes)
            owners.append(found.document + start)
        self.words, owner = np.concatenate(hashes), np.concatenate(owners)
        self.size = np.bincount(owner, minlength=len(texts))
        self._start = np.concatenate([[0], np.cumsum(self.size)])
        self._owner = owner.astype(np.int32)
        value, token = _grams(Words(self.words, owner, owner, owner), SEED)
        self._seeds = Grams(value, token.astype(np.uint32))

    def find(self, found: Words, documents: int) -> Finds:
        """The pieces that a batch of documents may hold."""
        value, token = _grams(found, SEED)
        which, place = self._seeds.find(value)
        piece = self._owner[place].astype(np.int64)
        within = place - self._start[piece]
        document, would = found.document[token[which]], token[which] - within  # where the piece would begin
        order = np.lexsort((within, would, piece, document))
        document, piece, within, would = document[order], piece[order], within[order], would[order]
        new = np.ones(len(order), np.bool_)
        new[1:] = (document[1:] != document[:-1]) | (piece[1:] != piece[:-1]) | (would[1:] > would[:-1] + APART)
        first = np.flatnonzero(new)
        there = np.diff(np.append(first, len(order)))
        seeds = self.size[piece[first]] - SEED + 1
        enough = there >= np.clip(LEAST_FOUND * seeds, 1, self.n - SEED + 1)
        taken = np.repeat(enough, there)
        first = first[enough]
        cluster = np.repeat(np.arange(len(first)), there[enough])
        return self._beside(found, documents, document[first], piece[first], cluster, within[taken], would[taken])

    def _beside(self, found: Words, documents: int, document: Places, piece: Places, cluster: Places, within: Places, would: Places) -> Finds:
        """Lay each piece beside its document: of seeds, `cluster` says whose they are, `within` where in the piece, `would` where that begins."""
        n, size = self.n, self.size[piece]
        borders = np.searchsorted(found.document, np.arange(documents + 1))
        of = np.repeat(np.arange(len(piece)), size)
        word = _ragged(np.zeros(len(piece), np.int64), size)
        mine = self.words[self._start[piece][of] + word]
        # each word stands where the last seed at or before it says, or else the first
        order = np.lexsort((within, cluster))
        key, begins = ((cluster << 32) + within)[order], would[order]
        at = np.searchsorted(key, (of << 32) + word, side="right") - 1
        at += (at < 0) | (key[np.maximum(at, 0)] >> 32 != of)
        place = begins[at] + word
        low, high = borders[document][of], borders[document + 1][of]

        def agrees(shift: int) -> NDArray[np.bool_]:
            inside = (place + shift >= low) & (place + shift < high)
            same: NDArray[np.bool_] = inside & (found.hashes[np.where(inside, place + shift, 0)] == mine)
            return same

        exact = agrees(0) if len(of) else np.zeros(0, np.bool_)
        near = exact.copy()
        for shift in range(1, REACH + 1) if len(of) else ():
            near |= agrees(shift) | agrees(-shift)
        runs = np.zeros(len(of), np.bool_)  # whether n words from here on agree, all at one distance
        if len(of) >= n:
            before = np.concatenate([[0], np.cumsum(exact)])
            ends = slice(n - 1, None)
            runs[: len(of) - n + 1] = (before[n:] - before[:-n] == n) & (of[ends] == of[: len(of) - n + 1]) & (place[ends] == place[: len(of) - n + 1] + n - 1)
        its = borders[document + 1] - borders[document]
        smaller = np.minimum(size, its)
        here = np.where(
            size >= n, np.bincount(of, runs, len(piece)) / np.maximum(1, smaller - n + 1), np.bincount(of, exact, len(piece)) == size
        )
        starts = np.concatenate([[0], np.cumsum(size)[:-1]]) if len(piece) else np.zeros(0, np.int64)
        begin = np.minimum.reduceat(np.where(exact, place, high), starts) if len(piece) else starts
        end = np.maximum.reduceat(np.where(exact, place, low), starts) if len(piece) else starts
        # no word of the document stands for two of the piece
        reworded = np.minimum(np.bincount(of, near, len(piece)), end - begin + 1) / np.maximum(1, size)
        copied = np.where(size >= n, _together(document, piece, here), here)
        return Finds(document, piece, copied, reworded, found.begin[begin], found.end[end])


class HeldOut:
    """The index of long tests: add documents, then `finish`, then ask."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._bits = 0  # a gram is kept if its hash has so many leading zeros
        self._values: list[Hashes] = []
        self._owners: list[NDArray[np.uint32]] = []
        self._kept = 0

    @property
    def sample(self) -> float:
        """The share of the grams that is kept."""
        return float(2.0**-self._bits)

    def add(self, found: Words, numbers: Places) -> None:
        """Documents; `numbers`, which grow from call to call, name them in the finds."""
        value, token = _grams(found, self.n)
        owner = numbers[found.document[token]].astype(np.uint32)
        kept = self._small(value)
        self._values.append(value[kept])
        self._owners.append(owner[kept])
        self._kept += int(kept.sum())
        while self._kept > MOST_GRAMS:  # which grams are kept in the end does not depend on the order in which they came
            self._bits += 1
            for place, values in enumerate(self._values):
                kept = self._small(values)
                self._values[place], self._owners[place] = values[kept], self._owners[place][kept]
            self._kept = sum(map(len, self._values))

    def _small(self, value: Hashes) -> NDArray[np.bool_]:
        return value >> np.uint64(64 - self._bits) == 0 if self._bits else np.ones(len(value), np.bool_)

    def finish(self, documents: int) -> None:
        """Sort what was added; `documents`: one more than the largest number."""
        value = np.concatenate([np.zeros(0, np.uint64), *self._values])
        owner = np.concatenate([np.zeros(0, np.uint32), *self._owners])
        self._values, self._owners = [], []
        order = np.argsort(value, kind="stable")  # numbers were added in their order
        value, owner = value[order], owner[order]
        del order
        fresh = np.ones(len(value), np.bool_)
        fresh[1:] = (value[1:] != value[:-1]) | (owner[1:] != owner[:-1])
        self._grams = Grams(value[fresh], owner[fresh])
        self._size = np.bincount(self._grams.place, minlength=documents)

    def find(self, found: Words, documents: int) -> Finds:
        """The held-out documents with which a batch of documents shares n-grams."""
        value, token = _grams(found, self.n)
        small = self._small(value)
        value, token = value[small], token[small]
        which, test = self._grams.find(value)
        document, at = found.document[token[which]], token[which]
        order = np.lexsort((value[which], test, document))
        pair = document[order] << 32 | test[order]
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = (pair[1:] != pair[:-1]) | (value[which[order]][1:] != value[which[order]][:-1])
        pairs, shared = np.unique(pair[fresh], return_counts=True)
        grams = np.zeros(documents, np.int64)  # different ones of each document that shares any
        some = np.isin(found.document[token], np.unique(document))
        mine = np.unique(np.stack([found.document[token[some]].astype(np.uint64), value[some]]), axis=1)[0]
        grams[:] = np.bincount(mine.astype(np.int64), minlength=documents)
        copied = shared / np.maximum(1, np.minimum(grams[pairs >> 32], self._size[pairs & 0xFFFFFFFF]))
        order = np.lexsort((at, test, document))
        document, test, at = document[order], test[order], at[order]
        new = np.ones(len(order), np.bool_)
        gap = self.n + APART << self._bits  # of a sample, neighbours lie further from each other
        new[1:] = (document[1:] != document[:-1]) | (test[1:] != test[:-1]) | (at[1:] > at[:-1] + gap)
        first = np.flatnonzero(new)
        last = np.append(first[1:], len(order)) - 1 if len(order) else first
        of = np.searchsorted(pairs, document[first] << 32 | test[first])
        return Finds(document[first], test[first], copied[of], np.zeros(len(first)), found.begin[at[first]], found.end[at[last] + self.n - 1])


def _grams(found: Words, n: int) -> tuple[Hashes, Places]:
    """Hashes of the n-grams of words that lie within one document, evenly spread, and the first word of each."""
    at = windows(found, n)
    return mix(at.value), at.token


def _ragged(begin: Places, size: Places) -> Places:
    """begin[0], begin[0] + 1, ... size[0] of them, then those of the next."""
    total = int(size.sum())
    return np.repeat(begin - (np.cumsum(size) - size), size) + np.arange(total)


def _together(document: Places, test: Places, here: Shares) -> Shares:
    """The sum over all places of a test in a document, 1 at most."""
    _, of = np.unique(document << 32 | test, return_inverse=True)
    summed: Shares = np.minimum(1.0, np.bincount(of, here, len(here))[of]) if len(here) else here
    return summed
