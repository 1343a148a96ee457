"""Text as hashed n-grams of characters and words, all of a text at once in numpy.

    text -> plain()     one byte a character, 32 letters: space, a-z, * (a letter masked), # (a number), X and Y (a group of people)
         -> ngrams()    character n-grams as base-32 numbers (exact up to six letters), word n-grams as hashes, each an index into a table

A linear model over them is a table of weights: what it says of any stretch of text is a sum over positions, so one
cumulative sum gives all windows of a long document.

`plain` reads spellings that are meant to slip by: f u c k, f-u-c-k, sh1t, $hit, @ss, fuuuuck, and letters borrowed from Greek and
Cyrillic. Terms for groups of people all become X (Y for the sexes and ages), so no model over this can tell one from another:
counterfactual fairness (Dixon et al. 2018; Garg et al. 2019, "blindness") by construction, for the terms that are listed.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from groundup.corpus.identity import COMMON, GROUP_OF

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

# Addresses, mentions, HTML entities. Each pattern begins with a fixed character, which is searched for fast.
NOISE = tuple(re.compile(pattern) for pattern in (r"http(?<!\whttp)s?://\S+", r"www\.\S+", r"@(?<!\w@)\w+", r"&#?\w+;"))
EMPHASIS = re.compile(rb"(?<![a-z*])(\*{1,3})([^*\s](?:[^*\n]{0,200}?[^*\s])?)\1(?![a-z*])")  # Markdown's stars mask nothing
FOREIGN = re.compile(r"[^\x00-\x7f]+")
LOOKALIKES = str.maketrans(
    dict(zip("аеорсухіѕјԁһкмтвнαεικνορτυχ", "aeopcyxisjdhkmtbnaeiknoptux", strict=True))
    | {chr(code): None for code in (*range(0x300, 0x370), 0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)}
    | {"\u2018": "'", "\u2019": "'", "\u02bc": "'"}
)  # fmt: skip
ALIKE_SHARE = 0.8  # of a text's letters ASCII: below it is in another script, not in disguise

SPACE, MASK, NUMBER, GROUP, SEX_OR_AGE = 0, 27, 28, 29, 30  # letters are 1 to 26
_CODES = np.zeros(256, dtype=np.uint8)
_CODES[ord("a") : ord("z") + 1] = np.arange(1, 27)
_CODES[ord("*")] = MASK
_CODES[ord("0") : ord("9") + 1] = NUMBER
_LEET = np.zeros(256, dtype=np.uint8)  # what stands for a letter between letters, or at an end where it is no digit
for _sign, _like in zip("013457@$!|+#", "oieastasiit*", strict=True):
    _LEET[ord(_sign)] = MASK if _like == "*" else ord(_like) - ord("a") + 1

_SOLID = np.zeros(256, dtype=bool)
_SOLID[[*b"abcdefghijklmnopqrstuvwxyz0123456789*$@"]] = True
_GAP = np.zeros(256, dtype=bool)
_GAP[[*b" ._-"]] = True

_POWERS = np.cumprod(np.full(64, 0x100000001B3, dtype=np.uint64))  # of the FNV prime; longer words are hashed by their first 63 letters
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing (Knuth, volume 3, section 6.4)
_SECOND, _THIRD = np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)

CHARACTERS = (3, 4, 5, 6)
WORDS = (1, 2, 3)


class Plain(NamedTuple):
    """A text in 32 letters, a space before, between and after its words."""

    codes: Bytes
    starts: Indices
    """Of the words, in `codes`."""
    words: Hashes
    """Their hashes; those of terms for groups of people are all the same."""
    spelled: Hashes
    """Hashes of the words, those terms too."""


def plain(text: str) -> Plain:
    """The text in 32 letters, terms for groups of people one letter each."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
        if len(text.encode("ascii", "ignore")) >= ALIKE_SHARE * len(text):
            text = FOREIGN.sub(_alike, text)
    for noise in NOISE:
        text = noise.sub(" ", text)
    raw = text.lower().encode("ascii", "replace").replace(b"'", b"")
    if b"*" in raw:
        raw = EMPHASIS.sub(rb"\2", raw)
    signs = np.frombuffer(_despaced(b" " + raw + b" "), dtype=np.uint8)
    codes = _CODES[signs]
    letters = _LEET[signs]
    disguised = np.flatnonzero(letters)
    if len(disguised):
        for _ in range(2):  # twice: two signs may stand side by side
            before, after = codes[disguised - 1], codes[disguised + 1]
            inside = _letter(before) & _letter(after)
            inside |= (signs[disguised] == ord("$")) & (_letter(before) | _letter(after))
            codes[disguised[inside]] = letters[disguised[inside]]
    masks = np.flatnonzero(codes == MASK)
    if len(masks):  # a mask stands in a word, after a letter or a mask: no emphasis, no bullet
        for place in masks.tolist():
            if not (1 <= codes[place - 1] <= MASK):
                codes[place] = SPACE
        for place in masks[::-1].tolist():  # and "word*" is a footnote, "wo**" is not
            if codes[place] == MASK and not (1 <= codes[place + 1] <= MASK) and codes[place - 1] != MASK:
                codes[place] = SPACE
    same = codes[1:] == codes[:-1]
    keep = np.ones(len(codes), dtype=bool)
    keep[1:] = ~(same & ((codes[1:] == SPACE) | (codes[1:] == NUMBER)))
    triple = np.flatnonzero(same[1:] & same[:-1] & (codes[2:] != SPACE) & (codes[2:] < MASK))  # three or more of a letter are one
    keep[triple + 1] = keep[triple + 2] = False
    codes = codes[keep]
    starts, spelled = _words(codes)
    words = spelled
    if len(spelled) and len(_TERMS):
        nearest = np.minimum(np.searchsorted(_TERMS, spelled), len(_TERMS) - 1)
        hits = np.flatnonzero(_TERMS[nearest] == spelled)
        if len(hits):
            ends = np.append(starts[1:] - 1, len(codes) - 1)
            keep = np.ones(len(codes), dtype=bool)
            for start, end, letter in zip(starts[hits].tolist(), ends[hits].tolist(), _LETTERS[nearest[hits]].tolist(), strict=True):
                codes[start] = letter
                keep[start + 1 : end] = False
            codes = codes[keep]
            starts, words = _words(codes)
    return Plain(codes, starts, words, spelled)


def ngrams(text: Plain, bits: int) -> tuple[Indices, Indices]:
    """All n-grams of a text: their indices in a table of 2^bits, and the positions in `codes` where they begin."""
    shift = np.uint64(64 - bits)
    indices, places = [], []
    wide = text.codes.astype(np.uint64)
    rolled = wide
    for n in range(2, max(CHARACTERS) + 1):
        if len(wide) < n:
            break
        rolled = (rolled[:-1] << np.uint64(5)) | wide[n - 1 :]
        if n in CHARACTERS:
            indices.append((((rolled | np.uint64(n << 40)) * _MIX) >> shift).astype(np.int64))
            places.append(np.arange(len(rolled)))
    words = text.words
    pair = words[:-1] * _SECOND + words[1:]
    for hashes in (words, pair, pair[:-1] * _THIRD + words[2:]):
        indices.append(((hashes * _MIX) >> shift).astype(np.int64))
        places.append(text.starts[: len(hashes)])
    return np.concatenate(indices), np.concatenate(places)


def word_hash(word: str) -> int:
    """The hash that `plain` gives to a word that stands alone; 0 where it is no single word."""
    spelled = plain(word).spelled
    return int(spelled[0]) if len(spelled) == 1 else 0


def _alike(match: re.Match[str]) -> str:
    return match[0].lower().translate(LOOKALIKES)


def _despaced(raw: bytes) -> bytes:
    """Three letters or more with one separator between each two are a word."""
    marks = np.frombuffer(raw, dtype=np.uint8)
    solid, gap = _SOLID[marks], _GAP[marks]
    single = np.zeros(len(marks), dtype=bool)
    single[1:-1] = solid[1:-1] & ~solid[:-2] & ~solid[2:]
    pairs = np.flatnonzero(single[:-2] & gap[1:-1] & single[2:])  # a letter, a separator, a letter
    if len(pairs) < 2:
        return raw
    keep = np.ones(len(marks), dtype=bool)
    for run in np.split(pairs, np.flatnonzero(np.diff(pairs) != 2) + 1):
        if len(run) > 1:
            keep[run + 1] = False
    return marks[keep].tobytes()


def _letter(codes: Bytes) -> npt.NDArray[np.bool_]:
    return (codes >= 1) & (codes <= MASK)


def _words(codes: Bytes) -> tuple[Indices, Hashes]:
    gaps = codes == SPACE
    starts = np.flatnonzero(gaps[:-1] & ~gaps[1:]) + 1
    if not len(starts):
        return starts, np.zeros(0, dtype=np.uint64)
    first = np.zeros(len(codes), dtype=np.int64)
    first[starts] = starts
    inside = np.minimum(np.arange(len(codes)) - np.maximum.accumulate(first), 63)
    hashes = np.add.reduceat(codes.astype(np.uint64) * _POWERS[inside], starts)
    return starts, hashes ^ (hashes >> np.uint64(29))


_TERMS: Hashes = np.zeros(0, dtype=np.uint64)
_table = sorted((word_hash(term), SEX_OR_AGE if term in COMMON else GROUP) for term in GROUP_OF)
_TERMS = np.array([term for term, _ in _table], dtype=np.uint64)
_LETTERS: Bytes = np.array([letter for _, letter in _table], dtype=np.uint8)
