"""Words and word n-grams of many documents at once, as 64-bit hashes, without a Python object a word.

    bytes      t h e   c a t   s a t        one buffer for a batch, lower-cased by Arrow
    words      [0,3)   [4,7)   [8,11)       borders by a table of bytes; letters of scripts without spaces stand alone
    hash       H(w) = sum_i b_i P^i  mod 2^64, of every word at once by differences of one running sum
    shingle    S(w1 .. wn) = mix(sum_k Q_k H(w_k)): n words that follow one another in one document

P is odd, so it has an inverse modulo 2^64 and a word's hash does not depend on where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

P = 0x9E3779B97F4A7C15 | 1  # the golden ratio's bits, as splitmix64 takes them
P_INVERSE = pow(P, -1, 2**64)
WORD, APART = 1, 2  # kinds of bytes; 0 stands between words


@dataclass(frozen=True)
class Words:
    """The words of a batch of documents."""

    hashes: Hashes
    document: Places
    """Of each word: its document's row."""
    begin: Places
    """Of each word: where it begins, in bytes from its document's beginning."""
    end: Places


def words(texts: pa.Array) -> Words:
    """The words of each text (string or large_string, no nulls), in order. Letters are compared in lower case, accents count."""
    texts = texts.cast(pa.large_string())
    lowered = pc.utf8_lower(texts)
    # places are those of the text itself: where lower case has another length (İ), that text is compared as it stands
    lowered = pc.if_else(pc.equal(pc.binary_length(lowered), pc.binary_length(texts)), lowered, texts)
    offsets, data = _buffers(lowered)
    if len(data) == 0:
        none = np.zeros(0, np.int64)
        return Words(np.zeros(0, np.uint64), none, none, none)
    kind = _kinds(data)
    first = np.zeros(len(data) + 1, np.bool_)  # whether a word begins here
    inside = kind > 0
    first[1:-1] = inside[1:] & ~inside[:-1]
    first[0] = inside[0]
    last = np.zeros(len(data) + 1, np.bool_)  # whether a word has just ended
    last[1:-1] = inside[:-1] & ~inside[1:]
    last[-1] = inside[-1]
    borders = offsets[1:-1]
    borders = borders[(borders > 0) & (borders < len(data))]
    joined = borders[inside[borders] & inside[borders - 1]]  # a document begins within what looks like a word
    apart = np.flatnonzero(kind == APART)
    for places in (joined, apart, _after(data, apart)):
        both = places[(places > 0) & (places < len(data))]
        both = both[inside[both] & inside[both - 1]]
        first[both] = last[both] = True
    begin, end = np.flatnonzero(first), np.flatnonzero(last)
    document = np.repeat(np.arange(len(texts)), np.diff(np.searchsorted(begin, offsets)))
    return Words(_hash(data, begin, end), document, begin - offsets[document], end - offsets[document])


def shingles(found: Words, documents: int, n: int) -> tuple[Hashes, Places]:
    """Hashes of the word n-grams of each document, in order, and where each document's begin (documents + 1 places).

    A document of fewer than n words has one shingle of all its words; one without words has none.
    """
    count = np.bincount(found.document, minlength=documents)
    starts = np.concatenate([[0], np.cumsum(count)])
    size = np.where(count >= n, count - n + 1, np.minimum(count, 1))
    borders = np.concatenate([[0], np.cumsum(size)])
    tokens = len(found.hashes)
    every = np.zeros(tokens, np.uint64)  # of the n words from each one on, whatever documents they are in
    for k in range(min(n, tokens)):
        every[: tokens - k] += found.hashes[k:] * _weight(k)
    whole = np.ones(tokens, np.bool_)  # where n words of one document begin
    for k in range(1, min(n, tokens + 1)):
        ends = starts[1:] - k
        whole[ends[(ends >= starts[:-1])]] = False
    for document in np.flatnonzero((count > 0) & (count < n)):
        first = int(starts[document])
        whole[first] = True
        every[first] = np.add.reduce(found.hashes[first : first + count[document]] * np.array([_weight(k) for k in range(count[document])], np.uint64))
    value = every[whole]
    return mix(value), borders


def mix(values: Hashes) -> Hashes:
    """Every bit of the result depends on every bit of the value (splitmix64's finaliser, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: Hashes = values ^ (values >> np.uint64(31))
    return found


def _weight(k: int) -> np.uint64:
    return np.uint64(int(mix(np.array([k + 1], np.uint64))[0]) | 1)


def _buffers(texts: pa.LargeStringArray) -> tuple[Places, NDArray[np.uint8]]:
    """Where each text begins (one more than texts), counted from the first, and the bytes of all."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int64, len(texts) + 1, 8 * texts.offset) if len(texts) else np.zeros(1, np.int64)
    begin, end = int(places[0]), int(places[-1])
    content = np.frombuffer(data, np.uint8, end - begin, begin) if data is not None and end > begin else np.zeros(0, np.uint8)
    return places - begin, content


@cache
def _table() -> NDArray[np.uint8]:
    """What each byte is by itself: ASCII letters and digits and all beyond ASCII make words."""
    table = np.zeros(256, np.uint8)
    for byte in b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_":
        table[byte] = WORD
    table[0x80:] = WORD
    return table


def _kinds(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The kind of each byte: punctuation beyond ASCII stands between words, letters of scripts without spaces stand apart."""
    kind = np.frombuffer(bytearray(data.tobytes().translate(_table().tobytes())), np.uint8)  # faster than indexing
    if not (data >= 0x80).any():
        return kind
    lead = np.flatnonzero(data >= 0xC2)
    next_byte = data[np.minimum(lead + 1, len(data) - 1)]
    # Latin-1's signs (U+00A0..BF), general punctuation (U+2000..206F), CJK punctuation (U+3000..303F), fullwidth forms (U+FF00..FF0F)
    latin = lead[data[lead] == 0xC2]
    general = lead[(data[lead] == 0xE2) & ((next_byte == 0x80) | (next_byte == 0x81))]
    chinese = lead[((data[lead] == 0xE3) & (next_byte == 0x80)) | ((data[lead] == 0xEF) & (next_byte == 0xBC))]
    for places, length in ((latin, 2), (general, 3), (chinese, 3)):
        for k in range(length):
            kind[np.minimum(places + k, len(data) - 1)] = 0
    # Kana and Han: U+3040..9FFF
    apart = lead[((data[lead] == 0xE3) & (next_byte >= 0x81)) | ((data[lead] >= 0xE4) & (data[lead] <= 0xE9))]
    kind[apart] = APART
    return kind


def _after(data: NDArray[np.uint8], apart: Places) -> Places:
    """The places after letters of three bytes."""
    return np.minimum(apart + 3, len(data))


def _hash(data: NDArray[np.uint8], begin: Places, end: Places) -> Hashes:
    """The polynomial hash of each stretch of bytes, with its length in it."""
    up, down = powers(len(data))
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data.astype(np.uint64) + np.uint64(1)) * up, out=sums[1:])
    return mix((sums[end] - sums[begin]) * down[begin])


_held: dict[str, Any] = {}


def powers(length: int) -> tuple[Hashes, Hashes]:
    """P^i and P^-i for i < length; grown as needed and kept."""
    if len(_held.get("powers", ())) < length:
        size = 1 << max(16, (length - 1).bit_length())
        for name, base in (("powers", P), ("inverses", P_INVERSE)):
            found = np.ones(size, np.uint64)
            found[1:] = np.uint64(base)
            _held[name] = np.cumprod(found, dtype=np.uint64)
    return _held["powers"][:length], _held["inverses"][:length]
