"""Exact repeats of n tokens or more (Lee et al. 2021, ExactSubstr: 50), wherever they stand in whatever document.

A place begins a repeat of at least n tokens exactly if the n tokens from there on stand somewhere else too. So instead of sorting
all suffixes of the corpus, the hashes of all its windows of n tokens are sorted, a range of hashes at a time: the same places at
28 bytes a word (some 5 a byte of text, as a suffix array's four with the text itself), and in parts of any size. Tokens are words
(shingles.words): case, punctuation and blank space do not hide a copy.

Of equal windows the first is kept: the one in the document that ranks first, and there the one that comes first. A document loses
the union of its other windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.shingles import Hashes, Places, Words, powers


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


def spans(found: Words, at: Windows, chosen: NDArray[np.bool_], n: int) -> Iterator[tuple[int, int, int]]:
    """(document, first byte, last byte + 1) of the unions of the chosen windows, in order."""
    first = at.token[chosen]
    if not len(first):
        return
    apart = np.flatnonzero((first[1:] > first[:-1] + n) | (found.document[first[1:]] != found.document[first[:-1]])) + 1
    for stretch in np.split(first, apart):
        begin, end = int(stretch[0]), int(stretch[-1]) + n - 1
        yield int(found.document[begin]), int(found.begin[begin]), int(found.end[end])
