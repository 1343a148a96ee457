"""Words as the published quality rules count them, split at a few million characters a second.

The rules speak of words, and their published thresholds were set with a splitter in the tradition of the Penn Treebank:
punctuation is a word of its own, clitics too ("do n't", "it 's"), URLs and abbreviations stay whole. What a piece of text
between blanks becomes depends on that piece alone, and most pieces were met before, so a table of pieces makes this fast.

A word is one integer: a checksum, what it is made of, and its length. So a text is an array, and n-grams are arithmetic.

    bits 0-23 length in characters    24-27 flags below    28-59 checksum (CRC-32)

Two words of a text may have the same integer, if length and flags are the same, too: one text in ten thousand has such a
pair, and nothing comes of it, since no rule looks at single words but the stop words.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import chain
from string import punctuation
from typing import Any
from zlib import crc32

import numpy as np

from groundup.corpus.splitting import exceptions, split_piece

Codes = np.ndarray[Any, np.dtype[np.uint64]]

LENGTH_BITS, FLAG_BITS = 24, 4
LENGTH = (1 << LENGTH_BITS) - 1
LETTER, SYMBOL, ENDS, MARK = (1 << LENGTH_BITS + place for place in range(FLAG_BITS))
"""Has a letter; has nothing but symbols; ends a sentence; is a mark (a sentence's end, or all punctuation)."""

PIECES = 1 << 17  # in the table: about 40 MB. What a text becomes does not depend on it
PLAIN_ENDS, PLAIN_BEGINNINGS = ",;:!?)”“\"’", "([\"“„‚»«"  # go off every word
LONG_PIECE = 40  # characters; longer ones are rarely met again
CACHED_TEXT = 100_000  # characters
UNSPACED = frozenset("bo dz ja km lo my th zh".split())


def _ranges(text: str) -> str:
    """`21 2e a-c` as the characters with these numbers."""
    spans = (span.partition("-") for span in text.split())
    return "".join(chr(number) for low, _, high in spans for number in range(int(low, 16), int(high or low, 16) + 1))


# Unicode's property Sentence_Terminal (PropList.txt) without a few that only separate.
SENTENCE_ENDS = frozenset(_ranges(
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d6 17d9-17da 1803 1809 "
    "1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e 2e3c 2e53-2e54 3002 a4ff a60e-a60f "
    "a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 "
    "10f86-10f89 11047-11048 110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 "
    "115c9-115d7 11641-11642 1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 "
    "16b37-16b38 16b44 16e98 1bc9f 1da88"
))  # fmt: skip
# What CCNet takes for punctuation (cc_net/text_normalizer.py), which datatrove's rules count as no word; 1 among it by mistake.
SYMBOLS = SENTENCE_ENDS | frozenset(punctuation + "«»´–—’“”„…∶━►、。〈〉《》「」【】！％（），．１：；？～" + _ranges("0-8 b-1f 7f-9f"))


def words(text: str) -> Codes:
    """The words of a text, in order. The last texts are remembered: one step after another asks for the same."""
    return _recent(text) if len(text) <= CACHED_TEXT else _words(text)


@lru_cache(maxsize=64)
def _recent(text: str) -> Codes:
    return _words(text)


def _words(text: str) -> Codes:
    return np.frombuffer(b"".join(map(_table().__getitem__, text.split())), dtype=np.uint64)


def spaced(language: str | None) -> bool:
    """Whether a language is written with blanks between its words. Where it is not, nothing here counts words."""
    return language is None or language.partition("-")[0].lower() not in UNSPACED


def count(text: str) -> int:
    """How many words a text has."""
    return len(words(text))


def lengths(codes: Codes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Characters of each word."""
    return (codes & np.uint64(LENGTH)).astype(np.int64)


def sentences(lines: Iterable[str]) -> int:
    """Sentences in all, no line without one: a sentence begins at the first word after one that ends a sentence."""
    table = _table()
    begin = bytes(8)  # before each line: a word that is neither a mark nor an end
    pieces = chain.from_iterable(chain((begin,), map(table.__getitem__, line.split())) for line in lines)
    codes = np.frombuffer(b"".join(pieces), dtype=np.uint64)
    ends = np.cumsum((codes & np.uint64(ENDS)) != 0)
    places = np.flatnonzero((codes & np.uint64(MARK)) == 0)
    starts = np.diff(ends[places], prepend=0) > 0
    lines_begin = codes[places] == 0
    return int(np.count_nonzero(starts & ~lines_begin) + np.count_nonzero(lines_begin))


def code(word: str) -> int:
    """A word as an integer."""
    flags = LETTER if word.isalpha() else _flags(word) if len(word) > 1 else _flags_of_mark(word)
    return crc32(word.encode("utf-8", "surrogatepass")) << (LENGTH_BITS + FLAG_BITS) | flags | min(len(word), LENGTH)


def _flags(word: str) -> int:
    flags = (LETTER if any(map(str.isalpha, word)) else 0) | (SYMBOL if SYMBOLS.issuperset(word) else 0)
    return flags | (MARK | ENDS if word in SENTENCE_ENDS else MARK if all(unicodedata.category(mark)[0] == "P" for mark in word) else 0)


_flags_of_mark = lru_cache(maxsize=1024)(_flags)


def _pack(words: Iterable[str]) -> bytes:
    return b"".join([code(word).to_bytes(8, sys.byteorder) for word in words])


class _Table(dict[str, bytes]):
    """The words of a piece, packed; found out when first asked for. The plainest shapes have a short way."""

    def __missing__(self, piece: str) -> bytes:
        split = self._split(piece)
        if len(piece) <= LONG_PIECE:
            if len(self) >= PIECES:
                self.clear()
            self[piece] = split
        return split

    def _split(self, piece: str) -> bytes:
        if (whole := exceptions().get(piece)) is not None:
            return _pack(whole)
        if plain(piece):
            return code(piece).to_bytes(8, sys.byteorder)
        if plain(rest := piece[:-1]) and ((last := piece[-1]) in PLAIN_ENDS or (last == "." and not rest[-1].isupper())):
            return self[rest] + self[last]
        if plain(rest := piece[1:]) and piece[0] in PLAIN_BEGINNINGS:
            return self[piece[0]] + self[rest]
        if "-" in piece and all(map(str.isalpha, piece.split("-"))):
            return _pack(piece.replace("-", " - ").split(" "))
        return _pack(split_piece(piece))


def plain(piece: str) -> bool:
    """Whether there is nothing in a piece to split, but by exception."""
    return piece.isalpha() or (piece.isdecimal() and piece.isascii())


@cache
def _table() -> _Table:
    return _Table()
