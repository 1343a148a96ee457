"""Step `toxicity`: drop hateful and insulting text, by a linear model and by a weighted word list. English.

The model was trained by us (benchmarks/train_toxicity.py) on three labelled sets and on sentences of our own, and is a table of weights
for hashed n-grams (groundup.corpus.hashed). A text of up to WINDOW characters is judged whole. A longer one is cut into windows
of half that stride, each judged alone, and its score is the mean over the worst share of them: a page is not toxic for one slur,
a forum thread is for a tenth of its posts.

    score(window) = 1 / (1 + exp(-(bias + sum of weights / sqrt(characters + PIVOT))))

The word list is counted, not learnt: the sum of its words' weights per 1,000 words. It sees through the spellings that
`plain` undoes, and through masked letters (the list holds hashes of the masked forms too).
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from safetensors import safe_open

from groundup.corpus.hashed import Hashes, Plain, ngrams, plain, word_hash
from groundup.corpus.steps import Seen, Verdict, judge
from groundup.errors import RequestError

PATH = Path(__file__).parents[1] / "models" / "toxicity.safetensors"
WINDOW = 800  # characters. Trained without Wikipedia's comments, these are told apart at 800 by an area of 0.898, at 400 by 0.878, whole by 0.897
PIVOT = 16  # characters: a text of one word must not be judged as surely as a sentence
LEAST_WORDS = 100  # the word list counts a shorter text as this long: one curse in a sentence is 10 in 1,000, not 100


class Model(NamedTuple):
    """What the file holds."""

    weights: np.ndarray[Any, np.dtype[np.float32]]
    bits: int
    bias: float
    words: Hashes
    """Of the word list and its masked forms, in order."""
    word_weights: np.ndarray[Any, np.dtype[np.float32]]
    """Share of toxic texts among those with the word."""
    about: dict[str, Any]
    """Training data, date, and the table of thresholds."""


@functools.cache
def model(path: Path = PATH) -> Model:
    """The shipped model, read once a process."""
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["about"])
        weights = file.get_tensor("weights").astype(np.float32)
        return Model(
            weights, int(math.log2(len(weights))), about["bias"], file.get_tensor("words"),
            file.get_tensor("word_weights").astype(np.float32), about,
        )  # fmt: skip


def thresholds() -> list[dict[str, float]]:
    """What each threshold does, measured when the model was trained on texts it had not seen.

    Rows of `threshold`, `precision` and `recall` (means over the three labelled sets, classes balanced in each), `f1`,
    `neutral_blocked` (share of neutral sentences about groups of people, templates not trained on), `ordinary_blocked` (share
    of windows of books, news and textbooks).
    """
    rows: list[dict[str, float]] = model().about["thresholds"]
    return rows


def probability(text: str, worst: float = 0.1, known: Model | None = None) -> float:
    """How likely a reader would call the text toxic, 0 to 1: of a long one, the mean over its worst share of windows."""
    return _probability(plain(text), worst, known or model())


def _probability(text: Plain, worst: float, known: Model) -> float:
    length = len(text.codes)
    if not len(text.words):
        return 0.0
    indices, places = ngrams(text, known.bits)
    sums = np.concatenate(([0.0], np.cumsum(np.bincount(places, known.weights[indices], minlength=length))))
    halves = max(2, round(2 * length / WINDOW)) if length > 1.5 * WINDOW else 2
    cuts = np.linspace(0, length, halves + 1).astype(np.int64) if halves > 2 else np.array([0, 0, length])
    logits = known.bias + (sums[cuts[2:]] - sums[cuts[:-2]]) / np.sqrt(cuts[2:] - cuts[:-2] + PIVOT)
    many = max(1, round(worst * len(logits)))
    highest = np.partition(logits, len(logits) - many)[-many:]
    return float(np.mean(1 / (1 + np.exp(-highest))))


class WordList(NamedTuple):
    """Hashes of words in order, and their weights."""

    hashes: Hashes
    weights: np.ndarray[Any, np.dtype[np.float32]]

    @classmethod
    def of(cls, words: Mapping[str, float]) -> WordList:
        """Of words and weights, with the forms in which letters are masked; a form of two words has the larger weight."""
        table: dict[int, float] = {}
        for word, weight in words.items():
            for form in masked(word.lower()):
                if key := word_hash(form):
                    table[key] = max(weight, table.get(key, 0.0))
        keys = sorted(table)
        return cls(np.array(keys, dtype=np.uint64), np.array([table[key] for key in keys], dtype=np.float32))

    @classmethod
    def read(cls, path: Path) -> WordList:
        """Of a file with a word a line, and after a blank its weight (1 where none is given). Lines that begin with # are left out."""
        words = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not (parts := line.split()) or line.startswith("#"):
                continue
            try:
                words[parts[0]] = float(parts[1]) if len(parts) > 1 else 1.0
            except ValueError:
                raise RequestError(f"{parts[1]!r} is no weight", where=f"{path}, line {number}", do="Write a word, a blank and a number; one word a line.") from None
        return cls.of(words)

    def found(self, text: Plain) -> tuple[int, float]:
        """How many words of a text are listed, and the sum of their weights per 1,000 words."""
        words = text.spelled
        if not len(words) or not len(self.hashes):
            return 0, 0.0
        places = np.minimum(np.searchsorted(self.hashes, words), len(self.hashes) - 1)
        hits = places[self.hashes[places] == words]
        return len(hits), 1000 * float(self.weights[hits].sum()) / max(len(words), LEAST_WORDS)


def masked(word: str) -> Iterable[str]:
    """The word, and its forms with a star for one inner letter, for a run of them, or for all inner vowels."""
    yield word
    if len(word) < 4:
        return
    for start in range(1, len(word) - 1):
        for end in range(start + 1, len(word)):
            if end - start <= max(1, len(word) - 3) or end == len(word) - 1:
                yield word[:start] + "*" * (end - start) + word[end:]
    yield word[0] + "".join("*" if letter in "aeiou" else letter for letter in word[1:-1]) + word[-1]


class Toxicity:
    """The step. `threshold` None leaves the model out, `words_per_thousand` None the word list."""

    def __init__(self, threshold: float | None, worst: float, words_per_thousand: float | None, word_list: Path | None = None) -> None:
        self.threshold, self.worst = threshold, worst
        self.words_per_thousand, self.word_list = words_per_thousand, word_list
        self._words: WordList | None = None

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "toxicity", self._judge)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_words": None}  # each process reads the list itself

    def _judge(self, seen: Seen) -> Verdict:
        if seen.language is not None and not seen.language.lower().startswith("en"):
            return Verdict(seen.text)
        text = plain(seen.text)
        score: float | None = None
        reason: str | None = None
        counts: dict[str, int] = {}
        if self.threshold is not None:
            score = _probability(text, self.worst, model())
            reason = "toxic by the model" if score >= self.threshold else None
        if self.words_per_thousand is not None:
            if self._words is None:
                self._words = WordList.read(self.word_list) if self.word_list else WordList(model().words, model().word_weights)
            many, rate = self._words.found(text)
            counts = {"listed words": many} if many else {}
            score = rate if score is None else score
            if reason is None and rate > self.words_per_thousand:
                reason = "too many listed words"
        return Verdict(seen.text, reason, score, counts)
