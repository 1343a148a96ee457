"""Steps `gopher_repetition` and `gopher_quality`: the rules of Gopher's MassiveText (Rae et al. 2021, section A.1.1, table A1).

Copies of n-grams are counted as datatrove counts them: going through the words, an n-gram that was met before is counted and
passed over whole, another is remembered and one word passed over. Only n-grams that occur twice can change anything in that,
and those of n + 1 words begin where one of n words does: so one sort finds the few places that are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from groundup.corpus.steps import Seen, Verdict, judge
from groundup.corpus.words import LETTER, SYMBOL, Codes, code, lengths, spaced, words
from groundup.recipe.cleaning.quality import GopherQuality, GopherRepetition

Integers = np.ndarray[Any, np.dtype[np.int64]]

MIX = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplying loses nothing. Two n-grams have one code by chance alone, once in 2**64


class Repetition:
    """Step `gopher_repetition`."""

    def __init__(self, settings: GopherRepetition) -> None:
        self.settings = settings
        self.top = [(2, settings.top_2_gram), (3, settings.top_3_gram), (4, settings.top_4_gram)]
        self.duplicate = [(n, float(getattr(settings, f"duplicate_{n}_grams"))) for n in range(5, 11)]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "gopher_repetition", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        reason, figure = self.reason(seen.text)
        return Verdict(seen.text, reason, figure)

    def reason(self, text: str) -> tuple[str | None, float | None]:
        """Why a text is dropped, and the figure that is too high."""
        if not text:
            return "empty", None
        size, settings = len(text), self.settings
        paragraphs = [block.lstrip("\n") for block in text.strip().split("\n\n") if block] or [""]
        copies, characters = duplicates(paragraphs)
        if copies / len(paragraphs) > settings.duplicate_paragraphs:
            return "duplicate paragraphs", copies / len(paragraphs)
        if characters / size > settings.duplicate_paragraph_characters:
            return "characters in duplicate paragraphs", characters / size
        lines = text_lines(text)
        copies, characters = duplicates(lines)
        if copies / len(lines) > settings.duplicate_lines:
            return "duplicate lines", copies / len(lines)
        if characters / size > settings.duplicate_line_characters:
            return "characters in duplicate lines", characters / size
        return self._ngrams(words(text), size)

    def _ngrams(self, codes: Codes, size: int) -> tuple[str | None, float | None]:
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths(codes))])  # characters before each word
        grams, most = codes, len(codes)
        for n, limit in self.top:
            grams = joined(grams, codes[n - 1 :])
            if not len(grams):
                return None, None
            sizes = ends[n:] - ends[:-n] + (n - 1)  # with the blanks between
            if most * int(sizes.max()) <= limit * size:
                continue  # no n-gram is more frequent than its beginning
            most, place = top(grams)
            if (share := most * int(sizes[place]) / size) > limit:
                return f"most frequent {n}-gram", share
        places = np.arange(len(codes))
        for n, limit in self.duplicate:
            grams = joined(grams, codes[places + (n - 1)] if n > 5 else codes[n - 1 :])
            twice = repeated(grams)
            if not len(twice):
                break
            places, grams = places[twice], grams[twice]
            sizes = ends[places + n] - ends[places]
            if int(sizes.sum()) > limit * size and (share := copied(places.tolist(), grams.tolist(), sizes.tolist(), n) / size) > limit:
                return f"duplicate {n}-grams", share
            inside = places + n < len(codes)  # those that can be a word longer
            places, grams = places[inside], grams[inside]
        return None, None


class Quality:
    """Step `gopher_quality`."""

    def __init__(self, settings: GopherQuality) -> None:
        self.settings = settings
        self.stop_words = np.array([code(word) for word in sorted(set(settings.stop_words))], dtype=np.uint64)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "gopher_quality", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        reason, figure = self.reason(seen.text, seen.language)
        return Verdict(seen.text, reason, figure)

    def reason(self, text: str, language: str | None = None) -> tuple[str | None, float | None]:
        """Why a text is dropped, and the figure that is out of its range. An unknown language is taken for English."""
        settings = self.settings
        codes = words(text)
        if not len(codes):
            return "empty", None
        blanks = spaced(language)
        proper = lengths(codes)[(codes & np.uint64(SYMBOL)) == 0]
        if blanks:
            if len(proper) < settings.min_words:
                return "too few words", float(len(proper))
            if len(proper) > settings.max_words:
                return "too many words", float(len(proper))
            mean = float(proper.sum() / max(1, len(proper)))
            if mean < settings.min_mean_word_length:
                return "words too short", mean
            if mean > settings.max_mean_word_length:
                return "words too long", mean
            if (ratio := text.count("#") / len(codes)) > settings.max_symbols_per_word:
                return "too many hash signs", ratio
            if (ratio := (text.count("...") + text.count("…")) / len(codes)) > settings.max_symbols_per_word:
                return "too many ellipses", ratio
        lines = text.splitlines()
        if (ratio := sum(line.lstrip()[:1] in ("•", "-") for line in lines) / len(lines)) > settings.max_bullet_lines:
            return "too many bullets", ratio
        if (ratio := sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines)) > settings.max_ellipsis_lines:
            return "too many lines that end in an ellipsis", ratio
        if blanks and (ratio := np.count_nonzero(codes & np.uint64(LETTER)) / len(codes)) < settings.min_alphabetic_words:
            return "too few words with letters", ratio
        if language is None or not settings.stop_words_for or language.partition("-")[0].lower() in settings.stop_words_for:
            found = int((codes[None] == self.stop_words[:, None]).any(axis=1).sum())
            if found < settings.min_stop_words:
                return "too few stop words", float(found)
        return None, None


def text_lines(text: str) -> list[str]:
    """The lines of a text that are not empty, and an empty one before or after for line breaks at its ends."""
    lines = [line for line in text.split("\n") if line]
    return [*([""] if text[0] == "\n" else []), *lines, *([""] if text[-1] == "\n" else [])] or [""]


def duplicates(pieces: Sequence[str]) -> tuple[int, int]:
    """How many pieces are copies of an earlier one, and their characters."""
    different = set(pieces)
    if len(different) == len(pieces):
        return 0, 0
    return len(pieces) - len(different), sum(map(len, pieces)) - sum(map(len, different))


def joined(grams: Codes, following: Codes) -> Codes:
    """The codes of n-grams, each longer by the word that follows it."""
    longer: Codes = (grams[: len(following)] ^ (grams[: len(following)] >> np.uint64(29))) * MIX + following
    return longer


def top(grams: Codes) -> tuple[int, int]:
    """How often the most frequent n-gram occurs, and where first; of equally frequent ones the first."""
    ordered = np.sort(grams)
    ends = np.flatnonzero(ordered[1:] != ordered[:-1])
    if len(ends) == len(grams) - 1:
        return 1, 0
    times = np.diff(ends, prepend=-1, append=len(ordered) - 1)
    most = int(times.max())
    frequent = ordered[np.append(ends, len(ordered) - 1)[times == most]]
    return most, int(np.flatnonzero(grams == frequent[0])[0] if len(frequent) == 1 else np.isin(grams, frequent).argmax())


def repeated(grams: Codes) -> Integers:
    """The places of n-grams that occur more than once."""
    ordered = np.sort(grams)
    several = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(several):
        return np.zeros(0, np.int64)
    near = np.searchsorted(several, grams)
    return np.flatnonzero(several[np.minimum(near, len(several) - 1)] == grams)


def copied(places: list[int], grams: list[int], sizes: list[int], n: int) -> int:
    """Characters of n-grams that were met before, none counted that begins within one that was counted."""
    met: set[int] = set()
    characters = free = 0
    for place, gram, size in zip(places, grams, sizes, strict=True):
        if place < free:
            continue
        if gram in met:
            characters += size
            free = place + n
        else:
            met.add(gram)
    return characters
