"""Which English word a misspelling was meant to be: a noisy channel (Kernighan, Church and Gale 1990).

    best word = argmax  P(word)^w x P(typo | word)

P(word) is how often books use it. P(typo | word) is the likeliest way to rewrite the word as the typo, piece by piece, where a
piece is up to four letters with their neighbours (Brill and Moore 2000): "ible" for "able" is one likely edit, not two unlikely ones.
Beside the words stands one more reading: that the writer meant a word that we have never seen, `P(typo)` by its
letter trigrams. A name or a technical term looks like a word of its own and is far from common words, and so it stays.

Two files ship with this one, both made by `benchmarks/train_spelling.py`: `english_words.xz` (SCOWL's word lists, copyright 2000-2011
Kevin Atkinson, and the counts of SymSpell's frequency dictionary, MIT; see `english_words.licence.txt`) and `english_edits.xz` (what pieces are written for what).
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ALPHABET = "abcdefghijklmnopqrstuvwxyz'"
LONGEST = 40  # letters; a longer string is no word
MOST_CANDIDATES = 48  # nearest and most frequent first; the right word is among the first 20 in 99.8 % of the training typos
PRIOR_WEIGHT = 0.65  # of log P(word)
OWN_WORD = 3.0  # added to log P of a word never seen
BEST_CHANNEL = {0: 0.0, 1: -0.5, 2: -2.5, 3: -4.5}  # log P(typo | word) by distance: 999 of 1,000 pairs are below
NEGLIGIBLE = 4.0  # a reading this far below the best one changes its probability by less than 2 %
EDIT_FLOOR: dict[str, float] = {"insert": -9.5, "delete": -9.0, "replace": -10.5, "transpose": -8.0}  # log P of an edit never seen in training


@dataclass(frozen=True, slots=True)
class Reading:
    """What a string may be meant to be."""

    word: str
    distance: int
    """Letters inserted, dropped, replaced or swapped with their neighbour."""
    score: float
    """log of P(word)^w x P(typo | word)."""
    probability: float
    """Among all readings, that of an unseen word included."""


class Corrector:
    """Finds the readings of a string among words with counts.

    `counts` says how often each word is used; a word of count 0 is known but never offered. `names` are the words that
    dictionaries write with a capital only.
    """

    def __init__(self, counts: dict[str, float], names: frozenset[str], edits: dict[str, dict[str, float]]) -> None:
        self.known = frozenset(counts)
        self.names = names
        self.edits = edits
        self._counts = counts
        total = sum(counts.values())
        self._prior = {word: math.log(count / total) for word, count in counts.items() if count and set(word) <= LETTERS}
        self._shapes = _Shapes(list(self._prior), self._prior)
        self._trigrams = _trigrams(self.known)

    def count(self, word: str) -> float:
        """How often a word is used; 1 for a known one without a count, 0 for an unknown one."""
        return max(self._counts.get(word, -1.0), 1.0) if word in self.known else 0.0

    def readings(self, typo: str, *, distance: int = 2) -> list[Reading]:
        """The words within a distance of a lower-case string, likeliest first. Empty for what is no word of letters.

        Words that cannot come near the likeliest reading, however well their letters fit, are left out.
        """
        if not typo or len(typo) > LONGEST or not set(typo) <= LETTERS:
            return []
        near = [(PRIOR_WEIGHT * self._prior[word], word, far) for word, far in self._shapes.within(typo, distance)]
        near.sort(key=lambda one: -one[0] - BEST_CHANNEL[one[2]])
        own = OWN_WORD + self.unseen(typo)
        scored: list[tuple[float, str, int]] = []
        top = own
        for prior, word, far in near:
            if prior + BEST_CHANNEL[far] < top - NEGLIGIBLE:
                break
            score = prior + self.channel(typo, word)
            scored.append((score, word, far))
            top = max(top, score)
        scored.sort(key=lambda one: (-one[0], one[1]))
        total = math.exp(own - top) + sum(math.exp(score - top) for score, _, _ in scored)
        return [Reading(word, far, score, math.exp(score - top) / total) for score, word, far in scored]

    def correct(self, word: str) -> str:
        """The word itself if known, else its likeliest reading, else itself: an answer for every word, without doubt.

        Case is kept: "Teh" becomes "The". For long words three edits are tried where two find nothing.
        """
        lower = word.lower()
        if lower in self.known:
            return word
        found = self.readings(lower) or (self.readings(lower, distance=3) if len(lower) > 6 else [])
        return cased(found[0].word, word) if found else word

    def channel(self, typo: str, word: str) -> float:
        """log P(typo | word): the likeliest rewriting of the word as the typo, in pieces of the edit table.

        best[i][j] is that of the word's first i and the typo's first j characters; both stand between ^ and $.
        """
        source, target = _differing(f"^{word}$", f"^{typo}$")
        height, width = len(source), len(target)
        band = abs(height - width) + 2
        best = [[-math.inf] * (width + 1) for _ in range(height + 1)]
        best[0][0] = 0.0
        for i in range(height + 1):
            row = best[i]
            tables = [(size, table) for size in range(min(PIECE, height - i) + 1) if (table := self.edits.get(source[i : i + size]))]
            for j in range(max(0, i - band), min(width, i + band) + 1):
                here = row[j]
                if here == -math.inf:
                    continue
                for size, table in tables:
                    after = best[i + size]
                    for length in range(min(PIECE, width - j) + 1):
                        cost = table.get(target[j : j + length])
                        if cost is not None and here + cost > after[j + length]:
                            after[j + length] = here + cost
                if i < height and j < width:
                    if source[i] == target[j]:
                        best[i + 1][j + 1] = max(best[i + 1][j + 1], here)
                    else:
                        best[i + 1][j + 1] = max(best[i + 1][j + 1], here + EDIT_FLOOR["replace"])
                    if i + 1 < height and j + 1 < width and source[i : i + 2] == target[j + 1 : j + 2] + target[j : j + 1]:
                        best[i + 2][j + 2] = max(best[i + 2][j + 2], here + EDIT_FLOOR["transpose"])
                if i < height:
                    best[i + 1][j] = max(best[i + 1][j], here + EDIT_FLOOR["delete"])
                if j < width:
                    row[j + 1] = max(row[j + 1], here + EDIT_FLOOR["insert"])
        return best[height][width]

    def unseen(self, word: str) -> float:
        """log P of a string as a word that we have never seen: its letters, each after the two before."""
        codes = [26, 26, *(ord(letter) - 97 if letter != "'" else 26 for letter in word), 26]
        return float(sum(self._trigrams[a, b, c] for a, b, c in zip(codes, codes[1:], codes[2:], strict=False)))


def _differing(source: str, target: str) -> tuple[str, str]:
    """Two strings without the beginning and end that they share, but for the neighbours that an edit may depend on."""
    shortest = min(len(source), len(target))
    first = next((place for place in range(shortest) if source[place] != target[place]), shortest)
    last = next((place for place in range(shortest - first) if source[-1 - place] != target[-1 - place]), shortest - first)
    first, last = max(0, first - PIECE + 1), max(0, last - PIECE + 1)
    return source[first : len(source) - last], target[first : len(target) - last]


def cased(word: str, like: str) -> str:
    """A lower-case word in the capitals of another: none, the first, or all."""
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word


@cache
def english() -> Corrector:
    """The corrector that ships, once per process."""
    return Corrector(*read_words(HERE / "english_words.xz"), read_edits(HERE / "english_edits.xz"))


def read_words(path: Path) -> tuple[dict[str, float], frozenset[str]]:
    """Words and counts, and which of them are names.

    Each line: letters shared with the word before (A for none), the rest, log2 of the count in tenths; a name's in brackets.
    """
    counts: dict[str, float] = {}
    names = set()
    word = ""
    for line in lzma.decompress(path.read_bytes()).decode().split("\n"):
        rest, _, tenths = line.partition("\t")
        word = word[: ord(rest[0]) - 65] + rest[1:]
        if tenths.startswith("("):
            names.add(word)
            tenths = tenths.strip("()")
        counts[word] = 2.0 ** (int(tenths) / 10) if tenths else 0.0
    return counts, frozenset(names)


def read_edits(path: Path) -> dict[str, dict[str, float]]:
    """What is written for a piece of a word, and log P of it in hundredths. Each line: piece, then what is written and P in turn."""
    edits: dict[str, dict[str, float]] = {}
    for line in lzma.decompress(path.read_bytes()).decode().split("\n"):
        piece, *pairs = line.split("\t")
        edits[piece] = {written: -int(cost) / 100 for written, cost in zip(pairs[::2], pairs[1::2], strict=True)}
    return edits


def _trigrams(words: Iterable[str]) -> NDArray[np.float64]:
    """log P of a letter after two others, [27, 27, 27], where 26 is an apostrophe or a word's border; add-half smoothing."""
    text = "{{" + "{{".join(word for word in words if set(word) <= LETTERS).replace("'", "{") + "{"
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 97
    counts = np.bincount((codes[:-2] * 27 + codes[1:-1]) * 27 + codes[2:], minlength=27**3).reshape(27, 27, 27) + 0.5
    return np.asarray(np.log(counts / counts.sum(2, keepdims=True)))


class _Shapes:
    """Words as arrays, to find those within an edit distance of a string without trying each.

    First by letters: two words within distance d differ in at most 2d of the letters they use. Then the distance itself, of all
    the remaining words at once: bit-parallel, a word's matrix column as the bits of an integer (Hyyrö 2003, with transpositions).
    """

    def __init__(self, words: list[str], prior: dict[str, float]) -> None:
        words = sorted(words, key=len)
        self._words = words
        self._prior = np.array([prior[word] for word in words])
        self._lengths = np.array([len(word) for word in words], np.int64)
        self._letters = np.zeros((len(words), int(self._lengths[-1])), np.uint8)  # [word, place]
        for row, word in zip(self._letters, words, strict=True):
            row[: len(word)] = np.frombuffer(word.encode(), np.uint8)
        self._masks = np.zeros(len(words), np.uint32)
        for place in range(self._letters.shape[1]):
            self._masks |= BIT[self._letters[:, place]]

    def within(self, typo: str, distance: int) -> list[tuple[str, int]]:
        """Words and their distances: the nearest, then the most frequent, at most MOST_CANDIDATES."""
        first = int(np.searchsorted(self._lengths, len(typo) - distance))
        last = int(np.searchsorted(self._lengths, len(typo) + distance, "right"))
        mask = np.bitwise_or.reduce(BIT[np.frombuffer(typo.encode(), np.uint8)])
        near = first + np.flatnonzero(np.bitwise_count(self._masks[first:last] ^ mask) <= 2 * distance)
        if not len(near):
            return []
        distances = self._distances(typo, near)
        close = np.flatnonzero(distances <= distance)
        order = close[np.lexsort((-self._prior[near[close]], distances[close]))][:MOST_CANDIDATES]
        return [(self._words[near[one]], int(distances[one])) for one in order]

    def _distances(self, typo: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        one = np.uint64(1)
        matches = np.zeros(256, np.uint64)  # [letter] -> bits of the places where the typo has it
        for place, letter in enumerate(typo.encode()):
            matches[letter] |= np.uint64(1 << place)
        last = np.uint64(1 << (len(typo) - 1))
        lengths = self._lengths[rows]
        letters = self._letters[rows, : int(lengths.max())]
        up = np.full(len(rows), 0xFFFFFFFFFFFFFFFF, np.uint64)  # where a column's values rise by one
        down = np.zeros(len(rows), np.uint64)
        diagonal, match_before = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.uint64)
        distance = np.full(len(rows), len(typo), np.int64)
        for place in range(letters.shape[1]):
            match = matches[letters[:, place]]
            swapped = ((~diagonal & match) << one) & match_before
            diagonal = (((match & up) + up) ^ up) | match | down | swapped
            rise, fall = down | ~(diagonal | up), diagonal & up
            within = place < lengths
            distance += within * ((rise & last != 0).astype(np.int64) - (fall & last != 0))
            rise, fall = (rise << one) | one, fall << one
            up, down = fall | ~(diagonal | rise), rise & diagonal
            match_before = match
        return distance


HERE = Path(__file__).parent
LETTERS = frozenset(ALPHABET)
PIECE = 4  # characters, ^ and $ among them
BIT = np.zeros(256, np.uint32)
for _place, _letter in enumerate(ALPHABET):
    BIT[ord(_letter)] = 1 << _place
