"""Near duplicates: MinHash signatures (Broder 1997) and locality-sensitive hashing by bands (Indyk & Motwani 1998).

    document -> word n-grams -> signature: for each of bands x rows random functions, the least value over its n-grams
    signature -> bands: one hash of each `rows` values;   two documents that share a band are candidates

Two documents of Jaccard similarity s agree in one value with probability s, in a band with s^rows, and in at least one band with
1 - (1 - s^rows)^bands: with FineWeb's 14 x 8 that is 0.56 at s = 0.7, 0.77 at 0.75, 0.92 at 0.8, 0.99 at 0.85.

The functions are h_i(x) = (a_i x + b_i) mod 2^64, of which the upper half counts; x is mixed before, a_i is odd (multiply-shift,
Dietzfelbinger et al. 1997).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.shingles import Hashes, Places, mix

BLOCK = 1 << 16  # shingles at once: their values stay in the second-level cache (512 KiB)


def signatures(value: Hashes, borders: Places, count: int) -> NDArray[np.uint32]:
    """Signatures of documents whose shingles `value[borders[d] : borders[d + 1]]` are: (documents, count), of 32 bits.

    A document without shingles has the largest value everywhere.
    """
    documents = len(borders) - 1
    found = np.full((count, documents), np.iinfo(np.uint64).max, np.uint64)
    a, b = functions(count)
    document = 0
    while document < documents:
        # whole documents up to a block's worth of shingles; one longer than that in pieces
        last = max(document + 1, int(np.searchsorted(borders, borders[document] + BLOCK, side="right")) - 1)
        for start in range(int(borders[document]), int(borders[last]), BLOCK):
            end = min(start + BLOCK, int(borders[last]))
            inside = np.arange(document, last)
            filled = inside[(borders[inside] < end) & (borders[inside + 1] > start) & (borders[inside + 1] > borders[inside])]
            starts = np.maximum(borders[filled], start) - start
            x = value[start:end]
            y, least = np.empty_like(x), np.empty((count, len(filled)), np.uint64)
            for place in range(count):
                np.multiply(x, a[place], out=y)
                np.add(y, b[place], out=y)
                np.minimum.reduceat(y, starts, out=least[place])
            found[:, filled] = np.minimum(found[:, filled], least)
        document = last
    return np.ascontiguousarray((found >> np.uint64(32)).T.astype(np.uint32))


def band_keys(signature: NDArray[np.uint32], bands: int, rows: int, salt: NDArray[np.uint64]) -> Hashes:
    """One 64-bit key for each band of each document: (documents, bands). `salt`, one a document, keeps scopes apart."""
    parts = signature.reshape(len(signature), bands, rows).astype(np.uint64)
    keys = np.broadcast_to(salt[:, None], (len(signature), bands)).copy()
    keys += np.arange(bands, dtype=np.uint64)
    for row in range(rows):
        keys = mix(keys + parts[:, :, row])
    return keys


def chance(similarity: float, bands: int, rows: int) -> float:
    """The probability that two documents of a Jaccard similarity are candidates."""
    return float(1 - (1 - similarity**rows) ** bands)


@cache
def functions(count: int) -> tuple[Hashes, Hashes]:
    """The multipliers (odd) and the summands of the random functions; the same always."""
    drawn = mix(np.arange(1, 2 * count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return drawn[:count] | np.uint64(1), drawn[count:]
